//! Batches built, checked and read again. What is refused: `tests/refusals.rs`; any bytes at all: `tests/properties.rs`.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::expect_used)]

mod properties;
mod refusals;

use bytes::Bytes;

use super::*;
use crate::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, Sequence, Timestamp, limits};

const STAMP: ProducerStamp = ProducerStamp {
    id: ProducerId::new(4711),
    epoch: ProducerEpoch::new(3),
    first_sequence: Sequence::new(i32::MAX - 1),
};

/// Three records, with and without key, value and headers, the second older than the first.
fn sample(compression: Compression) -> Bytes {
    let mut builder = BatchBuilder::new(compression);
    let headers = [("source", Some(&b"web"[..])), ("trace", None)];
    assert_eq!(builder.append(Timestamp::from_ms(1_000), Some(b"k"), Some(b"one"), &headers), Ok(0));
    assert_eq!(builder.append(Timestamp::from_ms(990), None, Some(b""), NO_HEADERS), Ok(1));
    assert_eq!(builder.append(Timestamp::from_ms(1_010), Some(b""), None, NO_HEADERS), Ok(2));
    builder.finish().unwrap()
}

/// The batch with `edit` made to it and its checksum made right again.
fn edited(batch: &Bytes, edit: impl FnOnce(&mut Vec<u8>)) -> Bytes {
    let mut bytes = batch.to_vec();
    edit(&mut bytes);
    if bytes.len() > crc::CRC_COVERS_FROM {
        let crc = crc::crc32c(&bytes[crc::CRC_COVERS_FROM..]);
        bytes[crc::CRC_AT..crc::CRC_COVERS_FROM].copy_from_slice(&crc.to_be_bytes());
    }
    Bytes::from(bytes)
}

/// The batch with other bytes for records, its length and checksum made right.
fn with_records(batch: &Bytes, records: &[u8]) -> Bytes {
    edited(batch, |bytes| {
        bytes.truncate(HEADER_BYTES);
        bytes.extend_from_slice(records);
        let length = u32::try_from(bytes.len() - 12).unwrap();
        bytes[8..12].copy_from_slice(&length.to_be_bytes());
    })
}

fn check(bytes: Bytes) -> Result<ValidBatch, BatchError> {
    ValidBatch::check(bytes, limits::BATCH_BYTES_MAX)
}

fn read_all(bytes: Bytes) -> Vec<Record> {
    records(bytes).unwrap().map(Result::unwrap).collect()
}

#[test]
fn a_batch_comes_back_as_it_was_built_under_every_codec() {
    for compression in Compression::ALL {
        let batch = check(sample(compression)).unwrap();
        let header = *batch.header();
        assert_eq!(header.compression, compression);
        assert_eq!(header.total_bytes, batch.bytes().len());
        assert_eq!(
            (header.base_offset, header.last_offset(), header.next_offset().get()),
            (Offset::ZERO, offset(2), 3)
        );
        assert_eq!(header.leader_epoch, LeaderEpoch::new(-1));
        assert_eq!((header.base_timestamp.as_ms(), header.max_timestamp.as_ms()), (1_000, 1_010));
        assert_eq!((header.record_count, header.producer), (3, None));

        let [first, second, third] = read_all(batch.into_bytes()).try_into().unwrap();
        assert_eq!(first.key.as_deref(), Some(&b"k"[..]));
        assert_eq!(first.value.as_deref(), Some(&b"one"[..]));
        assert_eq!(first.headers[0].name.as_str(), "source");
        assert_eq!(first.headers[0].value.as_deref(), Some(&b"web"[..]));
        assert_eq!((first.headers[1].name.as_str(), &first.headers[1].value), ("trace", &None));
        assert_eq!((second.offset, second.timestamp.as_ms()), (offset(1), 990));
        assert_eq!((second.key, second.value), (None, Some(Bytes::new())), "null is not empty");
        assert_eq!((third.key, third.value), (Some(Bytes::new()), None), "empty is not null");
    }
}

fn offset(value: u64) -> Offset {
    Offset::new(value).unwrap()
}

