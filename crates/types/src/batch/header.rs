//! The 61 bytes before the records: layout, reading, writing, and the stamp that a broker puts on them.
//!
//! Everything is big endian. Reading takes the header's word for what it says of its records; the checks against the
//! bytes are `valid.rs`'s.

use super::compression::Compression;
use super::crc::{CRC_AT, CRC_COVERS_FROM, crc32c};
use super::cursor::Cursor;
use super::error::BatchError;
use crate::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, Sequence, Timestamp};

/// The size of a batch's header, in bytes.
pub const HEADER_BYTES: usize = 61;

/// The bytes before those that the length field counts: base offset and the length itself.
const PREFIX_BYTES: usize = 12;
const MAGIC: i8 = 2;

const COMPRESSION_MASK: u16 = 0b111;
const LOG_APPEND_TIME: u16 = 1 << 3;
const TRANSACTIONAL: u16 = 1 << 4;
const CONTROL: u16 = 1 << 5;
// Bit 6 (delete horizon) changes what the base timestamp means; nothing here writes it, so it is refused, not ignored.
const RESERVED: u16 = !(COMPRESSION_MASK | LOG_APPEND_TIME | TRANSACTIONAL | CONTROL);

/// What the header of a batch says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchHeader {
    /// The offset of the first record.
    pub base_offset: Offset,
    /// The size of the whole batch in bytes, header included.
    pub total_bytes: usize,
    /// The epoch of the leader that stored it; -1 from a client.
    pub leader_epoch: LeaderEpoch,
    /// The checksum as stored.
    pub crc: u32,
    /// How the records are compressed.
    pub compression: Compression,
    /// Whether every record has the time of `max_timestamp`, put there by a broker.
    pub log_append_time: bool,
    /// Whether it belongs to a transaction.
    pub is_transactional: bool,
    /// Whether it is a marker for readers and not data.
    pub is_control: bool,
    /// The last record's offset less the base offset.
    pub last_offset_delta: u32,
    /// The first record's timestamp; the records' are relative to it.
    pub base_timestamp: Timestamp,
    /// The largest timestamp of any record, by the word of who wrote the batch.
    pub max_timestamp: Timestamp,
    /// Which producer sent it; `None` when it is not idempotent.
    pub producer: Option<ProducerStamp>,
    /// The number of records.
    pub record_count: u32,
}

/// Who produced a batch, and the place of its first record in what that producer sent to the partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProducerStamp {
    /// The producer.
    pub id: ProducerId,
    /// Its incarnation.
    pub epoch: ProducerEpoch,
    /// The sequence of the batch's first record.
    pub first_sequence: Sequence,
}

impl ProducerStamp {
    /// The sequence of the last record of a batch with this last offset delta.
    #[must_use]
    pub fn last_sequence(&self, last_offset_delta: u32) -> Sequence {
        self.first_sequence.wrapping_add(last_offset_delta)
    }

    /// No id means no producer, whatever epoch and sequence say: widespread Kafka clients leave those two at 0 then.
    fn from_wire(id: i64, epoch: i16, sequence: i32) -> Result<Option<Self>, BatchError> {
        match id {
            -1 => Ok(None),
            0.. if epoch >= 0 && sequence >= 0 => Ok(Some(Self {
                id: ProducerId::new(id),
                epoch: ProducerEpoch::new(epoch),
                first_sequence: Sequence::new(sequence),
            })),
            _ => Err(BatchError::BadProducer { id, epoch, sequence }),
        }
    }
}

/// The fields as they lie in the bytes, in their order.
#[derive(Clone, Copy)]
struct Fields {
    base_offset: i64,
    length: i32,
    leader_epoch: i32,
    magic: i8,
    crc: u32,
    attributes: u16,
    last_offset_delta: i32,
    base_timestamp: i64,
    max_timestamp: i64,
    producer_id: i64,
    producer_epoch: i16,
    first_sequence: i32,
    record_count: i32,
}

