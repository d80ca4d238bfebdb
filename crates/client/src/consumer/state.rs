//! What a consumer knows: the partitions that it holds, what waits to be given out, what is done, and what the server is to
//! be told next. Everything that is decided is decided here.
//!
//! Pure but for the answers that it hands to those who wait: it does no I/O and reads no clock. The program's side and the
//! session's task share one behind a lock, and ring for each other when it says so.
//!
//! Invariants:
//! - a record is *done* when the program came back for the next one, and only what is done is committed unasked;
//! - records of one partition are given out in the order of their offsets, each once while the partition is held;
//! - what waits is bounded by the credit.

mod control;
mod giving;
mod receiving;
mod sending;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use highwater_proto::v1;
use highwater_types::Offset;

use super::commits::Commits;
use super::credit::Credit;
use super::error::ConsumeError;
use super::held::{Held, Mark, Release};
use super::rebalance::TopicPartitionName;
use crate::clock::Instant;
use crate::reader::{ReadBatch, ReadRecords};

pub(super) use giving::{Next, NextBatch};
pub(super) use receiving::Received;

/// How the consumer fares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Running,
    /// What is done is being committed; then it leaves.
    Closing,
    /// Dropped without being closed: it leaves, and commits nothing.
    Abandoned,
    /// The server was told that it leaves; or, of a static member, nothing.
    Leaving,
    /// Nothing comes any more.
    Ended,
}

/// What waits to be given out, in the order in which it came.
#[derive(Debug)]
enum Ready {
    Batch {
        partition: TopicPartitionName,
        batch: ReadBatch,
    },
    /// The partition goes no further.
    Failed {
        partition: TopicPartitionName,
        error: ConsumeError,
    },
}

impl Ready {
    fn partition(&self) -> &TopicPartitionName {
        match self {
            Self::Batch { partition, .. } | Self::Failed { partition, .. } => partition,
        }
    }

    fn bytes(&self) -> usize {
        match self {
            Self::Batch { batch, .. } => batch.bytes().len(),
            Self::Failed { .. } => 0,
        }
    }
}

/// The batch whose records are given out.
#[derive(Debug)]
struct Current {
    partition: TopicPartitionName,
    records: ReadRecords,
}

/// What the program is busy with, and where its partition was before.
#[derive(Debug)]
enum Out {
    Nothing,
    /// A record of the current batch.
    OfCurrent {
        before: Mark,
    },
    Of {
        partition: TopicPartitionName,
        before: Mark,
    },
}

/// Partitions that are on their way back to the group.
#[derive(Debug)]
struct Revocation {
    partitions: Vec<TopicPartitionName>,
    since: Instant,
    step: RevocationStep,
    /// Whether the member leaves after that, instead of telling that they are released.
    leaves: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum RevocationStep {
    /// For the program to be done with a record, or for its turn.
    Waiting,
    /// For the answer to the last commit, so long at most.
    Committing { until: Instant },
}

/// What the group knows this member by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Member {
    pub(super) id: String,
    pub(super) generation: i32,
}

/// What does not change.
#[derive(Clone, Debug)]
pub(super) struct StateOptions {
    pub(super) group: String,
    pub(super) is_automatic: bool,
    /// Whether it keeps its place in the group when it is closed, for the next one of its name.
    pub(super) is_static: bool,
    pub(super) rebalance_timeout: Duration,
    pub(super) prefetch_bytes: usize,
}

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct State {
    options: StateOptions,
    phase: Phase,
    subscription: v1::Subscription,
    is_subscription_told: bool,
    member: Option<Member>,
    is_joined: bool,
    /// The first list of partitions on a stream that goes on from an earlier one names all of them.
    is_listing_due: bool,
    partitions: BTreeMap<TopicPartitionName, Held>,
    ready: VecDeque<Ready>,
    current: Option<Current>,
    out: Out,
    credit: Credit,
    commits: Commits,
    revocations: VecDeque<Revocation>,
    seeks: u64,
    serials: u64,
    /// What the stream of records yields next, before anything else.
    failure: Option<ConsumeError>,
    /// How often the program asked for more.
    asks: u64,
    is_ask_awaited: bool,
    wakes_task: bool,
    wakes_caller: bool,
}

