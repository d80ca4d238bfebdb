//! A log that format version 1 wrote, kept for ever: every later build must read it as it was.
//!
//! The files under `golden/v1` were written by `write_the_golden_log` and are never written again. A new format gets a
//! folder of its own.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)] // a test

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use highwater_storage::disk::Disk;
use highwater_storage::disk::os::OsDisk;
use highwater_storage::{
    Background, EntryKind, Flusher, Log, LogKey, LogOptions, NewEntry, Poison, RecoveryReport, RetentionPolicy,
    SyncFilesystem,
};
use highwater_types::batch::{BatchBuilder, Compression, NO_HEADERS, records};
use highwater_types::{EntryId, LogIndex, Offset, Timestamp};

const KEY: LogKey = LogKey::new(*b"golden-log-key-1", 3);

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/v1")
}

fn open(dir: &Path) -> Result<(Log, Arc<Flusher>, RecoveryReport), String> {
    let disk: Arc<dyn Disk> = Arc::new(OsDisk::new());
    let poison = Arc::new(Poison::new());
    let flusher = Arc::new(Flusher::new(Arc::clone(&disk), dir, SyncFilesystem::Never, poison));
    let options = LogOptions {
        segment_bytes_max: 1536,
        index_interval_bytes: 256,
        allocate_bytes_min: 512,
        allocate_bytes_max: 512,
        ..LogOptions::default()
    };
    let background = Arc::new(Background::new());
    let (log, report) =
        Log::open(&disk, dir, KEY, options, &flusher, &background).map_err(|error| error.to_string())?;
    Ok((log, flusher, report))
}

/// What the golden log was made of: 40 entries, three members, a purge through 5, a truncation from 38.
fn entry(index: u64) -> NewEntry {
    let id = EntryId::new(index / 10 + 1, index);
    let control = |kind, text: &str| (kind, Bytes::copy_from_slice(text.as_bytes()));
    let (kind, payload) = match index % 8 {
        1 => control(EntryKind::Blank, ""),
        2 => control(EntryKind::Membership, &format!("members as of {index}")),
        3 => control(EntryKind::GroupDelta, &format!("delta {index}")),
        4 => control(EntryKind::Metadata, &format!("metadata {index}")),
        _ => (EntryKind::Data, batch(index)),
    };
    NewEntry { id, kind, payload, expected_base_offset: None }
}

fn batch(index: u64) -> Bytes {
    let mut builder = BatchBuilder::new(Compression::None);
    for nth in 0..=index % 3 {
        let time = Timestamp::from_ms(i64::try_from(index * 1000 + nth).unwrap());
        builder.append(time, Some(b"key"), Some(format!("value {index}.{nth}").as_bytes()), NO_HEADERS).unwrap();
    }
    builder.finish().unwrap()
}

/// A copy that a test may change.
fn copy() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for file in std::fs::read_dir(golden()).unwrap() {
        let file = file.unwrap();
        std::fs::copy(file.path(), dir.path().join(file.file_name())).unwrap();
    }
    dir
}

#[test]
#[ignore = "writes the fixture; run it once for a new format, never for an old one"]
fn write_the_golden_log() {
    let dir = golden();
    let (log, flusher, _) = open(&dir).unwrap();
    for index in 0..40 {
        log.append(&[entry(index)], Timestamp::from_ms(1_700_000_000_000), None).unwrap();
        flusher.run_round();
    }
    log.purge_through(EntryId::new(1, 5)).unwrap();
    log.truncate_from(LogIndex::new(38)).unwrap();
    log.append(&[entry(38)], Timestamp::from_ms(1_700_000_000_000), None).unwrap();
    log.write_checkpoint(b"the state machine of format 1").unwrap();
    log.close().unwrap();
}

