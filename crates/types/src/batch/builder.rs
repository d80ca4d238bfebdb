//! Building a batch from records: the hot path of a client.
//!
//! Records are encoded where they stay, behind a gap of 61 bytes that the header gets when the batch is finished; no
//! record allocates. Compression, producer stamp and checksum come at the end.

use bytes::{BufMut, Bytes, BytesMut};

use super::compression::{self, Compression};
use super::cursor::{VARLONG_BYTES_MAX, varlong_bytes, write_varlong};
use super::error::{BatchError, RecordProblem};
use super::header::{BatchHeader, HEADER_BYTES, ProducerStamp};
use crate::{LeaderEpoch, Offset, Timestamp, limits};

/// "No headers", with the types that [`BatchBuilder::append`] cannot guess from an empty slice.
pub const NO_HEADERS: &[(&str, Option<&[u8]>)] = &[];

/// Collects records and makes one batch of them, with base offset 0 and no leader epoch, as a client sends it.
#[derive(Debug)]
pub struct BatchBuilder {
    compression: Compression,
    /// Empty, or the header's gap and the records so far.
    buffer: BytesMut,
    record_count: u32,
    base_timestamp: Timestamp,
    max_timestamp: Timestamp,
    producer: Option<ProducerStamp>,
}

impl BatchBuilder {
    /// A builder of batches that are compressed in this way.
    #[must_use]
    pub fn new(compression: Compression) -> Self {
        Self {
            compression,
            buffer: BytesMut::new(),
            record_count: 0,
            base_timestamp: Timestamp::NONE,
            max_timestamp: Timestamp::NONE,
            producer: None,
        }
    }

    /// The same, with room for `bytes` of encoded records, so that none of them makes it grow.
    #[must_use]
    pub fn with_capacity(compression: Compression, bytes: usize) -> Self {
        let mut builder = Self::new(compression);
        builder.buffer.reserve(bytes.saturating_add(HEADER_BYTES));
        builder
    }

    /// Adds a record and returns its index in the batch. A null key or value is `None`; see [`NO_HEADERS`].
    ///
    /// # Errors
    /// When the batch would exceed a limit; the batch is then as it was, and may be finished.
    pub fn append(
        &mut self,
        timestamp: Timestamp,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[(impl AsRef<str>, Option<impl AsRef<[u8]>>)],
    ) -> Result<u32, BatchError> {
        let index = self.record_count;
        if index as usize >= limits::BATCH_RECORDS_MAX {
            return Err(BatchError::BadRecordCount {
                count: i32::try_from(index).unwrap_or(i32::MAX).saturating_add(1),
            });
        }
        let base = if index == 0 { timestamp } else { self.base_timestamp };
        let problem = |problem| BatchError::Record { index, problem };
        let delta = timestamp.as_ms().checked_sub(base.as_ms()).ok_or_else(|| problem(RecordProblem::Timestamp))?;
        if headers.len() > limits::RECORD_HEADERS_MAX {
            return Err(problem(RecordProblem::HeaderCount { count: signed(headers.len()) }));
        }
        let body_bytes = 1
            + varlong_bytes(delta)
            + varlong_bytes(i64::from(index))
            + nullable_bytes(key)
            + nullable_bytes(value)
            + varlong_bytes(signed(headers.len()))
            + headers.iter().map(|(name, value)| header_bytes(name.as_ref(), value)).sum::<usize>();
        self.make_room(varlong_bytes(signed(body_bytes)) + body_bytes)?;

        put_varlong(&mut self.buffer, signed(body_bytes));
        self.buffer.put_u8(0);
        put_varlong(&mut self.buffer, delta);
        put_varlong(&mut self.buffer, i64::from(index));
        put_nullable(&mut self.buffer, key);
        put_nullable(&mut self.buffer, value);
        put_varlong(&mut self.buffer, signed(headers.len()));
        for (name, value) in headers {
            put_nullable(&mut self.buffer, Some(name.as_ref().as_bytes()));
            put_nullable(&mut self.buffer, value.as_ref().map(AsRef::as_ref));
        }
        self.max_timestamp = if index == 0 { timestamp } else { self.max_timestamp.max(timestamp) };
        self.base_timestamp = base;
        self.record_count += 1;
        Ok(index)
    }

