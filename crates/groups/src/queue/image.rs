//! The image: what the queue groups of one partition are at one moment, as far as it is committed. Every replica has it.
//!
//! Owns: for each group its settings, its window, the entries of messages that failed, were put off or are dead, and
//! whether it is paused; [`QueuesImage::replay`], its only mutation; and (in `snapshot`) its form as bytes.
//!
//! Never: leases, workers, or what has not been looked at. A message that nothing happened to has no place here.
//!
//! Invariants:
//! - `replay` is total: a record about a message that is done or gone, or about a group that does not exist, changes
//!   nothing.
//! - Everything below `start` is done or gone; `start` itself is not done. So one message that is not acked and ten
//!   million behind it that are cost one range.
//! - An offset is done, or has an entry, or has neither: never both.
//! - An image that was cloned never changes: queues are behind `Arc`s and are copied on the first write.

mod snapshot;

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use highwater_types::{LogIndex, Offset, OffsetRange, Timestamp};

use super::config::{ConfigError, QueueConfig};
use super::entry::{Attempt, DeathCause, Entry, Standing};
use super::ranges::RangeSet;
use super::record::{Change, Pause, QueueRecord};
use crate::stream::ids::GroupId;

/// One queue: a group of one partition, as far as it is committed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Queue {
    pub(super) config: QueueConfig,
    start: Offset,
    /// What is done at `start` or above; never `start` itself.
    done: RangeSet,
    entries: BTreeMap<Offset, Entry>,
    /// How many of the entries are dead.
    dead: usize,
    /// The records of messages that have an entry and whose place in the log is gone, or about to be.
    kept: BTreeMap<Offset, Bytes>,
    pause: Option<Pause>,
    acked: u64,
    dropped: u64,
    trimmed: u64,
}

impl Queue {
    pub(super) fn new(config: QueueConfig, start: Offset) -> Self {
        Self {
            config,
            start,
            done: RangeSet::default(),
            entries: BTreeMap::new(),
            dead: 0,
            kept: BTreeMap::new(),
            pause: None,
            acked: 0,
            dropped: 0,
            trimmed: 0,
        }
    }

    /// Its settings.
    #[must_use]
    pub fn config(&self) -> &QueueConfig {
        &self.config
    }

    /// The first message that is not done. A dead one is not done.
    #[must_use]
    pub fn start(&self) -> Offset {
        self.start
    }

    /// The first message that is neither done nor dead: the oldest that waits. Retention by acks may go so far once the
    /// records of the dead ones before it are kept.
    #[must_use]
    pub fn first_open(&self) -> Offset {
        self.first_without(|offset| self.entry(offset).is_some_and(Entry::is_dead))
    }

    /// The first message that is not done, and whose record the image does not keep: the first that needs the log.
    #[must_use]
    pub fn first_in_log(&self) -> Offset {
        self.first_without(|offset| self.kept.contains_key(&offset))
    }

    fn first_without(&self, is_passed: impl Fn(Offset) -> bool) -> Offset {
        let mut first = self.start;
        loop {
            if let Some(range) = self.done.range_of(first) {
                first = range.end;
            } else if is_passed(first) {
                first = first.saturating_add(1);
            } else {
                return first;
            }
        }
    }

    /// The record of a message that the log does not hold any more, or soon will not.
    #[must_use]
    pub fn kept(&self, offset: Offset) -> Option<&Bytes> {
        self.kept.get(&offset)
    }

    /// How many bytes these records have.
    #[must_use]
    pub fn kept_bytes(&self) -> usize {
        self.kept.values().map(Bytes::len).sum()
    }

    /// The dead messages below an offset whose records would be lost if the log began there.
    pub fn dead_in_log(&self, below: Offset) -> impl Iterator<Item = Offset> {
        let dead = self.dead(OffsetRange::new(self.start.min(below), below)).map(|(offset, _)| offset);
        dead.filter(|offset| !self.kept.contains_key(offset))
    }

    /// A range without what is kept of it: what goes with the log.
    pub(super) fn unkept(&self, range: OffsetRange) -> Vec<OffsetRange> {
        let (mut unkept, mut from) = (Vec::new(), range.start);
        for kept in self.kept.range(range.start..range.end.max(range.start)).map(|(offset, _)| *offset) {
            unkept.push(OffsetRange::new(from, kept));
            from = kept.saturating_add(1);
        }
        unkept.push(OffsetRange::new(from, range.end.max(from)));
        unkept.retain(|range| !range.is_empty());
        unkept
    }

