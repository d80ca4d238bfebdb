//! What every log must do on every disk, as a function that any disk can be given to. It checks the promises of
//! [`Log`] that show without a crash; those that need one are the model test's.
#![allow(clippy::missing_panics_doc)] // panicking is how a check fails
#![allow(clippy::expect_used, clippy::indexing_slicing)] // so is this

use std::path::Path;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use highwater_types::batch::{BatchBuilder, BatchHeader, Compression, NO_HEADERS};
use highwater_types::{EntryId, LogIndex, Offset, Timestamp};

use super::{AppendError, Log, LogOptions, ReadError, RetentionPolicy};
use crate::background::Background;
use crate::disk::Disk;
use crate::entry::{Boundary, EntryKind, NewEntry};
use crate::flush::{Flusher, SyncFilesystem};
use crate::locks::lock;
use crate::log_key::LogKey;
use crate::poison::Poison;

/// Checks the log on `disk` inside `dir`, which must exist and be empty; leaves it empty.
///
/// # Panics
/// When a promise is broken, with the promise.
pub fn check(disk: &Arc<dyn Disk>, dir: &Path) {
    type Check = fn(&Bench);
    let checks: [(&str, Check); 13] = [
        ("an empty log", an_empty_log),
        ("append and read", append_and_read),
        ("what is refused", what_is_refused),
        ("callbacks in order", callbacks_in_order),
        ("rolls", rolls),
        ("truncation", truncation),
        ("purging", purging),
        ("reset", reset),
        ("membership", membership),
        ("timestamps", timestamps),
        ("retention", retention),
        ("large entries", large_entries),
        ("closing", closing),
    ];
    for (name, check) in checks {
        let bench = Bench { disk: Arc::clone(disk), dir: dir.join(name.replace(' ', "-")) };
        check(&bench);
        disk.remove_dir_all(&bench.dir).expect(name);
    }
}

/// A place for one log.
struct Bench {
    disk: Arc<dyn Disk>,
    dir: std::path::PathBuf,
}

/// A log with what drives it.
struct Running {
    log: Log,
    flusher: Arc<Flusher>,
    background: Arc<Background>,
}

impl Bench {
    fn open(&self) -> Running {
        self.open_with(LogOptions {
            segment_bytes_max: 4096,
            segment_age_ms_max: 60_000,
            index_interval_bytes: 256,
            allocate_bytes_min: 1024,
            allocate_bytes_max: 2048,
            zero_ahead: false,
        })
    }

    fn open_with(&self, options: LogOptions) -> Running {
        let poison = Arc::new(Poison::new());
        let flusher = Arc::new(Flusher::new(Arc::clone(&self.disk), &self.dir, SyncFilesystem::Never, poison));
        let background = Arc::new(Background::new());
        let key = LogKey::new(*b"conformance-test", 7);
        let (log, _) = Log::open(&self.disk, &self.dir, key, options, &flusher, &background).expect("open");
        Running { log, flusher, background }
    }
}

/// A batch of `count` records whose timestamps count up from `ms`.
fn batch(count: u32, ms: i64, value_bytes: usize) -> Bytes {
    let mut builder = BatchBuilder::new(Compression::None);
    let value = vec![b'v'; value_bytes];
    for nth in 0..count {
        let timestamp = Timestamp::from_ms(ms + i64::from(nth));
        builder.append(timestamp, None, Some(&value), NO_HEADERS).expect("a record");
    }
    builder.finish().expect("a batch")
}

fn data(term: u64, index: u64, count: u32) -> NewEntry {
    let payload = batch(count, i64::try_from(index).expect("small") * 1000, 40);
    NewEntry { id: EntryId::new(term, index), kind: EntryKind::Data, payload, expected_base_offset: None }
}

fn control(term: u64, index: u64, kind: EntryKind, payload: &'static [u8]) -> NewEntry {
    let payload = Bytes::from_static(payload);
    NewEntry { id: EntryId::new(term, index), kind, payload, expected_base_offset: None }
}

