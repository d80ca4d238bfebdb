//! Damage below what was durable is found and named; faults of the disk are passed on; nothing is guessed.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use highwater_types::batch::{BatchBuilder, Compression, NO_HEADERS};
use highwater_types::{EntryId, LogIndex, Offset, Timestamp};

use super::model::{Chance, options};
use crate::disk::Disk;
use crate::disk::sim::{CrashMode, Fault, SimDisk};
use crate::flush::{Flusher, SyncFilesystem};
use crate::locks::lock;
use crate::log::{AppendError, CorruptCause, Log, LogError, LogOptions, OpenLogError, ReadError, SegmentNumber};
use crate::planted::{Bug, plant};
use crate::poison::Poison;
use crate::sealed_file::{self, FileKind};
use crate::{Entry, EntryKind, LogKey, NewEntry, RecoveryReport};

pub(super) const DIR: &str = "/log";
const KEY: LogKey = LogKey::new([5; 16], 2);

pub(super) struct Running {
    pub(super) log: Log,
    pub(super) flusher: Arc<Flusher>,
    report: RecoveryReport,
}

pub(super) fn open_with(disk: &SimDisk, options: LogOptions) -> Result<Running, OpenLogError> {
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    let poison = Arc::new(Poison::new());
    let flusher = Arc::new(Flusher::new(Arc::clone(&shared), Path::new(DIR), SyncFilesystem::Never, poison));
    let (log, report) = Log::open(&shared, Path::new(DIR), KEY, options, &flusher, &Arc::default())?;
    Ok(Running { log, flusher, report })
}

pub(super) fn open(disk: &SimDisk) -> Result<Running, OpenLogError> {
    open_with(disk, options())
}

pub(super) fn data(index: u64) -> NewEntry {
    let mut builder = BatchBuilder::new(Compression::None);
    let value = vec![b'v'; 30 + usize::try_from(index % 40).unwrap()];
    for _ in 0..=index % 3 {
        builder.append(Timestamp::from_ms(1), None, Some(&value), NO_HEADERS).unwrap();
    }
    let payload = builder.finish().unwrap();
    NewEntry { id: EntryId::new(1, index), kind: EntryKind::Data, payload, expected_base_offset: None }
}

fn membership(index: u64) -> NewEntry {
    let payload = Bytes::from_static(b"members");
    NewEntry { id: EntryId::new(1, index), kind: EntryKind::Membership, payload, expected_base_offset: None }
}

pub(super) fn append(running: &Running, indexes: std::ops::Range<u64>) {
    for index in indexes {
        let entry = if index % 11 == 3 { membership(index) } else { data(index) };
        running.log.append(&[entry], Timestamp::from_ms(1), None).unwrap();
        // Each in a round of its own, so that later frames say that earlier ones are durable.
        running.flusher.run_round();
    }
}

pub(super) fn read_all(log: &Log) -> Result<Vec<Entry>, ReadError> {
    log.read_entries(LogIndex::new(0), LogIndex::new(u64::MAX), usize::MAX)
}

pub(super) fn segments(disk: &SimDisk) -> Vec<PathBuf> {
    let names = disk.list(Path::new(DIR)).unwrap();
    let is_segment = |name: &str| Path::new(name).extension().is_some_and(|extension| extension == "segment");
    names.iter().filter(|entry| is_segment(&entry.name)).map(|entry| Path::new(DIR).join(&entry.name)).collect()
}

/// The bytes of each segment that a later frame or the manifest proves to have been durable.
fn durable_ranges(disk: &SimDisk, is_clean: bool) -> Vec<(PathBuf, u64)> {
    let files = segments(disk);
    let count = files.len();
    let ends = files.into_iter().enumerate().map(|(nth, path)| {
        let frames: Vec<_> = crate::inspect::segment(disk, &path).unwrap().map(Result::unwrap).collect();
        let last = frames.last().unwrap();
        // Of the last round nothing says later that it was durable, unless the log was closed.
        let is_proven = is_clean || nth + 1 < count;
        let end = last.position + if is_proven { last.header.unwrap().frame_bytes() } else { 0 };
        (path, end)
    });
    ends.collect()
}

