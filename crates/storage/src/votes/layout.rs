//! The bytes of the vote file: pure functions, no disk.
//!
//! Little endian. The file has a fixed length, so that a cut is seen; unused space is zero.
//!
//! | at | bytes | field |
//! |---|---|---|
//! | 0 | 8 | magic `HWVOTES1` |
//! | 8 | 2 | version |
//! | 10 | 6 | zero |
//! | 16 | 8 | length of the whole file |
//! | 24 | 4 | crc32 of the 24 bytes before |
//! | 4096 and 8192 | 8 | mark: records end here or later, durably; the higher valid one of the two counts |
//! | + 8 | 4 | crc32 of the mark's position (8 bytes) and the mark |
//! | 12288 | | records, each on a multiple of 8 |
//!
//! | record | bytes | field |
//! |---|---|---|
//! | 0 | 4 | crc32 of the record's position (8 bytes) and what follows, up to the payload's end |
//! | 4 | 2 | length of the payload |
//! | 6 | 1 | kind: 1 a vote, 2 the log's votes are removed |
//! | 7 | 1 | zero |
//! | 8 | 20 | log key |
//! | 28 | n | payload: the vote |
//!
//! The two marks lie in pages of their own, so that one bad sector cannot take a record and its witness with it, and a
//! torn write of one leaves the other.

use std::collections::BTreeMap;
use std::path::Path;

use bytes::Bytes;

use crate::error::{Damage, FileError};
use crate::log_key::{LOG_KEY_BYTES, LogKey};

const MAGIC: [u8; 8] = *b"HWVOTES1";
/// The version that this build reads and writes.
pub(super) const VERSION: u16 = 1;
const HEADER_BYTES: usize = 28;
const MARK_BYTES: usize = 12;
const RECORD_HEADER_BYTES: usize = 8 + LOG_KEY_BYTES;
const KIND_VOTE: u8 = 1;
const KIND_REMOVED: u8 = 2;

/// Where the two marks lie.
pub(super) const MARK_POSITIONS: [u64; 2] = [4096, 8192];
/// Where records begin.
pub(super) const RECORDS_START: u64 = 12_288;
/// The most bytes of one vote.
pub const VOTE_BYTES_MAX: usize = 1024;

/// The votes by log.
pub(super) type Votes = BTreeMap<LogKey, Bytes>;

/// The first bytes of a file of `file_bytes`.
pub(super) fn header(file_bytes: u64) -> [u8; HEADER_BYTES] {
    let mut header = [0; HEADER_BYTES];
    put(&mut header, 0, &MAGIC);
    put(&mut header, 8, &VERSION.to_le_bytes());
    put(&mut header, 16, &file_bytes.to_le_bytes());
    let crc = crc32fast::hash(header.split_at(24).0);
    put(&mut header, 24, &crc.to_le_bytes());
    header
}

/// A mark for `position`, saying that records are durable up to `durable_through`.
pub(super) fn mark(position: u64, durable_through: u64) -> [u8; MARK_BYTES] {
    let mut mark = [0; MARK_BYTES];
    put(&mut mark, 0, &durable_through.to_le_bytes());
    put(&mut mark, 8, &checksum(position, &durable_through.to_le_bytes()).to_le_bytes());
    mark
}

/// Adds the record that gives `key` this vote, or none, to `records`, whose first byte lies at `start` in the file.
pub(super) fn push_record(records: &mut Vec<u8>, start: u64, key: LogKey, vote: Option<&[u8]>) {
    let payload = vote.unwrap_or_default();
    let from = records.len();
    let kind = if vote.is_some() { KIND_VOTE } else { KIND_REMOVED };
    records.extend_from_slice(&[0; 4]);
    records.extend_from_slice(&u16::try_from(payload.len()).unwrap_or(u16::MAX).to_le_bytes());
    records.extend_from_slice(&[kind, 0]);
    records.extend_from_slice(&key.to_bytes());
    records.extend_from_slice(payload);
    let record = records.split_at_mut(from).1;
    let crc = checksum(start + from as u64, record.split_at(4).1);
    put(record, 0, &crc.to_le_bytes());
    records.resize(records.len().next_multiple_of(8), 0);
}

/// A vote file as it was read.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Contents {
    pub(super) votes: Votes,
    /// The first byte after the last good record.
    pub(super) end: u64,
    /// What the marks say.
    pub(super) durable_through: u64,
    /// Which of the two marks says so.
    pub(super) mark_index: usize,
    /// Whether there is something above `end`: the rest of a write that was never acknowledged.
    pub(super) is_torn: bool,
}

