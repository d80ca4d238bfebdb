//! The log against a plain model, with the power cut at every call that changes the disk.
//!
//! A scenario is a seed: it chooses the operations and everything in them. It is run once to count the disk's changing
//! calls, and then once for each of these calls and each way to lose power there. After each cut the log is opened
//! again and held against the model, and used further.
//!
//! What must hold, whatever happens:
//! - Every open succeeds.
//! - What was called back as durable is there, byte for byte, at the same index and offset.
//! - What was never called back is there or not, but what is there is a first part of what was appended.
//! - A truncation, purge or reset that returned has happened; one that was cut off has happened or not.
//! - A vote is not older than the last one called back, and every append made before it is there.

#![allow(clippy::cast_possible_truncation)] // of numbers that were made small

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use highwater_types::batch::{self, BatchBuilder, BatchHeader, Compression, NO_HEADERS};
use highwater_types::{ClusterId, EntryId, LogIndex, NodeId, NodeUuid, Offset, Timestamp};

use crate::disk::Disk;
use crate::disk::sim::{CrashMode, FaultRates, SimDisk};
use crate::flush::SyncFilesystem;
use crate::planted::{Bug, plant};
use crate::{
    Boundary, DataDir, DataDirOptions, EntryKind, Identity, Log, LogKey, LogOptions, NewEntry, OnDurable,
    RecoveryReport, RetentionPolicy,
};

const KEY: LogKey = LogKey::new([5; 16], 2);
const DATA: &str = "/data";

/// Chances from a seed (SplitMix64).
#[derive(Clone)]
pub(super) struct Chance(u64);

impl Chance {
    pub(super) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(super) fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit.max(1)
    }
}

/// An entry that the model knows.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Known {
    id: EntryId,
    kind: EntryKind,
    base_offset: u64,
    count: u32,
    payload: Bytes,
}

/// What the log should hold, or may hold after a cut.
#[derive(Clone, Debug, Default)]
struct Model {
    purged: Option<EntryId>,
    log_start: u64,
    entries: Vec<Known>,
    /// The index up to which everything must survive, plus one.
    safe_below: u64,
}

impl Model {
    fn last(&self) -> Option<EntryId> {
        self.entries.last().map(|entry| entry.id).or(self.purged)
    }

    fn next_index(&self) -> u64 {
        self.last().map_or(0, |last| last.index.get() + 1)
    }

    fn next_offset(&self) -> u64 {
        self.entries.last().map_or(self.log_start, |entry| entry.base_offset + u64::from(entry.count))
    }

    fn truncate(&mut self, from: u64) {
        self.entries.retain(|entry| entry.id.index.get() < from);
        self.safe_below = self.next_index();
    }

    fn purge(&mut self, id: EntryId) {
        if let Some(at) = self.entries.iter().position(|entry| entry.id == id) {
            let gone: Vec<_> = self.entries.drain(..=at).collect();
            self.log_start = gone.last().map_or(self.log_start, |entry| entry.base_offset + u64::from(entry.count));
            self.purged = Some(id);
            // A purge makes everything durable on its way.
            self.safe_below = self.next_index();
        }
    }
}

/// A vote and what was appended before it.
#[derive(Clone, Debug)]
struct Vote {
    number: u64,
    appended_below: u64,
}

/// What may be true after a cut, and what must be.
struct World {
    chance: Chance,
    model: Model,
    /// The other outcome of the operation that was cut off.
    instead: Option<Model>,
    term: u64,
    now_ms: i64,
    unique: u64,
    votes: Vec<Vote>,
    safe_vote: u64,
    /// Set by callbacks.
    heard: Arc<AtomicU64>,
    heard_vote: Arc<AtomicU64>,
}

/// A running log on a simulated machine.
struct Machine {
    data_dir: DataDir,
    log: Log,
    report: RecoveryReport,
}

pub(super) fn options() -> LogOptions {
    LogOptions {
        segment_bytes_max: 2048,
        segment_age_ms_max: 1000,
        index_interval_bytes: 200,
        allocate_bytes_min: 512,
        allocate_bytes_max: 1024,
        zero_ahead: false,
    }
}

/// How often the rare things happened, so that a scenario that has become tame is noticed.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Seen {
    torn_tails: u64,
    left_over: u64,
    scanned: u64,
    rolled: u64,
    cut_short: u64,
}

