//! What appends cost on a real directory: throughput with rounds running behind, and the latency of append and flush.
//!
//! `cargo run --release -p highwater-storage --example append_bench -- DIR [MIB]`
//!
//! Makes a folder in DIR for each run and removes it. MIB is how much each run appends, 1024 unless given.
#![allow(clippy::print_stdout, clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)] // a tool
#![allow(clippy::disallowed_methods, clippy::cast_possible_truncation, clippy::cast_sign_loss)]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::time::{Duration, Instant};

use bytes::Bytes;
use highwater_storage::disk::os::OsDisk;
use highwater_storage::{DataDir, DataDirOptions, EntryKind, Identity, Log, LogKey, LogOptions, NewEntry, OnDurable};
use highwater_types::batch::{BatchBuilder, Compression, NO_HEADERS};
use highwater_types::{ClusterId, EntryId, LogIndex, NodeId, NodeUuid, Offset, Timestamp};

const NOW: Timestamp = Timestamp::from_ms(1);
/// Appends that may wait for their round at once, when throughput is measured.
const IN_FLIGHT: usize = 256;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let dir = PathBuf::from(arguments.next().expect("a directory"));
    let mib: u64 = arguments.next().map_or(1024, |mib| mib.parse().expect("MiB"));
    println!(
        "{:>9} {:>7} {:>10} {:>10} {:>9} {:>9} {:>9} {:>10}",
        "entry", "zeroed", "MB/s", "entries/s", "p50 us", "p99 us", "max us", "read MB/s"
    );
    for entry_bytes in [1 << 10, 64 << 10, 1 << 20] {
        for zero_ahead in [false, true] {
            run(&dir, entry_bytes, zero_ahead, mib << 20);
        }
    }
}

fn run(dir: &Path, entry_bytes: usize, zero_ahead: bool, total_bytes: u64) {
    let path = dir.join(format!("append-bench-{}", std::process::id()));
    let data_dir = DataDir::open(Arc::new(OsDisk::new()), &path, DataDirOptions::default()).unwrap();
    let (cluster, uuid) = (ClusterId::from_bytes([1; 16]), NodeUuid::from_bytes([2; 16]));
    data_dir.set_identity(Identity { cluster, node: NodeId::new(1), uuid }).unwrap();
    let options = LogOptions { zero_ahead, ..LogOptions::default() };
    let (log, _) = data_dir.open_log(LogKey::new([3; 16], 0), options).unwrap();
    let payload = batch(entry_bytes);
    let count = total_bytes / payload.len() as u64;

    let took = throughput(&log, &payload, count);
    let latencies = latencies(&log, &payload, count, 2000.min(count as usize));
    let read = read(&log);
    let size = count as f64 * payload.len() as f64 / 1e6;
    let percentile = |part: f64| latencies[((latencies.len() - 1) as f64 * part) as usize].as_secs_f64() * 1e6;
    println!(
        "{:>9} {:>7} {:>10.0} {:>10.0} {:>9.0} {:>9.0} {:>9.0} {:>10.0}",
        payload.len(),
        zero_ahead,
        size / took.as_secs_f64(),
        count as f64 / took.as_secs_f64(),
        percentile(0.5),
        percentile(0.99),
        percentile(1.0),
        read,
    );
    log.close().unwrap();
    drop((log, data_dir));
    std::fs::remove_dir_all(&path).unwrap();
}

fn batch(bytes: usize) -> Bytes {
    let mut builder = BatchBuilder::new(Compression::None);
    let value = vec![b'x'; bytes - 80];
    builder.append(NOW, None, Some(&value), NO_HEADERS).unwrap();
    builder.finish().unwrap()
}

fn entry(index: u64, payload: &Bytes) -> NewEntry {
    let payload = payload.clone();
    NewEntry { id: EntryId::new(1, index), kind: EntryKind::Data, payload, expected_base_offset: None }
}

/// Appends of up to 64 entries or 1 MiB, with a bounded number of them waiting for their round.
fn throughput(log: &Log, payload: &Bytes, count: u64) -> Duration {
    let per_append = ((1 << 20) / payload.len()).clamp(1, 64) as u64;
    let (done, waiting) = sync_channel(IN_FLIGHT);
    let started = Instant::now();
    let (mut next, mut in_flight) = (0, 0);
    while next < count {
        let entries: Vec<_> = (next..(next + per_append).min(count)).map(|index| entry(index, payload)).collect();
        next += entries.len() as u64;
        let done = done.clone();
        let on_durable: OnDurable = Box::new(move |outcome| done.send(outcome).unwrap());
        log.append(&entries, NOW, Some(on_durable)).unwrap();
        in_flight += 1;
        if in_flight == IN_FLIGHT {
            waiting.recv().unwrap().unwrap();
            in_flight -= 1;
        }
    }
    for _ in 0..in_flight {
        waiting.recv().unwrap().unwrap();
    }
    started.elapsed()
}

/// One append at a time, until it is durable; sorted.
fn latencies(log: &Log, payload: &Bytes, first: u64, count: usize) -> Vec<Duration> {
    let (done, waiting) = sync_channel(1);
    let mut latencies: Vec<_> = (first..first + count as u64)
        .map(|index| {
            let done = done.clone();
            let started = Instant::now();
            let on_durable: OnDurable = Box::new(move |outcome| done.send(outcome).unwrap());
            log.append(&[entry(index, payload)], NOW, Some(on_durable)).unwrap();
            waiting.recv().unwrap().unwrap();
            started.elapsed()
        })
        .collect();
    latencies.sort();
    latencies
}

/// MB/s of reading everything in pieces of 1 MiB, touching each page as a socket would.
fn read(log: &Log) -> f64 {
    let started = Instant::now();
    let (mut from, mut bytes, mut sum) = (Offset::ZERO, 0, 0_u64);
    let end = log.state().log_end;
    while from < end {
        let slices = log.read_batches(from, end, 1 << 20).unwrap();
        from = slices.next_offset;
        bytes += slices.bytes;
        sum += slices.batches.iter().flat_map(|batch| batch.chunks(4096)).map(|page| u64::from(page[0])).sum::<u64>();
    }
    let entries = log.read_entries(LogIndex::new(0), LogIndex::new(1), 1).unwrap();
    std::hint::black_box(sum);
    assert_eq!(entries.len(), 1);
    bytes as f64 / 1e6 / started.elapsed().as_secs_f64()
}