fn at(ms: i64) -> Timestamp {
    Timestamp::from_ms(ms)
}

fn offset(value: u64) -> Offset {
    Offset::new(value).expect("an offset")
}

fn index(value: u64) -> LogIndex {
    LogIndex::new(value)
}

impl Running {
    /// Appends entries of two records each, with these indexes.
    fn fill(&self, term: u64, indexes: std::ops::Range<u64>) {
        for next in indexes {
            self.log.append(&[data(term, next, 2)], at(0), None).expect("append");
            self.background.run_pending();
        }
    }

    fn indexes(&self, from: u64, below: u64) -> Vec<u64> {
        let entries = self.log.read_entries(index(from), index(below), usize::MAX).expect("read entries");
        entries.iter().map(|entry| entry.id.index.get()).collect()
    }

    /// All base offsets that can be read from `from` on.
    fn base_offsets(&self, from: u64) -> Vec<u64> {
        let slices = self.log.read_batches(offset(from), Offset::MAX, usize::MAX).expect("read batches");
        slices.batches.iter().map(|bytes| BatchHeader::read(bytes).expect("a batch").base_offset.get()).collect()
    }
}

fn an_empty_log(bench: &Bench) {
    let running = bench.open();
    let state = running.log.state();
    assert_eq!((state.last, state.log_start, state.log_end), (None, Offset::ZERO, Offset::ZERO));
    assert_eq!(running.log.flushed(), None);
    assert!(running.indexes(0, 10).is_empty());
    assert!(running.base_offsets(0).is_empty(), "reading at the end of a log gives nothing and is no error");
    assert_eq!(running.log.id_at(index(0)).expect("id_at"), None);
    assert_eq!(running.log.find_timestamp(at(0), Offset::ZERO, Offset::MAX).expect("find"), None);
    running.log.truncate_from(index(0)).expect("truncating nothing");
    assert!(running.log.retention_boundary(&RetentionPolicy::default(), at(0), Offset::MAX).is_none());
    running.log.append(&[data(1, 41, 1)], at(0), None).expect("a first append may begin at any index");
    assert_eq!(running.indexes(0, 100), [41]);
}

fn append_and_read(bench: &Bench) {
    let running = bench.open();
    let appended = running
        .log
        .append(&[control(1, 0, EntryKind::Blank, b""), data(1, 1, 3), data(2, 2, 1)], at(0), None)
        .expect("append");
    assert_eq!((appended.base_offset, appended.log_end), (Offset::ZERO, offset(4)));
    assert_eq!(appended.last, Some(EntryId::new(2, 2)));
    let entries = running.log.read_entries(index(0), index(9), usize::MAX).expect("read");
    let offsets: Vec<_> = entries.iter().map(|entry| (entry.base_offset.get(), entry.record_count)).collect();
    assert_eq!(offsets, [(0, 0), (0, 3), (3, 1)], "control entries take no offset");
    let stamped = BatchHeader::read(&entries[2].payload).expect("a batch");
    assert_eq!((stamped.base_offset, stamped.leader_epoch.get()), (offset(3), 2));
    assert_eq!(entries[2].payload[16..], data(2, 2, 1).payload[16..], "nothing but the stamp is changed");
    assert_eq!(running.base_offsets(2), [0, 3], "the batch that holds the offset is given whole");
    assert_eq!(running.base_offsets(3), [3]);
    let slices = running.log.read_batches(Offset::ZERO, offset(3), usize::MAX).expect("read");
    assert_eq!((slices.batches.len(), slices.next_offset), (1, offset(3)), "a batch that reaches `below` is left out");
    let slices = running.log.read_batches(Offset::ZERO, Offset::MAX, 1).expect("read");
    assert_eq!(slices.batches.len(), 1, "one batch is given even if it is too large");
    assert_eq!(running.log.read_entries(index(1), index(9), 0).expect("read").len(), 1);
    assert_eq!(running.log.id_at(index(1)).expect("id_at"), Some(EntryId::new(1, 1)));
    assert_eq!(running.log.id_at(index(3)).expect("id_at"), None);
    let beyond = running.log.read_batches(offset(5), Offset::MAX, 1);
    assert!(matches!(beyond, Err(ReadError::OffsetOutOfRange { valid, .. }) if valid.end == offset(4)));
}