impl Seen {
    fn add(&mut self, other: Self) {
        self.torn_tails += other.torn_tails;
        self.left_over += other.left_over;
        self.scanned += other.scanned;
        self.rolled += other.rolled;
        self.cut_short += other.cut_short;
    }

    fn note(&mut self, report: &RecoveryReport) {
        self.torn_tails += u64::from(report.torn_tail.is_some());
        self.left_over += u64::from(!report.removed.is_empty());
        self.scanned += u64::from(report.scanned_bytes > 0);
    }
}

fn start(disk: &SimDisk) -> Result<Machine, String> {
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    let options = DataDirOptions { may_create: true, sync_filesystem: SyncFilesystem::Auto, ..data_dir_options() };
    let data_dir = DataDir::open(shared, Path::new(DATA), options).map_err(|error| error.to_string())?;
    let (cluster, uuid) = (ClusterId::from_bytes([1; 16]), NodeUuid::from_bytes([2; 16]));
    data_dir.set_identity(Identity { cluster, node: NodeId::new(1), uuid }).map_err(|error| error.to_string())?;
    let (log, report) = data_dir.open_log(KEY, self::options()).map_err(|error| error.to_string())?;
    Ok(Machine { data_dir, log, report })
}

fn batch(unique: u64, count: u64, ms: i64, value_bytes: usize) -> Bytes {
    let mut builder = BatchBuilder::new(Compression::None);
    for nth in 0..count {
        let mut value = (unique * 1000 + nth).to_le_bytes().to_vec();
        value.resize(value_bytes.max(8), b'.');
        builder.append(Timestamp::from_ms(ms), None, Some(&value), NO_HEADERS).unwrap();
    }
    builder.finish().unwrap()
}

impl World {
    fn new(seed: u64) -> Self {
        Self {
            chance: Chance::new(seed),
            model: Model::default(),
            instead: None,
            term: 1,
            now_ms: 0,
            unique: 0,
            votes: Vec::new(),
            safe_vote: 0,
            heard: Arc::default(),
            heard_vote: Arc::default(),
        }
    }

    /// Takes what the callbacks have said.
    fn listen(&mut self) {
        let heard = self.heard.load(Ordering::SeqCst).min(self.model.next_index());
        self.model.safe_below = self.model.safe_below.max(heard);
        self.safe_vote = self.safe_vote.max(self.heard_vote.load(Ordering::SeqCst));
    }

    /// One operation; `Err` when the machine has lost its power.
    fn step(&mut self, machine: &Machine) -> Result<(), String> {
        self.now_ms += i64::try_from(self.chance.below(40)).unwrap();
        match self.chance.below(40) {
            0..15 => self.append(machine),
            15..23 => {
                machine.data_dir.flusher().run_round();
                self.listen();
                machine.log.poisoned().map_or(Ok(()), |poisoned| Err(poisoned.to_string()))
            }
            23..29 => {
                machine.data_dir.background().run_pending();
                Ok(())
            }
            29..32 => self.truncate(machine),
            32..34 => self.purge(machine),
            34 => self.reset(machine),
            35 => machine.log.maintain(Timestamp::from_ms(self.now_ms)).map_err(|error| error.to_string()),
            36..38 => {
                self.vote(machine);
                Ok(())
            }
            _ => {
                self.look(&machine.log);
                Ok(())
            }
        }
    }

    fn append(&mut self, machine: &Machine) -> Result<(), String> {
        if self.chance.below(6) == 0 {
            self.term += 1;
        }
        let mut next = self.model.clone();
        let mut entries = Vec::new();
        for _ in 0..=self.chance.below(3) {
            let entry = self.new_entry(&mut next);
            entries.push(entry);
        }
        self.instead = Some(next.clone());
        let heard = Arc::clone(&self.heard);
        let end = next.next_index();
        let on_durable: OnDurable = Box::new(move |outcome| {
            if outcome.is_ok() {
                heard.fetch_max(end, Ordering::SeqCst);
            }
        });
        machine
            .log
            .append(&entries, Timestamp::from_ms(self.now_ms), Some(on_durable))
            .map_err(|error| error.to_string())?;
        self.model = next;
        self.instead = None;
        Ok(())
    }

