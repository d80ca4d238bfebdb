//! A vote that was released is found again, or the start is refused.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use std::sync::mpsc;

use super::*;
use crate::disk::os::OsDisk;
use crate::disk::sim::{CrashMode, Fault, FaultRates, SimDisk};
use crate::flush::SyncFilesystem;

const DIR: &str = "/data";

fn path() -> PathBuf {
    Path::new(DIR).join("votes")
}

fn key(number: u32) -> LogKey {
    LogKey::new(*b"group of a topic", number)
}

fn new_disk(seed: u64) -> SimDisk {
    let disk = SimDisk::new(seed);
    disk.create_dir_all(Path::new(DIR)).unwrap();
    VoteFile::create(&disk, &path()).unwrap();
    disk
}

fn open(disk: &SimDisk) -> Result<VoteFile, FileError> {
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    let flusher = Flusher::new(Arc::clone(&disk), Path::new(DIR), SyncFilesystem::Auto, Arc::default());
    VoteFile::open(disk, &path(), Arc::new(flusher))
}

/// Saves a vote and runs the round; whether it was released as durable.
fn save(votes: &VoteFile, number: u32, vote: &[u8]) -> bool {
    let (done, waiting) = mpsc::channel();
    votes.save(key(number), Bytes::copy_from_slice(vote), Box::new(move |outcome| done.send(outcome).unwrap()));
    votes.flusher.run_round();
    waiting.try_recv().unwrap().is_ok()
}

fn refused(disk: &SimDisk) -> FileError {
    let error = open(disk).unwrap_err();
    assert!(error.to_string().contains("/data/votes"), "the message names the file: {error}");
    error
}

#[test]
fn the_newest_vote_of_each_log_is_found_again() {
    let disk = new_disk(1);
    let votes = open(&disk).unwrap();
    assert!(votes.is_empty());
    assert!(save(&votes, 1, b"one") && save(&votes, 2, b"two") && save(&votes, 1, b"three") && save(&votes, 3, b""));
    let votes = open(&disk.reboot()).unwrap();
    assert_eq!(votes.get(key(1)).unwrap(), b"three".as_slice());
    assert_eq!(votes.get(key(2)).unwrap(), b"two".as_slice());
    assert_eq!(votes.get(key(3)).unwrap(), b"".as_slice());
    assert_eq!(votes.get(key(4)), None);
}

#[test]
fn a_saved_vote_is_seen_before_it_is_durable_and_gone_after_a_crash() {
    let disk = new_disk(1);
    let votes = open(&disk).unwrap();
    votes.save(key(1), Bytes::from_static(b"x"), Box::new(|_| panic!("nothing was flushed")));
    assert_eq!(votes.get(key(1)).unwrap(), b"x".as_slice());
    std::mem::forget(votes);
    assert_eq!(open(&disk.reboot()).unwrap().get(key(1)), None);
}

#[test]
fn a_removed_vote_stays_removed() {
    let disk = new_disk(1);
    let votes = open(&disk).unwrap();
    save(&votes, 1, b"one");
    save(&votes, 2, b"two");
    votes.remove(key(1));
    votes.remove(key(7));
    assert!(votes.flusher.run_round());
    let votes = open(&disk.reboot()).unwrap();
    assert_eq!((votes.get(key(1)), votes.get(key(2))), (None, Some(Bytes::from_static(b"two"))));
}

#[test]
fn a_full_file_is_replaced_by_one_with_what_counts() {
    let disk = new_disk(1);
    let votes = open(&disk).unwrap();
    for round in 0..3_000u32 {
        assert!(save(&votes, round % 5, &round.to_le_bytes()));
    }
    let size = disk.open(&path()).unwrap().size().unwrap();
    assert!(size < 100 << 10, "{size} bytes for five votes");
    let votes = open(&disk.reboot()).unwrap();
    for round in 2_995..3_000u32 {
        assert_eq!(votes.get(key(round % 5)).unwrap(), round.to_le_bytes().as_slice());
    }
}

