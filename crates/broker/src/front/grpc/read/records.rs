//! Batches taken apart into plain records, for readers without a codec for batches.
//!
//! Invariants: what is taken apart is admitted first, at the size it may grow to; an answer holds no more bytes than
//! asked for, but at least one record; a record is never cut. Decompression runs where blocking is allowed.

use bytes::Bytes;
use highwater_proto::v1;
use highwater_types::batch::{self, BatchError, BatchHeader, Compression, Record};
use highwater_types::{ErrorCode, Offset, OffsetRange, limits};

use crate::admission::{ByteBudget, BytePermit};
use crate::front::failure::Failure;
use crate::runtime::blocking;

/// A record takes about so much beside its bytes, in memory and in the message.
const RECORD_OVERHEAD_BYTES: usize = 64;
/// The largest record that fits a message with what surrounds it.
const RECORD_BYTES_MAX: usize = limits::MESSAGE_BYTES_MAX - 64 * 1024;
/// Uncompressed batches up to this many bytes are taken apart at once: handing them to another thread costs more.
const INLINE_BYTES_MAX: usize = 64 * 1024;

/// Records out of batches.
#[derive(Debug)]
pub(super) struct Decoded {
    pub(super) records: Vec<v1::Record>,
    /// Where the next read goes on.
    pub(super) next_offset: Offset,
    /// The bytes of the records, as credit counts them.
    pub(super) bytes: usize,
    /// Stands for the memory that the records hold on to.
    pub(super) permit: BytePermit,
}

/// Takes the records inside `wanted` out of `batches`, up to about `bytes_max` of them; `next_offset` is where the
/// batches end.
pub(super) async fn decode(
    budget: &ByteBudget,
    batches: Vec<Bytes>,
    wanted: OffsetRange,
    next_offset: Offset,
    bytes_max: usize,
) -> Result<Decoded, Failure> {
    let plan = Plan::of(&batches, bytes_max)?;
    let permit = budget.acquire(plan.bytes.min(budget.total())).await?;
    let batch_count = batches.len();
    let take = move || taken(batches.into_iter().take(plan.batch_count), wanted, bytes_max);
    let taken = if plan.is_compressed || plan.bytes > INLINE_BYTES_MAX {
        let joined = blocking(take).await;
        joined.map_err(|_| Failure::new(ErrorCode::Internal, "taking a batch apart was broken off"))??
    } else {
        take()?
    };
    let all_batches = if plan.batch_count == batch_count { Some(next_offset) } else { None };
    let next_offset = taken.stopped_before.or(all_batches).unwrap_or(taken.next_offset);
    Ok(Decoded { records: taken.records, next_offset, bytes: taken.bytes, permit })
}

/// Which batches to take apart, and the memory it may take.
struct Plan {
    batch_count: usize,
    bytes: usize,
    is_compressed: bool,
}

impl Plan {
    /// The first batches that may fill an answer: compressed ones are taken one at a time, as nobody knows how large
    /// they grow.
    fn of(batches: &[Bytes], bytes_max: usize) -> Result<Self, BatchError> {
        let mut plan = Self { batch_count: 0, bytes: 0, is_compressed: false };
        let mut stored_bytes = 0;
        for batch in batches {
            let header = BatchHeader::read(batch)?;
            let is_compressed = header.compression != Compression::None;
            if plan.batch_count > 0 && (is_compressed || stored_bytes >= bytes_max) {
                break;
            }
            plan.batch_count += 1;
            stored_bytes += batch.len();
            // What is not compressed is there once as records and once in the encoded answer.
            plan.bytes += if is_compressed { limits::BATCH_DECOMPRESSED_BYTES_MAX } else { 2 * batch.len() };
            // A small record is larger in memory than in its batch. No more are taken than fill the answer.
            let records = usize::try_from(header.record_count).unwrap_or(usize::MAX);
            plan.bytes += records.min(bytes_max / RECORD_OVERHEAD_BYTES + 1) * size_of::<v1::Record>();
            if is_compressed {
                plan.is_compressed = true;
                break;
            }
        }
        Ok(plan)
    }
}

#[derive(Default)]
struct Taken {
    records: Vec<v1::Record>,
    bytes: usize,
    /// After the last batch that was taken apart.
    next_offset: Offset,
    /// The first record that found no room, or lies past what is wanted.
    stopped_before: Option<Offset>,
}

fn taken(batches: impl Iterator<Item = Bytes>, wanted: OffsetRange, bytes_max: usize) -> Result<Taken, Failure> {
    let mut taken = Taken::default();
    for bytes in batches {
        let records = batch::records(bytes)?;
        taken.next_offset = records.header().next_offset();
        for record in records {
            let record = record?;
            if record.offset < wanted.start {
                continue;
            }
            let bytes = record_bytes(&record);
            let is_full = !taken.records.is_empty() && taken.bytes + bytes > bytes_max;
            if is_full || record.offset >= wanted.end {
                taken.stopped_before = Some(record.offset);
                return Ok(taken);
            }
            if bytes > RECORD_BYTES_MAX {
                let (offset, most) = (record.offset, RECORD_BYTES_MAX);
                let message = format!(
                    "the record at offset {offset} has {bytes} bytes, at most {most} fit an answer; read batches"
                );
                return Err(Failure::new(ErrorCode::Unsupported, message));
            }
            taken.bytes += bytes;
            taken.records.push(message_of(record));
        }
    }
    Ok(taken)
}

