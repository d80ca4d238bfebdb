//! What a reader gives out: batches as they are stored, and the records in them.
//!
//! A batch may begin before the position and end after the limit that the reader was given; those records are never
//! given out. Keys and values are slices of the batch: keeping one record keeps its batch in memory.

use bytes::Bytes;
use highwater_proto::v1;
use highwater_types::batch::{self, BatchError, BatchHeader, RecordHeader, Records, verify_crc};
use highwater_types::{Offset, PartitionId, Timestamp, TopicName};

use super::error::ReadError;

/// A record that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReadRecord {
    /// The topic it is in.
    pub topic: TopicName,
    /// The partition it is in.
    pub partition: PartitionId,
    /// Its offset in that partition.
    pub offset: Offset,
    /// Its time: its producer's, or the server's where the topic is set so.
    pub timestamp: Timestamp,
    /// Its key; `None` is null, which is not the same as empty.
    pub key: Option<Bytes>,
    /// Its value; `None` is null: a tombstone.
    pub value: Option<Bytes>,
    /// Its headers in their order; a name may occur more than once.
    pub headers: Vec<RecordHeader>,
}

impl ReadRecord {
    /// The value of the first header of this name.
    ///
    /// ```
    /// fn trace(record: &highwater_client::ReadRecord) -> Option<&[u8]> {
    ///     record.header("trace")
    /// }
    /// # let _ = trace;
    /// ```
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&[u8]> {
        self.headers.iter().find(|header| header.name.as_str() == name)?.value.as_deref()
    }

    /// A record that came by itself; `None` where its offset is none.
    pub(crate) fn from_wire(topic: &TopicName, partition: PartitionId, record: v1::Record) -> Option<Self> {
        let header = |header: v1::Header| RecordHeader { name: header.name.into(), value: header.value };
        Some(Self {
            topic: topic.clone(),
            partition,
            offset: Offset::from_wire(record.offset)?,
            timestamp: Timestamp::from_ms(record.timestamp_ms.unwrap_or_default()),
            key: record.key,
            value: record.value,
            headers: record.headers.into_iter().map(header).collect(),
        })
    }
}

/// A record batch as it is stored, checked and not yet taken apart.
#[derive(Clone, Debug)]
pub struct ReadBatch {
    topic: TopicName,
    header: BatchHeader,
    bytes: Bytes,
    partition: PartitionId,
    /// The first offset that counts, and the first one after that does not.
    from: Offset,
    until: Offset,
}

impl ReadBatch {
    /// Checks a batch that the server sent for a position; `None` when nothing in it is for this reader.
    pub(crate) fn check(
        topic: &TopicName,
        partition: PartitionId,
        bytes: Bytes,
        from: Offset,
        until: Option<Offset>,
        verify_checksum: bool,
    ) -> Result<Option<Self>, BatchError> {
        let header = BatchHeader::read(&bytes)?;
        if header.total_bytes > bytes.len() {
            return Err(BatchError::Truncated { bytes: bytes.len(), bytes_needed: header.total_bytes });
        }
        if header.total_bytes < bytes.len() {
            return Err(BatchError::TrailingBytes { bytes: bytes.len() - header.total_bytes });
        }
        if verify_checksum && !verify_crc(&bytes) {
            return Err(checksum_error(&bytes, &header));
        }
        let until = until.unwrap_or(Offset::MAX);
        // A control batch is a marker for readers of transactions; it takes offsets, and holds nothing for anybody.
        if header.is_control || header.next_offset() <= from || header.base_offset >= until {
            return Ok(None);
        }
        Ok(Some(Self { topic: topic.clone(), header, bytes, partition, from, until }))
    }

    /// The topic it is in.
    #[must_use]
    pub fn topic(&self) -> &TopicName {
        &self.topic
    }

    /// The partition it is in.
    #[must_use]
    pub fn partition(&self) -> PartitionId {
        self.partition
    }

    /// What its header says.
    #[must_use]
    pub fn header(&self) -> &BatchHeader {
        &self.header
    }

    /// Its bytes as stored: one Kafka batch of format 2. It may hold records outside of what was asked for.
    #[must_use]
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The offset after the last of its records that counts.
    #[must_use]
    pub fn next_offset(&self) -> Offset {
        self.header.next_offset().min(self.until)
    }

    /// Its records that were asked for, decompressed where they are compressed.
    ///
    /// # Errors
    /// When they do not decompress. What is wrong with a record is told when the iteration comes to it.
    ///
    /// ```
    /// use highwater_client::{ReadBatch, ReadError};
    /// fn value_bytes(batch: &ReadBatch) -> Result<usize, ReadError> {
    ///     let mut bytes = 0;
    ///     for record in batch.records()? {
    ///         bytes += record?.value.map_or(0, |value| value.len());
    ///     }
    ///     Ok(bytes)
    /// }
    /// # let _ = value_bytes;
    /// ```
    pub fn records(&self) -> Result<ReadRecords, ReadError> {
        let records = batch::records(self.bytes.clone()).map_err(|source| self.error(self.from, source))?;
        Ok(ReadRecords { records, next: self.from.max(self.header.base_offset), batch: self.clone() })
    }

    /// The same batch without the records before `from`.
    pub(crate) fn starting_at(mut self, from: Offset) -> Self {
        self.from = self.from.max(from);
        self
    }

    fn error(&self, offset: Offset, source: BatchError) -> ReadError {
        ReadError::Batch { topic: self.topic.clone(), partition: self.partition, offset, source }
    }
}

/// The records of one [`ReadBatch`], in the order of their offsets. Ends after the first error.
#[derive(Clone, Debug)]
pub struct ReadRecords {
    batch: ReadBatch,
    records: Records,
    next: Offset,
}

impl ReadRecords {
    /// The offset of the next record, or of the one after the last.
    #[must_use]
    pub fn next_offset(&self) -> Offset {
        self.next
    }

    pub(crate) fn batch(&self) -> &ReadBatch {
        &self.batch
    }
}

impl Iterator for ReadRecords {
    type Item = Result<ReadRecord, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let record = match self.records.next() {
                Some(Ok(record)) => record,
                Some(Err(source)) => return Some(Err(self.batch.error(self.next, source))),
                None => {
                    self.next = self.batch.next_offset();
                    return None;
                }
            };
            if record.offset < self.batch.from {
                continue;
            }
            if record.offset >= self.batch.until {
                self.next = self.batch.until;
                return None;
            }
            self.next = record.offset.saturating_add(1);
            return Some(Ok(ReadRecord {
                topic: self.batch.topic.clone(),
                partition: self.batch.partition,
                offset: record.offset,
                timestamp: record.timestamp,
                key: record.key,
                value: record.value,
                headers: record.headers,
            }));
        }
    }
}

/// Both checksums, for the message: the codec only tells that they differ.
fn checksum_error(bytes: &Bytes, header: &BatchHeader) -> BatchError {
    match batch::ValidBatch::check(bytes.clone(), bytes.len()) {
        Err(error @ BatchError::WrongChecksum { .. }) => error,
        _ => BatchError::WrongChecksum { stored: header.crc, computed: 0 },
    }
}
