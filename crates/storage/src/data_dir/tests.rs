//! What is refused, what is left alone, and what an interrupted start leaves behind.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]
#![allow(clippy::disallowed_methods)] // the second process waits on a real file

use std::io::{IoSlice, Read};
use std::process::{Command, Stdio};

use highwater_types::{ClusterId, EntryId, LogIndex, NodeId, NodeUuid, Term, Timestamp};

use super::*;
use crate::disk::os::OsDisk;
use crate::disk::sim::{CrashMode, Fault, SimDisk};
use crate::entry::{EntryKind, NewEntry};
use crate::error::Damage;

const DIR: &str = "/data/highwater";
const BY_HAND: DataDirOptions =
    DataDirOptions { may_create: true, sync_filesystem: SyncFilesystem::Auto, starts_flusher: false };
const MUST_BE_THERE: DataDirOptions = DataDirOptions { may_create: false, ..BY_HAND };

fn dir() -> &'static Path {
    Path::new(DIR)
}

fn open(disk: &SimDisk) -> Result<DataDir, OpenError> {
    DataDir::open(Arc::new(disk.clone()), dir(), BY_HAND)
}

/// A directory in use: an identity, a log with a file in it, and its vote.
fn used(seed: u64) -> SimDisk {
    let disk = SimDisk::new(seed);
    let data_dir = open(&disk).unwrap();
    data_dir.set_identity(identity(1)).unwrap();
    make_log(&data_dir, key(1));
    data_dir.votes().save(key(1), bytes::Bytes::from_static(b"vote"), Box::new(|outcome| outcome.unwrap()));
    data_dir.flusher().run_round();
    drop(data_dir);
    disk
}

fn make_log(data_dir: &DataDir, key: LogKey) {
    let folder = data_dir.log_path(key);
    data_dir.disk().create_dir_all(&folder).unwrap();
    write(&**data_dir.disk(), &folder.join("segment"), b"entries");
    data_dir.disk().sync_dir(&folder).unwrap();
}

fn write(disk: &dyn Disk, path: &Path, bytes: &[u8]) {
    let file = disk.create(path).unwrap();
    file.write_at(0, &mut [IoSlice::new(bytes)]).unwrap();
    file.sync_data().unwrap();
}

fn identity(node: u64) -> Identity {
    Identity { cluster: ClusterId::from_bytes([1; 16]), node: NodeId::new(node), uuid: NodeUuid::from_bytes([2; 16]) }
}

fn key(number: u32) -> LogKey {
    LogKey::new([7; 16], number)
}

#[track_caller]
fn refused(disk: &SimDisk, parts: &[&str]) -> OpenError {
    let error = open(disk).unwrap_err();
    let text = error.to_string();
    for part in parts {
        assert!(text.contains(part), "{part:?} is not in {text:?}");
    }
    error
}

#[test]
fn a_new_directory_is_made_and_found_again() {
    let disk = SimDisk::new(1);
    let data_dir = open(&disk).unwrap();
    assert!(data_dir.report().is_new && data_dir.identity().is_none() && data_dir.logs().unwrap().is_empty());
    drop(data_dir);
    let data_dir = open(&disk.reboot()).unwrap();
    assert_eq!(*data_dir.report(), DataDirReport::default(), "it is durable when open returns");
    assert!(data_dir.space().unwrap().total_bytes > 0);
}

#[test]
fn the_lock_is_held_until_the_last_user_of_the_flusher_is_gone() {
    let disk = SimDisk::new(1);
    let data_dir = open(&disk).unwrap();
    let of_a_log = Arc::clone(data_dir.flusher());
    drop(data_dir);
    let error = refused(&disk, &[DIR, "in use by another highwater process"]);
    assert!(matches!(error, OpenError::Locked { .. }));
    drop(of_a_log);
    open(&disk).unwrap();
}

const HOLDS_THE_LOCK: &str = "HIGHWATER_TEST_HOLD_LOCK_OF";