fn what_is_refused(bench: &Bench) {
    let running = bench.open();
    running.fill(3, 5..7);
    let before = running.log.state();
    let refused = |entries: &[NewEntry]| running.log.append(entries, at(0), None).expect_err("a refusal");
    assert!(matches!(refused(&[data(3, 8, 1)]), AppendError::OutOfOrder { .. }));
    assert!(matches!(refused(&[data(3, 6, 1)]), AppendError::OutOfOrder { .. }));
    assert!(matches!(refused(&[data(3, 7, 1), data(3, 9, 1)]), AppendError::OutOfOrder { .. }));
    assert!(matches!(refused(&[data(2, 7, 1)]), AppendError::TermWentBack { .. }));
    assert!(matches!(refused(&[control(3, 7, EntryKind::Data, b"no batch")]), AppendError::NotABatch { .. }));
    let mut cut = data(3, 7, 1);
    cut.payload.truncate(cut.payload.len() - 1);
    assert!(matches!(refused(&[cut]), AppendError::BatchLength { .. }));
    let diverged = NewEntry { expected_base_offset: Some(offset(5)), ..data(3, 7, 1) };
    assert!(matches!(refused(&[diverged]), AppendError::OffsetDiverged { .. }));
    assert_eq!(running.log.state(), before, "a refusal changes nothing");
    let agreed = NewEntry { expected_base_offset: Some(offset(4)), ..data(3, 7, 1) };
    running.log.append(&[agreed], at(0), None).expect("an offset that agrees");
}

fn callbacks_in_order(bench: &Bench) {
    let running = bench.open();
    let heard = Arc::new(Mutex::new(Vec::new()));
    for next in 1..=5 {
        let heard = Arc::clone(&heard);
        let on_durable = Box::new(move |outcome: Result<(), _>| {
            outcome.expect("durable");
            lock(&heard).push(next);
        });
        running.log.append(&[data(1, next, 1)], at(0), Some(on_durable)).expect("append");
    }
    assert!(lock(&heard).is_empty(), "nothing is durable before a round");
    assert_eq!(running.log.flushed(), None);
    running.flusher.run_round();
    assert_eq!(*lock(&heard), [1, 2, 3, 4, 5]);
    let flushed = running.log.flushed().expect("flushed");
    assert_eq!((flushed.id, flushed.next_offset), (EntryId::new(1, 5), offset(5)));
    let entries = running.log.read_entries(index(1), index(9), usize::MAX).expect("read");
    assert_eq!(entries.len(), 5);
}

fn rolls(bench: &Bench) {
    let running = bench.open();
    running.fill(1, 0..200);
    running.flusher.run_round();
    let all: Vec<u64> = (0..200).collect();
    assert_eq!(running.indexes(0, 200), all);
    assert_eq!(running.indexes(57, 63), all[57..63]);
    assert_eq!(running.base_offsets(0), all.iter().map(|nth| nth * 2).collect::<Vec<_>>());
    assert_eq!(running.base_offsets(201).first(), Some(&200));
    let segments = bench.disk.list(&bench.dir).expect("list");
    assert!(segments.iter().filter(|entry| entry.name.ends_with(".segment")).count() > 5, "small segments must roll");
    drop(running);
    let reopened = bench.open();
    assert_eq!(reopened.indexes(0, 200), all, "a log that was not closed opens with what was durable");
    assert_eq!(reopened.log.state().log_end, offset(400));
    reopened.fill(2, 200..220);
    assert_eq!(reopened.indexes(150, 999), (150..220).collect::<Vec<_>>());
}

