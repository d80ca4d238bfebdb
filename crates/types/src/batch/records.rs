//! Iterating the records of a batch, for consumers, the plain-record path and the search by timestamp.
//!
//! Keys, values and header names are slices of the batch's bytes when it is not compressed, and of one decompressed
//! buffer otherwise; nothing is copied record by record. The checksum is not looked at: that is done where bytes enter.

use std::fmt;

use bytes::Bytes;

use super::compression::{self, Compression};
use super::cursor::Cursor;
use super::error::{BatchError, RecordProblem};
use super::header::{BatchHeader, HEADER_BYTES};
use super::record::RawRecord;
use super::valid::check_one_batch;
use crate::{Offset, Timestamp, limits};

/// One record with its offset and time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its offset: the batch's base offset and its own delta.
    pub offset: Offset,
    /// When it was made, by its producer; or stored, when the batch says so.
    pub timestamp: Timestamp,
    /// Its key; `None` is null, which is not the same as empty.
    pub key: Option<Bytes>,
    /// Its value; `None` is null, which compaction takes as "delete this key".
    pub value: Option<Bytes>,
    /// Its headers in the order they were written; a name may occur twice.
    pub headers: Vec<RecordHeader>,
}

/// A header of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordHeader {
    /// Its name.
    pub name: HeaderName,
    /// Its value; `None` is null.
    pub value: Option<Bytes>,
}

/// The name of a header: text in a slice of the batch.
///
/// The format says UTF-8 and nobody checks it on produce; bytes that are not get the replacement character.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct HeaderName(Bytes);

impl HeaderName {
    fn new(batch: &Bytes, name: &[u8]) -> Self {
        match String::from_utf8_lossy(name) {
            std::borrow::Cow::Borrowed(_) => Self(batch.slice_ref(name)),
            std::borrow::Cow::Owned(replaced) => Self(Bytes::from(replaced)),
        }
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        // Checked when it was made. Looking again costs a few nanoseconds a header, and saves unsafe code.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl AsRef<str> for HeaderName {
    fn as_ref(&self) -> &str {
        self.as_str()
    }
}

impl From<String> for HeaderName {
    fn from(name: String) -> Self {
        Self(Bytes::from(name))
    }
}

impl fmt::Display for HeaderName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_str().fmt(f)
    }
}

impl fmt::Debug for HeaderName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.as_str())
    }
}

/// The records of `bytes`, which are exactly one batch.
///
/// # Errors
/// When the header cannot be read, the bytes are not one whole batch, or its records do not decompress into
/// [`limits::BATCH_DECOMPRESSED_BYTES_MAX`]. What is wrong with a record is told when the iteration comes to it.
pub fn records(bytes: Bytes) -> Result<Records, BatchError> {
    let header = BatchHeader::read(&bytes)?;
    check_one_batch(&bytes, header.total_bytes)?;
    let mut data = bytes.slice(HEADER_BYTES..);
    if header.compression != Compression::None {
        data = compression::decompress(header.compression, &data, limits::BATCH_DECOMPRESSED_BYTES_MAX)?.into();
    }
    Ok(Records { header, data, position: 0, taken: 0, offset_delta_next: 0, is_done: false })
}

/// Iterates the records of one batch, in the order of their offsets. Ends after the first error.
#[derive(Clone, Debug)]
pub struct Records {
    header: BatchHeader,
    data: Bytes,
    position: usize,
    taken: u32,
    offset_delta_next: u32,
    is_done: bool,
}

impl Records {
    /// The header of the batch.
    #[must_use]
    pub const fn header(&self) -> &BatchHeader {
        &self.header
    }

    fn take(&mut self) -> Result<Record, RecordProblem> {
        let mut cursor = Cursor::new(self.data.get(self.position..).unwrap_or_default());
        let raw = RawRecord::take(&mut cursor)?;
        // Compaction leaves holes, so a delta may skip; it may not go back or pass the last one.
        let offset_delta = u32::try_from(raw.offset_delta)
            .ok()
            .filter(|delta| (self.offset_delta_next..=self.header.last_offset_delta).contains(delta))
            .ok_or(RecordProblem::OffsetDelta { offset_delta: raw.offset_delta })?;
        let record = Record {
            offset: self.header.base_offset.saturating_add(u64::from(offset_delta)),
            timestamp: self.timestamp(raw.timestamp_delta)?,
            key: raw.key.map(|key| self.data.slice_ref(key)),
            value: raw.value.map(|value| self.data.slice_ref(value)),
            headers: self.headers(raw)?,
        };
        self.position = self.data.len() - cursor.remaining();
        self.offset_delta_next = offset_delta.saturating_add(1);
        Ok(record)
    }

    fn timestamp(&self, delta: i64) -> Result<Timestamp, RecordProblem> {
        if self.header.log_append_time {
            return Ok(self.header.max_timestamp);
        }
        let ms = self.header.base_timestamp.as_ms().checked_add(delta).ok_or(RecordProblem::Timestamp)?;
        Ok(Timestamp::from_ms(ms))
    }

    fn headers(&self, raw: RawRecord<'_>) -> Result<Vec<RecordHeader>, RecordProblem> {
        let mut headers = Vec::with_capacity(raw.header_count);
        for header in raw.headers() {
            let (name, value) = header?;
            headers.push(RecordHeader {
                name: HeaderName::new(&self.data, name),
                value: value.map(|value| self.data.slice_ref(value)),
            });
        }
        Ok(headers)
    }
}

impl Iterator for Records {
    type Item = Result<Record, BatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.is_done {
            return None;
        }
        if self.taken == self.header.record_count {
            self.is_done = true;
            let bytes = self.data.len() - self.position;
            return (bytes > 0).then_some(Err(BatchError::TrailingRecordBytes { bytes }));
        }
        let index = self.taken;
        self.taken += 1;
        let record = self.take().map_err(|problem| BatchError::Record { index, problem });
        self.is_done = record.is_err();
        Some(record)
    }
}

impl std::iter::FusedIterator for Records {}
