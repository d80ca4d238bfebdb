//! The checks that a broker makes of a batch from outside, before it stores it.
//!
//! Order matters for the answer: size and format first, then the checksum, and only then what the header says, so that
//! damage on the way is told as damage.

use bytes::{Bytes, BytesMut};

use super::compression::Compression;
use super::crc;
use super::cursor::Cursor;
use super::error::{BatchError, RecordProblem};
use super::header::{self, BatchHeader, HEADER_BYTES};
use super::record::RawRecord;
use crate::{Timestamp, limits};

/// A batch that came from outside and passed every check that a broker makes. Owns its bytes; they are not copied.
///
/// The records of an uncompressed batch were walked: their number, lengths and offset deltas are what the header says.
/// A compressed batch was not decompressed, so of its records only the checksum over their compressed bytes is known;
/// a client that compressed garbage gets garbage stored, and readers are told. `max_timestamp` is taken on trust.
#[derive(Clone, Debug)]
pub struct ValidBatch {
    header: BatchHeader,
    bytes: Bytes,
}

impl ValidBatch {
    /// Checks that `bytes` are exactly one batch that a client may produce, of at most `bytes_max` bytes (and never more
    /// than [`limits::BATCH_BYTES_MAX`]).
    ///
    /// # Errors
    /// The first check that fails; see [`BatchError`]. Nothing is allocated on the way to it.
    pub fn check(bytes: Bytes, bytes_max: usize) -> Result<Self, BatchError> {
        check_size(&bytes, bytes_max.min(limits::BATCH_BYTES_MAX))?;
        check_checksum(&bytes)?;
        let header = BatchHeader::read(&bytes)?;
        check_client_rules(&header)?;
        if header.compression == Compression::None {
            check_records(&header, bytes.get(HEADER_BYTES..).unwrap_or_default())?;
        }
        Ok(Self { header, bytes })
    }

    /// What its header says.
    #[must_use]
    pub const fn header(&self) -> &BatchHeader {
        &self.header
    }

    /// The whole batch.
    #[must_use]
    pub const fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The same records with one time for all of them, that of the broker which took them in: Kafka's `LogAppendTime`. Copies
    /// the batch, since its checksum covers its times.
    #[must_use]
    pub fn stamped(self, now: Timestamp) -> Self {
        let header = BatchHeader { log_append_time: true, max_timestamp: now, ..self.header };
        let mut bytes = BytesMut::from(&*self.bytes);
        // It was read out of a batch of this size, so it fits.
        if header.write(&mut bytes).is_none() {
            return self;
        }
        Self { header: BatchHeader { crc: crc::stored(&bytes).unwrap_or_default(), ..header }, bytes: bytes.freeze() }
    }

    /// The whole batch, without the proof.
    #[must_use]
    pub fn into_bytes(self) -> Bytes {
        self.bytes
    }
}

fn check_size(bytes: &Bytes, bytes_max: usize) -> Result<(), BatchError> {
    if bytes.is_empty() {
        return Err(BatchError::Empty);
    }
    if bytes.len() > bytes_max {
        return Err(BatchError::TooLarge { bytes: bytes.len(), bytes_max });
    }
    check_one_batch(bytes, header::read_total_bytes(bytes)?)
}

/// That `bytes` are one whole batch of `total_bytes` and nothing after it.
pub(super) fn check_one_batch(bytes: &Bytes, total_bytes: usize) -> Result<(), BatchError> {
    match bytes.len().checked_sub(total_bytes) {
        None => Err(BatchError::Truncated { bytes: bytes.len(), bytes_needed: total_bytes }),
        Some(0) => Ok(()),
        Some(bytes) => Err(BatchError::TrailingBytes { bytes }),
    }
}

fn check_checksum(bytes: &Bytes) -> Result<(), BatchError> {
    match crc::checksums(bytes) {
        Some((stored, computed)) if stored != computed => Err(BatchError::WrongChecksum { stored, computed }),
        Some(_) => Ok(()),
        None => Err(BatchError::Truncated { bytes: bytes.len(), bytes_needed: HEADER_BYTES }),
    }
}

fn check_client_rules(header: &BatchHeader) -> Result<(), BatchError> {
    if header.is_control {
        return Err(BatchError::Control);
    }
    if header.log_append_time {
        return Err(BatchError::LogAppendTime);
    }
    if header.is_transactional {
        return Err(BatchError::Transactional);
    }
    // Both came from signed fields, so they fit back.
    let count = i32::try_from(header.record_count).unwrap_or(i32::MAX);
    if count == 0 || header.record_count as usize > limits::BATCH_RECORDS_MAX {
        return Err(BatchError::BadRecordCount { count });
    }
    if header.last_offset_delta != header.record_count - 1 {
        let last_offset_delta = i32::try_from(header.last_offset_delta).unwrap_or(i32::MAX);
        return Err(BatchError::BadLastOffsetDelta { last_offset_delta, count });
    }
    Ok(())
}

fn check_records(header: &BatchHeader, records: &[u8]) -> Result<(), BatchError> {
    let mut cursor = Cursor::new(records);
    for index in 0..header.record_count {
        check_record(header, index, &mut cursor).map_err(|problem| BatchError::Record { index, problem })?;
    }
    match cursor.remaining() {
        0 => Ok(()),
        bytes => Err(BatchError::TrailingRecordBytes { bytes }),
    }
}

#[inline]
fn check_record(header: &BatchHeader, index: u32, cursor: &mut Cursor<'_>) -> Result<(), RecordProblem> {
    let record = RawRecord::take(cursor)?;
    if u32::try_from(record.offset_delta) != Ok(index) {
        return Err(RecordProblem::OffsetDelta { offset_delta: record.offset_delta });
    }
    if header.base_timestamp.as_ms().checked_add(record.timestamp_delta).is_none() {
        return Err(RecordProblem::Timestamp);
    }
    record.check_headers()
}
