//! Any bytes as a record batch: as they came, and with length, last offset delta and checksum made right, or the fuzzer
//! would never get past them.
//!
//! Looks for panics, memory beyond the cap (`run` limits it), and broken promises: what the check lets in uncompressed
//! is readable to the last record; what was read and is built again reads the same.
#![no_main]

use bytes::Bytes;
use highwater_types::batch::{BatchBuilder, BatchHeader, Compression, Record, ValidBatch, records, stamp, verify_crc};
use highwater_types::{LeaderEpoch, Offset, limits};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    decode(Bytes::copy_from_slice(data));
    if let Some(sealed) = seal(data) {
        decode(sealed);
    }
});

/// The same bytes with the length, the last offset delta and the checksum that they should have.
fn seal(data: &[u8]) -> Option<Bytes> {
    let mut bytes = data.to_vec();
    let length = u32::try_from(bytes.len().checked_sub(12)?).ok()?;
    bytes.get_mut(8..12)?.copy_from_slice(&length.to_be_bytes());
    *bytes.get_mut(16)? = 2;
    let count = u32::from_be_bytes(*bytes.get(57..)?.first_chunk()?);
    bytes.get_mut(23..27)?.copy_from_slice(&count.wrapping_sub(1).to_be_bytes());
    let crc = crc_fast::crc32_iscsi(bytes.get(21..)?);
    bytes.get_mut(17..21)?.copy_from_slice(&crc.to_be_bytes());
    Some(bytes.into())
}

fn decode(bytes: Bytes) {
    let valid = ValidBatch::check(bytes.clone(), limits::BATCH_BYTES_MAX).ok();
    let read: Option<Vec<Record>> =
        records(bytes.clone()).ok().and_then(|records| records.collect::<Result<_, _>>().ok());
    if let Some(valid) = &valid {
        let header = *valid.header();
        assert_eq!(BatchHeader::read(&bytes), Ok(header));
        assert_eq!(header.total_bytes, bytes.len());
        assert_eq!(header.next_offset().records_since(header.base_offset), u64::from(header.record_count));
        if header.compression == Compression::None {
            assert_eq!(read.as_ref().map(Vec::len), Some(header.record_count as usize));
        }
        stamped_stays_valid(&bytes);
    }
    if let Some(read) = read {
        builds_again(&read);
    }
}

fn stamped_stays_valid(bytes: &Bytes) {
    let mut stored = bytes.to_vec();
    if let Some(first16) = stored.first_chunk_mut() {
        *first16 = stamp(Offset::ZERO, LeaderEpoch::new(1), *first16);
    }
    assert!(verify_crc(&stored));
}

fn builds_again(read: &[Record]) {
    for compression in [Compression::None, Compression::Lz4] {
        let mut builder = BatchBuilder::new(compression);
        for record in read {
            let headers: Vec<_> = record.headers.iter().map(|header| (&header.name, header.value.as_ref())).collect();
            let (key, value) = (record.key.as_deref(), record.value.as_deref());
            // Too far from the first one's time, or larger than a batch may be: no promise about those.
            if builder.append(record.timestamp, key, value, &headers).is_err() {
                return;
            }
        }
        let Ok(built) = builder.finish() else { return };
        let built = ValidBatch::check(built, limits::BATCH_BYTES_MAX).expect("what we build is valid").into_bytes();
        let again = records(built).expect("what we build can be read");
        let mut count = 0;
        for (again, record) in again.zip(read) {
            let again = again.expect("what we build can be read to its end");
            assert_eq!(Record { offset: record.offset, ..again }, *record);
            count += 1;
        }
        assert_eq!(count, read.len());
    }
}