fn truncation(bench: &Bench) {
    let running = bench.open();
    running.fill(1, 1..101);
    let kept = running.log.read_entries(index(30), index(31), 1).expect("read");
    running.log.truncate_from(index(101)).expect("truncating nothing");
    assert_eq!(running.log.flushed(), None, "and that makes nothing durable");
    for from in [95, 60, 59, 31] {
        running.log.truncate_from(index(from)).expect("truncate");
        let state = running.log.state();
        assert_eq!(state.last, Some(EntryId::new(1, from - 1)));
        assert_eq!(state.log_end, offset((from - 1) * 2), "offsets roll back");
        assert_eq!(running.indexes(1, 999), (1..from).collect::<Vec<_>>());
        assert_eq!(running.log.flushed().map(|flushed| flushed.id), state.last, "durable when it returns");
    }
    running.fill(2, 31..50);
    assert_eq!(running.base_offsets(58), (29..49).map(|nth| nth * 2).collect::<Vec<_>>());
    assert_eq!(running.log.id_at(index(31)).expect("id_at"), Some(EntryId::new(2, 31)));
    assert_eq!(running.log.read_entries(index(30), index(31), 1).expect("read"), kept);
    running.flusher.run_round();
    drop(running);
    let reopened = bench.open();
    assert_eq!(reopened.log.id_at(index(31)).expect("id_at"), Some(EntryId::new(2, 31)));
    assert_eq!(reopened.indexes(1, 999), (1..50).collect::<Vec<_>>());
    reopened.log.truncate_from(index(1)).expect("truncate everything");
    assert_eq!(reopened.log.state().last, None);
    reopened.fill(3, 1..3);
    assert_eq!(reopened.base_offsets(0), [0, 2]);
}

fn purging(bench: &Bench) {
    let running = bench.open();
    running.fill(1, 1..101);
    let held = running.log.read_batches(Offset::ZERO, Offset::MAX, 1).expect("read").batches;
    let size = running.log.state().size_bytes;
    running.log.purge_through(EntryId::new(1, 40)).expect("purge");
    running.log.purge_through(EntryId::new(1, 12)).expect("going back does nothing");
    let state = running.log.state();
    assert_eq!((state.purged, state.log_start), (Some(EntryId::new(1, 40)), offset(80)));
    assert!(state.size_bytes < size, "whole segments are removed");
    assert_eq!(running.indexes(41, 999), (41..101).collect::<Vec<_>>());
    assert!(matches!(running.log.read_entries(index(40), index(99), 1), Err(ReadError::IndexPurged { .. })));
    assert!(matches!(running.log.read_batches(offset(79), Offset::MAX, 1), Err(ReadError::OffsetOutOfRange { .. })));
    assert_eq!(running.log.id_at(index(40)).expect("id_at"), Some(EntryId::new(1, 40)));
    assert_eq!(held[0].len(), data(1, 1, 2).payload.len(), "a slice outlives its segment");
    assert!(running.log.purge_through(EntryId::new(9, 50)).is_err(), "another term is another entry");
    assert!(running.log.truncate_from(index(40)).is_err());
    running.log.truncate_from(index(41)).expect("everything that is left");
    assert_eq!(running.log.state().last, Some(EntryId::new(1, 40)));
    running.fill(2, 41..60);
    drop(running);
    let reopened = bench.open();
    assert_eq!(reopened.log.state().log_start, offset(80));
    reopened.log.purge_through(EntryId::new(2, 70)).expect("beyond the end");
    assert_eq!(reopened.log.state().last, Some(EntryId::new(2, 70)));
    assert!(reopened.log.append(&[data(2, 60, 1)], at(0), None).is_err(), "it goes on after what was purged");
    reopened.log.append(&[data(2, 71, 1)], at(0), None).expect("append");
}

