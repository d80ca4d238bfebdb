//! Every refusal, and the code that fronts answer with.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::expect_used)]

use bytes::{Bytes, BytesMut};

use super::*;
use crate::ErrorCode;

fn refusal(bytes: Bytes) -> BatchError {
    check(bytes).unwrap_err()
}

/// How [`sample`] is refused after an edit to its bytes, checksum made right.
fn after(edit: impl FnOnce(&mut Vec<u8>)) -> BatchError {
    refusal(edited(&sample(Compression::None), edit))
}

#[test]
fn no_bytes() {
    assert_eq!(refusal(Bytes::new()), BatchError::Empty);
    assert_eq!(BatchHeader::read(&[]), Err(BatchError::Empty));
}

#[test]
fn too_many_bytes() {
    let batch = sample(Compression::None);
    let bytes = batch.len();
    let refused = ValidBatch::check(batch.clone(), bytes - 1).unwrap_err();
    assert_eq!(refused, BatchError::TooLarge { bytes, bytes_max: bytes - 1 });
    assert_eq!(refused.code(), ErrorCode::BatchTooLarge);
    assert!(ValidBatch::check(batch, bytes).is_ok());
    let huge = Bytes::from(vec![0; limits::BATCH_BYTES_MAX + 1]);
    let refused = ValidBatch::check(huge, usize::MAX).unwrap_err();
    assert_eq!(refused.code(), ErrorCode::BatchTooLarge, "no configuration goes beyond the hard limit");
}

#[test]
fn cut_short_anywhere() {
    let batch = sample(Compression::None);
    for bytes in 1..batch.len() {
        let bytes_needed = if bytes < HEADER_BYTES { HEADER_BYTES } else { batch.len() };
        assert_eq!(refusal(batch.slice(..bytes)), BatchError::Truncated { bytes, bytes_needed });
    }
    assert_eq!(records(batch.slice(..70)).unwrap_err(), BatchError::Truncated { bytes: 70, bytes_needed: batch.len() });
}

#[test]
fn two_batches_or_garbage_after_one() {
    let batch = sample(Compression::None);
    let mut two = BytesMut::from(&batch[..]);
    two.extend_from_slice(&batch);
    assert_eq!(refusal(two.freeze()), BatchError::TrailingBytes { bytes: batch.len() });
    assert_eq!(after(|bytes| bytes.push(0)), BatchError::TrailingBytes { bytes: 1 });
}

#[test]
fn a_length_that_cannot_be() {
    for length in [i32::MIN, -1, 0, 48] {
        let refused = after(|bytes| bytes[8..12].copy_from_slice(&length.to_be_bytes()));
        assert_eq!(refused, BatchError::BadLength { length });
    }
    let refused = after(|bytes| bytes[8..12].copy_from_slice(&i32::MAX.to_be_bytes()));
    assert!(matches!(refused, BatchError::Truncated { bytes_needed: 2_147_483_659, .. }), "{refused}");
    assert_eq!(refused.code(), ErrorCode::InvalidBatch);
}

#[test]
fn another_format() {
    for magic in [0_i8, 1, 3, -1] {
        assert_eq!(after(|bytes| bytes[16] = magic.cast_unsigned()), BatchError::UnknownMagic { magic });
    }
}

#[test]
fn any_flipped_bit_that_the_checksum_covers() {
    let batch = sample(Compression::None);
    for at in crc::CRC_AT..batch.len() {
        for bit in 0..8 {
            let mut bytes = batch.to_vec();
            bytes[at] ^= 1 << bit;
            assert!(!verify_crc(&bytes));
            let refused = refusal(bytes.into());
            assert!(matches!(refused, BatchError::WrongChecksum { .. }), "byte {at} bit {bit}: {refused}");
            assert_eq!(refused.code(), ErrorCode::CorruptBatch);
        }
    }
    assert!(verify_crc(&batch));
    assert!(!verify_crc(&batch[..20]));
}

#[test]
fn a_codec_that_does_not_exist() {
    for codec in 5..=7 {
        let refused = after(|bytes| bytes[22] = codec);
        assert_eq!(refused, BatchError::UnknownCompression { codec });
        assert_eq!(refused.code(), ErrorCode::UnsupportedCompression);
    }
}

#[test]
fn attribute_bits_without_a_meaning() {
    for bit in 6..16 {
        let attributes = 1_u16 << bit;
        let refused = after(|bytes| bytes[21..23].copy_from_slice(&attributes.to_be_bytes()));
        assert_eq!(refused, BatchError::ReservedAttributes { attributes });
    }
}

#[test]
fn what_only_a_broker_may_set() {
    assert_eq!(after(|bytes| bytes[22] = 1 << 3), BatchError::LogAppendTime);
    let transactional = after(|bytes| bytes[22] = 1 << 4);
    assert_eq!((transactional.code(), transactional), (ErrorCode::Unsupported, BatchError::Transactional));
    assert_eq!(after(|bytes| bytes[22] = 1 << 5), BatchError::Control);
    assert_eq!(after(|bytes| bytes[22] = 3 << 4), BatchError::Control, "a transaction's marker");
}