/// Not a test by itself: what the second process of the next one runs.
#[test]
fn second_process_holds_the_lock() {
    let Some(path) = std::env::var_os(HOLDS_THE_LOCK) else { return };
    let held = DataDir::open(Arc::new(OsDisk::new()), Path::new(&path), DataDirOptions::default()).unwrap();
    std::fs::write(Path::new(&path).with_extension("ready"), b"").unwrap();
    // Until the parent closes the pipe or kills this process.
    std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
    drop(held);
}

#[test]
fn two_processes_cannot_use_one_directory_and_a_killed_one_lets_go() {
    let temporary = tempfile::tempdir().unwrap();
    let path = temporary.path().join("data");
    let mut other = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "data_dir::tests::second_process_holds_the_lock"])
        .env(HOLDS_THE_LOCK, &path)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    while !path.with_extension("ready").exists() {
        assert!(other.try_wait().unwrap().is_none(), "the other process has ended");
        std::thread::yield_now();
    }
    let open = || DataDir::open(Arc::new(OsDisk::new()), &path, DataDirOptions::default());
    let error = open().unwrap_err();
    assert!(matches!(error, OpenError::Locked { .. }), "{error}");
    assert!(error.to_string().contains(path.to_str().unwrap()), "{error}");
    other.kill().unwrap();
    other.wait().unwrap();
    let data_dir = open().unwrap();
    assert!(!data_dir.report().is_new);
}

#[test]
fn a_directory_joins_with_one_uuid_whenever_the_power_goes() {
    let uuid = |byte| NodeUuid::from_bytes([byte; 16]);
    let disk = SimDisk::new(3);
    let data_dir = open(&disk).unwrap();
    assert_eq!(data_dir.joining_uuid(uuid(1)).unwrap(), uuid(1));
    assert_eq!(data_dir.joining_uuid(uuid(2)).unwrap(), uuid(1));
    drop(data_dir);
    let data_dir = open(&disk.reboot()).unwrap();
    assert_eq!(data_dir.joining_uuid(uuid(3)).unwrap(), uuid(1));
    assert_eq!(data_dir.identity(), None);
    assert_eq!(data_dir.report().foreign, Vec::<PathBuf>::new());
}

#[test]
fn an_identity_is_set_once() {
    let disk = SimDisk::new(1);
    let data_dir = open(&disk).unwrap();
    data_dir.set_identity(identity(1)).unwrap();
    data_dir.set_identity(identity(1)).unwrap();
    let error = data_dir.set_identity(identity(2)).unwrap_err().to_string();
    assert!(
        error.contains("/data/highwater/identity") && error.contains("node 1") && error.contains("node 2"),
        "{error}"
    );
    drop(data_dir);
    assert_eq!(open(&disk.reboot()).unwrap().identity(), Some(identity(1)));
}

#[test]
fn foreign_names_are_left_alone_and_reported() {
    let disk = used(1);
    write(&disk, &dir().join("notes.txt"), b"mine");
    write(&disk, &dir().join("logs/readme"), b"mine");
    disk.create_dir_all(&dir().join("lost+found")).unwrap();
    disk.create_dir_all(&dir().join("logs/not-a-log")).unwrap();
    let data_dir = open(&disk).unwrap();
    let expected = ["lost+found", "notes.txt", "logs/not-a-log", "logs/readme"].map(|name| dir().join(name));
    assert_eq!(data_dir.report().foreign, expected);
    assert_eq!(data_dir.logs().unwrap(), [key(1)]);
    for name in expected {
        assert!(disk.list(name.parent().unwrap()).unwrap().iter().any(|entry| name.ends_with(&entry.name)));
    }
}

#[test]
fn an_empty_folder_where_data_must_be_is_not_a_new_node() {
    let disk = SimDisk::new(1);
    let open_existing = |disk: &SimDisk| DataDir::open(Arc::new(disk.clone()), dir(), MUST_BE_THERE);
    assert!(matches!(open_existing(&disk).unwrap_err(), OpenError::NotThere { .. }));
    disk.create_dir_all(dir()).unwrap();
    let error = open_existing(&disk).unwrap_err();
    assert!(error.to_string().contains("is its disk mounted?"), "{error}");
    assert!(disk.list(dir()).unwrap().is_empty(), "not even a lock file was made");
    drop(open(&disk).unwrap());
    open_existing(&disk).unwrap();
}

