//! The producer table as bytes, inside a checkpoint or a snapshot (which carry the checksum).
//!
//! All numbers little endian.
//!
//! | bytes | field |
//! |---|---|
//! | 1 | version = 1 |
//! | 1 | 1 when the log has a time, else 0 |
//! | 8 | the log's time, milliseconds, signed |
//! | 4 | number of producers, then for each, the quietest first: |
//! | 8, 2 | producer id, epoch, both signed |
//! | 8 | the log's time at its last batch |
//! | 8 | records known without a gap |
//! | 1 | number of batches, 1 to 5, then for each, oldest first: |
//! | 4, 4, 8 | first and last sequence, base offset |

use std::collections::VecDeque;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use highwater_types::{Offset, ProducerEpoch, ProducerId, Sequence, Timestamp};

use super::{Place, Producer, ProducerLimits, Producers, RecentBatch, WINDOW};

/// The version that this code writes and the only one it reads.
pub const VERSION: u8 = 1;

const PRODUCER_BYTES: usize = 8 + 2 + 8 + 8 + 1;
const BATCH_BYTES: usize = 4 + 4 + 8;

/// Why bytes are no producer table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Written by a newer version of the product.
    #[error("producer table of version {version}; this version reads only {VERSION}: start a newer highwater")]
    UnknownVersion {
        /// What it says.
        version: u8,
    },
    /// It ends early.
    #[error("producer table ends {missing_bytes} bytes early")]
    Truncated {
        /// How much is missing, at least.
        missing_bytes: usize,
    },
    /// A field holds what it never does.
    #[error("producer table holds an impossible {field}")]
    Impossible {
        /// Which.
        field: &'static str,
    },
}

/// Writes a table.
#[must_use]
pub fn encode(table: &Producers) -> Bytes {
    let mut out = BytesMut::with_capacity(14 + table.len() * (PRODUCER_BYTES + WINDOW * BATCH_BYTES));
    out.put_u8(VERSION);
    out.put_u8(u8::from(table.now.is_some()));
    out.put_i64_le(table.now().as_ms());
    let producers = || table.by_age.values().filter_map(|id| Some((id, table.by_id.get(id)?)));
    out.put_u32_le(u32::try_from(producers().count()).unwrap_or(u32::MAX));
    for (id, producer) in producers() {
        out.put_i64_le(id.get());
        out.put_i16_le(producer.epoch.get());
        out.put_i64_le(producer.last_seen.as_ms());
        out.put_u64_le(producer.known_records);
        out.put_u8(u8::try_from(producer.batches.len()).unwrap_or(u8::MAX));
        for batch in &producer.batches {
            // The table knows only what is committed.
            let Place::Stored(base_offset) = batch.place else { continue };
            out.put_i32_le(batch.first.get());
            out.put_i32_le(batch.last.get());
            out.put_u64_le(base_offset.get());
        }
    }
    out.freeze()
}

/// Reads a table that [`encode`] wrote.
///
/// # Errors
/// When the bytes are of another version, too short, too long, or hold what a table never holds.
pub fn decode(mut bytes: &[u8], limits: ProducerLimits) -> Result<Producers, DecodeError> {
    let input = &mut bytes;
    need(input, 1)?;
    let version = input.get_u8();
    if version != VERSION {
        return Err(DecodeError::UnknownVersion { version });
    }
    need(input, 1 + 8 + 4)?;
    let has_time = input.get_u8() == 1;
    let now = Timestamp::from_ms(input.get_i64_le());
    let mut table = Producers::new(limits);
    table.now = has_time.then_some(now);
    for _ in 0..input.get_u32_le() {
        let (id, producer, newest) = decode_producer(input)?;
        if table.by_age.last_key_value().is_some_and(|(last, _)| *last >= newest) {
            return Err(DecodeError::Impossible { field: "order of producers" });
        }
        table.by_age.insert(newest, id);
        if table.by_id.insert(id, producer).is_some() {
            return Err(DecodeError::Impossible { field: "producer twice" });
        }
    }
    if input.has_remaining() {
        return Err(DecodeError::Impossible { field: "rest after its end" });
    }
    Ok(table)
}

fn decode_producer(input: &mut &[u8]) -> Result<(ProducerId, Producer, Offset), DecodeError> {
    need(input, PRODUCER_BYTES)?;
    let id = ProducerId::new(input.get_i64_le());
    let epoch = ProducerEpoch::new(input.get_i16_le());
    let last_seen = Timestamp::from_ms(input.get_i64_le());
    let known_records = input.get_u64_le();
    let count = usize::from(input.get_u8());
    if count > WINDOW {
        return Err(DecodeError::Impossible { field: "number of batches" });
    }
    need(input, count * BATCH_BYTES)?;
    let mut batches = VecDeque::with_capacity(WINDOW);
    let mut newest = None;
    for _ in 0..count {
        let (first, last) = (Sequence::new(input.get_i32_le()), Sequence::new(input.get_i32_le()));
        let base_offset = Offset::new(input.get_u64_le()).ok_or(DecodeError::Impossible { field: "base offset" })?;
        newest = Some(base_offset);
        batches.push_back(RecentBatch { first, last, place: Place::Stored(base_offset) });
    }
    let newest = newest.ok_or(DecodeError::Impossible { field: "number of batches" })?;
    Ok((id, Producer { epoch, batches, known_records, last_seen }, newest))
}

fn need(input: &&[u8], bytes: usize) -> Result<(), DecodeError> {
    match bytes.checked_sub(input.remaining()) {
        None | Some(0) => Ok(()),
        Some(missing_bytes) => Err(DecodeError::Truncated { missing_bytes }),
    }
}
