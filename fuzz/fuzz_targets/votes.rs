//! Any bytes as a vote file, and as the records of one whose header, mark and checksums are right.
//!
//! Looks for panics, and for a vote that is not in the bytes.
#![no_main]

use std::path::Path;

use bytes::Bytes;
use highwater_storage::{VOTE_BYTES_MAX, VoteFile};
use libfuzzer_sys::fuzz_target;

const RECORDS_START: usize = 12_288;
const RECORD_HEADER_BYTES: usize = 28;

fuzz_target!(|data: &[u8]| {
    check(&Bytes::copy_from_slice(data));
    check(&around(data).into());
});

fn check(bytes: &Bytes) {
    let Ok(votes) = VoteFile::decode(Path::new("fuzzed"), bytes) else { return };
    assert!(votes.len() * RECORD_HEADER_BYTES <= bytes.len());
    assert!(votes.values().all(|vote| vote.len() <= VOTE_BYTES_MAX && is_slice_of(vote, bytes)));
}

fn is_slice_of(part: &Bytes, whole: &Bytes) -> bool {
    let (part, whole) = (part.as_ptr_range(), whole.as_ptr_range());
    part.is_empty() || whole.start <= part.start && part.end <= whole.end
}

/// A file whose records are `data`, each with the checksum that it should have.
fn around(data: &[u8]) -> Vec<u8> {
    let mut file = vec![0; RECORDS_START];
    file.extend_from_slice(data);
    let file_bytes = file.len() as u64;
    put(&mut file, 0, b"HWVOTES1\x01\0");
    put(&mut file, 16, &file_bytes.to_le_bytes());
    let crc = crc32fast::hash(&file[..24]);
    put(&mut file, 24, &crc.to_le_bytes());
    put(&mut file, 4096, &(RECORDS_START as u64).to_le_bytes());
    let crc = checksum(4096, &(RECORDS_START as u64).to_le_bytes());
    put(&mut file, 4104, &crc.to_le_bytes());
    let mut at = RECORDS_START;
    while let Some(length) = file.get(at + 4..).and_then(|rest| rest.first_chunk()) {
        let end = at + RECORD_HEADER_BYTES + usize::from(u16::from_le_bytes(*length));
        let Some(checked) = file.get(at + 4..end) else { break };
        let crc = checksum(at as u64, checked);
        put(&mut file, at, &crc.to_le_bytes());
        at = end.next_multiple_of(8);
    }
    file
}

fn checksum(position: u64, bytes: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&position.to_le_bytes());
    hasher.update(bytes);
    hasher.finalize()
}

fn put(file: &mut [u8], at: usize, bytes: &[u8]) {
    file[at..at + bytes.len()].copy_from_slice(bytes);
}