#[test]
fn a_missing_part_is_not_taken_for_a_new_one() {
    for part in [FORMAT, IDENTITY, VOTES] {
        let disk = used(1);
        disk.remove(&dir().join(part)).unwrap();
        let error = refused(&disk, &[&format!("/data/highwater/{part} is missing")]);
        assert!(matches!(error, OpenError::Missing { .. }), "{part}");
    }
    let disk = used(1);
    disk.remove_dir_all(&dir().join(LOGS)).unwrap();
    refused(&disk, &["/data/highwater/logs is missing"]);
    // Format and identity gone together: the logs and the votes still tell.
    for rest in [[FORMAT, IDENTITY].as_slice(), &[FORMAT, IDENTITY, VOTES]] {
        let disk = used(1);
        rest.iter().for_each(|part| disk.remove(&dir().join(part)).unwrap());
        refused(&disk, &["/data/highwater/format is missing"]);
    }
}

#[test]
fn damaged_files_are_refused_by_name() {
    for part in [FORMAT, IDENTITY, VOTES] {
        let disk = used(1);
        disk.flip_bit(&dir().join(part), 20, 1).unwrap();
        let error = refused(&disk, &[&format!("/data/highwater/{part} is damaged")]);
        assert!(matches!(error, OpenError::File(FileError::Damaged { .. })), "{error}");
        let disk = used(1);
        disk.cut(&dir().join(part), 25).unwrap();
        let error = refused(&disk, &[&format!("/data/highwater/{part} is damaged")]);
        let cut = matches!(error, OpenError::File(FileError::Damaged { damage: Damage::BadLength { .. }, .. }));
        assert!(cut || part == VOTES, "{error}");
    }
}

#[test]
fn a_newer_format_is_refused_by_name() {
    for part in [FORMAT, IDENTITY] {
        let disk = used(1);
        let path = dir().join(part);
        let file = disk.open(&path).unwrap();
        let mut bytes = vec![0; usize::try_from(file.size().unwrap()).unwrap()];
        file.read_at(0, &mut bytes).unwrap();
        bytes[8] = 2;
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(&bytes[..16]);
        hasher.update(&bytes[20..]);
        bytes[16..20].copy_from_slice(&hasher.finalize().to_le_bytes());
        file.write_at(0, &mut [IoSlice::new(&bytes)]).unwrap();
        let error = refused(&disk, &[&format!("/data/highwater/{part} has format version 2"), "newer highwater"]);
        assert!(matches!(error, OpenError::File(FileError::NewerFormat { found: 2, supported: 1, .. })));
    }
}

#[test]
fn a_deleted_log_takes_its_vote_along_and_stays_deleted() {
    let disk = used(1);
    let data_dir = open(&disk).unwrap();
    make_log(&data_dir, key(2));
    data_dir.delete_log(key(1)).unwrap();
    data_dir.delete_log(key(9)).unwrap();
    assert_eq!(data_dir.logs().unwrap(), [key(2)]);
    data_dir.flusher().run_round();
    drop(data_dir);
    let data_dir = open(&disk.reboot()).unwrap();
    assert_eq!((data_dir.logs().unwrap(), data_dir.votes().get(key(1))), (vec![key(2)], None));
    assert!(data_dir.report().foreign.is_empty());
}

