//! Any bytes as a sealed file of each kind: as they came, and with magic, length and checksum made right.
//!
//! Looks for panics, and for a file that is taken although a byte of it is not what was sealed.
#![no_main]

use std::path::Path;

use bytes::Bytes;
use highwater_storage::sealed_file::{FileKind, HEADER_BYTES, MAGIC, decode};
use libfuzzer_sys::fuzz_target;

const KINDS: [FileKind; 4] = [FileKind::Format, FileKind::Identity, FileKind::Manifest, FileKind::Checkpoint];

fuzz_target!(|data: &[u8]| {
    check(&Bytes::copy_from_slice(data));
    if let Some(sealed) = seal(data) {
        check(&sealed);
    }
});

fn check(bytes: &Bytes) {
    for kind in KINDS {
        let Ok(sealed) = decode(Path::new("fuzzed"), kind, bytes.clone()) else { continue };
        assert!(sealed.version <= kind.version());
        assert_eq!(sealed.payload, bytes.slice(HEADER_BYTES..));
        let mut flipped = bytes.to_vec();
        if let Some(last) = flipped.last_mut() {
            *last ^= 1;
        }
        assert!(decode(Path::new("fuzzed"), kind, flipped.into()).is_err());
    }
}

/// The same bytes with the magic, the length and the checksum that they should have.
fn seal(data: &[u8]) -> Option<Bytes> {
    let mut bytes = data.to_vec();
    let length = u32::try_from(bytes.len().checked_sub(HEADER_BYTES)?).ok()?;
    bytes.get_mut(..8)?.copy_from_slice(&MAGIC);
    bytes.get_mut(12..16)?.copy_from_slice(&length.to_le_bytes());
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(bytes.get(..16)?);
    hasher.update(bytes.get(HEADER_BYTES..)?);
    bytes.get_mut(16..20)?.copy_from_slice(&hasher.finalize().to_le_bytes());
    Some(bytes.into())
}