    /// What is done above [`Queue::start`].
    #[must_use]
    pub fn done(&self) -> &RangeSet {
        &self.done
    }

    /// Whether a message is done, or gone with the start of the log.
    #[must_use]
    pub fn is_done(&self, offset: Offset) -> bool {
        offset < self.start || self.done.range_of(offset).is_some()
    }

    /// What is remembered of a message.
    #[must_use]
    pub fn entry(&self, offset: Offset) -> Option<&Entry> {
        self.entries.get(&offset)
    }

    /// What is remembered of messages in a range.
    pub fn entries(&self, range: OffsetRange) -> impl Iterator<Item = (Offset, &Entry)> {
        self.entries.range(range.start..range.end).map(|(offset, entry)| (*offset, entry))
    }

    /// The dead ones in a range, oldest first; by them the caller filters before a redrive or drop, and copies what
    /// retention is about to take.
    pub fn dead(&self, range: OffsetRange) -> impl Iterator<Item = (Offset, &Entry)> {
        self.entries(range).filter(|(_, entry)| entry.is_dead())
    }

    /// How many are dead.
    #[must_use]
    pub fn dead_count(&self) -> usize {
        self.dead
    }

    /// How many messages before the end of the log are neither done nor dead.
    #[must_use]
    pub fn open_count(&self, log_end: Offset) -> u64 {
        let done: u64 = self.done.iter().map(|range| range.len()).sum();
        let dead = u64::try_from(self.dead).unwrap_or(u64::MAX);
        log_end.records_since(self.start).saturating_sub(done).saturating_sub(dead)
    }

    /// How many have an entry, the dead among them.
    #[must_use]
    pub fn entries_count(&self) -> usize {
        self.entries.len()
    }

    /// Why the group hands out nothing, while it does not.
    #[must_use]
    pub fn pause(&self) -> Option<&Pause> {
        self.pause.as_ref()
    }

    /// How many messages were acked, dropped, and taken by retention before either.
    #[must_use]
    pub fn counts(&self) -> (u64, u64, u64) {
        (self.acked, self.dropped, self.trimmed)
    }

    fn replay(&mut self, change: &Change) {
        match change {
            Change::Configured { config, .. } => self.config = *config,
            Change::Acked { ranges } => self.acked = self.acked.saturating_add(self.finish(ranges)),
            Change::Dropped { ranges, .. } => self.dropped = self.dropped.saturating_add(self.finish(ranges)),
            Change::Failed { offset, attempts, retry_at, attempt } => {
                self.stand(*offset, Standing::Retry { at: *retry_at }, Some((*attempts, Some(attempt))));
            }
            Change::Died { offset, attempts, cause, at, attempt } => {
                self.die(*offset, *attempts, *cause, *at, attempt.as_ref());
            }
            Change::Rescheduled { offset, deliver_at } => {
                let is_dead = self.entry(*offset).is_some_and(Entry::is_dead);
                if !is_dead {
                    self.stand(*offset, Standing::Scheduled { deliver_at: *deliver_at }, None);
                }
            }
            Change::Redriven { ranges, at } => self.redrive(ranges, *at),
            Change::Paused { pause } => self.pause.clone_from(pause),
            Change::Kept { offset, record } => {
                if self.entries.contains_key(offset) {
                    self.kept.insert(*offset, record.clone());
                }
            }
            Change::Trimmed { start } => self.trim(*start),
            Change::Deleted => {}
        }
    }

    /// Messages are done. Returns how many were not done before.
    fn finish(&mut self, ranges: &[OffsetRange]) -> u64 {
        let mut fresh = 0;
        for range in ranges {
            let range = OffsetRange::new(range.start.max(self.start), range.end);
            fresh += self.done.insert(range);
            self.forget(range);
        }
        self.advance();
        fresh
    }

    /// Entries of a range go.
    fn forget(&mut self, range: OffsetRange) {
        while let Some(offset) = self.entries.range(range.start..range.end).next().map(|(offset, _)| *offset) {
            let entry = self.entries.remove(&offset);
            self.kept.remove(&offset);
            self.dead -= usize::from(entry.is_some_and(|entry| entry.is_dead()));
        }
    }

    /// `start` moves past what is done.
    fn advance(&mut self) {
        if let Some(first) = self.done.first().filter(|first| first.start <= self.start) {
            self.done.remove(first);
            self.start = self.start.max(first.end);
        }
    }