#[test]
fn format_1_reads_as_it_was_written() {
    let dir = copy();
    let (log, _, report) = open(dir.path()).unwrap();
    assert!(report.was_clean && report.scanned_bytes == 0 && report.foreign.is_empty(), "{report:?}");
    let entries = log.read_entries(LogIndex::new(6), LogIndex::new(99), usize::MAX).unwrap();
    let mut offset = log.state().log_start;
    assert_eq!(entries.len(), 33);
    for (read, index) in entries.iter().zip(6..) {
        let written = entry(index);
        assert_eq!((read.id, read.kind, read.base_offset), (written.id, written.kind, offset));
        offset = read.next_offset();
        if written.kind == EntryKind::Data {
            let (read, written) = (records(read.payload.clone()).unwrap(), records(written.payload).unwrap());
            let value = |record: highwater_types::batch::Record| (record.timestamp, record.key, record.value);
            assert!(read.map(|record| value(record.unwrap())).eq(written.map(|record| value(record.unwrap()))));
        } else {
            assert_eq!(read.payload, written.payload);
        }
    }
    let state = log.state();
    assert_eq!((state.purged, state.last), (Some(EntryId::new(1, 5)), Some(EntryId::new(4, 38))));
    assert_eq!((state.log_start.get(), state.log_end), (4, offset));
    assert_eq!(log.read_checkpoint().unwrap().as_deref(), Some(&b"the state machine of format 1"[..]));
    let found = log.find_timestamp(Timestamp::from_ms(22_001), Offset::ZERO, Offset::MAX).unwrap();
    assert_eq!(found.map(|(_, time)| time.as_ms()), Some(22_001));
    let all = RetentionPolicy { age_ms_max: None, bytes_max: Some(0) };
    let boundary = log.retention_boundary(&all, Timestamp::from_ms(0), Offset::MAX).unwrap();
    assert_eq!(boundary.membership, Some((EntryId::new(4, 34), Bytes::from_static(b"members as of 34"))));
}

#[test]
fn format_1_is_gone_on_with() {
    let dir = copy();
    let (log, flusher, _) = open(dir.path()).unwrap();
    for index in 39..60 {
        log.append(&[entry(index)], Timestamp::from_ms(1_700_000_000_001), None).unwrap();
    }
    flusher.run_round();
    drop(log);
    let (log, _, report) = open(dir.path()).unwrap();
    assert!(!report.was_clean);
    assert_eq!(log.read_entries(LogIndex::new(6), LogIndex::new(99), usize::MAX).unwrap().len(), 54);
}

/// Opens or reads the changed copy, one of which must fail; returns what it says.
fn refusal(change: impl FnOnce(&Path)) -> String {
    let dir = copy();
    change(dir.path());
    match open(dir.path()) {
        Err(refusal) => refusal,
        Ok((log, ..)) => {
            let read = log.read_entries(LogIndex::new(6), LogIndex::new(99), usize::MAX);
            read.expect_err("damage must not be served").to_string()
        }
    }
}

fn edit(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = std::fs::read(path).unwrap();
    change(&mut bytes);
    std::fs::write(path, bytes).unwrap();
}

fn first_segment(dir: &Path) -> PathBuf {
    let mut names: Vec<_> = std::fs::read_dir(dir).unwrap().map(|file| file.unwrap().path()).collect();
    names.sort();
    names.into_iter().find(|path| path.extension().is_some_and(|extension| extension == "segment")).unwrap()
}

#[test]
fn damaged_copies_are_refused_by_name() {
    let name = first_segment(&golden()).file_name().unwrap().to_string_lossy().into_owned();
    let garbled_manifest = refusal(|dir| edit(&dir.join("manifest"), |bytes| bytes[60] ^= 0x10));
    assert!(garbled_manifest.contains("manifest is damaged"), "{garbled_manifest}");
    let cut_manifest = refusal(|dir| edit(&dir.join("manifest"), |bytes| bytes.truncate(100)));
    assert!(cut_manifest.contains("manifest is damaged"), "{cut_manifest}");
    let garbled_segment = refusal(|dir| edit(&first_segment(dir), |bytes| bytes[700] ^= 0x10));
    assert!(garbled_segment.contains(&name) && garbled_segment.contains("checksum"), "{garbled_segment}");
    let cut_segment = refusal(|dir| edit(&first_segment(dir), |bytes| bytes.truncate(700)));
    assert!(cut_segment.contains(&name) && cut_segment.contains("700 bytes"), "{cut_segment}");
    let no_segment = refusal(|dir| std::fs::remove_file(first_segment(dir)).unwrap());
    assert!(no_segment.contains(&name) && no_segment.contains("missing"), "{no_segment}");
    let checkpoint = copy();
    edit(&checkpoint.path().join("checkpoint"), |bytes| bytes.truncate(30));
    let (log, ..) = open(checkpoint.path()).unwrap();
    let refused = log.read_checkpoint().unwrap_err().to_string();
    assert!(refused.contains("checkpoint is damaged"), "{refused}");
}

#[test]
fn damaged_indexes_are_rebuilt() {
    let dir = copy();
    let mut indexes = 0;
    for file in std::fs::read_dir(dir.path()).unwrap() {
        let path = file.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "index") {
            edit(&path, |bytes| bytes[41] ^= 1);
            indexes += 1;
        }
    }
    assert!(indexes > 2);
    let (log, ..) = open(dir.path()).unwrap();
    for index in 6..39 {
        let (from, below) = (LogIndex::new(index), LogIndex::new(index + 1));
        assert_eq!(log.read_entries(from, below, 1).unwrap()[0].id, entry(index).id);
    }
}