/// Flips bits, one after another, in what was durable: each must be found, and nothing else be served.
fn flip_bits(seed: u64, flips: u32, is_clean: bool) {
    let disk = SimDisk::new(seed);
    let running = open(&disk).unwrap();
    append(&running, 0..60);
    // Damage must be tried in the open segment too.
    let frames_of_active = || crate::inspect::segment(&disk, &segments(&disk).pop().unwrap()).unwrap().count();
    (60..).take_while(|_| frames_of_active() < 6).for_each(|index| append(&running, index..index + 1));
    if is_clean {
        running.log.close().unwrap();
    }
    let written = read_all(&running.log).unwrap();
    drop(running);
    let ranges = durable_ranges(&disk, is_clean);
    assert!(ranges.len() > 3, "damage must be tried in sealed segments too");
    let mut chance = Chance::new(seed);
    for _ in 0..flips {
        let (path, end) = &ranges[usize::try_from(chance.below(ranges.len() as u64)).unwrap()];
        let position = chance.below(*end);
        let bit = u8::try_from(chance.below(8)).unwrap();
        disk.flip_bit(path, position, bit).unwrap();
        let place = format!("bit {bit} of byte {position} in {}", path.display());
        let message = match open(&disk) {
            Err(error) => error.to_string(),
            Ok(running) => {
                let served = read_all(&running.log);
                assert_eq!(running.log.state().last, written.last().map(|entry| entry.id), "LOST entries: {place}");
                served.expect_err(&format!("SERVED although damaged: {place}")).to_string()
            }
        };
        assert!(message.contains(&*path.file_name().unwrap().to_string_lossy()), "{place}: {message}");
        disk.flip_bit(path, position, bit).unwrap();
    }
    assert_eq!(read_all(&open(&disk).unwrap().log).unwrap(), written, "looking at damage must change nothing");
}

#[test]
fn every_flipped_bit_is_found_after_a_clean_close() {
    flip_bits(1, 300, true);
}

#[test]
fn every_flipped_bit_is_found_after_a_kill() {
    flip_bits(2, 300, false);
}

#[test]
fn a_recovery_that_cuts_at_any_bad_frame_is_caught() {
    plant(Some(Bug::CutAtAnyBadFrame));
    let caught = std::panic::catch_unwind(|| flip_bits(2, 300, false));
    plant(None);
    let cause = caught.expect_err("planted and not caught");
    let text = cause.downcast_ref::<String>().cloned().unwrap_or_default();
    assert!(text.contains("LOST"), "caught for another reason: {text}");
}

/// A log of a few segments that was not closed.
fn damaged() -> SimDisk {
    let disk = SimDisk::new(7);
    append(&open(&disk).unwrap(), 0..60);
    disk
}

fn replace(disk: &SimDisk, path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let file = disk.open(path).unwrap();
    let mut bytes = vec![0; usize::try_from(file.size().unwrap()).unwrap()];
    file.read_at(0, &mut bytes).unwrap();
    change(&mut bytes);
    disk.remove(path).unwrap();
    let file = disk.create(path).unwrap();
    file.write_at(0, &mut [std::io::IoSlice::new(&bytes)]).unwrap();
}

#[track_caller]
fn assert_refused(disk: &SimDisk, words: &[&str]) {
    let message = open(disk).map(|_| ()).expect_err("a refusal").to_string();
    for word in words {
        assert!(message.contains(word), "{word:?} is not in {message:?}");
    }
}