    /// A message stands elsewhere, unless it is done. Attempts are what the record says.
    fn stand(&mut self, offset: Offset, standing: Standing, attempts: Option<(u32, Option<&Attempt>)>) {
        if self.is_done(offset) {
            return;
        }
        let entry = self.entries.entry(offset).or_insert_with(|| Entry::new(standing));
        let was_dead = entry.is_dead();
        entry.standing = standing;
        if let Some((attempts, attempt)) = attempts {
            entry.attempts = attempts;
            if let Some(attempt) = attempt {
                entry.note(attempt);
            }
        }
        self.dead = self.dead + usize::from(entry.is_dead()) - usize::from(was_dead);
    }

    fn die(&mut self, offset: Offset, attempts: u32, cause: DeathCause, at: Timestamp, attempt: Option<&Attempt>) {
        if self.is_done(offset) {
            return;
        }
        // A new entry is made alive, so that it is counted when it dies.
        self.entries.entry(offset).or_insert_with(|| Entry::new(Standing::Retry { at }));
        self.stand(offset, Standing::Dead { cause, at }, Some((attempts, attempt)));
    }

    fn redrive(&mut self, ranges: &[OffsetRange], at: Timestamp) {
        for range in ranges {
            for (_, entry) in self.entries.range_mut(range.start..range.end).filter(|(_, entry)| entry.is_dead()) {
                (entry.attempts, entry.standing, entry.is_redriven) = (0, Standing::Retry { at }, true);
                self.dead -= 1;
            }
        }
    }

    fn trim(&mut self, start: Offset) {
        for range in self.unkept(OffsetRange::new(self.start, start)) {
            self.trimmed = self.trimmed.saturating_add(self.done.insert(range));
            self.forget(range);
        }
        self.advance();
    }
}

/// The queue groups of one partition. Cheap to clone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QueuesImage {
    revision: Option<LogIndex>,
    queues: BTreeMap<GroupId, Arc<Queue>>,
}

impl QueuesImage {
    /// The last entry of the log that the image holds.
    #[must_use]
    pub fn revision(&self) -> Option<LogIndex> {
        self.revision
    }

    /// One queue.
    #[must_use]
    pub fn queue(&self, group: &GroupId) -> Option<&Queue> {
        self.queues.get(group).map(|queue| &**queue)
    }

    /// The queues, by group.
    pub fn queues(&self) -> impl ExactSizeIterator<Item = (&GroupId, &Queue)> {
        self.queues.iter().map(|(group, queue)| (group, &**queue))
    }

    /// The record of a message that some queue keeps: it is the same for all of them.
    #[must_use]
    pub fn kept(&self, offset: Offset) -> Option<&Bytes> {
        self.queues.values().find_map(|queue| queue.kept(offset))
    }

    /// The groups that lose something when the log begins at `start`, and are to be told by a
    /// [`Command::Trim`](super::Command::Trim).
    pub fn behind(&self, start: Offset) -> impl Iterator<Item = &GroupId> {
        self.queues().filter(move |(_, queue)| queue.first_in_log() < start).map(|(group, _)| group)
    }

    /// Takes in one entry of the log. An entry that the image holds already changes nothing, so a snapshot may be newer
    /// than the place in the log from which replay goes on. Returns whether it was new.
    pub fn replay_entry(&mut self, index: LogIndex, records: &[QueueRecord]) -> bool {
        if self.revision.is_some_and(|revision| index <= revision) {
            return false;
        }
        for record in records {
            self.replay(record);
        }
        self.revision = Some(index);
        true
    }

    /// Takes in one record.
    pub fn replay(&mut self, record: &QueueRecord) {
        match &record.change {
            Change::Deleted => drop(self.queues.remove(&record.group)),
            Change::Configured { config, start } => {
                let fresh = || Arc::new(Queue::new(*config, *start));
                let queue = self.queues.entry(record.group.clone()).or_insert_with(fresh);
                Arc::make_mut(queue).replay(&record.change);
            }
            change => {
                if let Some(queue) = self.queues.get_mut(&record.group) {
                    Arc::make_mut(queue).replay(change);
                }
            }
        }
    }
}

impl QueueRecord {
    /// The record that makes a group. From the moment that it is committed there is a queue to make a
    /// [`Desk`](super::Desk) for. When the group exists already, it only changes its settings.
    ///
    /// # Errors
    /// The first setting that is out of its bounds.
    pub fn create(group: GroupId, config: QueueConfig, start: Offset) -> Result<Self, ConfigError> {
        config.check()?;
        Ok(Self { group, change: Change::Configured { config, start } })
    }
}
