//! Framings that other writers use, and bombs.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::expect_used)]

use super::*;

const CODECS: [Compression; 4] = [Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd];

fn compressed(compression: Compression, records: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    compress(compression, records, &mut out).unwrap();
    out
}

#[test]
fn the_cap_is_exact() {
    // More than one block of every codec.
    let records: Vec<u8> = (0..300_000_u32).flat_map(|i| (i / 7).to_be_bytes()).collect();
    for compression in CODECS {
        let bytes = compressed(compression, &records);
        assert!(bytes.len() < records.len(), "{compression}");
        assert_eq!(decompress(compression, &bytes, records.len()).unwrap(), records, "{compression}");
        let bytes_max = records.len() - 1;
        let refused = decompress(compression, &bytes, bytes_max);
        assert_eq!(refused, Err(BatchError::DecompressedTooLarge { bytes_max }), "{compression}");
        assert_eq!(decompress(compression, &compressed(compression, &[]), 0).unwrap(), [], "{compression}");
    }
}

#[test]
fn a_bomb_is_refused_at_the_cap() {
    let zeros = vec![0; 64 * 1024 * 1024];
    for compression in CODECS {
        let bomb = compressed(compression, &zeros);
        let refused = decompress(compression, &bomb, 1024 * 1024);
        assert_eq!(refused, Err(BatchError::DecompressedTooLarge { bytes_max: 1024 * 1024 }), "{compression}");
    }
}

#[test]
fn nothing_is_read_beyond_the_cap() {
    /// Zeros without end; counts what was taken.
    struct Endless(usize);
    impl Read for &mut Endless {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            buffer.fill(0);
            self.0 += buffer.len();
            Ok(buffer.len())
        }
    }
    let mut endless = Endless(0);
    assert!(matches!(read_bounded(&mut endless, 100_000), Err(Failure::TooLarge)));
    assert_eq!(endless.0, 100_001);
}

#[test]
fn every_cut_is_refused() {
    let records: Vec<u8> = (0..2_000_u32).flat_map(u32::to_be_bytes).collect();
    for compression in CODECS {
        let bytes = compressed(compression, &records);
        for length in 0..bytes.len() {
            match decompress(compression, &bytes[..length], 1 << 20) {
                Err(BatchError::Decompress { .. }) => {}
                // The end of a frame may be optional; a part of the records is refused by their count.
                Ok(part) => assert!(records.starts_with(&part), "{compression} cut at {length}"),
                Err(other) => panic!("{compression} cut at {length}: {other}"),
            }
        }
    }
}

#[test]
fn snappy_is_read_as_a_raw_block_too() {
    let records = b"as librdkafka writes it ".repeat(1_000);
    let raw = snap::raw::Encoder::new().compress_vec(&records).unwrap();
    assert_eq!(decompress(Compression::Snappy, &raw, records.len()).unwrap(), records);
    let bytes_max = records.len() - 1;
    let refused = decompress(Compression::Snappy, &raw, bytes_max);
    assert_eq!(refused, Err(BatchError::DecompressedTooLarge { bytes_max }));
}

#[test]
fn snappy_streams_may_follow_one_another() {
    let mut bytes = compressed(Compression::Snappy, b"one, ");
    bytes.extend(compressed(Compression::Snappy, b"two"));
    assert_eq!(decompress(Compression::Snappy, &bytes, 100).unwrap(), b"one, two");
}

#[test]
fn a_snappy_block_is_not_believed_beyond_what_its_bytes_can_hold() {
    // 32 MiB promised, three bytes there.
    let promise = [0x80, 0x80, 0x80, 0x10, 0, 0, 0];
    let Err(BatchError::Decompress { reason, .. }) = decompress(Compression::Snappy, &promise, 64 << 20) else {
        panic!("accepted")
    };
    assert_eq!(reason, "a block promises more than its bytes can hold");
    let zeros = compressed(Compression::Snappy, &[0; 32 * 1024]);
    assert_eq!(
        decompress(Compression::Snappy, &zeros, 1 << 20).unwrap().len(),
        32 * 1024,
        "and the best ratio is let be"
    );
}

#[test]
fn snappy_lengths_are_held_against_the_rest() {
    let whole = compressed(Compression::Snappy, b"records");
    for (field, reason) in [(u32::MAX, "a block is cut short"), (0, "")] {
        let mut bytes = whole.clone();
        bytes[16..20].copy_from_slice(&field.to_be_bytes());
        let Err(BatchError::Decompress { reason: found, .. }) = decompress(Compression::Snappy, &bytes, 100) else {
            panic!("accepted")
        };
        assert!(found.contains(reason), "{found}");
    }
}

#[test]
fn gzip_members_may_follow_one_another() {
    let mut bytes = compressed(Compression::Gzip, b"one, ");
    bytes.extend(compressed(Compression::Gzip, b"two"));
    assert_eq!(decompress(Compression::Gzip, &bytes, 100).unwrap(), b"one, two");
}

#[test]
fn lz4_is_written_in_independent_blocks_of_64_kib() {
    let bytes = compressed(Compression::Lz4, &[0; 200_000]);
    assert_eq!(bytes[..4], 0x184d_2204_u32.to_le_bytes());
    assert_eq!(bytes[4] & 0b1110_0000, 0b0110_0000, "version 1, blocks independent");
    assert_eq!(bytes[5], 0x40, "blocks of 64 KiB");
}