#[test]
fn a_bad_manifest_is_refused_by_name() {
    let path = Path::new(DIR).join("manifest");
    for (change, word) in [
        ((|bytes| bytes[40] ^= 1) as fn(&mut Vec<u8>), "damaged"),
        (|bytes| bytes.truncate(30), "damaged"),
        (Vec::clear, "damaged"),
        (|bytes| bytes[0] = b'?', "damaged"),
    ] {
        let disk = damaged();
        replace(&disk, &path, change);
        assert_refused(&disk, &["/log/manifest", word]);
    }
    let disk = damaged();
    disk.remove(&path).unwrap();
    assert_refused(&disk, &["/log/manifest", "missing"]);
    let disk = damaged();
    replace(&disk, &path, |bytes| {
        bytes[8] = 2;
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(&bytes[..16]);
        hasher.update(&bytes[20..]);
        bytes.splice(16..20, hasher.finalize().to_le_bytes());
    });
    assert_refused(&disk, &["/log/manifest", "format version 2"]);
}

#[test]
fn a_manifest_of_another_log_is_refused() {
    let disk = damaged();
    let path = Path::new(DIR).join("manifest");
    let sealed = sealed_file::read(&disk, &path, FileKind::Manifest).unwrap().unwrap();
    let mut other = sealed.payload.to_vec();
    other[0] ^= 1;
    sealed_file::write(&disk, &path, FileKind::Manifest, &other).unwrap();
    assert_refused(&disk, &["/log/manifest", "another log"]);
}

#[test]
fn a_bad_segment_is_refused_by_name() {
    let disk = damaged();
    let first = SegmentNumber::FIRST.segment_path(Path::new(DIR));
    disk.cut(&first, 900).unwrap();
    assert_refused(&disk, &["00000000000000000001.segment", "900 bytes"]);
    let disk = damaged();
    disk.remove(&first).unwrap();
    assert_refused(&disk, &["00000000000000000001.segment", "missing"]);
    let disk = damaged();
    replace(&disk, &first, |bytes| bytes[50] ^= 4);
    assert_refused(&disk, &["00000000000000000001.segment", "header"]);
    let disk = damaged();
    replace(&disk, &first, |bytes| {
        bytes[8] = 9;
        let length = usize::from(bytes[12]) + usize::from(bytes[13]) * 256;
        let crc = crate::frame::checksum(0, &[&bytes[..16], &bytes[20..length]]);
        bytes.splice(16..20, crc.to_le_bytes());
    });
    assert_refused(&disk, &["00000000000000000001.segment", "format version 9", "newer"]);
    let disk = damaged();
    let files = segments(&disk);
    let (one, two) = (&files[0], &files[1]);
    let mut other = Vec::new();
    replace(&disk, two, |bytes| other.clone_from(bytes));
    replace(&disk, one, |bytes| *bytes = other);
    assert_refused(&disk, &["00000000000000000001.segment", "not the one"]);
}

/// The broker does not look inside compressed batches, so a client can have stored anything there. That must not keep
/// others from finding what lies behind.
#[test]
fn a_batch_that_nobody_can_decode_does_not_stop_a_search_by_time() {
    let running = open(&SimDisk::new(1)).unwrap();
    let mut garbled = data(0);
    let mut bytes = garbled.payload.to_vec();
    bytes[22] |= 4; // says zstd
    garbled.payload = bytes.into();
    running.log.append(&[garbled, data(1)], Timestamp::from_ms(1), None).unwrap();
    let found = running.log.find_timestamp(Timestamp::from_ms(0), Offset::ZERO, Offset::MAX).unwrap();
    assert_eq!(found, Some((Offset::new(1).unwrap(), Timestamp::from_ms(1))));
}

#[test]
fn a_newer_frame_is_refused_by_name() {
    let disk = damaged();
    let path = segments(&disk).pop().unwrap();
    let mut dump = crate::inspect::segment(&disk, &path).unwrap();
    let header = dump.header.clone().unwrap().encode();
    let frame = dump.nth(1).unwrap().unwrap();
    let at = usize::try_from(frame.position).unwrap();
    let end = at + usize::try_from(frame.header.unwrap().frame_bytes()).unwrap();
    replace(&disk, &path, |bytes| {
        bytes[at + 8] = 2;
        let crc = crate::frame::checksum(header.salt, &[&bytes[at + 8..end]]);
        bytes.splice(at + 4..at + 8, crc.to_le_bytes());
    });
    assert_refused(&disk, &[&path.to_string_lossy(), "format version 2"]);
}

