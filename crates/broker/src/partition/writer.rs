//! The one task that writes to a partition.
//!
//! Owns: the order in which batches enter the log, the check of idempotent producers, and the answers.
//! Never: writes by itself (the Raft group does), reads records, or holds more than its queue and the bytes' permits
//! allow (P7).
//!
//! ```text
//!   queue ─► judge ─► reserve ─► submit ──► Raft group ──► committed, applied ─► answers, in order
//!             ▲  committed table + in flight                        │
//!             └─────────────────────────────────────────────────────┘
//! ```
//!
//! Invariants:
//! - A batch is judged against everything before it and proposed for that leader epoch only, behind one [`Fence`] with
//!   what it was judged on: so that is true where it is appended. Once something of it is refused, nothing more is
//!   taken until all of it is decided; then batches are judged anew, by the committed table.
//! - No batch waits for ever. A leader that lost touch with its peers answers what is in flight as unknown.
//! - Disk space is promised before anything is proposed: a full disk is a definite refusal, never a failed append.

use std::time::Duration;

use highwater_storage::log::APPEND_BYTES_MAX;
use highwater_storage::{EntryKind, Log, ReserveError, framed_bytes};
use highwater_types::ProducerId;
use highwater_types::batch::ValidBatch;
use highwater_types::limits::BATCH_BYTES_MAX;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, Interval, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use super::error::AppendError;
use super::in_flight::InFlightProducers;
use super::pending::{Answer, Pending, Placed};
use super::producers::{Place, Producers, Stamped, Verdict};
use super::space::{Space, Writes};
use super::state::SharedProducers;
use super::ticket::Reply;
use crate::clock::Clock;
use crate::raft::{
    Appended, Committed, Fence, Leadership, OWN_BYTES_MAX, Proposal, ProposeError, ProposeTicket, Replica, UnderWay,
};

/// The most batches that wait to be taken in, and that are taken in at a time.
pub(super) const QUEUE_BATCHES_MAX: usize = 256;

/// The most batches in flight: beyond this the queue fills and producers wait.
const IN_FLIGHT_BATCHES_MAX: usize = 4_096;

/// The most bytes in flight. Everything in flight may end up in one append, which the core's task writes in one go.
const IN_FLIGHT_BYTES_MAX: u64 = 128 * 1024 * 1024;
const _: () = assert!(IN_FLIGHT_BYTES_MAX + 2 * (BATCH_BYTES_MAX as u64) < APPEND_BYTES_MAX);

/// How often it is looked whether there is hope for what is in flight.
const LOOK: Duration = Duration::from_millis(250);

/// How long after a refusal by the group nothing is taken from producers without sequence numbers: what they sent behind
/// the refused batch is on the wire, and would be stored before it.
const UNNUMBERED_PAUSE: Duration = Duration::from_millis(100);

/// A batch on its way to the writer.
pub(super) struct Append {
    pub(super) batch: ValidBatch,
    pub(super) reply: Reply,
    pub(super) on_append: Option<oneshot::Sender<Appended>>,
}

/// The writer's task.
pub(super) struct Writer {
    replica: Replica,
    log: Log,
    clock: Clock,
    leadership: watch::Receiver<Leadership>,
    /// Whether the leadership is being handed over: then nothing is taken in until it is clear who leads.
    held_back: watch::Receiver<bool>,
    producers: SharedProducers,
    queue: mpsc::Receiver<Append>,
    stop: CancellationToken,
    look: Interval,
    /// The epoch in which `ahead` is true.
    led: Leadership,
    /// Around everything that was judged with `ahead`.
    fence: Fence,
    ahead: InFlightProducers,
    /// When the group last refused what had been judged good.
    refused_at: Option<Instant>,
    pending: Pending<Reply>,
    /// Each with the producer and the number of the batch, when it is idempotent.
    in_flight: UnderWay<Option<(ProducerId, u64)>>,
    space: Space,
    /// How many of those in flight, the oldest, were answered as unknown and are waited for all the same.
    given_up: usize,
}

/// What is left of a batch to be sent on its way once it is judged.
struct Accepted {
    proposal: Proposal,
    producer: Option<(ProducerId, u64)>,
    bytes: u64,
}

