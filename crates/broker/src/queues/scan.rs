//! Reading the log ahead for a queue: from the batches of a range to what the engine needs of each message.
//!
//! Invariant: the range that is told is the range that was read, whole: the engine takes an offset without a message in it
//! for one that never had any.

use bytes::Bytes;
use highwater_groups::queue::{GroupId, Scan};
use highwater_types::OffsetRange;
use highwater_types::batch::{self, BatchError};

use super::headers::message_of;
use crate::partition::{ReadFrom, Reader, RecordsError, take_apart};

/// The most bytes that are read at a time.
const BYTES_MAX: usize = 1 << 20;

/// What came of a scan.
pub(super) struct Scanned {
    pub(super) group: GroupId,
    pub(super) wanted: OffsetRange,
    pub(super) result: Result<Scan, RecordsError>,
}

/// Reads the start of a range; as much of it as comes at once.
pub(super) async fn scan(reader: Reader, group: GroupId, wanted: OffsetRange) -> Scanned {
    let result = read(&reader, wanted).await;
    Scanned { group, wanted, result }
}

async fn read(reader: &Reader, wanted: OffsetRange) -> Result<Scan, RecordsError> {
    let request = ReadFrom {
        from: wanted.start,
        bytes_max: BYTES_MAX,
        bytes_min: 1,
        wait: std::time::Duration::ZERO,
        may_follow: false,
    };
    let read = reader.read(request).await?;
    let range = OffsetRange::new(wanted.start, read.next_offset.min(wanted.end).max(wanted.start));
    let taken = take_apart(read.batches, move |batches| taken(batches, range)).await;
    Ok(taken.map_err(|_| RecordsError::BrokenOff)??)
}

fn taken(batches: Vec<Bytes>, range: OffsetRange) -> Result<Scan, BatchError> {
    let mut messages = Vec::new();
    for bytes in batches {
        for record in batch::records(bytes)? {
            let record = record?;
            if range.contains(record.offset) {
                messages.push(message_of(&record));
            }
        }
    }
    Ok(Scan { range, messages })
}