    fn new_entry(&mut self, model: &mut Model) -> NewEntry {
        self.unique += 1;
        let id = EntryId::new(self.term, model.next_index());
        let base_offset = model.next_offset();
        let (kind, count, payload) = match self.chance.below(8) {
            0 => (EntryKind::Blank, 0, Bytes::new()),
            1 => (EntryKind::Membership, 0, Bytes::copy_from_slice(&self.unique.to_le_bytes())),
            2 => (EntryKind::GroupDelta, 0, Bytes::from(vec![self.unique as u8; self.chance.below(90) as usize])),
            _ => {
                let count = self.chance.below(3) + 1;
                let value_bytes = if self.chance.below(12) == 0 { 900 } else { self.chance.below(60) as usize };
                (EntryKind::Data, count as u32, batch(self.unique, count, self.now_ms, value_bytes))
            }
        };
        let stamped = match kind {
            EntryKind::Data => {
                let front =
                    batch::stamp(Offset::new(base_offset).unwrap(), id.term.into(), *payload.first_chunk().unwrap());
                Bytes::from([&front[..], &payload[16..]].concat())
            }
            _ => payload.clone(),
        };
        model.entries.push(Known { id, kind, base_offset, count, payload: stamped });
        NewEntry { id, kind, payload, expected_base_offset: None }
    }

    /// Raft cuts off what is not committed; here anything that is left.
    fn truncate(&mut self, machine: &Machine) -> Result<(), String> {
        let Some(first) = self.model.entries.first() else { return Ok(()) };
        let count = self.model.entries.len() as u64;
        // Mostly near the end, sometimes anywhere.
        let span = if self.chance.below(4) == 0 { count + 1 } else { count.min(6) + 1 };
        let from = first.id.index.get() + count - self.chance.below(span).min(count);
        if from == self.model.next_index() {
            return machine.log.truncate_from(LogIndex::new(from)).map_err(|error| error.to_string());
        }
        let mut cut = self.model.clone();
        cut.truncate(from);
        self.instead = Some(cut.clone());
        // Until it returns, what was called back earlier is needed only if the truncation did not happen.
        machine.log.truncate_from(LogIndex::new(from)).map_err(|error| error.to_string())?;
        self.heard = Arc::default();
        self.model = cut;
        self.instead = None;
        for vote in &mut self.votes {
            vote.appended_below = vote.appended_below.min(from);
        }
        self.term += 1;
        Ok(())
    }

    fn purge(&mut self, machine: &Machine) -> Result<(), String> {
        let id = if self.chance.below(3) == 0 {
            let policy = RetentionPolicy { age_ms_max: Some(300), bytes_max: Some(4000) };
            let now = Timestamp::from_ms(self.now_ms);
            let Some(boundary) = machine.log.retention_boundary(&policy, now, Offset::MAX) else { return Ok(()) };
            boundary.id
        } else {
            let Some(nth) = self.model.entries.len().checked_sub(1) else { return Ok(()) };
            let nth = self.chance.below(nth as u64 / 2 + 1) as usize;
            self.model.entries[nth].id
        };
        let mut purged = self.model.clone();
        purged.purge(id);
        self.instead = Some(purged.clone());
        machine.log.purge_through(id).map_err(|error| error.to_string())?;
        self.model = purged;
        self.instead = None;
        Ok(())
    }

    fn reset(&mut self, machine: &Machine) -> Result<(), String> {
        if self.chance.below(3) != 0 {
            return Ok(());
        }
        self.term += 1;
        let index = self.model.next_index() + self.chance.below(20);
        let id = EntryId::new(self.term, index);
        let next_offset = self.model.next_offset() + self.chance.below(50);
        let after = Model { purged: Some(id), log_start: next_offset, entries: Vec::new(), safe_below: index + 1 };
        self.instead = Some(after.clone());
        let boundary = Boundary { id, next_offset: Offset::new(next_offset).unwrap(), membership: None };
        machine.log.reset(&boundary).map_err(|error| error.to_string())?;
        self.heard = Arc::default();
        self.model = after;
        self.instead = None;
        for vote in &mut self.votes {
            vote.appended_below = 0;
        }
        Ok(())
    }

    fn vote(&mut self, machine: &Machine) {
        let number = self.votes.last().map_or(1, |vote| vote.number + 1);
        self.votes.push(Vote { number, appended_below: self.model.next_index() });
        let heard = Arc::clone(&self.heard_vote);
        let on_durable: OnDurable = Box::new(move |outcome| {
            if outcome.is_ok() {
                heard.fetch_max(number, Ordering::SeqCst);
            }
        });
        machine.data_dir.votes().save(KEY, Bytes::copy_from_slice(&number.to_le_bytes()), on_durable);
    }