/// The power goes in every call of a run that appends, replaces and reopens, in every way.
#[test]
fn no_released_vote_is_forgotten_wherever_the_power_goes() {
    let mut crash_points = 0;
    for mode in CrashMode::ALL {
        for seed in 0..40 {
            for nth in 1.. {
                crash_points += 1;
                let disk = new_disk(seed);
                disk.crash_at(nth, mode);
                let (mut newest, mut was_refused) = (0, false);
                if let Ok(votes) = open(&disk) {
                    for number in 1..=14u32 {
                        let vote = [number.to_le_bytes().as_slice(), &[9; 900]].concat();
                        // A log that comes and goes, so that the file holds more than the one vote.
                        votes.save(key(100 + number), Bytes::from(vec![1; 1000]), Box::new(|_| {}));
                        votes.remove(key(99 + number));
                        if save(&votes, 1, &vote) {
                            assert!(!was_refused, "released after a refusal");
                            newest = number;
                        } else {
                            was_refused = true;
                        }
                    }
                }
                let was_cut = disk.is_crashed();
                let votes = open(&disk.reboot()).unwrap_or_else(|error| panic!("{mode:?} {seed} {nth}: {error}"));
                let found = votes.get(key(1)).map_or(0, |vote| u32::from_le_bytes(vote[..4].try_into().unwrap()));
                assert!(
                    found >= newest,
                    "{mode:?} seed {seed} call {nth}: vote {newest} was released, {found} is there"
                );
                assert!(save(&votes, 1, b"goes on"));
                if !was_cut {
                    break;
                }
            }
        }
    }
    assert!(crash_points > 5_000, "{crash_points} crash points");
    println!("{crash_points} crash points");
}

/// The crash test above is only worth something if a missing sync shows: here every sync is one that did nothing.
#[test]
fn a_vote_released_without_a_sync_would_be_forgotten() {
    let disk = new_disk(1);
    let votes = open(&disk).unwrap();
    assert!(save(&votes, 1, b"one"));
    disk.set_rates(FaultRates { syncs_lost: 1_000_000, ..FaultRates::default() });
    assert!(save(&votes, 1, b"two"));
    assert_eq!(open(&disk.reboot()).unwrap().get(key(1)).unwrap(), b"one".as_slice());
}

#[test]
fn a_failed_sync_refuses_and_poisons() {
    let disk = new_disk(1);
    let votes = open(&disk).unwrap();
    assert!(save(&votes, 1, b"one"));
    disk.schedule(Fault::SyncError, 1);
    assert!(!save(&votes, 1, b"two"));
    assert!(!save(&votes, 1, b"three"), "and nothing after it");
    assert_eq!(open(&disk.reboot()).unwrap().get(key(1)).unwrap(), b"one".as_slice());
}

/// After a failed sync the page cache shows bytes that the medium does not have, and the next sync says `Ok`. A process
/// that starts again on that cache must not take them for durable.
#[test]
fn a_restart_after_a_failed_sync_does_not_trust_the_page_cache() {
    let disk = new_disk(1);
    let votes = open(&disk).unwrap();
    assert!(save(&votes, 1, b"one"));
    disk.schedule(Fault::SyncError, 1);
    assert!(!save(&votes, 1, b"two"));
    drop(votes);
    let votes = open(&disk).unwrap();
    let relied_on = votes.get(key(1)).unwrap();
    assert_eq!(relied_on, b"two".as_slice(), "the cache shows it");
    assert_eq!(open(&disk.reboot()).unwrap().get(key(1)).unwrap(), relied_on);
}

/// Random failures of writes and syncs: what was released is there after any crash.
#[test]
fn no_released_vote_is_forgotten_whatever_fails() {
    for seed in 0..600 {
        let disk = new_disk(seed);
        let mut newest = [0; 3];
        for process in 0..4 {
            let Ok(votes) = open(&disk) else { break };
            disk.set_rates(FaultRates { write_errors: 20_000, sync_errors: 20_000, ..FaultRates::default() });
            for number in 1..=20u32 {
                let log = number % 3;
                let vote = process * 100 + number;
                if save(&votes, log, &vote.to_le_bytes()) {
                    newest[log as usize] = vote;
                }
            }
            // The process ends and another starts on the same page cache.
            disk.clear_faults();
        }
        disk.crash(CrashMode::ALL[usize::try_from(seed % 4).unwrap()]);
        let votes = open(&disk.reboot()).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        for (log, newest) in (0..).zip(newest) {
            let found = votes.get(key(log)).map_or(0, |vote| u32::from_le_bytes(vote.as_ref().try_into().unwrap()));
            assert!(found >= newest, "seed {seed}: vote {newest} of log {log} was released, {found} is there");
        }
    }
}

#[test]
fn damage_of_any_released_byte_is_refused() {
    let disk = new_disk(1);
    let votes = open(&disk).unwrap();
    save(&votes, 1, b"one");
    save(&votes, 2, b"the last vote, which nothing follows");
    let end = lock(&votes.shared.writer).end;
    drop(votes);
    let disk = disk.reboot();
    drop(open(&disk).unwrap());
    let header_and_records = (0..28).chain(RECORDS_START..end);
    for position in header_and_records {
        disk.flip_bit(&path(), position, 2).unwrap();
        match open(&disk) {
            Err(error) => {
                assert!(matches!(error, FileError::Damaged { .. } | FileError::NewerFormat { .. }), "{error}");
                assert!(error.to_string().contains("/data/votes"), "{error}");
            }
            // The filling between records is not covered: nothing is in it.
            Ok(votes) => {
                assert_eq!(votes.get(key(1)).unwrap(), b"one".as_slice(), "byte {position}");
                assert_eq!(votes.get(key(2)).unwrap(), b"the last vote, which nothing follows".as_slice());
            }
        }
        disk.flip_bit(&path(), position, 2).unwrap();
    }
}