fn record_bytes(record: &Record) -> usize {
    let part = |part: &Option<Bytes>| part.as_ref().map_or(0, Bytes::len);
    let headers = record.headers.iter().map(|header| header.name.as_str().len() + part(&header.value) + 8);
    RECORD_OVERHEAD_BYTES + part(&record.key) + part(&record.value) + headers.sum::<usize>()
}

pub(in crate::front::grpc) fn message_of(record: Record) -> v1::Record {
    let header = |header: batch::RecordHeader| v1::Header { name: header.name.to_string(), value: header.value };
    v1::Record {
        offset: record.offset.to_wire(),
        timestamp_ms: Some(record.timestamp.as_ms()),
        key: record.key,
        value: record.value,
        headers: record.headers.into_iter().map(header).collect(),
    }
}

#[cfg(test)]
mod tests {
    use highwater_types::batch::{BatchBuilder, NO_HEADERS, stamp};
    use highwater_types::{LeaderEpoch, Timestamp};

    use super::*;

    const VALUE: &[u8] = &[7; 1_000];

    fn offset(value: u64) -> Offset {
        Offset::new(value).unwrap()
    }

    /// A batch of `count` records of 1,000 bytes, stored at `base`.
    fn stored(base: u64, count: u64, compression: Compression) -> Bytes {
        let mut builder = BatchBuilder::new(compression);
        for _ in 0..count {
            builder.append(Timestamp::from_ms(1), None, Some(VALUE), NO_HEADERS).unwrap();
        }
        let mut bytes = builder.finish().unwrap().to_vec();
        let head = stamp(offset(base), LeaderEpoch::new(1), bytes[..16].try_into().unwrap());
        bytes[..16].copy_from_slice(&head);
        bytes.into()
    }

    async fn offsets(batches: &[Bytes], from: u64, until: u64, bytes_max: usize) -> (Vec<i64>, u64) {
        let budget = ByteBudget::new(256 << 20);
        let end = BatchHeader::read(batches.last().unwrap()).unwrap().next_offset();
        let wanted = OffsetRange::new(offset(from), offset(until));
        let decoded = decode(&budget, batches.to_vec(), wanted, end, bytes_max).await.unwrap();
        (decoded.records.iter().map(|record| record.offset).collect(), decoded.next_offset.get())
    }

    #[tokio::test]
    async fn none_before_the_position_and_none_past_the_end() {
        let batches = [stored(10, 5, Compression::None), stored(15, 5, Compression::None)];
        assert_eq!(offsets(&batches, 13, 17, 1 << 20).await, (vec![13, 14, 15, 16], 17));
        assert_eq!(offsets(&batches, 19, 1_000, 1 << 20).await, (vec![19], 20));
    }

    #[tokio::test]
    async fn an_answer_is_as_large_as_asked_for_and_never_empty() {
        let batches = [stored(0, 5, Compression::None), stored(5, 5, Compression::None)];
        assert_eq!(offsets(&batches, 0, 1_000, 1).await, (vec![0], 1));
        assert_eq!(offsets(&batches, 0, 1_000, 7_000).await, (vec![0, 1, 2, 3, 4, 5], 6));
    }

    #[tokio::test]
    async fn compressed_batches_are_taken_one_at_a_time() {
        for compression in [Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd] {
            let batches = [stored(0, 3, compression), stored(3, 3, compression)];
            assert_eq!(offsets(&batches, 1, 1_000, 1 << 20).await, (vec![1, 2], 3), "{compression}");
            assert_eq!(offsets(&batches[1..], 3, 1_000, 2_200).await, (vec![3, 4], 5), "{compression}");
        }
    }

    #[tokio::test]
    async fn tiny_records_are_admitted_at_what_they_take_in_memory() {
        let mut builder = BatchBuilder::new(Compression::None);
        for _ in 0..10_000 {
            builder.append(Timestamp::from_ms(1), None, None, NO_HEADERS).unwrap();
        }
        let budget = ByteBudget::new(64 << 20);
        let wanted = OffsetRange::new(Offset::ZERO, Offset::MAX);
        let batch = builder.finish().unwrap();
        let decoded = decode(&budget, vec![batch], wanted, offset(10_000), 8 << 20).await.unwrap();
        assert_eq!(decoded.records.len(), 10_000);
        assert!(decoded.permit.bytes() >= 10_000 * size_of::<v1::Record>(), "{:?}", decoded.permit);
    }

    #[tokio::test]
    async fn what_is_taken_apart_is_admitted() {
        let budget = ByteBudget::new(1 << 20);
        let batch = stored(0, 3, Compression::Zstd);
        let wanted = OffsetRange::new(Offset::ZERO, Offset::MAX);
        let decoded = decode(&budget, vec![batch], wanted, offset(3), 1 << 20).await.unwrap();
        assert_eq!(budget.available(), 0, "a compressed batch may grow to more than there is: it takes all");
        drop(decoded);
        assert_eq!(budget.available(), 1 << 20);
    }
}
