//! How long a log of many GiB takes to open, after a stop in order and after none.
//!
//! `cargo run --release -p highwater-storage --example open_bench -- DIR [GIB] [ENTRY_BYTES]`
//!
//! Makes a folder in DIR and removes it. GIB is 10 unless given, ENTRY_BYTES 1024.
#![allow(clippy::print_stdout, clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods)] // a tool

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use highwater_storage::disk::os::OsDisk;
use highwater_storage::{DataDir, DataDirOptions, EntryKind, Identity, Log, LogKey, LogOptions, NewEntry};
use highwater_types::batch::{BatchBuilder, Compression, NO_HEADERS};
use highwater_types::{ClusterId, EntryId, NodeId, NodeUuid, Offset, Timestamp};

const NOW: Timestamp = Timestamp::from_ms(1);
const KEY: LogKey = LogKey::new([3; 16], 0);

fn main() {
    let mut arguments = std::env::args().skip(1);
    let dir = PathBuf::from(arguments.next().expect("a directory")).join("open-bench");
    let gib: u64 = arguments.next().map_or(10, |gib| gib.parse().expect("GiB"));
    let entry_bytes: usize = arguments.next().map_or(1024, |bytes| bytes.parse().expect("bytes"));
    fill(&dir, gib << 30, entry_bytes);
    for case in ["not closed", "closed"] {
        let data_dir = data_dir(&dir);
        let started = Instant::now();
        let (log, report) = data_dir.open_log(KEY, LogOptions::default()).unwrap();
        let opened = started.elapsed();
        let end = log.state().log_end;
        let started = Instant::now();
        let middle = Offset::new(end.get() / 2).unwrap();
        assert!(!log.read_batches(middle, end, 1).unwrap().batches.is_empty());
        let read = started.elapsed();
        println!(
            "{case}: opened in {opened:?} (scanned {} bytes), a batch in the middle in {read:?}",
            report.scanned_bytes
        );
        log.close().unwrap();
    }
    std::fs::remove_dir_all(&dir).unwrap();
}

fn data_dir(dir: &Path) -> DataDir {
    let data_dir = DataDir::open(Arc::new(OsDisk::new()), dir, DataDirOptions::default()).unwrap();
    let (cluster, uuid) = (ClusterId::from_bytes([1; 16]), NodeUuid::from_bytes([2; 16]));
    data_dir.set_identity(Identity { cluster, node: NodeId::new(1), uuid }).unwrap();
    data_dir
}

/// Appends, and prints what an append costs at the start and at the end.
fn fill(dir: &Path, total_bytes: u64, entry_bytes: usize) {
    let data_dir = data_dir(dir);
    let (log, _) = data_dir.open_log(KEY, LogOptions::default()).unwrap();
    let mut builder = BatchBuilder::new(Compression::None);
    builder.append(NOW, None, Some(&vec![b'x'; entry_bytes - 80]), NO_HEADERS).unwrap();
    let payload = builder.finish().unwrap();
    let mut index = 0;
    let tenth = total_bytes / 10;
    for _ in 0..10 {
        let started = Instant::now();
        let mut bytes = 0;
        while bytes < tenth {
            bytes += append(&log, &mut index, &payload);
        }
        data_dir.flusher().run_round();
        println!("{index} entries, {:.0} MB/s", tenth_as_mb(tenth) / started.elapsed().as_secs_f64());
    }
}

#[allow(clippy::cast_precision_loss)]
fn tenth_as_mb(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

fn append(log: &Log, index: &mut u64, payload: &Bytes) -> u64 {
    let count = ((256 << 10) / payload.len()).clamp(1, 256) as u64;
    let entries: Vec<_> = (*index..*index + count)
        .map(|index| NewEntry {
            id: EntryId::new(1, index),
            kind: EntryKind::Data,
            payload: payload.clone(),
            expected_base_offset: None,
        })
        .collect();
    log.append(&entries, NOW, None).unwrap();
    *index += count;
    count * payload.len() as u64
}