    /// Reads what the model knows, in every way.
    fn look(&mut self, log: &Log) {
        check_contents(log, &self.model);
        let (start, end) = (self.model.log_start, self.model.next_offset());
        let from = start + self.chance.below(end - start + 1);
        let below = from + self.chance.below(end - from + 1);
        let (from_offset, below_offset) = (Offset::new(from).unwrap(), Offset::new(below).unwrap());
        let read = log.read_batches(from_offset, below_offset, self.chance.below(600) as usize).unwrap();
        let wanted: Vec<_> = self
            .model
            .entries
            .iter()
            .filter(|entry| entry.kind == EntryKind::Data)
            .filter(|entry| entry.base_offset + u64::from(entry.count) > from)
            .take_while(|entry| entry.base_offset + u64::from(entry.count) <= below)
            .map(|entry| entry.payload.clone())
            .collect();
        assert!(wanted.starts_with(&read.batches), "read {from}..{below}");
        assert_eq!(read.batches.is_empty(), wanted.is_empty(), "read {from}..{below}");
        self.look_for_a_time(log);
    }

    fn look_for_a_time(&mut self, log: &Log) {
        let at = self.chance.below(self.now_ms.unsigned_abs() + 50).cast_signed();
        let wanted = self.model.entries.iter().filter(|entry| entry.kind == EntryKind::Data).find_map(|entry| {
            let time = BatchHeader::read(&entry.payload).unwrap().max_timestamp.as_ms();
            (time >= at).then_some((entry.base_offset, time))
        });
        let found = log.find_timestamp(Timestamp::from_ms(at), Offset::ZERO, Offset::MAX).unwrap();
        assert_eq!(found.map(|(offset, time)| (offset.get(), time.as_ms())), wanted, "time {at}");
    }

    /// Holds the log after a cut against what may be, and goes on with what is. Returns whether less is there than was
    /// appended.
    fn settle(&mut self, machine: &Machine) -> bool {
        self.listen();
        let state = machine.log.state();
        let here = read_all(&machine.log);
        let fits = |model: &Model| -> Result<(), String> {
            if (model.purged, model.log_start) != (state.purged, state.log_start.get()) {
                return Err(format!("it starts after {:?} at {}", state.purged, state.log_start));
            }
            if !model.entries.starts_with(&here) {
                return Err("it holds other entries than were appended".to_owned());
            }
            let next =
                here.last().map_or(model.purged.map_or(0, |id| id.index.get() + 1), |last| last.id.index.get() + 1);
            if next < model.safe_below {
                return Err(format!("it ends below {next}, but below {} was durable", model.safe_below));
            }
            Ok(())
        };
        // An operation that was cut off may need less of what was durable before: it drops it.
        let outcomes: Vec<_> = [Some(&self.model), self.instead.as_ref()].into_iter().flatten().collect();
        let results: Vec<_> = outcomes.iter().map(|model| fits(model)).collect();
        let Some(nth) = results.iter().position(Result::is_ok) else {
            panic!("LOST OR WRONG after a cut: {results:?}")
        };
        let is_instead = nth == 1;
        let mut model = outcomes[nth].clone();
        self.check_vote(machine, &model, is_instead, here.len());
        let is_cut_short = here.len() < model.entries.len();
        model.entries = here;
        // Recovery has made durable what it found.
        model.safe_below = model.next_index();
        self.model = model;
        self.instead = None;
        self.heard = Arc::default();
        self.term += 1;
        check_contents(&machine.log, &self.model);
        let flushed = machine.log.flushed().map(|flushed| flushed.id);
        assert_eq!(flushed, self.model.last(), "what recovery found is durable");
        is_cut_short
    }

    fn check_vote(&mut self, machine: &Machine, model: &Model, is_instead: bool, found: usize) {
        let vote = machine.data_dir.votes().get(KEY);
        let number = vote.map_or(0, |vote| u64::from_le_bytes(*vote.first_chunk().unwrap()));
        assert!(number >= self.safe_vote, "LOST a vote: {} was durable, {number} is there", self.safe_vote);
        let known = self.votes.iter().find(|vote| vote.number == number);
        assert!(number == 0 || known.is_some(), "a vote that nobody saved");
        let first = model.purged.map_or(0, |id| id.index.get() + 1);
        let next = first + found as u64;
        // A truncation that was cut off may have dropped what the vote was saved after.
        let needed = known.map_or(0, |vote| vote.appended_below);
        let needed = if is_instead { needed.min(model.next_index()) } else { needed };
        assert!(next >= needed, "LOST: the vote {number} came after {needed} entries, {next} are there");
        self.votes.retain(|vote| vote.number == number);
        self.votes.iter_mut().for_each(|vote| vote.appended_below = 0);
        self.safe_vote = number;
        self.heard_vote = Arc::default();
    }
}