impl Writer {
    pub(super) fn new(
        replica: Replica,
        log: Log,
        clock: Clock,
        producers: SharedProducers,
        queue: mpsc::Receiver<Append>,
        stop: CancellationToken,
        space: Space,
    ) -> Self {
        let mut look = tokio::time::interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self {
            leadership: replica.leadership(),
            held_back: replica.held_back(),
            replica,
            log,
            clock,
            producers,
            queue,
            stop,
            look,
            led: Leadership::default(),
            fence: Fence::default(),
            ahead: InFlightProducers::default(),
            refused_at: None,
            pending: Pending::default(),
            in_flight: UnderWay::default(),
            space,
            given_up: 0,
        }
    }

    /// Runs until told to stop, and then until what is in flight is decided. What is still queued is refused.
    pub(super) async fn run(mut self) {
        let mut taken = Vec::with_capacity(QUEUE_BATCHES_MAX);
        let stop = self.stop.clone();
        loop {
            let is_held_back = *self.held_back.borrow_and_update();
            let has_room = self.in_flight.len() < IN_FLIGHT_BATCHES_MAX && !is_held_back;
            let waits = self.in_flight.len() > self.given_up;
            tokio::select! {
                biased;
                (producer, outcome) = self.in_flight.next() => self.settle(producer, outcome),
                () = stop.cancelled() => break,
                // The replica holds the other end, and the writer the replica.
                _ = self.held_back.changed() => {}
                count = self.queue.recv_many(&mut taken, QUEUE_BATCHES_MAX), if has_room => {
                    if count == 0 {
                        break;
                    }
                    self.take_in(&mut taken).await;
                }
                _ = self.look.tick(), if waits => self.give_up_if_hopeless(),
            }
        }
        self.queue.close();
        while let Some(append) = self.queue.recv().await {
            self.decide(append.reply, Err(AppendError::Stopped));
        }
        while self.in_flight.len() > self.given_up {
            self.wait_for_one().await;
        }
    }

    /// Judges batches in order and sends on their way those that are to be stored.
    async fn take_in(&mut self, taken: &mut Vec<Append>) {
        let led = *self.leadership.borrow();
        let bytes = taken.iter().map(framed).sum::<u64>();
        let refusal = self.cannot_take(led, bytes);
        let mut accepted = Vec::with_capacity(taken.len());
        {
            let producers = self.producers.clone();
            let producers = producers.lock();
            for append in taken.drain(..) {
                accepted.extend(self.judge(&producers, append, refusal.as_ref()));
            }
        }
        let since = self.clock.instant();
        for Accepted { proposal, producer, bytes } in accepted {
            while self.in_flight.len() > self.given_up && self.in_flight.bytes() + bytes > IN_FLIGHT_BYTES_MAX {
                self.wait_for_one().await;
            }
            // Meanwhile the fence may have fallen.
            let ticket = if self.fence.has_fallen() {
                ProposeTicket::refused(ProposeError::NotLeader { leader: None })
            } else {
                self.replica.submit(proposal).await
            };
            self.in_flight.push(ticket, producer, bytes, since);
        }
    }

    /// Waits until something in flight is decided, or given up.
    async fn wait_for_one(&mut self) {
        tokio::select! {
            biased;
            (producer, outcome) = self.in_flight.next() => self.settle(producer, outcome),
            _ = self.look.tick() => self.give_up_if_hopeless(),
        }
    }
}

impl Writer {
    /// Why nothing may be appended at the moment, if so. Otherwise the disk has room for everything on its way.
    fn cannot_take(&mut self, led: Leadership, bytes: u64) -> Option<AppendError> {
        let is_new_term = led.term != self.led.term;
        if is_new_term || (self.fence.has_fallen() && self.in_flight.is_empty()) {
            self.ahead.clear();
            self.fence = Fence::default();
        }
        self.led = led;
        if !led.serves_writes {
            return Some(AppendError::NotLeader { leader: led.other_leader() });
        }
        if self.fence.has_fallen() {
            return Some(AppendError::NotLeader { leader: None });
        }
        let on_its_way = self.space.claim(Writes::Records, self.in_flight.bytes().saturating_add(bytes));
        let needed = on_its_way.saturating_add(OWN_BYTES_MAX).min(APPEND_BYTES_MAX);
        match self.log.reserve(needed) {
            Ok(()) => None,
            Err(ReserveError::Closed) => Some(AppendError::Stopped),
            Err(ReserveError::Poisoned(reason)) => Some(AppendError::StorageFailed { reason: reason.to_string() }),
            Err(no_space) => Some(AppendError::DiskFull { bytes, reason: no_space.to_string() }),
        }
    }

