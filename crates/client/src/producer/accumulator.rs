//! Where the records of one partition gather into batches until the sender takes them.
//!
//! Shared between any number of callers, who append, and one sender, who takes. A record costs one short lock and no
//! message: the sender says what it sleeps for, and the one append that brings it wakes the sender.
//!
//! Never sends, retries, or reads a clock.
//!
//! ```text
//!   append ─► open ──full──► sealed ─► sealed ─► take
//!               └────────── in a hurry, or nothing gathered before it ─┘
//! ```
//! Invariant: records leave in the order in which they were appended.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use highwater_types::batch::{BatchBuilder, BatchError, Compression};
use highwater_types::{PartitionId, Timestamp, TopicName};
use tokio::sync::Notify;

use super::delivery::{BatchState, Delivery, Memory, Promise};
use super::error::ProduceError;
use crate::clock::Instant;
use crate::record::Record;

/// When a batch is closed, and how.
#[derive(Clone, Copy, Debug)]
pub(super) struct Batching {
    pub(super) compression: Compression,
    /// A batch takes no further record beyond so many bytes, before compression.
    pub(super) batch_bytes: usize,
    /// How long a batch that is not full waits for more records.
    pub(super) linger: Duration,
}

/// Records on their way into one batch.
#[derive(Debug)]
pub(super) struct Gathered {
    pub(super) builder: BatchBuilder,
    pub(super) promise: Promise,
    /// When its first record came.
    pub(super) opened: Instant,
}

/// What the sleeping sender waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Awaited {
    /// Nothing: it is awake.
    Nothing,
    /// A full batch, or one of so many bytes.
    Bytes(usize),
}

/// What the sender gets when it asks.
#[derive(Debug)]
pub(super) enum Taken {
    Batch(Gathered),
    /// Records are gathering that may not go before this.
    NotBefore(Instant),
    Nothing,
}

/// What an append did.
#[derive(Debug)]
pub(super) struct Appended {
    pub(super) delivery: Delivery,
    /// Whether it closed a batch because the record did not fit in any more.
    pub(super) sealed: bool,
}

/// Why an append did nothing.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum AppendError {
    Closed,
    Record(BatchError),
}

#[derive(Debug)]
struct State {
    open: Option<Gathered>,
    sealed: VecDeque<Gathered>,
    /// Send what is open without waiting for more; until it was taken.
    hurry: bool,
    is_closed: bool,
    awaited: Awaited,
    /// The newest batch. Batches are settled in order, so once it is, all are.
    newest: Option<Arc<BatchState>>,
    first_failure: Option<ProduceError>,
    /// The size of the last batch, as a guess for the next: one that starts small is copied each time it doubles.
    bytes_expected: usize,
}

/// The records of one partition that were not taken yet.
#[derive(Debug)]
pub(super) struct Accumulator {
    topic: TopicName,
    partition: PartitionId,
    batching: Batching,
    memory: Arc<Memory>,
    state: Mutex<State>,
    /// Whether a batch is open: for a glance without the lock.
    has_open: AtomicBool,
    work: Notify,
}

impl Accumulator {
    pub(super) fn new(topic: &TopicName, partition: PartitionId, batching: Batching, memory: &Arc<Memory>) -> Self {
        let state = State {
            open: None,
            sealed: VecDeque::new(),
            hurry: false,
            is_closed: false,
            awaited: Awaited::Nothing,
            newest: None,
            first_failure: None,
            bytes_expected: 0,
        };
        Self {
            topic: topic.clone(),
            partition,
            batching,
            memory: Arc::clone(memory),
            state: Mutex::new(state),
            has_open: AtomicBool::new(false),
            work: Notify::new(),
        }
    }

    pub(super) fn topic(&self) -> &TopicName {
        &self.topic
    }

    pub(super) fn partition(&self) -> PartitionId {
        self.partition
    }

