//! What a thousand logs cost that do nothing: time to make, to close and to open them, and memory.
//!
//! `cargo run --release -p highwater-storage --example idle_bench -- DIR [LOGS]`
#![allow(clippy::print_stdout, clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods)] // a tool

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use highwater_storage::disk::os::OsDisk;
use highwater_storage::{DataDir, DataDirOptions, EntryKind, Identity, Log, LogKey, LogOptions, NewEntry};
use highwater_types::{ClusterId, EntryId, NodeId, NodeUuid, Timestamp};

fn main() {
    let mut arguments = std::env::args().skip(1);
    let dir = PathBuf::from(arguments.next().expect("a directory")).join("idle-bench");
    let count: u32 = arguments.next().map_or(1000, |count| count.parse().expect("a number of logs"));
    for (case, index) in [("made", 0), ("opened after a clean close", 1), ("opened after none", 2)] {
        let data_dir = data_dir(&dir);
        let started = Instant::now();
        let logs: Vec<Log> = (0..count).map(|nth| open(&data_dir, nth)).collect();
        let opened = started.elapsed();
        let started = Instant::now();
        logs.iter().for_each(|log| append(log, index));
        data_dir.flusher().run_round();
        println!(
            "{count} logs {case} in {opened:?}; one append each, durable in {:?}; {}",
            started.elapsed(),
            memory()
        );
        if index == 0 {
            let started = Instant::now();
            logs.iter().for_each(|log| log.close().unwrap());
            println!("closed in {:?}", started.elapsed());
        }
    }
    std::fs::remove_dir_all(&dir).unwrap();
}

fn data_dir(dir: &Path) -> DataDir {
    let data_dir = DataDir::open(Arc::new(OsDisk::new()), dir, DataDirOptions::default()).unwrap();
    let (cluster, uuid) = (ClusterId::from_bytes([1; 16]), NodeUuid::from_bytes([2; 16]));
    data_dir.set_identity(Identity { cluster, node: NodeId::new(1), uuid }).unwrap();
    data_dir
}

fn open(data_dir: &DataDir, nth: u32) -> Log {
    data_dir.open_log(LogKey::new([3; 16], nth), LogOptions::default()).unwrap().0
}

fn append(log: &Log, index: u64) {
    let payload = Bytes::from_static(b"one small entry");
    let id = EntryId::new(1, index);
    let entry = NewEntry { id, kind: EntryKind::Metadata, payload, expected_base_offset: None };
    log.append(&[entry], Timestamp::from_ms(1), None).unwrap();
}

/// The resident memory as Linux counts it.
fn memory() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    status.lines().find(|line| line.starts_with("VmRSS")).unwrap_or_default().to_owned()
}
