#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::expect_used)]
//! Damaged logs are set aside without a moment in which nobody knows it.

use std::sync::Arc;

use highwater_types::{ClusterId, EntryId, NodeId, NodeUuid, Timestamp};

use super::super::{DataDir, DataDirOptions};
use crate::disk::Disk;
use crate::disk::sim::{CrashMode, SimDisk};
use crate::entry::{EntryKind, NewEntry};
use crate::identity::Identity;
use crate::log::LogOptions;
use crate::log_key::LogKey;

const KEY: LogKey = LogKey::new([3; 16], 1);

fn open(disk: &SimDisk) -> DataDir {
    let options = DataDirOptions { starts_flusher: false, ..DataDirOptions::default() };
    let data = DataDir::open(Arc::new(disk.clone()) as Arc<dyn Disk>, std::path::Path::new("/data"), options).unwrap();
    let cluster = ClusterId::from_bytes([1; 16]);
    let identity = Identity { cluster, node: NodeId::new(1), uuid: NodeUuid::from_bytes([2; 16]) };
    data.set_identity(identity).unwrap();
    data
}

/// A data directory whose log has one entry.
fn with_a_log(disk: &SimDisk) -> DataDir {
    let data = open(disk);
    let (log, _) = data.open_log(KEY, LogOptions::default()).unwrap();
    let entry = NewEntry {
        id: EntryId::new(1, 0),
        kind: EntryKind::Blank,
        payload: bytes::Bytes::new(),
        expected_base_offset: None,
    };
    log.append(&[entry], Timestamp::from_ms(1), None).unwrap();
    data.flusher().run_round();
    log.close().unwrap();
    data
}

#[test]
fn a_log_set_aside_begins_anew_and_says_so_after_a_restart() {
    let disk = SimDisk::new(1);
    let data = with_a_log(&disk);
    assert!(!data.is_recovering(KEY));
    let aside = data.quarantine_log(KEY, "a test").unwrap().unwrap();
    assert!(disk.list(&aside).unwrap().iter().any(|entry| entry.name == "manifest"), "it is kept as it was");
    assert!(data.is_recovering(KEY));
    drop(data);
    let data = open(&disk.reboot());
    assert!(data.report().foreign.is_empty(), "{:?}", data.report());
    assert!(data.is_recovering(KEY), "durable");
    let (log, report) = data.open_log(KEY, LogOptions::default()).unwrap();
    assert!(report.is_new);
    assert_eq!(log.state().last, None);
    log.close().unwrap();
    drop(log);
    let second = data.quarantine_log(KEY, "again").unwrap().unwrap();
    assert_ne!(second, aside);
    data.open_log(KEY, LogOptions::default()).unwrap().0.end_recovery().unwrap();
    drop(data);
    assert!(!open(&disk.reboot()).is_recovering(KEY));
}

#[test]
fn whatever_crashes_a_log_that_was_moved_has_its_mark() {
    for operations in 1..60 {
        let disk = SimDisk::new(operations);
        let data = with_a_log(&disk);
        disk.crash_at(operations, CrashMode::KeepSome);
        let done = data.quarantine_log(KEY, "a test").is_ok();
        drop(data);
        let data = open(&disk.reboot());
        let (log, report) = data.open_log(KEY, LogOptions::default()).unwrap();
        assert!(!report.is_new || data.is_recovering(KEY), "after {operations} steps");
        log.close().unwrap();
        if done {
            assert!(report.is_new);
            return;
        }
    }
    panic!("never finished");
}

#[test]
fn damage_met_while_open_is_remembered_and_deleting_forgets_it() {
    let disk = SimDisk::new(1);
    let data = with_a_log(&disk);
    data.open_log(KEY, LogOptions::default()).unwrap().0.mark_damaged("a bad frame").unwrap();
    drop(data);
    let data = open(&disk.reboot());
    assert!(data.is_marked_damaged(KEY));
    assert!(!data.is_recovering(KEY));
    data.quarantine_log(KEY, "a bad frame").unwrap();
    assert!(!data.is_marked_damaged(KEY));
    data.delete_log(KEY).unwrap();
    assert!(!data.is_recovering(KEY));
    drop(data);
    assert!(!open(&disk.reboot()).is_recovering(KEY));
}