    /// Whether the next record would start a batch, by a glance that may be a moment old.
    pub(super) fn is_between_batches(&self) -> bool {
        !self.has_open.load(Ordering::Relaxed)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a record whose memory is acquired; on failure, that is the caller's to release.
    pub(super) fn append(
        &self,
        record: &Record,
        timestamp: Timestamp,
        memory_bytes: usize,
        now: impl FnOnce() -> Instant,
    ) -> Result<Appended, AppendError> {
        let mut state = self.lock();
        if state.is_closed {
            return Err(AppendError::Closed);
        }
        let sealed = self.seal_if_full(&mut state, record.encoded_bytes_max());
        let appended = match &mut state.open {
            Some(open) => open.append(record, timestamp, memory_bytes),
            None => {
                let mut open = self.open(state.bytes_expected, now());
                let appended = open.append(record, timestamp, memory_bytes);
                if appended.is_ok() {
                    state.newest = Some(open.promise.state());
                    state.open = Some(open);
                    self.has_open.store(true, Ordering::Relaxed);
                }
                appended
            }
        };
        let gathered_bytes = state.open.as_ref().map_or(0, Gathered::bytes);
        let wakes = matches!(state.awaited, Awaited::Bytes(bytes) if sealed || gathered_bytes >= bytes);
        if wakes {
            state.awaited = Awaited::Nothing;
        }
        drop(state);
        if wakes {
            self.work.notify_one();
        }
        Ok(Appended { delivery: appended.map_err(AppendError::Record)?, sealed })
    }

    fn open(&self, bytes_expected: usize, now: Instant) -> Gathered {
        Gathered {
            builder: BatchBuilder::with_capacity(self.batching.compression, bytes_expected),
            promise: Promise::new(&self.topic, self.partition, &self.memory),
            opened: now,
        }
    }

    fn seal_if_full(&self, state: &mut State, record_bytes: usize) -> bool {
        let is_full = |open: &mut Gathered| open.bytes().saturating_add(record_bytes) > self.batching.batch_bytes;
        let Some(full) = state.open.take_if(is_full) else { return false };
        state.bytes_expected = full.bytes();
        state.sealed.push_back(full);
        true
    }

    /// The next batch: a full one; or one that has gathered `bytes_min`, and lingered long enough.
    ///
    /// When there is none, [`Accumulator::wait`] returns once there may be.
    pub(super) fn take(&self, bytes_min: usize, now: Instant) -> Taken {
        let mut state = self.lock();
        if let Some(full) = state.sealed.pop_front() {
            return Taken::Batch(full);
        }
        let is_ready = |open: &mut Gathered, hurry| hurry || open.bytes() >= bytes_min;
        let hurry = state.hurry;
        let Some(open) = state.open.take_if(|open| is_ready(open, hurry)) else {
            state.awaited = Awaited::Bytes(bytes_min);
            return Taken::Nothing;
        };
        let due = open.opened + self.batching.linger;
        if due > now && !hurry {
            state.open = Some(open);
            // Only a full one is due earlier.
            state.awaited = Awaited::Bytes(usize::MAX);
            return Taken::NotBefore(due);
        }
        state.hurry = false;
        state.awaited = Awaited::Nothing;
        state.bytes_expected = open.bytes();
        self.has_open.store(false, Ordering::Relaxed);
        Taken::Batch(open)
    }

    /// Returns when [`Accumulator::take`] may give more than it did last, or when there is a hurry, or it was closed.
    pub(super) async fn wait(&self) {
        self.work.notified().await;
    }

    /// Returns when there is a record, however young, or it was closed.
    pub(super) async fn wait_for_any(&self) {
        loop {
            {
                let mut state = self.lock();
                if state.open.is_some() || !state.sealed.is_empty() || state.is_closed {
                    return;
                }
                state.awaited = Awaited::Bytes(0);
            }
            self.wait().await;
        }
    }

    /// Batches that have waited since `opened_before` or longer, oldest first.
    pub(super) fn take_expired(&self, opened_before: Instant) -> Vec<Gathered> {
        let mut state = self.lock();
        let mut expired = Vec::new();
        while let Some(old) = state.sealed.pop_front_if(|batch| batch.opened <= opened_before) {
            expired.push(old);
        }
        if state.sealed.is_empty()
            && let Some(old) = state.open.take_if(|batch| batch.opened <= opened_before)
        {
            self.has_open.store(false, Ordering::Relaxed);
            expired.push(old);
        }
        expired
    }

    /// When the oldest batch was opened.
    pub(super) fn oldest(&self) -> Option<Instant> {
        let state = self.lock();
        state.sealed.front().or(state.open.as_ref()).map(|batch| batch.opened)
    }

    /// Sends what there is without waiting for more, and returns the newest batch: once it is settled, so is all that
    /// was appended before this call.
    pub(super) fn hurry(&self) -> Option<Arc<BatchState>> {
        let mut state = self.lock();
        state.hurry = state.open.is_some();
        state.awaited = Awaited::Nothing;
        let newest = state.newest.clone();
        drop(state);
        self.work.notify_one();
        newest
    }

    /// Takes no further record and sends what there is.
    pub(super) fn close(&self) {
        self.lock().is_closed = true;
        self.hurry();
    }

    /// Whether it is closed and all was taken.
    pub(super) fn is_finished(&self) -> bool {
        let state = self.lock();
        state.is_closed && state.open.is_none() && state.sealed.is_empty()
    }

    /// Remembers a failure for [`Accumulator::take_failure`], if it is the first.
    pub(super) fn note_failure(&self, error: &ProduceError) {
        self.lock().first_failure.get_or_insert_with(|| error.clone());
    }

    /// The first failure since this was last asked.
    pub(super) fn take_failure(&self) -> Option<ProduceError> {
        self.lock().first_failure.take()
    }
}

impl Gathered {
    /// Its size before compression.
    pub(super) fn bytes(&self) -> usize {
        self.builder.encoded_bytes()
    }

    fn append(&mut self, record: &Record, timestamp: Timestamp, memory_bytes: usize) -> Result<Delivery, BatchError> {
        let (key, value) = (record.key.as_deref(), record.value.as_deref());
        let index = self.builder.append(timestamp, key, value, &record.headers)?;
        Ok(self.promise.delivery(index, timestamp, memory_bytes))
    }
}

#[cfg(test)]
mod tests;
