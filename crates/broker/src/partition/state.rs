//! The state that a partition's entries add up to: its producer table, the image of its queues, and where its records
//! begin.
//!
//! As bytes, all numbers little endian. Without queues it is what it was before there were any: the producer table, which
//! begins with its own version, 1.
//!
//! | bytes | field |
//! |---|---|
//! | 1 | version = 2 |
//! | 4 | length of the producer table |
//! | as long | the producer table |
//! | the rest | the image of the queues |
//!
//! Once records were deleted, one of these two stands behind a head of its own; until then all is as it was before that
//! could be done.
//!
//! | bytes | field |
//! |---|---|
//! | 1 | version = 3 |
//! | 8 | the offset below which records were deleted |
//! | the rest | the state as above |

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::{BufMut, Bytes, BytesMut};
use highwater_groups::queue::{QueuesImage, record};
use highwater_storage::{Entry, EntryKind};
use highwater_types::Offset;
use highwater_types::batch::BatchHeader;

use super::deletions::{self, Beginning};
use super::producers::{ProducerLimits, Producers, codec};
use crate::queues::SharedQueues;
use crate::raft::{ApplyError, GroupState, RestoreError};

/// The producer table, between the state machine that changes it and the writer that asks it.
///
/// Locked for moments: a look-up, a batch applied. Never across an await.
#[derive(Clone, Debug)]
pub(super) struct SharedProducers(Arc<Mutex<Producers>>);

