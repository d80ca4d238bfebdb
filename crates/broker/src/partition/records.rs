//! Single records out of the log, by their offsets.

use std::time::Duration;

use bytes::Bytes;
use highwater_types::Offset;
use highwater_types::batch::{self, BatchError, BatchHeader, Record};

use super::error::ReadError;
use super::read::{ReadFrom, Reader};
use super::take_apart::take_apart;

/// The most bytes that are read at a time.
const BYTES_MAX: usize = 1 << 20;

/// Why records were not read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RecordsError {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Batch(#[from] BatchError),
    #[error("taking a batch apart was broken off")]
    BrokenOff,
}

impl Reader {
    /// The records at these offsets, in their order; those that retention took are missing. `wanted` is sorted.
    pub(crate) async fn records(&self, wanted: &[Offset]) -> Result<Vec<Record>, RecordsError> {
        let mut found = Vec::with_capacity(wanted.len());
        let mut left = wanted;
        while let Some(first) = left.first() {
            let request =
                ReadFrom { from: *first, bytes_max: BYTES_MAX, bytes_min: 1, wait: Duration::ZERO, may_follow: false };
            let read = match self.read(request).await {
                Ok(read) => read,
                Err(ReadError::OffsetOutOfRange { valid, .. }) if valid.start > *first => {
                    left = after(left, valid.start);
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            let rest = after(left, read.next_offset.max(first.saturating_add(1)));
            let here = left.get(..left.len() - rest.len()).unwrap_or_default().to_vec();
            let batches = holding(read.batches, &here);
            let taken = take_apart(batches, move |batches| taken(batches, &here)).await;
            found.extend(taken.map_err(|_| RecordsError::BrokenOff)??);
            left = rest;
        }
        Ok(found)
    }
}

/// What is left of offsets from one on.
fn after(offsets: &[Offset], from: Offset) -> &[Offset] {
    let first = offsets.partition_point(|offset| *offset < from);
    offsets.get(first..).unwrap_or_default()
}

/// The batches in which some of the offsets are: a few messages here and there should not cost the records between them.
fn holding(batches: Vec<Bytes>, wanted: &[Offset]) -> Vec<Bytes> {
    let holds_some = |batch: &Bytes| {
        BatchHeader::read(batch).map_or(true, |head| {
            after(wanted, head.base_offset).first().is_some_and(|offset| *offset < head.next_offset())
        })
    };
    batches.into_iter().filter(holds_some).collect()
}

fn taken(batches: Vec<Bytes>, wanted: &[Offset]) -> Result<Vec<Record>, BatchError> {
    let mut taken = Vec::with_capacity(wanted.len());
    for bytes in batches {
        for record in batch::records(bytes)? {
            let record = record?;
            if wanted.binary_search(&record.offset).is_ok() {
                taken.push(record);
            }
        }
    }
    Ok(taken)
}