impl State {
    pub(super) fn new(options: StateOptions, subscription: v1::Subscription) -> Self {
        Self {
            phase: Phase::Running,
            subscription,
            is_subscription_told: true,
            member: None,
            is_joined: false,
            is_listing_due: false,
            partitions: BTreeMap::new(),
            ready: VecDeque::new(),
            current: None,
            out: Out::Nothing,
            credit: Credit::new(options.prefetch_bytes),
            commits: Commits::new(options.group.clone()),
            revocations: VecDeque::new(),
            seeks: 0,
            serials: 0,
            failure: None,
            asks: 0,
            is_ask_awaited: false,
            wakes_task: false,
            wakes_caller: false,
            options,
        }
    }

    /// Whether the session's task, and the program, have something to do now.
    pub(super) fn take_wakes(&mut self) -> (bool, bool) {
        (std::mem::take(&mut self.wakes_task), std::mem::take(&mut self.wakes_caller))
    }

    pub(super) fn phase(&self) -> Phase {
        self.phase
    }

    pub(super) fn member(&self) -> Option<&Member> {
        self.member.as_ref()
    }

    pub(super) fn is_joined(&self) -> bool {
        self.is_joined
    }

    /// Whether the server is to end the stream, once the member leaves.
    pub(super) fn says_farewell(&self) -> bool {
        !self.options.is_static
    }

    /// What the program has not been told yet.
    pub(super) fn take_failure(&mut self) -> Option<ConsumeError> {
        self.failure.take()
    }

    /// What those are told who want something of a consumer that has ended.
    pub(super) fn ended(&self) -> ConsumeError {
        ConsumeError::Ended { group: self.options.group.clone() }
    }

    /// How often the program asked for more, and whether something waits for it.
    pub(super) fn progress(&self) -> (u64, bool) {
        let is_rest = |current: &Current| current.records.next_offset() < current.records.batch().next_offset();
        (self.asks, !self.ready.is_empty() || self.current.as_ref().is_some_and(is_rest))
    }

    /// From now on the task is woken when the program asks for more.
    pub(super) fn await_ask(&mut self) {
        self.is_ask_awaited = true;
    }

    /// What a new stream begins with: who the member is, what it holds, and the credit.
    pub(super) fn begin(&mut self, mut open: v1::SessionOpen) -> v1::SessionOpen {
        self.is_joined = false;
        self.is_listing_due = self.member.is_some();
        self.is_subscription_told = true;
        open.subscription = Some(self.subscription.clone());
        open.member_id = self.member.as_ref().map_or_else(String::new, |member| member.id.clone());
        open.generation = self.member.as_ref().map_or(0, |member| member.generation);
        let placed = self.partitions.iter_mut().filter(|(_, held)| held.is_placed);
        let held = placed.map(|(name, held)| v1::HeldPartition {
            topic: name.topic.as_str().to_owned(),
            partition: name.partition.get(),
            position: held.begin().to_wire(),
        });
        open.held = held.collect();
        open.credit_bytes = self.credit.begin(self.ready.iter().map(Ready::bytes).sum());
        open
    }

    /// The stream broke; the member is one still.
    pub(super) fn on_break(&mut self) {
        self.is_joined = false;
        self.commits.on_break();
        // The server revokes again what another member is to have.
        self.revocations.retain(|revocation| revocation.leaves);
    }

    /// The group has this member no more. Returns what it held and does not know to be gone.
    pub(super) fn on_lost(&mut self) -> Vec<TopicPartitionName> {
        let error = ConsumeError::MembershipLost { group: self.options.group.clone() };
        self.member = None;
        self.is_joined = false;
        self.fail_waiters(&error);
        self.revocations.retain(|revocation| revocation.leaves);
        self.ready.clear();
        self.current = None;
        self.out = Out::Nothing;
        let lost = std::mem::take(&mut self.partitions).into_iter();
        lost.filter(|(_, held)| held.release != Release::Told).map(|(partition, _)| partition).collect()
    }

