//! A disk without space: a definite refusal that passes, or the end; and what was reserved is there.

use std::path::Path;

use highwater_types::{EntryId, LogIndex, Timestamp};

use super::damage::{DIR, Running, append, data, open, read_all};
use crate::disk::Disk;
use crate::disk::sim::{CrashMode, Fault, SimDisk};
use crate::log::LogError;

#[test]
fn a_full_disk_is_a_definite_refusal_and_passes() {
    let disk = SimDisk::new(6);
    let running = open(&disk).unwrap();
    append(&running, 0..4);
    disk.set_capacity(Some(disk_use(&disk)));
    let refused = running.log.reserve(9000).unwrap_err();
    assert!(refused.is_retryable(), "{refused}");
    let mut next = 4;
    let refused = loop {
        match running.log.append(&[data(next)], Timestamp::from_ms(1), None) {
            Ok(_) => next += 1,
            Err(error) => break error,
        }
    };
    assert!(refused.is_retryable(), "{refused}");
    assert!(running.log.poisoned().is_none());
    assert_eq!(running.log.state().last.unwrap().index.get() + 1, next, "a refusal changes nothing");
    assert_eq!(read_all(&running.log).unwrap().len() as u64, next);
    disk.set_capacity(None);
    running.log.reserve(9000).unwrap();
    append(&running, next..next + 20);
    assert_eq!(read_all(&running.log).unwrap().len() as u64, next + 20);
}

fn disk_use(disk: &SimDisk) -> u64 {
    let space = disk.space(Path::new(DIR)).unwrap();
    space.total_bytes - space.free_bytes
}

#[test]
fn reserved_space_is_there_when_the_disk_is_full() {
    let disk = SimDisk::new(8);
    let running = open(&disk).unwrap();
    append(&running, 0..9);
    running.log.reserve(6000).unwrap();
    disk.set_capacity(Some(disk_use(&disk)));
    let (mut bytes, mut next) = (0, 9);
    while bytes + crate::framed_bytes(data(next).payload.len()) <= 1500 {
        bytes += crate::framed_bytes(data(next).payload.len());
        running.log.append(&[data(next)], Timestamp::from_ms(1), None).unwrap();
        next += 1;
    }
    assert!(next > 14);
}

#[test]
fn what_was_reserved_is_there_for_many_small_appends_beyond_a_segment() {
    let disk = SimDisk::new(8);
    let running = open(&disk).unwrap();
    append(&running, 0..9);
    // Far more than the 2048 bytes of a segment.
    running.log.reserve(6000).unwrap();
    disk.set_capacity(Some(disk_use(&disk)));
    let (mut bytes, mut next) = (0, 9);
    while bytes + crate::framed_bytes(data(next).payload.len()) <= 6000 {
        bytes += crate::framed_bytes(data(next).payload.len());
        running.log.append(&[data(next)], Timestamp::from_ms(1), None).unwrap();
        next += 1;
    }
    assert_eq!(read_all(&running.log).unwrap().len() as u64, next);
    disk.set_capacity(None);
    append(&running, next..next + 30);
    drop(running);
    assert_eq!(read_all(&open(&disk).unwrap().log).unwrap().len() as u64, next + 30);
}

type Step = fn(&Running) -> Result<(), LogError>;

/// A filesystem that finds out at a sync that it has no space: whether the change has happened is not known then, and
/// a log that went on as if it had not would lose what it acknowledges next.
#[test]
fn a_sync_that_found_no_space_is_no_refusal_but_final() {
    let steps: [Step; 3] = [
        |running| running.log.truncate_from(LogIndex::new(5)),
        |running| running.log.purge_through(EntryId::new(1, 3)),
        |running| running.log.close(),
    ];
    for step in steps {
        for nth in 1..=2 {
            let disk = SimDisk::new(3);
            let running = open(&disk).unwrap();
            append(&running, 0..8);
            disk.schedule(Fault::SyncNoSpace, nth);
            let failed = step(&running);
            assert!(matches!(failed, Err(LogError::Poisoned(_))), "sync {nth}: {failed:?}");
            assert!(running.log.append(&[data(8)], Timestamp::from_ms(1), None).is_err());
            disk.crash(CrashMode::KeepAll);
            open(&disk.reboot()).unwrap();
        }
    }
}