/// The power goes in every call of a first start, a deletion and a restart: the next start always works, and a log is
/// whole or gone.
#[test]
fn every_interrupted_start_and_deletion_is_finished_by_the_next() {
    let run = |disk: &SimDisk| -> Option<()> {
        let data_dir = open(disk).ok()?;
        data_dir.set_identity(identity(1)).ok()?;
        let folder = data_dir.log_path(key(1));
        disk.create_dir_all(&folder).ok()?;
        disk.create(&folder.join("segment")).ok()?;
        disk.sync_dir(&folder).ok()?;
        data_dir.delete_log(key(1)).ok()?;
        data_dir.flusher().run_round();
        drop(data_dir);
        open(disk).ok().map(drop)
    };
    for mode in CrashMode::ALL {
        for seed in 0..30 {
            for nth in 1.. {
                let disk = SimDisk::new(seed);
                disk.crash_at(nth, mode);
                let finished = run(&disk);
                let was_cut = disk.is_crashed();
                assert_eq!(finished.is_some(), !was_cut);
                let data_dir = open(&disk.reboot()).unwrap_or_else(|error| panic!("{mode:?} {seed} {nth}: {error}"));
                assert!(data_dir.report().foreign.is_empty(), "{:?}", data_dir.report());
                data_dir.set_identity(identity(1)).unwrap();
                if !was_cut {
                    assert!(data_dir.logs().unwrap().is_empty());
                    break;
                }
            }
        }
    }
}

fn blank(index: u64) -> NewEntry {
    NewEntry {
        id: EntryId { term: Term::new(1), index: LogIndex::new(index) },
        kind: EntryKind::Blank,
        payload: bytes::Bytes::new(),
        expected_base_offset: None,
    }
}

#[test]
fn a_log_that_nobody_holds_any_more_is_flushed_and_lets_go_of_the_lock() {
    let disk = SimDisk::new(1);
    let data_dir = open(&disk).unwrap();
    data_dir.set_identity(identity(1)).unwrap();
    let (log, report) = data_dir.open_log(key(1), LogOptions::default()).unwrap();
    assert!(report.is_new);
    log.append(&[blank(1)], Timestamp::from_ms(1), None).unwrap();
    drop((log, data_dir));
    let data_dir = open(&disk).unwrap();
    let (log, _) = data_dir.open_log(key(1), LogOptions::default()).unwrap();
    assert_eq!(log.state().last.unwrap().index.get(), 1);
    assert_eq!(data_dir.logs().unwrap(), [key(1)]);
}

#[test]
fn a_log_is_not_opened_twice_at_once() {
    let disk = SimDisk::new(1);
    let data_dir = open(&disk).unwrap();
    data_dir.set_identity(identity(1)).unwrap();
    let open_log = || data_dir.open_log(key(9), LogOptions::default()).map(|(log, _)| log);
    let log = open_log().unwrap();
    let refused = open_log().map(|_| ()).unwrap_err();
    assert!(matches!(refused, OpenLogError::AlreadyOpen { .. }), "{refused}");
    assert!(refused.to_string().contains(&key(9).to_string()), "{refused}");
    // The flusher may still hold one that everybody else has dropped: then its round comes first.
    log.append(&[blank(0)], Timestamp::from_ms(1), None).unwrap();
    drop(log);
    let again = open_log().unwrap();
    assert_eq!(again.state().last.unwrap().index.get(), 0);
    // Nothing is written through one that was closed, so its readers need not be gone.
    again.close().unwrap();
    let third = open_log().unwrap();
    assert_eq!(third.state().last, again.state().last);
    third.close().unwrap();
    data_dir.delete_log(key(9)).unwrap();
    assert_eq!(open_log().unwrap().state().last, None);
}

#[test]
#[should_panic(expected = "the identity of a data directory must be set")]
fn a_log_of_nobody_is_our_own_mistake() {
    drop(open(&SimDisk::new(1)).unwrap().open_log(key(1), LogOptions::default()));
}