    /// The group could not be reached for long: those who wait are told, and it is tried again.
    pub(super) fn on_unavailable(&mut self, error: ConsumeError) {
        self.fail_waiters(&error);
        for held in self.partitions.values_mut() {
            held.requested = None;
        }
        self.failure = Some(error);
        self.wakes_caller = true;
    }

    /// Nothing comes any more.
    pub(super) fn end(&mut self, error: Option<ConsumeError>) {
        let ended = self.ended();
        self.fail_waiters(error.as_ref().unwrap_or(&ended));
        self.phase = Phase::Ended;
        self.failure = error.or(self.failure.take());
        self.partitions.clear();
        self.ready.clear();
        self.current = None;
        self.out = Out::Nothing;
        self.wakes_caller = true;
    }

    fn fail_waiters(&mut self, error: &ConsumeError) {
        self.commits.fail(error);
        for held in self.partitions.values_mut() {
            if let Some(waiter) = held.seek.take().and_then(|seek| seek.waiter) {
                let _ = waiter.send(Err(error.clone()));
            }
        }
    }

    fn next_serial(&mut self) -> u64 {
        self.serials += 1;
        self.serials
    }

    /// The next record of a partition, as the program sees it.
    pub(super) fn position(&self, partition: &TopicPartitionName) -> Option<Offset> {
        self.given(partition).map(|mark| mark.offset)
    }

    fn given(&self, partition: &TopicPartitionName) -> Option<Mark> {
        match &self.current {
            Some(current) if current.partition == *partition => Some(current.given()),
            _ => self.partitions.get(partition).filter(|held| held.is_placed).map(|held| held.given),
        }
    }

    /// Where the program has come to, without what it is busy with.
    fn done(&self, partition: &TopicPartitionName) -> Option<Mark> {
        match (&self.out, &self.current) {
            (Out::OfCurrent { before }, Some(current)) if current.partition == *partition => Some(*before),
            (Out::Of { partition: busy, before }, _) if busy == partition => Some(*before),
            _ => self.given(partition),
        }
    }

    /// The current batch is no more; its partition stands where its records had come to.
    fn close_current(&mut self) {
        let Some(current) = self.current.take() else { return };
        if let Out::OfCurrent { before } = self.out {
            self.out = Out::Of { partition: current.partition.clone(), before };
        }
        if let Some(held) = self.partitions.get_mut(&current.partition) {
            held.given = current.given();
        }
    }

    /// Drops what waits of a partition, so that nothing of it is given out; what was given out of it stays so.
    fn drop_waiting(&mut self, partition: &TopicPartitionName) {
        if self.current.as_ref().is_some_and(|current| current.partition == *partition) {
            self.close_current();
        }
        let mut bytes = 0;
        self.ready.retain(|ready| {
            let stays = ready.partition() != partition;
            bytes += if stays { 0 } else { ready.bytes() };
            stays
        });
        self.take_credit(bytes);
        let serial = self.next_serial();
        if let Some(held) = self.partitions.get_mut(partition) {
            held.rewind(serial);
        }
    }

    fn take_credit(&mut self, bytes: usize) {
        self.credit.take(bytes);
        self.wakes_task |= self.credit.is_due();
    }

    /// A partition is not this member's any more.
    fn remove(&mut self, partition: &TopicPartitionName) {
        self.drop_waiting(partition);
        if matches!(&self.out, Out::Of { partition: busy, .. } if busy == partition) {
            self.out = Out::Nothing;
        }
        let seek = self.partitions.remove(partition).and_then(|held| held.seek);
        if let Some(waiter) = seek.and_then(|seek| seek.waiter) {
            let _ = waiter.send(Err(self.not_assigned(partition)));
        }
    }

    fn not_assigned(&self, partition: &TopicPartitionName) -> ConsumeError {
        ConsumeError::NotAssigned { group: self.options.group.clone(), partition: partition.clone() }
    }
}

impl Current {
    fn given(&self) -> Mark {
        Mark { offset: self.records.next_offset(), leader_epoch: Some(self.records.batch().header().leader_epoch) }
    }
}