fn reset(bench: &Bench) {
    let running = bench.open();
    running.fill(1, 1..30);
    let membership = Some((EntryId::new(2, 90), Bytes::from_static(b"three")));
    let boundary = Boundary { id: EntryId::new(2, 99), next_offset: offset(500), membership: membership.clone() };
    running.log.reset(&boundary).expect("reset");
    let state = running.log.state();
    assert_eq!((state.last, state.purged), (Some(boundary.id), Some(boundary.id)));
    assert_eq!((state.log_start, state.log_end), (offset(500), offset(500)));
    drop(running);
    let reopened = bench.open();
    assert_eq!(reopened.log.state().last, Some(boundary.id), "durable when it returns");
    reopened.fill(2, 100..160);
    assert_eq!(reopened.base_offsets(500).first(), Some(&500));
    let policy = RetentionPolicy { age_ms_max: None, bytes_max: Some(0) };
    let found = reopened.log.retention_boundary(&policy, at(0), Offset::MAX).expect("a boundary");
    assert_eq!(found.membership, membership, "the membership of the snapshot goes on");
}

fn membership(bench: &Bench) {
    let running = bench.open();
    let log = &running.log;
    log.append(&[control(1, 1, EntryKind::Membership, b"one")], at(0), None).expect("append");
    running.fill(1, 2..60);
    log.append(&[control(1, 60, EntryKind::Membership, b"two")], at(0), None).expect("append");
    running.fill(1, 61..120);
    let at_end_of_all = |running: &Running| {
        running.fill(9, running.log.state().last.expect("last").index.get() + 1..400);
        let policy = RetentionPolicy { age_ms_max: None, bytes_max: Some(0) };
        let boundary = running.log.retention_boundary(&policy, at(0), Offset::MAX).expect("a boundary");
        boundary.membership.map(|(id, payload)| (id.index.get(), payload))
    };
    log.truncate_from(index(61)).expect("truncate");
    running.flusher.run_round();
    drop(running);
    let running = bench.open();
    running.log.truncate_from(index(60)).expect("truncate");
    running.flusher.run_round();
    assert_eq!(at_end_of_all(&running), Some((1, Bytes::from_static(b"one"))), "a dropped membership never was");
    running.log.close().expect("close");
    drop(running);
    let running = bench.open();
    running.log.truncate_from(index(2)).expect("truncate");
    running.log.append(&[control(9, 2, EntryKind::Membership, b"new")], at(0), None).expect("append");
    assert_eq!(at_end_of_all(&running), Some((2, Bytes::from_static(b"new"))));
}

fn timestamps(bench: &Bench) {
    let running = bench.open();
    running.log.append(&[control(1, 0, EntryKind::Blank, b"")], at(0), None).expect("append");
    // Entry `n` holds two records, of the times 1000n and 1000n + 1; one of them is late.
    running.fill(1, 1..50);
    let late = NewEntry { payload: batch(1, 7, 40), ..data(1, 50, 1) };
    running.log.append(&[late], at(0), None).expect("append");
    running.fill(1, 51..100);
    let find = |ms| {
        let found = running.log.find_timestamp(at(ms), Offset::ZERO, Offset::MAX).expect("find");
        found.map(|(offset, timestamp)| (offset.get(), timestamp.as_ms()))
    };
    assert_eq!(find(i64::MIN), Some((0, 1000)));
    for nth in [1_i64, 17, 49] {
        let first = u64::try_from(nth).expect("positive") * 2 - 2;
        assert_eq!(find(nth * 1000), Some((first, nth * 1000)));
        assert_eq!(find(nth * 1000 + 1), Some((first + 1, nth * 1000 + 1)), "the record, not its batch");
    }
    assert_eq!(find(49_002), Some((99, 51_000)), "a late record is passed over");
    assert_eq!(find(99_002), None);
    assert_eq!(running.log.find_timestamp(at(17_001), Offset::ZERO, offset(33)).expect("find"), None);
    // From the middle of a batch on, in the first segment and in later ones.
    for from in [0, 1, 7, 60, 97] {
        let found = running.log.find_timestamp(at(0), offset(from), Offset::MAX).expect("find");
        assert_eq!(found.map(|(offset, _)| offset.get()), Some(from));
    }
    assert_eq!(running.log.find_timestamp(at(0), offset(33), offset(33)).expect("find"), None);
    running.log.purge_through(EntryId::new(1, 20)).expect("purge");
    assert_eq!(find(0), Some((40, 21_000)));
    let purged = running.log.find_timestamp(at(0), offset(3), Offset::MAX).expect("find");
    assert_eq!(purged, Some((offset(40), at(21_000))));
}