#[test]
fn records_of_an_uncompressed_batch_are_slices_of_it() {
    let batch = sample(Compression::None);
    let reach = batch.as_ptr_range();
    for record in read_all(batch.clone()) {
        for slice in [record.key, record.value].into_iter().flatten().filter(|slice| !slice.is_empty()) {
            assert!(reach.contains(&slice.as_ptr()));
        }
        for header in record.headers {
            assert!(reach.contains(&header.name.as_str().as_ptr()));
        }
    }
}

#[test]
fn a_stamp_changes_base_offset_and_epoch_and_leaves_the_checksum_right() {
    let batch = sample(Compression::Lz4);
    let mut stored = batch.to_vec();
    let first16 = stamp(offset(7_000_000_000), LeaderEpoch::new(9), *batch.first_chunk().unwrap());
    stored[..16].copy_from_slice(&first16);
    assert!(verify_crc(&stored));
    let header = BatchHeader::read(&stored).unwrap();
    assert_eq!((header.base_offset.get(), header.leader_epoch.get()), (7_000_000_000, 9));
    assert_eq!(BatchHeader { base_offset: Offset::ZERO, leader_epoch: LeaderEpoch::new(-1), ..header }, {
        BatchHeader::read(&batch).unwrap()
    });
    let offsets: Vec<_> = read_all(stored.into()).iter().map(|record| record.offset.get()).collect();
    assert_eq!(offsets, [7_000_000_000, 7_000_000_001, 7_000_000_002]);
}

#[test]
fn a_header_reads_as_it_was_written() {
    let header = BatchHeader {
        base_offset: offset(5),
        total_bytes: 1234,
        leader_epoch: LeaderEpoch::new(2),
        crc: 0xdead_beef,
        compression: Compression::Zstd,
        log_append_time: true,
        is_transactional: true,
        is_control: true,
        last_offset_delta: 41,
        base_timestamp: Timestamp::from_ms(-7),
        max_timestamp: Timestamp::from_ms(i64::MAX),
        producer: Some(STAMP),
        record_count: 42,
    };
    assert_eq!(BatchHeader::read(&header.encode().unwrap()), Ok(header));
    assert_eq!(BatchHeader { record_count: u32::MAX, ..header }.encode(), None, "it does not fit the field");
}

#[test]
fn the_producer_is_carried_and_its_sequence_wraps() {
    let mut builder = BatchBuilder::new(Compression::None);
    for _ in 0..4 {
        builder.append(Timestamp::from_ms(1), None, Some(b"v"), NO_HEADERS).unwrap();
    }
    builder.set_producer(STAMP);
    let header = *check(builder.finish().unwrap()).unwrap().header();
    assert_eq!(header.producer, Some(STAMP));
    assert_eq!(STAMP.last_sequence(header.last_offset_delta), Sequence::new(1));
}

#[test]
fn without_a_producer_id_epoch_and_sequence_mean_nothing() {
    // As sarama and kafkajs send it: id -1, epoch 0, sequence 0.
    let batch = edited(&sample(Compression::None), |bytes| bytes[51..57].fill(0));
    assert_eq!(check(batch).unwrap().header().producer, None);
}

#[test]
fn a_builder_is_empty_after_each_batch_and_keeps_its_room() {
    let mut builder = BatchBuilder::with_capacity(Compression::None, 64 * 1024);
    assert_eq!(builder.encoded_bytes(), HEADER_BYTES);
    let mut batches = Vec::new();
    for round in 0..3_i64 {
        builder.set_producer(STAMP);
        for i in 0..=round {
            builder.append(Timestamp::from_ms(round * 100 + i), None, Some(b"value"), NO_HEADERS).unwrap();
        }
        let bytes = builder.encoded_bytes();
        batches.push(builder.take().unwrap());
        assert_eq!(batches.last().unwrap().len(), bytes);
        assert_eq!((builder.record_count(), builder.encoded_bytes()), (0, HEADER_BYTES));
    }
    for (round, batch) in (0_i64..).zip(&batches) {
        let header = *check(batch.clone()).unwrap().header();
        assert_eq!(header.base_timestamp.as_ms(), round * 100, "no batch has the times of the one before");
        assert_eq!(i64::from(header.record_count), round + 1);
    }
    assert!(batches[1].as_ptr() > batches[0].as_ptr(), "one allocation serves batch after batch");
    builder.append(Timestamp::from_ms(1), None, None, NO_HEADERS).unwrap();
    builder.clear();
    assert_eq!(builder.take(), Err(BatchError::Empty));
    builder.append(Timestamp::from_ms(1), None, None, NO_HEADERS).unwrap();
    assert_eq!(check(builder.take().unwrap()).unwrap().header().producer, None, "a producer counts for one batch");
}

