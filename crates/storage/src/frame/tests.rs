//! Frames read back, and nothing else is taken for one.

use super::*;

const SALT: u32 = 0x0102_0304;

fn sample() -> (FrameHeader, Vec<u8>) {
    let header = FrameHeader {
        kind: EntryKind::GroupDelta,
        record_count: 0,
        id: EntryId::new(7, 41),
        durable_through: 40,
        payload_bytes: 5,
    };
    let mut bytes = header.encode(SALT, &[b"he", b"llo"]).to_vec();
    bytes.extend_from_slice(b"hello\0\0\0");
    (header, bytes)
}

#[test]
fn a_frame_reads_back() {
    let (header, bytes) = sample();
    assert_eq!(FrameHeader::read(&bytes), Ok(header));
    assert_eq!(FrameHeader::verify(&bytes, SALT), Ok(header));
    assert_eq!((header.frame_bytes(), header.aligned_bytes()), (45, 48));
}

#[test]
fn every_flipped_bit_is_seen() {
    let (header, bytes) = sample();
    for bit in 0..(FRAME_HEADER_BYTES + header.payload_bytes as usize) * 8 {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert!(FrameHeader::verify(&flipped, SALT).is_err(), "bit {bit}");
    }
}

#[test]
fn a_frame_of_another_segment_is_no_frame() {
    assert_eq!(FrameHeader::verify(&sample().1, SALT + 1), Err(FrameError::BadChecksum));
}

#[test]
fn zeros_are_the_end_and_a_cut_is_short() {
    let (_, bytes) = sample();
    assert_eq!(FrameHeader::verify(&[0; 64], SALT), Err(FrameError::End));
    assert_eq!(FrameHeader::verify(&[], SALT), Err(FrameError::Short));
    for cut in 4..45 {
        assert_eq!(FrameHeader::verify(&bytes[..cut], SALT), Err(FrameError::Short), "{cut}");
    }
}

#[test]
fn impossible_lengths_are_refused_before_anything_is_read() {
    for length in [1_u32, 35, u32::MAX, length_on_disk(PAYLOAD_BYTES_MAX) + 37] {
        assert_eq!(payload_bytes(&length.to_le_bytes()), Err(FrameError::BadLength), "{length}");
    }
    assert_eq!(payload_bytes(&36_u32.to_le_bytes()), Ok(0));
}

#[test]
fn a_newer_version_is_named_only_when_the_checksum_is_right() {
    let (_, mut bytes) = sample();
    bytes[8] = 2;
    assert_eq!(FrameHeader::verify(&bytes, SALT), Err(FrameError::BadChecksum));
    let crc = checksum(SALT, &[&bytes[8..45]]);
    bytes[4..8].copy_from_slice(&crc.to_le_bytes());
    assert_eq!(FrameHeader::verify(&bytes, SALT), Err(FrameError::Newer(2)));
}