fn data_dir_options() -> DataDirOptions {
    super::options_without_threads()
}

fn read_all(log: &Log) -> Vec<Known> {
    let state = log.state();
    let from = state.purged.map_or(LogIndex::new(0), |purged| purged.index.next());
    let entries = log.read_entries(from, LogIndex::new(u64::MAX), usize::MAX).expect("reading a recovered log");
    entries
        .into_iter()
        .map(|entry| Known {
            id: entry.id,
            kind: entry.kind,
            base_offset: entry.base_offset.get(),
            count: entry.record_count,
            payload: entry.payload,
        })
        .collect()
}

fn check_contents(log: &Log, model: &Model) {
    let state = log.state();
    assert_eq!((state.purged, state.last), (model.purged, model.last()));
    assert_eq!((state.log_start.get(), state.log_end.get()), (model.log_start, model.next_offset()));
    assert_eq!(read_all(log), model.entries);
}

/// How a scenario ended.
pub(super) struct Ran {
    /// The changing calls of the disk.
    pub(super) operations: u64,
    seen: Seen,
}

/// Runs the scenario of `seed`, with a cut in the `cut`th changing call and perhaps more of them later.
pub(super) fn run(seed: u64, cut: Option<(u64, CrashMode)>) -> Ran {
    let mut disk = SimDisk::new(seed);
    let mut world = World::new(seed);
    let mut later = Chance::new(seed ^ cut.map_or(0, |(at, mode)| at * 4 + mode as u64));
    if let Some((at, mode)) = cut {
        disk.crash_at(at, mode);
    }
    let mut seen = Seen::default();
    for boot in 0..3 {
        let Ok(machine) = start(&disk) else {
            assert!(disk.is_crashed(), "REFUSED: {:?}", start(&disk).err());
            disk = disk.reboot();
            continue;
        };
        // Only what the first boot did is counted as crash points.
        if boot > 0 {
            seen.note(&machine.report);
            seen.cut_short += u64::from(world.settle(&machine));
            if later.below(2) == 0 {
                let mode = CrashMode::ALL[later.below(4) as usize];
                disk.crash_at(later.below(40) + 1, mode);
            }
        }
        let steps = if boot == 0 { 40 } else { 12 };
        for _ in 0..steps {
            // Background work tells nobody that it failed.
            if disk.is_crashed() {
                break;
            }
            if let Err(error) = world.step(&machine) {
                assert!(disk.is_crashed(), "an error without a fault: {error}");
                break;
            }
        }
        if boot == 0 && cut.is_none() {
            return Ran { operations: disk.operations(), seen };
        }
        seen.rolled += u64::from(machine.log.state().size_bytes > options().segment_bytes_max);
        if !disk.is_crashed() && later.below(2) == 0 && machine.log.close().is_ok() {
            world.listen();
            world.model.safe_below = world.model.next_index();
        }
        disk.crash(CrashMode::ALL[later.below(4) as usize]);
        drop(machine);
        world.listen();
        disk = disk.reboot();
    }
    let machine = start(&disk).unwrap_or_else(|error| panic!("REFUSED at the last start: {error}"));
    seen.note(&machine.report);
    seen.cut_short += u64::from(world.settle(&machine));
    Ran { operations: disk.operations(), seen }
}

/// Runs the scenario of `seed` on a disk whose calls fail by chance; after each failure the process, or the whole
/// machine, starts again. Returns how often something failed.
fn run_with_faults(seed: u64) -> u64 {
    let rates = FaultRates { write_errors: 4_000, read_errors: 4_000, sync_errors: 25_000, syncs_lost: 0 };
    let mut disk = SimDisk::new(seed);
    let mut world = World::new(seed);
    let mut chance = Chance::new(!seed);
    let mut failures = 0;
    for boot in 0..5 {
        if boot > 0 && chance.below(2) == 0 {
            disk.set_rates(rates);
        }
        let machine = start(&disk).or_else(|_| {
            failures += 1;
            disk.clear_faults();
            // Only the process is new: what the kernel takes for written may not be.
            start(&disk)
        });
        let machine = machine.unwrap_or_else(|error| panic!("REFUSED without a fault: {error}"));
        disk.clear_faults();
        if boot > 0 {
            world.settle(&machine);
        }
        disk.set_rates(rates);
        for _ in 0..30 {
            if world.step(&machine).is_err() {
                failures += 1;
                break;
            }
        }
        disk.clear_faults();
        drop(machine);
        world.listen();
        if chance.below(2) == 0 {
            disk.crash(CrashMode::ALL[chance.below(4) as usize]);
            disk = disk.reboot();
        }
    }
    disk = disk.reboot();
    let machine = start(&disk).unwrap_or_else(|error| panic!("REFUSED at the last start: {error}"));
    world.settle(&machine);
    failures
}