impl SharedProducers {
    pub(super) fn new(limits: ProducerLimits) -> Self {
        Self(Arc::new(Mutex::new(Producers::new(limits))))
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Producers> {
        // A panic inside left the table as it was: every change of it is the last step of a call.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The version of the state with queues.
const VERSION_WITH_QUEUES: u8 = 2;
/// The version of the state of a partition that records were deleted from.
const VERSION_WITH_BEGINNING: u8 = 3;

/// A partition as a [`GroupState`].
#[derive(Debug)]
pub(super) struct PartitionState {
    producers: SharedProducers,
    queues: SharedQueues,
    beginning: Beginning,
    limits: ProducerLimits,
}

impl PartitionState {
    pub(super) const fn new(
        producers: SharedProducers,
        queues: SharedQueues,
        beginning: Beginning,
        limits: ProducerLimits,
    ) -> Self {
        Self { producers, queues, beginning, limits }
    }

    /// Takes the head off that says where records begin.
    fn behind_beginning(bytes: &[u8]) -> Option<(Offset, &[u8])> {
        match bytes {
            [VERSION_WITH_BEGINNING, rest @ ..] => {
                let (offset, rest) = rest.split_first_chunk::<8>()?;
                Some((Offset::new(u64::from_le_bytes(*offset))?, rest))
            }
            nothing_deleted => Some((Offset::ZERO, nothing_deleted)),
        }
    }

    fn parts(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
        match bytes {
            [VERSION_WITH_QUEUES, rest @ ..] => {
                let (length, rest) = rest.split_first_chunk::<4>()?;
                rest.split_at_checked(usize::try_from(u32::from_le_bytes(*length)).ok()?)
            }
            before_queues => Some((before_queues, &[])),
        }
    }

    /// All but where records begin.
    fn encode_rest(&self) -> Bytes {
        let producers = codec::encode(&self.producers.lock());
        // The clone shares the queues, so nobody waits while they are encoded.
        let queues = self.queues.lock().clone();
        if queues.revision().is_none() {
            return producers;
        }
        let queues = queues.to_bytes();
        let mut out = BytesMut::with_capacity(5 + producers.len() + queues.len());
        out.put_u8(VERSION_WITH_QUEUES);
        out.put_u32_le(u32::try_from(producers.len()).unwrap_or(u32::MAX));
        out.put_slice(&producers);
        out.put_slice(&queues);
        out.freeze()
    }
}

impl GroupState for PartitionState {
    fn apply(&mut self, entry: &Entry) -> Result<(), ApplyError> {
        let fails = |reason: String| ApplyError { id: entry.id, reason };
        match entry.kind {
            EntryKind::Data => {
                let header = BatchHeader::read(&entry.payload).map_err(|error| fails(error.to_string()))?;
                self.producers.lock().apply(entry.base_offset, &header);
            }
            EntryKind::GroupDelta => {
                let records = record::decode(&entry.payload).map_err(|error| fails(error.to_string()))?;
                self.queues.lock().replay_entry(entry.id.index, &records);
            }
            EntryKind::RecordsDeleted => {
                let unknown = || fails("where records begin cannot be read; start a newer highwater".to_owned());
                self.beginning.advance(deletions::decode(&entry.payload).ok_or_else(unknown)?);
            }
            other => return Err(fails(format!("a partition has no {other:?} entries"))),
        }
        Ok(())
    }

    fn encode(&self) -> Bytes {
        let (beginning, rest) = (self.beginning.get(), self.encode_rest());
        if beginning == Offset::ZERO {
            return rest;
        }
        let mut out = BytesMut::with_capacity(9 + rest.len());
        out.put_u8(VERSION_WITH_BEGINNING);
        out.put_u64_le(beginning.get());
        out.put_slice(&rest);
        out.freeze()
    }

    fn restore(&mut self, bytes: &[u8]) -> Result<(), RestoreError> {
        let fails = |reason: String| RestoreError { reason };
        let ends_early = || fails("the state of the partition ends early".to_owned());
        let (beginning, bytes) = Self::behind_beginning(bytes).ok_or_else(ends_early)?;
        let (producers, queues) = Self::parts(bytes).ok_or_else(ends_early)?;
        let table = codec::decode(producers, self.limits).map_err(|error| fails(error.to_string()))?;
        let queues = match queues {
            [] => QueuesImage::default(),
            bytes => QueuesImage::from_bytes(bytes).map_err(|error| fails(error.to_string()))?,
        };
        *self.producers.lock() = table;
        *self.queues.lock() = queues;
        // What is restored is never behind what was seen.
        self.beginning.advance(beginning);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use highwater_groups::queue::{Change, GroupId, QueueConfig, QueueRecord};
    use highwater_types::{EntryId, LogIndex, Term};

    use super::*;

    fn state() -> PartitionState {
        let limits = ProducerLimits::default();
        PartitionState::new(SharedProducers::new(limits), SharedQueues::default(), Beginning::default(), limits)
    }

    fn delta(index: u64, payload: Bytes) -> Entry {
        let id = EntryId { term: Term::new(1), index: LogIndex::new(index) };
        Entry { id, kind: EntryKind::GroupDelta, base_offset: Offset::ZERO, record_count: 0, payload }
    }

    #[test]
    fn queues_come_back_with_the_producers_and_a_state_without_any_is_what_it_always_was() {
        let mut with_queues = state();
        let group = GroupId::new("mail").unwrap();
        let start = Offset::new(3).unwrap();
        let change = Change::Configured { config: QueueConfig::default(), start };
        let payload = record::encode(&[QueueRecord { group: group.clone(), change }]);
        with_queues.apply(&delta(7, payload)).unwrap();
        let bytes = with_queues.encode();
        assert_eq!(bytes.first(), Some(&VERSION_WITH_QUEUES));
        let mut restored = state();
        restored.restore(&bytes).unwrap();
        assert_eq!(*restored.queues.lock(), *with_queues.queues.lock());
        assert_eq!(restored.queues.lock().queue(&group).unwrap().start(), start);

        assert_eq!(state().encode(), codec::encode(&state().producers.lock()));
        restored.restore(&state().encode()).unwrap();
        assert_eq!(*restored.queues.lock(), QueuesImage::default(), "a state that has none takes away what was there");
    }

    #[test]
    fn where_records_begin_comes_back_and_never_goes_back() {
        let mut deleted = state();
        let entry = |offset: u64| {
            let mut payload = vec![1];
            payload.extend(offset.to_le_bytes());
            Entry { kind: EntryKind::RecordsDeleted, ..delta(8, payload.into()) }
        };
        deleted.apply(&entry(12)).unwrap();
        deleted.apply(&entry(5)).unwrap();
        assert_eq!(deleted.beginning.get(), Offset::new(12).unwrap());
        let bytes = deleted.encode();
        assert_eq!(bytes[..9], [3, 12, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(bytes[9..], state().encode(), "the rest is as it is without it");
        let mut restored = state();
        restored.restore(&bytes).unwrap();
        assert_eq!(restored.beginning.get(), Offset::new(12).unwrap());
        restored.restore(&state().encode()).unwrap();
        assert_eq!(restored.beginning.get(), Offset::new(12).unwrap());
        let newer = Entry { kind: EntryKind::RecordsDeleted, ..delta(9, Bytes::from_static(&[2, 0])) };
        assert!(deleted.apply(&newer).is_err(), "a newer format stops the replica");
        assert!(state().restore(&[3, 1, 2]).is_err());
    }

    #[test]
    fn bytes_that_are_no_state_are_refused() {
        assert!(state().restore(&[VERSION_WITH_QUEUES, 9, 0]).is_err());
        assert!(state().restore(&[VERSION_WITH_QUEUES, 200, 0, 0, 0, 1]).is_err());
        assert!(state().restore(&[3]).is_err());
        assert!(state().apply(&delta(1, Bytes::from_static(&[0xFF; 8]))).is_err());
    }
}