#[test]
fn a_manifest_from_the_past_is_refused() {
    let disk = SimDisk::new(9);
    let running = open(&disk).unwrap();
    append(&running, 0..5);
    let path = Path::new(DIR).join("manifest");
    let old = sealed_file::read(&disk, &path, FileKind::Manifest).unwrap().unwrap().payload;
    append(&running, 5..40);
    drop(running);
    sealed_file::write(&disk, &path, FileKind::Manifest, &old).unwrap();
    assert_refused(&disk, &[".segment", "older than the log"]);
}

#[test]
fn foreign_files_are_left_alone_and_named() {
    let disk = damaged();
    for name in [".DS_Store", "7.segment", "notes.txt"] {
        disk.create(&Path::new(DIR).join(name)).unwrap();
    }
    let running = open(&disk).unwrap();
    let names: Vec<_> = running.report.foreign.iter().map(|path| path.to_string_lossy().into_owned()).collect();
    assert_eq!(names, ["/log/.DS_Store", "/log/7.segment", "/log/notes.txt"]);
    assert!(disk.open(&Path::new(DIR).join("notes.txt")).is_ok());
}

#[test]
fn a_bad_index_is_rebuilt() {
    let disk = SimDisk::new(3);
    let running = open(&disk).unwrap();
    append(&running, 0..60);
    let written = read_all(&running.log).unwrap();
    running.log.close().unwrap();
    drop(running);
    let indexes: Vec<_> = disk
        .list(Path::new(DIR))
        .unwrap()
        .into_iter()
        .filter(|entry| Path::new(&entry.name).extension().is_some_and(|extension| extension == "index"))
        .map(|entry| Path::new(DIR).join(entry.name))
        .collect();
    assert!(indexes.len() > 3);
    for (nth, path) in indexes.iter().enumerate() {
        match nth % 3 {
            0 => disk.remove(path).unwrap(),
            1 => disk.cut(path, 21).unwrap(),
            _ => disk.flip_bit(path, 45, 2).unwrap(),
        }
    }
    let running = open(&disk).unwrap();
    assert_eq!(read_all(&running.log).unwrap(), written);
    for entry in &written {
        let found = running.log.read_entries(entry.id.index, entry.id.index.next(), 1).unwrap();
        assert_eq!(found, std::slice::from_ref(entry));
    }
}

#[test]
fn an_error_of_the_disk_is_passed_on_and_not_taken_for_damage() {
    let disk = damaged();
    let mut refusals = 0;
    for nth in 1..40 {
        let again = disk.clone();
        again.schedule(Fault::ReadError, nth);
        match open(&again) {
            Err(OpenLogError::File(_)) => refusals += 1,
            Err(other) => panic!("read {nth}: {other}"),
            Ok(running) => assert_eq!(running.log.state().last.unwrap().index.get(), 59, "read {nth}"),
        }
        again.clear_faults();
    }
    assert!(refusals > 5);
    assert_eq!(open(&disk).unwrap().log.state().last.unwrap().index.get(), 59);
}

fn outcome_of_append(running: &Running, index: u64) -> Arc<Mutex<Option<bool>>> {
    let heard = Arc::new(Mutex::new(None));
    let tell = Arc::clone(&heard);
    let on_durable = Box::new(move |outcome: Result<(), _>| *lock(&tell) = Some(outcome.is_ok()));
    running.log.append(&[data(index)], Timestamp::from_ms(1), Some(on_durable)).unwrap();
    heard
}