/// Reads a whole file; `path` is for messages.
pub(super) fn parse(path: &Path, bytes: &Bytes) -> Result<Contents, FileError> {
    let damaged = |damage| FileError::damaged(path, damage);
    check_header(path, bytes)?;
    let (durable_through, mark_index) = newest_mark(bytes)
        .ok_or_else(|| damaged(Damage::BadContents { what: "neither of its two marks can be read" }))?;
    if durable_through < RECORDS_START || durable_through > bytes.len() as u64 {
        return Err(damaged(Damage::BadContents { what: "its mark lies outside the file" }));
    }
    let mut votes = Votes::new();
    let mut end = RECORDS_START;
    while let Some(record) = read_record(bytes, end) {
        match record.vote {
            Some(vote) => drop(votes.insert(record.key, vote)),
            None => drop(votes.remove(&record.key)),
        }
        end = record.end;
    }
    if end < durable_through {
        return Err(damaged(Damage::BadChecksum { at: end }));
    }
    let is_torn = tail(bytes, end).is_some_and(|rest| rest.iter().any(|byte| *byte != 0));
    Ok(Contents { votes, end, durable_through, mark_index, is_torn })
}

fn check_header(path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    let damaged = |damage| FileError::damaged(path, damage);
    let found = bytes.len() as u64;
    let too_short = || damaged(Damage::BadLength { expected: RECORDS_START, found });
    let header: [u8; HEADER_BYTES] = array(bytes, 0).ok_or_else(too_short)?;
    if !header.starts_with(&MAGIC) {
        return Err(damaged(Damage::BadMagic));
    }
    let (checked, crc) = header.split_at(24);
    if crc32fast::hash(checked).to_le_bytes() != crc {
        return Err(damaged(Damage::BadChecksum { at: 0 }));
    }
    let version = array(bytes, 8).map_or(0, u16::from_le_bytes);
    if version > VERSION {
        return Err(FileError::NewerFormat { file: path.to_owned(), found: version, supported: VERSION });
    }
    let expected = array(bytes, 16).map_or(0, u64::from_le_bytes);
    if expected != found || found < RECORDS_START {
        return Err(damaged(Damage::BadLength { expected, found }));
    }
    Ok(())
}

/// The higher valid mark and its index.
fn newest_mark(bytes: &[u8]) -> Option<(u64, usize)> {
    let read = |(index, position): (usize, u64)| {
        let found: [u8; MARK_BYTES] = array(bytes, position)?;
        let durable_through = array(bytes, position).map(u64::from_le_bytes)?;
        (found == mark(position, durable_through)).then_some((durable_through, index))
    };
    MARK_POSITIONS.into_iter().enumerate().filter_map(read).max()
}

struct Record {
    key: LogKey,
    vote: Option<Bytes>,
    end: u64,
}

/// The record at `position`, if there is a good one.
fn read_record(bytes: &Bytes, position: u64) -> Option<Record> {
    let length = usize::from(u16::from_le_bytes(array(bytes, position + 4)?));
    let [kind, zero] = array(bytes, position + 6)?;
    let start = usize::try_from(position).ok()?;
    let payload_end = start + RECORD_HEADER_BYTES + length;
    let checked = bytes.get(start + 4..payload_end)?;
    let crc = u32::from_le_bytes(array(bytes, position)?);
    if length > VOTE_BYTES_MAX || zero != 0 || crc != checksum(position, checked) {
        return None;
    }
    let vote = match kind {
        KIND_VOTE => Some(bytes.slice(start + RECORD_HEADER_BYTES..payload_end)),
        KIND_REMOVED if length == 0 => None,
        _ => return None,
    };
    let key = LogKey::from_bytes(array(bytes, position + 8)?);
    Some(Record { key, vote, end: payload_end.next_multiple_of(8) as u64 })
}

fn checksum(position: u64, bytes: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&position.to_le_bytes());
    hasher.update(bytes);
    hasher.finalize()
}

fn tail(bytes: &[u8], position: u64) -> Option<&[u8]> {
    bytes.get(usize::try_from(position).ok()?..)
}

fn array<const N: usize>(bytes: &[u8], position: u64) -> Option<[u8; N]> {
    tail(bytes, position)?.first_chunk().copied()
}

/// Writes `value` at `at`; both are constants of this file, so it always fits.
fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    bytes.split_at_mut(at).1.split_at_mut(value.len()).0.copy_from_slice(value);
}