#[test]
fn one_bad_mark_is_survived_also_of_a_file_that_was_just_replaced() {
    let [first, second] = MARK_POSITIONS;
    for mark in [first, second] {
        let disk = new_disk(1);
        disk.flip_bit(&path(), mark, 0).unwrap();
        save(&open(&disk).unwrap(), 1, b"one");
        drop(open(&disk).unwrap());
        // Every open replaces the file.
        disk.flip_bit(&path(), mark, 0).unwrap();
        assert_eq!(open(&disk).unwrap().get(key(1)).unwrap(), b"one".as_slice(), "mark at {mark}");
    }
}

#[test]
fn one_bad_mark_is_survived_and_two_are_refused() {
    let saved = || {
        let disk = new_disk(1);
        save(&open(&disk).unwrap(), 1, b"one");
        disk
    };
    let [first, second] = MARK_POSITIONS;
    for mark in [first, second] {
        let disk = saved();
        disk.flip_bit(&path(), mark, 0).unwrap();
        assert_eq!(open(&disk).unwrap().get(key(1)).unwrap(), b"one".as_slice());
    }
    // An open writes the file again, so both at once.
    let disk = saved();
    disk.flip_bit(&path(), first, 0).unwrap();
    disk.flip_bit(&path(), second, 0).unwrap();
    assert!(matches!(refused(&disk), FileError::Damaged { .. }));
}

#[test]
fn a_cut_file_is_refused_wherever_it_is_cut() {
    let disk = new_disk(1);
    save(&open(&disk).unwrap(), 1, b"one");
    let size = disk.open(&path()).unwrap().size().unwrap();
    for length in [size - 1, RECORDS_START + 3, RECORDS_START, 4096, 20, 0] {
        disk.cut(&path(), length).unwrap();
        let error = refused(&disk);
        assert!(matches!(error, FileError::Damaged { damage: Damage::BadLength { .. }, .. }), "{length}: {error}");
    }
}

#[test]
fn a_garbled_file_and_a_newer_one_are_refused() {
    let disk = new_disk(1);
    let file = disk.open(&path()).unwrap();
    let size = file.size().unwrap();
    let mut header = layout::header(size);
    header[8] = 7;
    let crc = crc32fast::hash(&header[..24]);
    header[24..].copy_from_slice(&crc.to_le_bytes());
    file.write_at(0, &mut [IoSlice::new(&header)]).unwrap();
    assert!(matches!(refused(&disk), FileError::NewerFormat { found: 7, supported: 1, .. }));
    file.write_at(0, &mut [IoSlice::new(&[0xA5; 4096])]).unwrap();
    assert!(matches!(refused(&disk), FileError::Damaged { damage: Damage::BadMagic, .. }));
}

#[test]
fn it_works_on_a_real_disk_with_the_thread() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("votes");
    let disk: Arc<dyn Disk> = Arc::new(OsDisk::new());
    VoteFile::create(&*disk, &path).unwrap();
    let open = || {
        let flusher = Flusher::new(Arc::clone(&disk), dir.path(), SyncFilesystem::Auto, Arc::default());
        flusher.start_thread().unwrap();
        VoteFile::open(Arc::clone(&disk), &path, Arc::new(flusher)).unwrap()
    };
    let votes = open();
    for number in 0..20u32 {
        let (done, waiting) = mpsc::channel();
        votes.save(key(number), Bytes::from_static(b"vote"), Box::new(move |outcome| done.send(outcome).unwrap()));
        assert_eq!(waiting.recv(), Ok(Ok(())));
    }
    drop(votes);
    assert_eq!(open().get(key(19)).unwrap(), b"vote".as_slice());
}

/// The layout, byte by byte: it stays so for ever.
#[test]
fn the_bytes_are_these_for_ever() {
    let mut records = Vec::new();
    layout::push_record(&mut records, RECORDS_START, LogKey::new(*b"0123456789abcdef", 0x0102), Some(b"vote"));
    let mut expected = vec![0x7A, 0x61, 0x90, 0x4E, 4, 0, 1, 0];
    expected.extend(b"0123456789abcdef");
    expected.extend([2, 1, 0, 0]);
    expected.extend(b"vote");
    assert_eq!(records, expected);
    assert_eq!(&layout::header(65_536)[..24], b"HWVOTES1\x01\0\0\0\0\0\0\0\0\0\x01\0\0\0\0\0");
    assert_eq!(&layout::mark(4096, 12_288)[..8], [0, 0x30, 0, 0, 0, 0, 0, 0]);
}
