//! Batches that another implementation wrote are read as it wrote them, and ours are the same bytes as its own.
//!
//! How the fixtures were made: `golden/README.md`.
#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::expect_used)]

use bytes::Bytes;
use highwater_types::batch::{
    BatchBuilder, BatchHeader, Compression, ProducerStamp, Record, ValidBatch, records, stamp, verify_crc,
};
use highwater_types::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, Sequence, Timestamp, limits};

type Model<'a> = (i64, Option<&'a [u8]>, Option<&'a [u8]>, &'a [(&'a str, Option<&'a [u8]>)]);

/// What every fixture holds.
fn model(long: &[u8]) -> [Model<'_>; 6] {
    [
        (1_700_000_000_000, Some(b"order-1"), Some(b"created"), &[("source", Some(b"web")), ("trace", None)]),
        (1_700_000_000_005, None, Some(b"no key"), &[]),
        (1_699_999_999_990, Some(b"order-1"), None, &[]),
        (1_700_000_000_005, Some(b""), Some(b""), &[("empty", Some(b""))]),
        (1_700_000_000_070, Some(b"order-2"), Some(long), &[("größe", Some(b"\x00\xff"))]),
        (1_700_000_000_071, Some(b"k"), Some(b"x"), &[]),
    ]
}

const PRODUCER: ProducerStamp = ProducerStamp {
    id: ProducerId::new(4711),
    epoch: ProducerEpoch::new(3),
    first_sequence: Sequence::new(i32::MAX - 2),
};

fn fixture(hex: &str) -> Bytes {
    let digits: Vec<u8> = hex.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.chunks(2).map(byte).collect()
}

fn as_model(record: &Record) -> String {
    let headers: Vec<_> = record.headers.iter().map(|header| (header.name.as_str(), header.value.as_deref())).collect();
    format!("{:?}", (record.timestamp.as_ms(), record.key.as_deref(), record.value.as_deref(), &headers[..]))
}

fn expect_model(batch: Bytes, compression: Compression) -> BatchHeader {
    assert!(verify_crc(&batch));
    let batch = ValidBatch::check(batch, limits::BATCH_BYTES_DEFAULT).unwrap();
    let header = *batch.header();
    assert_eq!((header.compression, header.record_count, header.last_offset().get()), (compression, 6, 5));
    assert_eq!(header.max_timestamp, Timestamp::from_ms(1_700_000_000_071));
    let long = b"highwater ".repeat(30);
    for (index, (record, expected)) in records(batch.into_bytes()).unwrap().zip(model(&long)).enumerate() {
        let record = record.unwrap();
        assert_eq!(record.offset.get(), index as u64);
        assert_eq!(as_model(&record), format!("{expected:?}"), "{compression}");
    }
    header
}

fn built(compression: Compression, producer: Option<ProducerStamp>) -> Bytes {
    let mut builder = BatchBuilder::new(compression);
    for (ms, key, value, headers) in model(&b"highwater ".repeat(30)) {
        builder.append(Timestamp::from_ms(ms), key, value, headers).unwrap();
    }
    if let Some(producer) = producer {
        builder.set_producer(producer);
    }
    let mut bytes = builder.finish().unwrap().to_vec();
    // That implementation sends leader epoch 0, we -1; both mean nothing before a broker stamps the batch.
    let first16 = stamp(Offset::ZERO, LeaderEpoch::new(0), *bytes.first_chunk().unwrap());
    bytes[..16].copy_from_slice(&first16);
    bytes.into()
}

#[test]
fn batches_of_every_codec_are_read() {
    for (hex, compression) in [
        (include_str!("golden/none.hex"), Compression::None),
        (include_str!("golden/gzip.hex"), Compression::Gzip),
        (include_str!("golden/snappy.hex"), Compression::Snappy),
        (include_str!("golden/snappy-raw.hex"), Compression::Snappy),
        (include_str!("golden/lz4.hex"), Compression::Lz4),
        (include_str!("golden/zstd.hex"), Compression::Zstd),
    ] {
        assert_eq!(expect_model(fixture(hex), compression).producer, None);
    }
}

#[test]
fn an_idempotent_batch_is_read() {
    let header = expect_model(fixture(include_str!("golden/idempotent.hex")), Compression::None);
    assert_eq!(header.producer, Some(PRODUCER));
    assert_eq!(PRODUCER.last_sequence(header.last_offset_delta), Sequence::new(2));
}

#[test]
fn what_we_build_is_the_same_to_the_byte() {
    assert_eq!(built(Compression::None, None), fixture(include_str!("golden/none.hex")));
    assert_eq!(built(Compression::None, Some(PRODUCER)), fixture(include_str!("golden/idempotent.hex")));
}

#[test]
fn what_we_compress_reads_as_theirs() {
    for compression in Compression::ALL {
        expect_model(built(compression, None), compression);
    }
}
