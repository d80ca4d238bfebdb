//! Readers beside a writer, with all threads of the product, on the operating system's disk.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::sync_channel;
use std::thread;

use bytes::Bytes;
use highwater_types::batch::{BatchBuilder, BatchHeader, Compression, NO_HEADERS, verify_crc};
use highwater_types::{ClusterId, EntryId, LogIndex, NodeId, NodeUuid, Offset, Timestamp};

use crate::disk::os::OsDisk;
use crate::log::ReadError;
use crate::{DataDir, DataDirOptions, EntryKind, Identity, Log, LogKey, LogOptions, NewEntry};

const NOW: Timestamp = Timestamp::from_ms(1);
const ENTRIES: u64 = 6000;

fn batch(index: u64) -> Bytes {
    let mut builder = BatchBuilder::new(Compression::None);
    let value = vec![b'v'; usize::try_from(index % 300).unwrap()];
    for _ in 0..=index % 3 {
        builder.append(NOW, None, Some(&value), NO_HEADERS).unwrap();
    }
    builder.finish().unwrap()
}

fn entry(term: u64, index: u64) -> NewEntry {
    let id = EntryId::new(term, index);
    NewEntry { id, kind: EntryKind::Data, payload: batch(index), expected_base_offset: None }
}

/// Appends, sometimes too much and then less, and commits; purges what is old.
fn write(log: &Log, committed: &AtomicU64) {
    let (mut term, mut next, mut appends) = (1, 0, 0);
    while next < ENTRIES {
        let count = next % 7 + 1;
        let entries: Vec<_> = (next..next + count).map(|index| entry(term, index)).collect();
        let appended = log.append(&entries, NOW, None).unwrap();
        next += count;
        if next % 29 == 0 {
            // What was not committed yet: another leader knows nothing of it.
            log.truncate_from(LogIndex::new(next - count)).unwrap();
            next -= count;
            term += 1;
            log.append(&[entry(term, next)], NOW, None).unwrap();
            next += 1;
            committed.store(log.state().log_end.get(), Ordering::Release);
            continue;
        }
        committed.store(appended.log_end.get(), Ordering::Release);
        appends += 1;
        if appends % 20 == 0 && next > 400 {
            let purge = log.id_at(LogIndex::new(next - 400)).unwrap().unwrap();
            log.purge_through(purge).unwrap();
        }
    }
}

/// Reads everything committed, over and over, and checks that it is whole and without gaps.
fn read(log: &Log, committed: &AtomicU64, is_over: &AtomicBool) -> u64 {
    let mut passes = 0;
    while !is_over.load(Ordering::Acquire) {
        let mut from = log.state().log_start;
        loop {
            let below = Offset::new(committed.load(Ordering::Acquire)).unwrap();
            let slices = match log.read_batches(from, below, 4000) {
                Ok(slices) => slices,
                // Purged meanwhile.
                Err(ReadError::OffsetOutOfRange { valid, .. }) if valid.start > from => break,
                Err(error) => panic!("{error}"),
            };
            if slices.batches.is_empty() {
                assert!(from >= below, "nothing at {from}, although {below} is committed");
                break;
            }
            for bytes in &slices.batches {
                let header = BatchHeader::read(bytes).unwrap();
                assert!(verify_crc(bytes));
                assert!(header.base_offset <= from && from < header.next_offset(), "a gap at {from}");
                from = header.next_offset();
            }
            assert_eq!(from, slices.next_offset);
        }
        passes += 1;
    }
    passes
}

#[test]
fn readers_beside_a_writer_see_no_gap_and_nothing_half_written() {
    let dir = tempfile::tempdir().unwrap();
    let data_dir = DataDir::open(Arc::new(OsDisk::new()), dir.path(), DataDirOptions::default()).unwrap();
    let (cluster, uuid) = (ClusterId::from_bytes([1; 16]), NodeUuid::from_bytes([2; 16]));
    data_dir.set_identity(Identity { cluster, node: NodeId::new(1), uuid }).unwrap();
    let options = LogOptions { segment_bytes_max: 64 * 1024, allocate_bytes_min: 4096, ..LogOptions::default() };
    let key = LogKey::new([1; 16], 1);
    let (log, _) = data_dir.open_log(key, options.clone()).unwrap();
    let committed = AtomicU64::new(0);
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let readers: Vec<_> = (0..3).map(|_| scope.spawn(|| read(&log, &committed, &is_over))).collect();
        write(&log, &committed);
        is_over.store(true, Ordering::Release);
        for reader in readers {
            assert!(reader.join().unwrap() > 0);
        }
    });
    assert!(log.state().log_start.get() > 0 && log.state().last.unwrap().term.get() > 100);
    let (done, waiting) = sync_channel(1);
    let last = log.state().last.unwrap().index.get();
    log.append(&[entry(10_000, last + 1)], NOW, Some(Box::new(move |outcome| done.send(outcome).unwrap()))).unwrap();
    waiting.recv().unwrap().unwrap();
    let state = log.state();
    log.close().unwrap();
    drop(log);
    let (log, report) = data_dir.open_log(key, options).unwrap();
    assert!(report.was_clean);
    assert_eq!((log.state().last, log.state().log_start), (state.last, state.log_start));
}