/// After a failed sync the page cache shows entries that the medium does not have. The next process must not take them
/// for durable because its own sync of them says `Ok`.
#[test]
fn a_restart_after_a_failed_sync_makes_the_tail_durable_again() {
    let at = Timestamp::from_ms(1);
    // Several pages, so that the next entry does not make all of them dirty again.
    let large = |index| NewEntry { kind: EntryKind::Metadata, payload: vec![7; 20_000].into(), ..blank(index) };
    for durable_before in 0..3 {
        let disk = SimDisk::new(1);
        let data_dir = open(&disk).unwrap();
        data_dir.set_identity(identity(1)).unwrap();
        let (log, _) = data_dir.open_log(key(1), LogOptions::default()).unwrap();
        for index in 1..=durable_before {
            log.append(&[large(index)], at, None).unwrap();
            data_dir.flusher().run_round();
        }
        log.append(&[large(durable_before + 1)], at, None).unwrap();
        disk.schedule(Fault::SyncError, 1);
        data_dir.flusher().run_round();
        assert!(data_dir.flusher().poisoned().is_some());
        drop((log, data_dir));
        let data_dir = open(&disk).unwrap();
        let (log, _) = data_dir.open_log(key(1), LogOptions::default()).unwrap();
        // A segment whose first sync failed is in no manifest: its entries are gone, and need not come back.
        let next = log.state().last.map_or(1, |last| last.index.get() + 1);
        assert_eq!(next, if durable_before == 0 { 1 } else { durable_before + 2 }, "the cache shows it");
        log.append(&[blank(next)], at, None).unwrap();
        data_dir.flusher().run_round();
        assert_eq!(log.state().flushed.unwrap().id.index.get(), next);
        drop((log, data_dir));
        let data_dir = open(&disk.reboot()).unwrap();
        let (log, _) = data_dir.open_log(key(1), LogOptions::default()).unwrap();
        assert_eq!(log.state().last.unwrap().index.get(), next);
        assert_eq!(log.read_entries(LogIndex::new(1), LogIndex::new(next + 1), 1 << 20).unwrap().len() as u64, next);
    }
}

/// A disk on which nothing is free.
fn fill(disk: &SimDisk) {
    let space = disk.space(dir()).unwrap();
    disk.set_capacity(Some(space.total_bytes - space.free_bytes));
}

#[test]
fn on_a_full_disk_a_checkpoint_and_a_purge_go_on_and_make_room() {
    let disk = SimDisk::new(1);
    disk.set_capacity(Some(64 << 20));
    let data_dir = open(&disk).unwrap();
    data_dir.set_identity(identity(1)).unwrap();
    let options = LogOptions { segment_bytes_max: 64 << 10, ..LogOptions::default() };
    let (log, _) = data_dir.open_log(key(1), options.clone()).unwrap();
    let entry = |index| NewEntry { kind: EntryKind::Metadata, payload: vec![1; 10_000].into(), ..blank(index) };
    for index in 0..50 {
        log.append(&[entry(index)], Timestamp::from_ms(1), None).unwrap();
    }
    data_dir.flusher().run_round();
    fill(&disk);
    log.write_checkpoint(&[7; 100_000]).unwrap();
    log.purge_through(EntryId::new(1, 20)).unwrap();
    log.append(&[entry(50)], Timestamp::from_ms(1), None).unwrap();
    // The reserve is made again once there is room, and given away again.
    disk.set_capacity(Some(64 << 20));
    log.maintain(Timestamp::from_ms(2)).unwrap();
    fill(&disk);
    log.purge_through(EntryId::new(1, 40)).unwrap();
    drop((log, data_dir));
    let (log, _) = open(&disk).unwrap().open_log(key(1), options).unwrap();
    assert_eq!(log.state().last.unwrap().index.get(), 50);
}

#[test]
fn a_flush_round_that_must_write_a_manifest_on_a_full_disk_does_not_poison() {
    let disk = SimDisk::new(1);
    disk.set_capacity(Some(64 << 20));
    let data_dir = open(&disk).unwrap();
    data_dir.set_identity(identity(1)).unwrap();
    let (log, _) = data_dir.open_log(key(1), LogOptions::default()).unwrap();
    log.append(&[blank(0)], Timestamp::from_ms(1), None).unwrap();
    fill(&disk);
    data_dir.flusher().run_round();
    assert_eq!(data_dir.flusher().poisoned(), None);
    assert_eq!(log.flushed().unwrap().id.index.get(), 0);
}
