//! Deleting records: all of a partition below an offset, at once, on every replica.
//!
//! Owns: where the records of a partition begin because clients deleted what was before, the entry of the log that says
//! so, and its way into the log.
//!
//! Never: cuts the log. Nobody reads below the beginning from the moment the entry is applied; the bytes go with whole
//! segments, when retention looks next.
//!
//! Invariants: the beginning is a function of the committed entries alone, only moves forward, and never beyond what was
//! committed when it was asked for. It may lie inside a batch, which is read whole then, as any batch is.
//!
//! The payload of the entry: one byte of format, 1, and the offset in eight, little endian.

use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use highwater_storage::{EntryKind, framed_bytes};
use highwater_types::{Offset, OffsetRange, Watermark};
use tokio::sync::Semaphore;

use super::error::DeleteError;
use super::read::Reader;
use super::space::{Space, Writes};
use crate::raft::{Committed, OWN_BYTES_MAX, Proposal, ProposeError};

const FORMAT: u8 = 1;
const PAYLOAD_BYTES: usize = 1 + size_of::<u64>();

/// Where the records of a partition begin, as far as clients deleted what was before. Clones are the same.
#[derive(Clone, Debug, Default)]
pub(crate) struct Beginning(Arc<Watermark>);

impl Beginning {
    pub(crate) fn get(&self) -> Offset {
        self.0.get()
    }

    pub(super) fn advance(&self, offset: Offset) {
        // One that is behind was overtaken by another; both were asked for.
        let _moved = self.0.advance(offset);
    }
}

/// The payload of the entry that says where records begin.
fn encode(offset: Offset) -> Bytes {
    let mut payload = BytesMut::with_capacity(PAYLOAD_BYTES);
    payload.put_u8(FORMAT);
    payload.put_u64_le(offset.get());
    payload.freeze()
}

/// Where records begin, by the payload of an entry; `None` when it is none of a format that is known.
pub(super) fn decode(payload: &[u8]) -> Option<Offset> {
    match payload.split_first()? {
        (&FORMAT, offset) => Offset::new(u64::from_le_bytes(offset.try_into().ok()?)),
        _ => None,
    }
}

/// Sends deletions on their way, one after another.
#[derive(Clone, Debug)]
pub(super) struct Deleter {
    space: Space,
    turn: Arc<Semaphore>,
}

impl Deleter {
    pub(super) fn new(space: Space) -> Self {
        Self { space, turn: Arc::new(Semaphore::new(1)) }
    }

    /// Lets all records below `offset` go, and says where they begin when that is committed.
    pub(super) async fn delete_below(&self, reader: &Reader, offset: Offset) -> Result<Offset, DeleteError> {
        let led = *reader.leadership.borrow();
        if !led.serves_writes {
            return Err(DeleteError::NotLeader { leader: led.other_leader() });
        }
        let valid = OffsetRange::new(reader.log_start(), *reader.committed.borrow());
        if offset > valid.end {
            return Err(DeleteError::OffsetOutOfRange { offset, valid });
        }
        if offset <= valid.start {
            return Ok(valid.start);
        }
        let turn = Arc::clone(&self.turn).acquire_owned().await.map_err(|_| DeleteError::Stopped)?;
        let mut held_back = reader.replica.held_back();
        held_back.wait_for(|is_held_back| !is_held_back).await.map_err(|_| DeleteError::Stopped)?;
        let proposal = Proposal {
            kind: EntryKind::RecordsDeleted,
            payload: encode(offset),
            term: Some(led.term),
            on_append: None,
            fence: None,
        };
        let (replica, log, space) = (reader.replica.clone(), reader.log.clone(), self.space.clone());
        // A task of its own: who asks may go away, and the space is needed until the entry is in the log. It ends with the
        // replica at the latest.
        let proposed = tokio::spawn(async move {
            let needed = space.claim(Writes::Deletions, framed_bytes(PAYLOAD_BYTES)) + OWN_BYTES_MAX;
            let proposed = match log.reserve(needed) {
                Ok(()) => replica.submit(proposal).await.await.map_err(DeleteError::from),
                Err(no_space) => Err(DeleteError::DiskFull { reason: no_space.to_string() }),
            };
            space.claim(Writes::Deletions, 0);
            drop(turn);
            proposed
        });
        let _committed: Committed = proposed.await.map_err(|_| DeleteError::OutcomeUnknown)??;
        Ok(reader.log_start())
    }
}

impl From<ProposeError> for DeleteError {
    fn from(error: ProposeError) -> Self {
        match error {
            ProposeError::NotLeader { leader } => Self::NotLeader { leader },
            ProposeError::Stopped => Self::Stopped,
            ProposeError::OutcomeUnknown => Self::OutcomeUnknown,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_says_where_records_begin_and_bytes_that_are_none_say_nothing() {
        let offset = Offset::new(0x0102_0304).unwrap();
        let payload = encode(offset);
        assert_eq!(&payload[..], [1, 4, 3, 2, 1, 0, 0, 0, 0], "on disk for ever");
        assert_eq!(decode(&payload), Some(offset));
        for bad in
            [&[][..], &[2, 0, 0, 0, 0, 0, 0, 0, 0], &payload[..8], &[1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]]
        {
            assert_eq!(decode(bad), None, "{bad:?}");
        }
    }
}
