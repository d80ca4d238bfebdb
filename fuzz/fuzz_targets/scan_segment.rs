//! Any bytes behind the first frame of an open segment, as a crash might leave them: as they came, and with lengths and
//! checksums of frames made right, or the fuzzer would never get past the first.
//!
//! Looks for panics, hangs, and broken promises: a log that opens reads to its end without a gap, holds what was durable,
//! and opens the same again; a dump of the segment ends.
#![no_main]

use std::io::IoSlice;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};

use bytes::Bytes;
use highwater_storage::disk::Disk;
use highwater_storage::disk::sim::SimDisk;
use highwater_storage::log::{SegmentHeader, SegmentNumber};
use highwater_storage::{
    EntryKind, Flusher, Log, LogKey, LogOptions, NewEntry, OpenLogError, Poison, SyncFilesystem, inspect,
};
use highwater_types::{EntryId, LogIndex, Timestamp};
use libfuzzer_sys::fuzz_target;

const DIR: &str = "/log";
const BYTES_MAX: usize = 16 * 1024;

/// A log with one durable entry.
struct Before {
    manifest: Vec<u8>,
    segment: Vec<u8>,
    salt: u32,
}

static BEFORE: LazyLock<Before> = LazyLock::new(|| {
    let disk = SimDisk::new(1);
    let (log, flusher) = open(&disk).expect("a new log");
    let payload = Bytes::from_static(b"durable");
    let entry = NewEntry { id: EntryId::new(1, 0), kind: EntryKind::Metadata, payload, expected_base_offset: None };
    log.append(&[entry], Timestamp::from_ms(1), None).expect("append");
    flusher.run_round();
    let mut segment = read(&disk, &segment_path());
    let (_, length, salt) = SegmentHeader::decode(&segment).expect("a header");
    segment.truncate(length + 48);
    Before { manifest: read(&disk, &Path::new(DIR).join("manifest")), segment, salt }
});

fuzz_target!(|data: &[u8]| {
    let data = data.get(..BYTES_MAX).unwrap_or(data);
    recover(data);
    recover(&seal(data));
});

fn segment_path() -> PathBuf {
    SegmentNumber::FIRST.segment_path(Path::new(DIR))
}

fn read(disk: &SimDisk, path: &Path) -> Vec<u8> {
    let file = disk.open(path).expect("open");
    let mut bytes = vec![0; usize::try_from(file.size().expect("size")).expect("small")];
    file.read_at(0, &mut bytes).expect("read");
    bytes
}

fn open(disk: &SimDisk) -> Result<(Log, Arc<Flusher>), OpenLogError> {
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    let poison = Arc::new(Poison::new());
    let flusher = Arc::new(Flusher::new(Arc::clone(&disk), Path::new(DIR), SyncFilesystem::Never, poison));
    let key = LogKey::new([1; 16], 0);
    let (log, _) = Log::open(&disk, Path::new(DIR), key, LogOptions::default(), &flusher, &Arc::default())?;
    Ok((log, flusher))
}

fn recover(data: &[u8]) {
    let disk = SimDisk::new(1);
    disk.create_dir_all(Path::new(DIR)).expect("folder");
    for (path, parts) in [
        (Path::new(DIR).join("manifest"), [&BEFORE.manifest[..], &[]]),
        (segment_path(), [&BEFORE.segment[..], data]),
    ] {
        let file = disk.create(&path).expect("create");
        file.write_at(0, &mut parts.map(IoSlice::new)).expect("write");
    }
    assert!(inspect::segment(&disk, &segment_path()).expect("dump").count() <= BYTES_MAX / 8);
    let Ok((log, _)) = open(&disk) else { return };
    let entries = log.read_entries(LogIndex::new(0), LogIndex::new(u64::MAX), usize::MAX).expect("read");
    assert!(entries.iter().map(|entry| entry.id.index.get()).eq(0..entries.len() as u64));
    assert_eq!(entries.first().map(|entry| &entry.payload[..]), Some(&b"durable"[..]));
    assert_eq!(entries.last().map(|entry| entry.id), log.state().last);
    drop(log);
    let (again, _) = open(&disk).expect("what opened once opens again");
    assert_eq!(again.state().last, entries.last().map(|entry| entry.id));
}

/// The same bytes as frames: 1 byte of length, then the frame's fields from byte 8 on and its payload.
fn seal(data: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = data;
    while let Some((length, tail)) = rest.split_first() {
        let length = (32 + usize::from(*length)).min(tail.len());
        let (body, tail) = tail.split_at(length);
        rest = tail;
        let mut hasher = crc32fast::Hasher::new_with_initial(BEFORE.salt);
        hasher.update(body);
        let length = u32::try_from(body.len() + 4).expect("small");
        out.extend_from_slice(&length.to_le_bytes());
        out.extend_from_slice(&hasher.finalize().to_le_bytes());
        out.extend_from_slice(body);
        out.resize(out.len().next_multiple_of(8), 0);
    }
    out
}