#[test]
fn a_failed_sync_poisons_and_reads_go_on() {
    let disk = SimDisk::new(4);
    let running = open(&disk).unwrap();
    append(&running, 0..4);
    let heard = outcome_of_append(&running, 4);
    disk.schedule(Fault::SyncError, 1);
    running.flusher.run_round();
    assert_eq!(*lock(&heard), Some(false), "nothing is acknowledged");
    assert_eq!(running.log.flushed().unwrap().id.index.get(), 3);
    let refused = running.log.append(&[data(5)], Timestamp::from_ms(1), None);
    assert!(matches!(refused, Err(AppendError::Poisoned(_))));
    assert!(matches!(running.log.truncate_from(LogIndex::new(2)), Err(LogError::Poisoned(_))));
    assert!(running.log.close().is_err());
    assert_eq!(read_all(&running.log).unwrap().len(), 5);
    // The pages count as written although they are not: only a restart shows what is there.
    disk.crash(CrashMode::LosePending);
    let running = open(&disk.reboot()).unwrap();
    assert_eq!(running.log.state().last.unwrap().index.get(), 3);
}

#[test]
fn a_failed_write_poisons_and_what_was_acknowledged_stays() {
    let disk = SimDisk::new(5);
    let running = open(&disk).unwrap();
    append(&running, 0..4);
    disk.schedule(Fault::WriteError, 1);
    let failed = running.log.append(&[data(4)], Timestamp::from_ms(1), None);
    assert!(matches!(failed, Err(AppendError::Poisoned(_))), "{failed:?}");
    assert!(running.log.append(&[data(4)], Timestamp::from_ms(1), None).is_err(), "no second try");
    assert_eq!(read_all(&running.log).unwrap().len(), 4, "nothing of it is shown");
    disk.crash(CrashMode::KeepAll);
    assert_eq!(open(&disk.reboot()).unwrap().log.state().last.unwrap().index.get(), 3);
}

#[test]
fn a_torn_tail_is_dropped_and_reported() {
    let disk = SimDisk::new(11);
    let running = open(&disk).unwrap();
    append(&running, 0..4);
    running.log.append(&[data(4), data(5)], Timestamp::from_ms(1), None).unwrap();
    disk.crash(CrashMode::TearLastWrite);
    let disk = disk.reboot();
    let running = open(&disk).unwrap();
    let torn = running.report.torn_tail.clone().expect("a torn tail");
    assert!(torn.file.ends_with("00000000000000000001.segment") && torn.bytes > 0);
    assert!(running.log.state().last.unwrap().index.get() < 5);
    let next = running.log.state().last.unwrap().index.get() + 1;
    append(&running, next..next + 3);
    drop(running);
    let again = open(&disk).unwrap();
    assert_eq!(again.report.torn_tail, None, "dropped once and for all");
    assert_eq!(again.log.state().last.unwrap().index.get(), next + 2);
}

#[test]
fn an_offset_that_is_damaged_is_never_served_by_a_jump() {
    let disk = SimDisk::new(12);
    let running = open(&disk).unwrap();
    append(&running, 0..60);
    running.log.close().unwrap();
    let end = running.log.state().log_end;
    drop(running);
    let path = &segments(&disk)[1];
    let frame = crate::inspect::segment(&disk, path).unwrap().nth(3).unwrap().unwrap();
    disk.flip_bit(path, frame.position + 60, 0).unwrap();
    let running = open(&disk).unwrap();
    let mut corrupt = 0;
    for from in 0..end.get() {
        match running.log.read_batches(Offset::new(from).unwrap(), end, 1) {
            Ok(slices) => assert!(slices.batches.iter().all(|bytes| highwater_types::batch::verify_crc(bytes))),
            Err(ReadError::Corrupt(error)) => {
                assert!(matches!(error.cause, CorruptCause::Frame(_)) && error.file == *path);
                corrupt += 1;
            }
            Err(other) => panic!("{other}"),
        }
    }
    assert!(corrupt > 0);
}
