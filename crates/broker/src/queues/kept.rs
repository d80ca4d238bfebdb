//! Records of dead messages that outlive the log's retention: their form in the image, and the way there.
//!
//! Owns: the form, a batch of one record with its offset; and what is done before retention takes a part of the log.
//!
//! Never: keeps a message that is not dead. What retention takes before it is done was kept too short.

use bytes::Bytes;
use highwater_groups::queue::{Command, GroupId, Queue, Scan, limits};
use highwater_types::batch::{self, BatchBuilder, BatchError, Compression, Record, stamp};
use highwater_types::{LeaderEpoch, Offset, OffsetRange};

use super::error::QueueError;
use super::handle::QueueHandle;
use super::headers::message_of;
use crate::partition::{Reader, RecordsError};

/// Why dead messages were not kept.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KeepError {
    #[error(transparent)]
    Records(#[from] RecordsError),
    #[error(transparent)]
    Queue(#[from] QueueError),
}

/// A record in the form in which it is kept.
fn to_bytes(record: &Record) -> Result<Bytes, BatchError> {
    let headers: Vec<_> = record.headers.iter().map(|header| (header.name.as_str(), header.value.as_deref())).collect();
    let mut builder = BatchBuilder::new(Compression::None);
    builder.append(record.timestamp, record.key.as_deref(), record.value.as_deref(), &headers)?;
    let mut bytes = Vec::from(builder.finish()?);
    if let Some(first) = bytes.first_chunk_mut::<16>() {
        *first = stamp(record.offset, LeaderEpoch::default(), *first);
    }
    Ok(bytes.into())
}

/// The record that was kept.
pub(crate) fn from_bytes(bytes: &Bytes) -> Result<Option<Record>, BatchError> {
    batch::records(bytes.clone())?.next().transpose()
}

/// What the engine needs to know of the part of a range that the log does not hold any more.
pub(super) fn scan_kept(queue: &Queue, wanted: OffsetRange, log_start: Offset) -> Result<Scan, RecordsError> {
    let range = OffsetRange::new(wanted.start, wanted.end.min(log_start));
    let mut messages = Vec::new();
    for (offset, _) in queue.entries(range) {
        let record = queue.kept(offset).map(from_bytes).transpose()?.flatten();
        messages.extend(record.map(|record| message_of(&record)));
    }
    Ok(Scan { range, messages })
}

impl QueueHandle {
    /// Has every group keep what is dead in it before `below`, as far as there is room.
    pub(crate) async fn keep_dead(&self, reader: &Reader, below: Offset) -> Result<(), KeepError> {
        let image = self.image();
        for (group, queue) in image.queues() {
            let dead: Vec<Offset> = queue.dead_in_log(below).collect();
            let mut room = limits::KEPT_BYTES_MAX.saturating_sub(queue.kept_bytes());
            // Not all at a time: they may be many, and large.
            for some in dead.chunks(64) {
                if room == 0 {
                    break;
                }
                room = self.keep(group, reader, some, room).await?;
            }
        }
        Ok(())
    }

    /// Has a group keep these messages; the room that is left.
    async fn keep(
        &self,
        group: &GroupId,
        reader: &Reader,
        offsets: &[Offset],
        mut room: usize,
    ) -> Result<usize, KeepError> {
        let (mut records, mut bytes) = (Vec::new(), 0);
        for record in reader.records(offsets).await? {
            let offset = record.offset;
            let record = to_bytes(&record).map_err(RecordsError::from)?;
            let Some(left) = room.checked_sub(record.len()) else {
                room = 0;
                break;
            };
            if bytes > 0 && bytes + record.len() > limits::REQUEST_KEPT_BYTES_MAX {
                self.ask(group, Command::Keep { records: std::mem::take(&mut records) }).await?;
                bytes = 0;
            }
            (room, bytes) = (left, bytes + record.len());
            records.push((offset, record));
        }
        if !records.is_empty() {
            self.ask(group, Command::Keep { records }).await?;
        }
        Ok(room)
    }

    /// Has every group forget what the log is about to lose.
    pub(crate) async fn forget(&self, below: Offset) -> Result<(), QueueError> {
        let image = self.image();
        for group in image.behind(below) {
            self.ask(group, Command::Trim { start: below }).await?;
        }
        Ok(())
    }

    /// How many dead messages are in the log before `below` and not kept.
    pub(crate) fn dead_in_log(&self, below: Offset) -> usize {
        self.image().queues().map(|(_, queue)| queue.dead_in_log(below).count()).sum()
    }
}