    /// Decides on one batch. Gives it back when it is to be sent on its way.
    fn judge(&mut self, producers: &Producers, append: Append, refusal: Option<&AppendError>) -> Option<Accepted> {
        let Append { batch, reply, on_append } = append;
        let stamped = Stamped::of(batch.header());
        // Behind a fallen fence nobody knows what is stored, so not even a repeated batch is recognised.
        if let (Some(stamped), true) = (stamped, self.led.serves_writes && !self.fence.has_fallen()) {
            match self.ahead.judge(producers, stamped) {
                Verdict::Next => {}
                Verdict::Duplicate(Place::InFlight(number)) => {
                    self.pending.repeat(reply, number);
                    return None;
                }
                Verdict::Duplicate(Place::Stored(base_offset)) => {
                    self.decide(reply, Ok(Placed { base_offset, duplicate: true }));
                    return None;
                }
                Verdict::Refused(reason) => {
                    self.decide(reply, Err(reason.into()));
                    return None;
                }
            }
        }
        let out_of_turn = AppendError::NotLeader { leader: None };
        let refusal = refusal.or_else(|| (stamped.is_none() && self.pauses_unnumbered()).then_some(&out_of_turn));
        if let Some(refusal) = refusal {
            self.decide(reply, Err(refusal.clone()));
            return None;
        }
        let number = self.pending.accept(reply);
        let producer = stamped.map(|stamped| {
            self.ahead.accept(producers, stamped, number);
            (stamped.stamp.id, number)
        });
        let bytes = framed_bytes(batch.bytes().len());
        let (kind, payload, term) = (EntryKind::Data, batch.into_bytes(), Some(self.led.term));
        let proposal = Proposal { kind, payload, term, on_append, fence: Some(self.fence.clone()) };
        Some(Accepted { proposal, producer, bytes })
    }

    fn pauses_unnumbered(&self) -> bool {
        self.refused_at.is_some_and(|at| self.clock.instant().duration_since(at) < UNNUMBERED_PAUSE)
    }

    /// Answers a batch that is not sent on its way, in its turn.
    fn decide(&mut self, reply: Reply, answer: Answer) {
        if let Some((reply, answer)) = self.pending.decide(reply, answer) {
            reply.give(answer, self.led.epoch);
        }
    }

    /// The oldest batch in flight is decided.
    fn settle(&mut self, producer: Option<(ProducerId, u64)>, outcome: Result<Committed, ProposeError>) {
        self.space.claim(Writes::Records, self.in_flight.bytes());
        if self.given_up > 0 {
            // Answered already, as unknown.
            self.given_up -= 1;
            return;
        }
        match outcome {
            Ok(Committed { id, base_offset }) => {
                if let Some((producer, number)) = producer {
                    self.ahead.settle(producer, number, base_offset);
                }
                self.pending.on_committed(base_offset, |reply, answer| reply.give(answer, id.term.into()));
            }
            Err(error) => {
                // What was judged with this batch before it no longer holds.
                self.fence.fall();
                self.refused_at = Some(self.clock.instant());
                let (error, epoch) = (self.explain(error), self.led.epoch);
                self.pending.on_failed(&error, |reply, answer| reply.give(answer, epoch));
            }
        }
    }

    /// Answers everything in flight as unknown, when there is no hope to know it soon.
    fn give_up_if_hopeless(&mut self) {
        let (now, is_in_touch) = (self.clock.instant(), self.replica.is_in_touch());
        let Some(waited) = self.in_flight.hopeless(self.given_up, now, is_in_touch) else { return };
        let batches = self.in_flight.len() - self.given_up;
        tracing::warn!(partition = self.replica.group(), batches, ?waited, "no majority answers; outcomes are unknown");
        self.fence.fall();
        let epoch = self.led.epoch;
        while self.given_up < self.in_flight.len() {
            self.given_up += 1;
            self.pending.on_failed(&AppendError::OutcomeUnknown, |reply, answer| reply.give(answer, epoch));
        }
    }

    fn explain(&self, error: ProposeError) -> AppendError {
        match error {
            ProposeError::NotLeader { leader } => {
                AppendError::NotLeader { leader: leader.filter(|leader| *leader != self.replica.node()) }
            }
            ProposeError::Stopped => AppendError::Stopped,
            ProposeError::OutcomeUnknown => match self.log.poisoned() {
                Some(poisoned) => AppendError::StorageFailed { reason: poisoned.to_string() },
                None => AppendError::OutcomeUnknown,
            },
        }
    }
}

fn framed(append: &Append) -> u64 {
    framed_bytes(append.batch.bytes().len())
}