fn from_environment(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|value| value.parse().unwrap_or_else(|_| panic!("{name} must be a number")))
}

/// Runs scenarios until so many crash points were tried; panics with the line that repeats the one that failed.
pub(super) fn explore(first_seed: u64, crash_points: u64) -> (u64, Seen) {
    let mut seen = Seen::default();
    let mut tried = 0;
    let mut seed = first_seed;
    while tried < crash_points {
        let operations = run(seed, None).operations;
        for at in 1..=operations {
            for mode in CrashMode::ALL {
                let outcome = std::panic::catch_unwind(|| run(seed, Some((at, mode))));
                match outcome {
                    Ok(ran) => seen.add(ran.seen),
                    Err(cause) => {
                        eprintln!("HIGHWATER_SEED={seed} fails when the power is cut in call {at}, {mode:?}");
                        std::panic::resume_unwind(cause);
                    }
                }
                tried += 1;
                if tried >= crash_points {
                    return (tried, seen);
                }
            }
        }
        seed += 1;
    }
    (tried, seen)
}

#[test]
fn no_cut_of_the_power_loses_what_was_acknowledged() {
    let seed = from_environment("HIGHWATER_SEED").unwrap_or(1);
    let crash_points = from_environment("HIGHWATER_CRASH_POINTS").unwrap_or(20_000);
    println!("HIGHWATER_SEED={seed} HIGHWATER_CRASH_POINTS={crash_points}");
    let (tried, seen) = explore(seed, crash_points);
    println!("{tried} crash points, nothing lost; {seen:?}");
    if tried >= 20_000 {
        let rarest = [seen.torn_tails, seen.left_over, seen.scanned, seen.rolled, seen.cut_short].into_iter().min();
        assert!(rarest >= Some(tried / 100), "the scenarios have become tame: {seen:?}");
    }
}

#[test]
fn no_failed_call_loses_what_was_acknowledged() {
    let first = from_environment("HIGHWATER_SEED").unwrap_or(1);
    let mut failures = 0;
    for seed in first..first + 1500 {
        match std::panic::catch_unwind(|| run_with_faults(seed)) {
            Ok(failed) => failures += failed,
            Err(cause) => {
                eprintln!("HIGHWATER_SEED={seed} fails when calls fail by chance");
                std::panic::resume_unwind(cause);
            }
        }
    }
    println!("HIGHWATER_SEED={first}: {failures} failures in 1500 runs, nothing lost");
    assert!(failures > 1500, "the scenarios have become tame");
}

/// The harness must find each of these, or its silence about the product means nothing.
fn assert_caught(bug: Bug) {
    plant(Some(bug));
    let caught = std::panic::catch_unwind(|| explore(1, 4000));
    plant(None);
    let Err(cause) = caught else { panic!("{bug:?} was planted and not caught") };
    let text = cause.downcast_ref::<String>().cloned().unwrap_or_default();
    let is_for_it = ["LOST", "REFUSED", "Corrupt("].iter().any(|word| text.contains(word));
    assert!(is_for_it, "{bug:?} was caught for another reason: {text}");
}

#[test]
fn an_ack_before_the_sync_is_caught() {
    assert_caught(Bug::AckBeforeSync);
}

#[test]
fn an_ack_before_the_manifest_is_caught() {
    assert_caught(Bug::AckBeforeManifest);
}

#[test]
fn a_forgotten_truncation_is_caught() {
    assert_caught(Bug::ForgetTruncation);
}

#[test]
fn appending_behind_a_torn_tail_is_caught() {
    assert_caught(Bug::AppendBehindTornTail);
}

#[test]
fn the_same_seed_gives_the_same_run() {
    assert_eq!(run(77, None).operations, run(77, None).operations);
}