    /// Makes sure that a record of so many bytes may be added, and that the buffer has the room.
    fn make_room(&mut self, record_bytes: usize) -> Result<(), BatchError> {
        let bytes_max = match self.compression {
            Compression::None => limits::BATCH_BYTES_MAX,
            _ => limits::BATCH_DECOMPRESSED_BYTES_MAX,
        };
        let bytes = self.encoded_bytes().saturating_add(record_bytes);
        if bytes > bytes_max {
            return Err(BatchError::TooLarge { bytes, bytes_max });
        }
        if self.buffer.is_empty() {
            self.buffer.reserve(HEADER_BYTES + record_bytes);
            self.buffer.put_bytes(0, HEADER_BYTES);
        } else {
            self.buffer.reserve(record_bytes);
        }
        Ok(())
    }

    /// How many records it holds.
    #[must_use]
    pub const fn record_count(&self) -> u32 {
        self.record_count
    }

    /// The size of the batch before compression, header included, in bytes.
    #[must_use]
    pub fn encoded_bytes(&self) -> usize {
        self.buffer.len().max(HEADER_BYTES)
    }

    /// Makes the batch idempotent: says who sends it and the sequence of its first record. Counts for one batch.
    pub fn set_producer(&mut self, producer: ProducerStamp) {
        self.producer = Some(producer);
    }

    /// Drops the records and the producer, and keeps the room.
    pub fn clear(&mut self) {
        self.buffer.clear();
        self.record_count = 0;
        self.producer = None;
    }

    /// The batch.
    ///
    /// # Errors
    /// Without records, when it is larger than [`limits::BATCH_BYTES_MAX`], or when the codec fails.
    pub fn finish(mut self) -> Result<Bytes, BatchError> {
        self.take()
    }

    /// The batch; the builder is empty afterwards, keeps what room it can, and may be used for the next one.
    ///
    /// # Errors
    /// As [`BatchBuilder::finish`]. The builder is empty then, too.
    pub fn take(&mut self) -> Result<Bytes, BatchError> {
        let result = self.encode();
        self.clear();
        result
    }

    fn encode(&mut self) -> Result<Bytes, BatchError> {
        if self.record_count == 0 {
            return Err(BatchError::Empty);
        }
        if self.compression == Compression::None {
            // The batch leaves with the front of the buffer; its tail, or all of it once the batch is dropped, is
            // what the next one is built in.
            let mut batch = self.buffer.split();
            self.write_header(&mut batch)?;
            return Ok(batch.freeze());
        }
        let records = self.buffer.get(HEADER_BYTES..).unwrap_or_default();
        let mut batch = Vec::with_capacity(HEADER_BYTES + records.len() / 2);
        batch.resize(HEADER_BYTES, 0);
        compression::compress(self.compression, records, &mut batch)?;
        self.write_header(&mut batch)?;
        Ok(Bytes::from(batch))
    }

    fn write_header(&self, batch: &mut [u8]) -> Result<(), BatchError> {
        let too_large = BatchError::TooLarge { bytes: batch.len(), bytes_max: limits::BATCH_BYTES_MAX };
        if batch.len() > limits::BATCH_BYTES_MAX {
            return Err(too_large);
        }
        let header = BatchHeader {
            base_offset: Offset::ZERO,
            total_bytes: batch.len(),
            leader_epoch: LeaderEpoch::new(-1),
            crc: 0,
            compression: self.compression,
            log_append_time: false,
            is_transactional: false,
            is_control: false,
            last_offset_delta: self.record_count.saturating_sub(1),
            base_timestamp: self.base_timestamp,
            max_timestamp: self.max_timestamp,
            producer: self.producer,
            record_count: self.record_count,
        };
        header.write(batch).ok_or(too_large)
    }
}

/// A length as the format writes it. Nothing here is near the end of 63 bits: memory is smaller.
fn signed(length: usize) -> i64 {
    i64::try_from(length).unwrap_or(i64::MAX)
}

fn nullable_bytes(value: Option<&[u8]>) -> usize {
    value.map_or(1, |value| varlong_bytes(signed(value.len())) + value.len())
}

fn header_bytes(name: &str, value: &Option<impl AsRef<[u8]>>) -> usize {
    nullable_bytes(Some(name.as_bytes())) + nullable_bytes(value.as_ref().map(AsRef::as_ref))
}

#[inline]
fn put_varlong(buffer: &mut BytesMut, value: i64) {
    let mut bytes = [0; VARLONG_BYTES_MAX];
    let length = write_varlong(value, &mut bytes);
    buffer.put_slice(bytes.get(..length).unwrap_or_default());
}

#[inline]
fn put_nullable(buffer: &mut BytesMut, value: Option<&[u8]>) {
    match value {
        None => put_varlong(buffer, -1),
        Some(value) => {
            put_varlong(buffer, signed(value.len()));
            buffer.put_slice(value);
        }
    }
}