fn retention(bench: &Bench) {
    let running = bench.open();
    running.fill(1, 1..101);
    let boundary = |age_ms_max, bytes_max, below| {
        let policy = RetentionPolicy { age_ms_max, bytes_max };
        running.log.retention_boundary(&policy, at(101_000), offset(below)).map(|boundary| boundary.id.index.get())
    };
    assert_eq!(boundary(None, None, 999), None);
    let all_sealed = boundary(Some(0), None, 999).expect("sealed segments");
    assert!(all_sealed < 100, "the active segment stays");
    assert_eq!(boundary(None, Some(0), 999), Some(all_sealed));
    assert!(boundary(Some(50_000), None, 999).expect("half") <= 51);
    assert_eq!(boundary(Some(0), None, 3), None, "nothing at or above the limit goes");
    running.log.maintain(at(59_999)).expect("maintain");
    assert_eq!(boundary(Some(0), None, 999), Some(all_sealed));
    running.log.maintain(at(60_000)).expect("maintain");
    assert_eq!(boundary(Some(0), None, 999), Some(100), "an old segment is sealed");
    let id = EntryId::new(1, 100);
    running.log.purge_through(id).expect("purge");
    assert_eq!((running.log.state().last, running.log.state().size_bytes), (Some(id), 0));
}

fn large_entries(bench: &Bench) {
    let running = bench.open();
    running.fill(1, 1..4);
    let large = NewEntry { payload: batch(3, 0, 5000), ..data(1, 4, 3) };
    running.log.reserve(super::framed_bytes(large.payload.len())).expect("reserve");
    running.log.append(std::slice::from_ref(&large), at(0), None).expect("larger than a segment");
    running.fill(1, 5..9);
    let read = running.log.read_batches(offset(6), offset(9), 1).expect("read").batches;
    assert_eq!(read[0][16..], large.payload[16..]);
    running.flusher.run_round();
    drop(running);
    let reopened = bench.open();
    assert_eq!(reopened.indexes(1, 99), (1..9).collect::<Vec<_>>());
    let tool_large = Bytes::from(vec![0; crate::frame::PAYLOAD_BYTES_MAX + 1]);
    let entry = NewEntry { payload: tool_large, ..control(1, 9, EntryKind::Metadata, b"") };
    assert!(matches!(reopened.log.append(&[entry], at(0), None), Err(AppendError::TooLarge { .. })));
}

fn closing(bench: &Bench) {
    let running = bench.open();
    running.log.write_checkpoint(b"state").expect("checkpoint");
    running.fill(1, 1..70);
    running.log.close().expect("close");
    running.log.close().expect("close again");
    assert!(matches!(running.log.append(&[data(1, 70, 1)], at(0), None), Err(AppendError::Closed)));
    assert_eq!(running.indexes(1, 99).len(), 69, "reads go on");
    drop(running);
    let reopened = bench.open();
    assert_eq!(reopened.log.read_checkpoint().expect("checkpoint").as_deref(), Some(&b"state"[..]));
    assert_eq!(reopened.log.flushed().map(|flushed| flushed.id), Some(EntryId::new(1, 69)));
    assert_eq!(reopened.indexes(1, 99).len(), 69);
    reopened.fill(1, 70..75);
    reopened.flusher.run_round();
    drop(reopened);
    assert_eq!(bench.open().indexes(1, 99), (1..75).collect::<Vec<_>>(), "what came after a clean close is found");
}