#[test]
fn times_may_lie_before_1970_and_go_back() {
    let mut builder = BatchBuilder::new(Compression::None);
    for ms in [-5, -500, -3] {
        builder.append(Timestamp::from_ms(ms), None, None, NO_HEADERS).unwrap();
    }
    let batch = builder.finish().unwrap();
    assert_eq!(BatchHeader::read(&batch).unwrap().max_timestamp.as_ms(), -3);
    let times: Vec<_> = read_all(batch).iter().map(|record| record.timestamp.as_ms()).collect();
    assert_eq!(times, [-5, -500, -3]);
}

#[test]
fn log_append_time_gives_every_record_the_batchs_largest_time() {
    let batch = edited(&sample(Compression::None), |bytes| bytes[22] |= 1 << 3);
    assert!(read_all(batch).iter().all(|record| record.timestamp.as_ms() == 1_010));
}

#[test]
fn a_batch_is_stamped_with_the_time_of_the_broker_and_nothing_else_changes() {
    for compression in [Compression::None, Compression::Zstd] {
        let batch = sample(compression);
        let stamped = check(batch.clone()).unwrap().stamped(Timestamp::from_ms(77));
        assert_eq!(BatchHeader::read(stamped.bytes()), Ok(*stamped.header()));
        assert!(verify_crc(stamped.bytes()));
        assert_eq!(check(stamped.bytes().clone()).unwrap_err(), BatchError::LogAppendTime, "no client may say so");
        let (before, after) = (read_all(batch), read_all(stamped.into_bytes()));
        assert!(after.iter().all(|record| record.timestamp.as_ms() == 77));
        let values = |records: &[Record]| records.iter().map(|record| record.value.clone()).collect::<Vec<_>>();
        assert_eq!(values(&before), values(&after));
    }
}

#[test]
fn holes_that_compaction_leaves_are_read_over() {
    // The last offset delta stays when records go: here the batch spans five offsets and keeps three records.
    let batch = edited(&sample(Compression::None), |bytes| bytes[26] = 4);
    let header = BatchHeader::read(&batch).unwrap();
    assert_eq!((header.record_count, header.next_offset().get()), (3, 5));
    assert_eq!(read_all(batch.clone()).len(), 3);
    let bare = edited(&with_records(&batch, &[]), |bytes| bytes[60] = 0);
    assert_eq!(read_all(bare), []);
}

#[test]
fn a_header_name_that_is_not_utf8_is_readable() {
    let mut builder = BatchBuilder::new(Compression::None);
    builder.append(Timestamp::from_ms(1), None, None, &[("name", Some("v"))]).unwrap();
    let batch = edited(&builder.finish().unwrap(), |bytes| {
        let at = bytes.windows(4).position(|window| window == b"name").unwrap();
        bytes[at] = 0xff;
    });
    let record = read_all(check(batch).unwrap().into_bytes()).remove(0);
    assert_eq!(record.headers[0].name.as_str(), "\u{fffd}ame");
}

#[test]
fn codecs_have_names() {
    for compression in Compression::ALL {
        assert_eq!(compression.to_string().parse(), Ok(compression));
    }
    let error = "brotli".parse::<Compression>().unwrap_err();
    assert_eq!(error.to_string(), "unknown compression \"brotli\"; known are none, gzip, snappy, lz4, zstd");
}