#[test]
fn a_base_offset_without_room_behind_it() {
    for base_offset in [-1, i64::MIN, i64::MAX, i64::MAX - 2] {
        let refused = after(|bytes| bytes[..8].copy_from_slice(&base_offset.to_be_bytes()));
        assert_eq!(refused, BatchError::BadBaseOffset { base_offset });
    }
    let last = edited(&sample(Compression::None), |bytes| bytes[..8].copy_from_slice(&(i64::MAX - 3).to_be_bytes()));
    assert_eq!(check(last).unwrap().header().next_offset(), Offset::MAX);
}

#[test]
fn counts_that_cannot_be() {
    let count_is = |count: i32| after(|bytes| bytes[57..61].copy_from_slice(&count.to_be_bytes()));
    for count in [i32::MIN, -1, 0, 1_000_001, i32::MAX] {
        assert_eq!(count_is(count), BatchError::BadRecordCount { count });
    }
    for count in [1, 2, 4, 1_000_000] {
        assert_eq!(count_is(count), BatchError::BadLastOffsetDelta { last_offset_delta: 2, count });
    }
    for last_offset_delta in [i32::MIN, -1, 0, 1, 3, i32::MAX] {
        let refused = after(|bytes| bytes[23..27].copy_from_slice(&last_offset_delta.to_be_bytes()));
        assert_eq!(refused, BatchError::BadLastOffsetDelta { last_offset_delta, count: 3 });
    }
}

#[test]
fn a_count_that_the_records_do_not_pay_for() {
    // The header agrees with itself, and the first record has the delta 0.
    let refused = after(|bytes| {
        bytes[23..27].copy_from_slice(&999_999_i32.to_be_bytes());
        bytes[57..61].copy_from_slice(&1_000_000_i32.to_be_bytes());
    });
    assert_eq!(refused, BatchError::Record { index: 3, problem: RecordProblem::Truncated });
    let fewer = edited(&sample(Compression::None), |bytes| (bytes[26], bytes[60]) = (1, 2));
    assert_eq!(refusal(fewer.clone()), BatchError::TrailingRecordBytes { bytes: 7 });
    assert_eq!(records(fewer).unwrap().last(), Some(Err(BatchError::TrailingRecordBytes { bytes: 7 })));
}

#[test]
fn a_producer_that_does_not_fit_together() {
    for (id, epoch, sequence) in [(-2, -1, -1), (0, -1, 0), (0, 0, -1), (7, 0, i32::MIN), (i64::MIN, 0, 0)] {
        let refused = after(|bytes| {
            bytes[43..51].copy_from_slice(&i64::to_be_bytes(id));
            bytes[51..53].copy_from_slice(&i16::to_be_bytes(epoch));
            bytes[53..57].copy_from_slice(&i32::to_be_bytes(sequence));
        });
        assert_eq!(refused, BatchError::BadProducer { id, epoch, sequence });
        assert_eq!(refused.code(), ErrorCode::InvalidBatch);
    }
}

/// How a batch of one record with these bytes is refused, by the check and by the iteration alike.
fn record_problem(record: &[u8]) -> RecordProblem {
    let mut builder = BatchBuilder::new(Compression::None);
    builder.append(Timestamp::from_ms(1), None, None, NO_HEADERS).unwrap();
    let batch = with_records(&builder.finish().unwrap(), record);
    let refused = refusal(batch.clone());
    assert_eq!(records(batch).unwrap().next(), Some(Err(refused.clone())), "check and iteration agree");
    match refused {
        BatchError::Record { index: 0, problem } => problem,
        other => panic!("{other}"),
    }
}