impl Fields {
    fn take(cursor: &mut Cursor<'_>) -> Option<Self> {
        Some(Self {
            base_offset: i64::from_be_bytes(cursor.array()?),
            length: i32::from_be_bytes(cursor.array()?),
            leader_epoch: i32::from_be_bytes(cursor.array()?),
            magic: i8::from_be_bytes(cursor.array()?),
            crc: u32::from_be_bytes(cursor.array()?),
            attributes: u16::from_be_bytes(cursor.array()?),
            last_offset_delta: i32::from_be_bytes(cursor.array()?),
            base_timestamp: i64::from_be_bytes(cursor.array()?),
            max_timestamp: i64::from_be_bytes(cursor.array()?),
            producer_id: i64::from_be_bytes(cursor.array()?),
            producer_epoch: i16::from_be_bytes(cursor.array()?),
            first_sequence: i32::from_be_bytes(cursor.array()?),
            record_count: i32::from_be_bytes(cursor.array()?),
        })
    }
}

/// The size of the batch that `bytes` begin with, header included, and whether its format is known. Does not look at
/// the rest, so that a damaged header is told as a wrong checksum and not as whatever the damage looks like.
pub(super) fn read_total_bytes(bytes: &[u8]) -> Result<usize, BatchError> {
    let mut cursor = Cursor::new(bytes);
    let fields =
        Fields::take(&mut cursor).ok_or(BatchError::Truncated { bytes: bytes.len(), bytes_needed: HEADER_BYTES })?;
    total_bytes(&fields)
}

fn total_bytes(fields: &Fields) -> Result<usize, BatchError> {
    if fields.magic != MAGIC {
        return Err(BatchError::UnknownMagic { magic: fields.magic });
    }
    usize::try_from(fields.length)
        .ok()
        .and_then(|length| length.checked_add(PREFIX_BYTES))
        .filter(|&total| total >= HEADER_BYTES)
        .ok_or(BatchError::BadLength { length: fields.length })
}

impl BatchHeader {
    /// Reads the header that `bytes` begin with. Structure only and cheap: no checksum, no look at the records, and
    /// `total_bytes` may reach beyond `bytes`. For bytes from our own log, and to find where a batch ends.
    ///
    /// # Errors
    /// When fewer than [`HEADER_BYTES`] are there, or a field has a value that no writer of format 2 gives it.
    pub fn read(bytes: &[u8]) -> Result<Self, BatchError> {
        if bytes.is_empty() {
            return Err(BatchError::Empty);
        }
        let mut cursor = Cursor::new(bytes);
        let fields = Fields::take(&mut cursor)
            .ok_or(BatchError::Truncated { bytes: bytes.len(), bytes_needed: HEADER_BYTES })?;
        Self::from_fields(&fields)
    }

    fn from_fields(fields: &Fields) -> Result<Self, BatchError> {
        let total_bytes = total_bytes(fields)?;
        if fields.attributes & RESERVED != 0 {
            return Err(BatchError::ReservedAttributes { attributes: fields.attributes });
        }
        let count = fields.record_count;
        let record_count = u32::try_from(count).map_err(|_| BatchError::BadRecordCount { count })?;
        let last_offset_delta = u32::try_from(fields.last_offset_delta)
            .map_err(|_| BatchError::BadLastOffsetDelta { last_offset_delta: fields.last_offset_delta, count })?;
        let base_offset = Offset::from_wire(fields.base_offset)
            .filter(|base| base.checked_add(u64::from(last_offset_delta) + 1).is_some())
            .ok_or(BatchError::BadBaseOffset { base_offset: fields.base_offset })?;
        Ok(Self {
            base_offset,
            total_bytes,
            leader_epoch: LeaderEpoch::new(fields.leader_epoch),
            crc: fields.crc,
            compression: Compression::from_codec((fields.attributes & COMPRESSION_MASK) as u8)?,
            log_append_time: fields.attributes & LOG_APPEND_TIME != 0,
            is_transactional: fields.attributes & TRANSACTIONAL != 0,
            is_control: fields.attributes & CONTROL != 0,
            last_offset_delta,
            base_timestamp: Timestamp::from_ms(fields.base_timestamp),
            max_timestamp: Timestamp::from_ms(fields.max_timestamp),
            producer: ProducerStamp::from_wire(fields.producer_id, fields.producer_epoch, fields.first_sequence)?,
            record_count,
        })
    }

    /// The offset of the last record.
    #[must_use]
    pub const fn last_offset(&self) -> Offset {
        self.base_offset.saturating_add(self.last_offset_delta as u64)
    }

    /// The offset after the last record: where the next batch begins.
    #[must_use]
    pub const fn next_offset(&self) -> Offset {
        self.base_offset.saturating_add(self.last_offset_delta as u64 + 1)
    }

    fn attributes(&self) -> u16 {
        let flag = |is_set: bool, bit: u16| if is_set { bit } else { 0 };
        u16::from(self.compression.codec())
            | flag(self.log_append_time, LOG_APPEND_TIME)
            | flag(self.is_transactional, TRANSACTIONAL)
            | flag(self.is_control, CONTROL)
    }

    /// Puts the header in front of a batch, with the checksum of what it covers. `None` when it does not fit, or a size or count
    /// does not fit its field.
    pub(super) fn write(&self, batch: &mut [u8]) -> Option<()> {
        *batch.first_chunk_mut()? = self.encode()?;
        let crc = crc32c(batch.get(CRC_COVERS_FROM..)?);
        batch.get_mut(CRC_AT..CRC_COVERS_FROM)?.copy_from_slice(&crc.to_be_bytes());
        Some(())
    }

    /// The header's bytes, with `crc` as it is. `None` when a size or count does not fit its field.
    pub(super) fn encode(&self) -> Option<[u8; HEADER_BYTES]> {
        let length = i32::try_from(self.total_bytes.checked_sub(PREFIX_BYTES)?).ok()?;
        let last_offset_delta = i32::try_from(self.last_offset_delta).ok()?;
        let record_count = i32::try_from(self.record_count).ok()?;
        let producer = self.producer.unwrap_or(ProducerStamp {
            id: ProducerId::NONE,
            epoch: ProducerEpoch::NONE,
            first_sequence: Sequence::NONE,
        });
        let mut bytes = [0; HEADER_BYTES];
        let mut rest = bytes.as_mut_slice();
        for field in [
            &self.base_offset.to_wire().to_be_bytes()[..],
            &length.to_be_bytes(),
            &self.leader_epoch.get().to_be_bytes(),
            &MAGIC.to_be_bytes(),
            &self.crc.to_be_bytes(),
            &self.attributes().to_be_bytes(),
            &last_offset_delta.to_be_bytes(),
            &self.base_timestamp.as_ms().to_be_bytes(),
            &self.max_timestamp.as_ms().to_be_bytes(),
            &producer.id.get().to_be_bytes(),
            &producer.epoch.get().to_be_bytes(),
            &producer.first_sequence.get().to_be_bytes(),
            &record_count.to_be_bytes(),
        ] {
            let (slot, after) = rest.split_at_mut_checked(field.len())?;
            slot.copy_from_slice(field);
            rest = after;
        }
        Some(bytes)
    }
}

/// The first 16 bytes of a batch with the broker's base offset and leader epoch in place; the length stays as it was.
/// The checksum does not cover these bytes, so it stays right.
#[must_use]
pub fn stamp(base_offset: Offset, leader_epoch: LeaderEpoch, first16: [u8; 16]) -> [u8; 16] {
    let [_, _, _, _, _, _, _, _, l0, l1, l2, l3, ..] = first16;
    let [b0, b1, b2, b3, b4, b5, b6, b7] = base_offset.to_wire().to_be_bytes();
    let [e0, e1, e2, e3] = leader_epoch.get().to_be_bytes();
    [b0, b1, b2, b3, b4, b5, b6, b7, l0, l1, l2, l3, e0, e1, e2, e3]
}