#[test]
fn records_that_are_not_well_formed() {
    // length, attributes, timestamp delta, offset delta, key, value, header count; 0x01 is -1, 0x02 is 1
    for (record, problem) in [
        (&[][..], RecordProblem::Truncated),
        (&[0x01], RecordProblem::NegativeLength { length: -1 }),
        (&[0x00], RecordProblem::Truncated),
        (&[0xfe, 0xff, 0xff, 0xff, 0x0f, 0, 0, 0, 1, 1, 0], RecordProblem::Truncated),
        (&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff], RecordProblem::VarintTooLong),
        (&[0x0c, 0, 0, 0, 0x03, 1, 0], RecordProblem::NegativeLength { length: -2 }),
        (&[0x0c, 0, 0, 0, 0x06, 1, 0], RecordProblem::Truncated),
        (&[0x0c, 0, 0, 0, 1, 0x7e, 0], RecordProblem::Truncated),
        (&[0x0c, 0, 0, 0x02, 1, 1, 0], RecordProblem::OffsetDelta { offset_delta: 1 }),
        (&[0x0c, 0, 0, 0x01, 1, 1, 0], RecordProblem::OffsetDelta { offset_delta: -1 }),
        (&[0x0c, 0, 0, 0, 1, 1, 0x01], RecordProblem::HeaderCount { count: -1 }),
        (&[0x0e, 0, 0, 0, 1, 1, 0x82, 0x10], RecordProblem::HeaderCount { count: 1025 }),
        (&[0x0c, 0, 0, 0, 1, 1, 0x02], RecordProblem::Truncated),
        (&[0x10, 0, 0, 0, 1, 1, 0x02, 0x01, 0x01], RecordProblem::HeaderName),
        (&[0x10, 0, 0, 0, 1, 1, 0x02, 0x02, 0x61], RecordProblem::Truncated),
        (&[0x0e, 0, 0, 0, 1, 1, 0, 9], RecordProblem::TrailingBytes { bytes: 1 }),
    ] {
        assert_eq!(record_problem(record), problem, "{record:02x?}");
    }
    let mut far = vec![0x1e, 0, 0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01, 0, 1, 1, 0];
    assert_eq!(record_problem(&far), RecordProblem::Timestamp);
    far[11] = 0x02;
    assert_eq!(record_problem(&far), RecordProblem::VarintTooLong);
}

#[test]
fn offset_deltas_that_go_back() {
    // The third record's delta (the fourth byte of its 7) made that of the second.
    let batch = edited(&sample(Compression::None), |bytes| {
        let at = bytes.len() - 4;
        assert_eq!(bytes[at], 0x04);
        bytes[at] = 0x02;
    });
    let refused = BatchError::Record { index: 2, problem: RecordProblem::OffsetDelta { offset_delta: 1 } };
    assert_eq!(refusal(batch.clone()), refused);
    let mut records = records(batch).unwrap().skip(2);
    assert_eq!(records.next(), Some(Err(refused)));
    assert_eq!(records.next(), None, "the iteration ends after an error");
}

#[test]
fn compressed_garbage_is_stored_and_told_to_the_reader() {
    for compression in [Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd] {
        let batch = with_records(&sample(compression), b"\xfe\xff these are no compressed records");
        let stored = check(batch).unwrap().into_bytes();
        let refused = records(stored).unwrap_err();
        assert!(matches!(refused, BatchError::Decompress { .. }), "{refused}");
        assert_eq!(refused.code(), ErrorCode::CorruptBatch);
    }
}

#[test]
fn what_a_builder_cannot_hold() {
    let now = Timestamp::from_ms(1);
    let mut builder = BatchBuilder::new(Compression::None);
    assert_eq!(builder.take(), Err(BatchError::Empty));
    let big = vec![0; limits::BATCH_BYTES_MAX - 100];
    builder.append(now, None, Some(&big), NO_HEADERS).unwrap();
    let refused = builder.append(now, None, Some(&[0; 100]), NO_HEADERS).unwrap_err();
    assert_eq!(refused.code(), ErrorCode::BatchTooLarge);
    let headers = vec![("h", None::<&[u8]>); limits::RECORD_HEADERS_MAX + 1];
    let refused = builder.append(now, None, None, &headers).unwrap_err();
    assert_eq!(refused, BatchError::Record { index: 1, problem: RecordProblem::HeaderCount { count: 1025 } });
    let refused = builder.append(Timestamp::from_ms(i64::MIN), None, None, NO_HEADERS).unwrap_err();
    assert_eq!(refused, BatchError::Record { index: 1, problem: RecordProblem::Timestamp });
    let batch = check(builder.finish().unwrap()).unwrap();
    assert_eq!(batch.header().record_count, 1, "what was refused left no trace");
}

#[test]
fn more_records_than_a_batch_holds() {
    let mut builder = BatchBuilder::new(Compression::Lz4);
    for _ in 0..limits::BATCH_RECORDS_MAX {
        if builder.append(Timestamp::from_ms(1), None, None, NO_HEADERS).is_err() {
            panic!("refused at {}", builder.record_count());
        }
    }
    let refused = builder.append(Timestamp::from_ms(1), None, None, NO_HEADERS).unwrap_err();
    assert_eq!(refused, BatchError::BadRecordCount { count: 1_000_001 });
}

#[test]
fn records_that_do_not_compress_enough() {
    let mut builder = BatchBuilder::new(Compression::Lz4);
    let mut state = 1_u32;
    let noise: Vec<u8> = std::iter::repeat_with(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    })
    .take(limits::BATCH_BYTES_MAX)
    .collect();
    builder.append(Timestamp::from_ms(1), None, Some(&noise), NO_HEADERS).unwrap();
    assert!(matches!(builder.take(), Err(BatchError::TooLarge { .. })));
    assert_eq!(builder.record_count(), 0, "and the builder may be used again");
}
