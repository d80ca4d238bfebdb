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
//! - A batch is judged against everything before it and proposed for that leader epoch only, so what it was judged on
//!   is true where it is appended.
//! - Disk space is promised before anything is proposed: a full disk is a definite refusal, never a failed append.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Poll, ready};

use highwater_storage::log::APPEND_BYTES_MAX;
use highwater_storage::{EntryKind, Log, ReserveError, framed_bytes};
use highwater_types::ProducerId;
use highwater_types::batch::ValidBatch;
use highwater_types::limits::BATCH_BYTES_MAX;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use super::error::AppendError;
use super::in_flight::InFlightProducers;
use super::pending::{Answer, Pending, Placed};
use super::producers::{Place, Producers, Stamped, Verdict};
use super::state::SharedProducers;
use super::ticket::Reply;
use crate::raft::{Appended, Committed, Leadership, Proposal, ProposeError, ProposeTicket, Replica};

/// The most batches that wait to be taken in, and that are taken in at a time.
pub(super) const QUEUE_BATCHES_MAX: usize = 256;

/// The most batches in flight: beyond this the queue fills and producers wait.
const IN_FLIGHT_BATCHES_MAX: usize = 4_096;

/// The most bytes in flight. Everything in flight may end up in one append, which the core's task writes in one go.
const IN_FLIGHT_BYTES_MAX: u64 = 128 * 1024 * 1024;
const _: () = assert!(IN_FLIGHT_BYTES_MAX + 2 * (BATCH_BYTES_MAX as u64) < APPEND_BYTES_MAX);

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
    leadership: watch::Receiver<Leadership>,
    /// Whether the leadership is being handed over: then nothing is taken in until it is clear who leads.
    held_back: watch::Receiver<bool>,
    producers: SharedProducers,
    queue: mpsc::Receiver<Append>,
    stop: CancellationToken,
    /// The epoch in which `ahead` is true.
    led: Leadership,
    ahead: InFlightProducers,
    pending: Pending<Reply>,
    in_flight: VecDeque<InFlight>,
    in_flight_bytes: u64,
}

struct InFlight {
    ticket: ProposeTicket,
    /// The producer and the number of the batch, when it is idempotent.
    producer: Option<(ProducerId, u64)>,
    bytes: u64,
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
        producers: SharedProducers,
        queue: mpsc::Receiver<Append>,
        stop: CancellationToken,
    ) -> Self {
        Self {
            leadership: replica.leadership(),
            held_back: replica.held_back(),
            replica,
            log,
            producers,
            queue,
            stop,
            led: Leadership::default(),
            ahead: InFlightProducers::default(),
            pending: Pending::default(),
            in_flight: VecDeque::new(),
            in_flight_bytes: 0,
        }
    }

    /// Runs until told to stop, and then until what is in flight is decided. What is still queued is refused.
    pub(super) async fn run(mut self) {
        let mut taken = Vec::with_capacity(QUEUE_BATCHES_MAX);
        let stop = self.stop.clone();
        loop {
            let is_held_back = *self.held_back.borrow_and_update();
            let has_room = self.in_flight.len() < IN_FLIGHT_BATCHES_MAX && !is_held_back;
            tokio::select! {
                biased;
                outcome = next_outcome(&mut self.in_flight) => self.settle(outcome),
                () = stop.cancelled() => break,
                // The replica holds the other end, and the writer the replica.
                _ = self.held_back.changed() => {}
                count = self.queue.recv_many(&mut taken, QUEUE_BATCHES_MAX), if has_room => {
                    if count == 0 {
                        break;
                    }
                    self.take_in(&mut taken).await;
                }
            }
        }
        self.queue.close();
        while let Some(append) = self.queue.recv().await {
            self.decide(append.reply, Err(AppendError::Stopped));
        }
        while !self.in_flight.is_empty() {
            let outcome = next_outcome(&mut self.in_flight).await;
            self.settle(outcome);
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
        for Accepted { proposal, producer, bytes } in accepted {
            while !self.in_flight.is_empty() && self.in_flight_bytes + bytes > IN_FLIGHT_BYTES_MAX {
                let outcome = next_outcome(&mut self.in_flight).await;
                self.settle(outcome);
            }
            let ticket = self.replica.submit(proposal).await;
            self.in_flight_bytes += bytes;
            self.in_flight.push_back(InFlight { ticket, producer, bytes });
        }
    }
}

impl Writer {
    /// Why nothing may be appended at the moment, if so. Otherwise the disk has room for everything on its way.
    fn cannot_take(&mut self, led: Leadership, bytes: u64) -> Option<AppendError> {
        if led.term != self.led.term {
            self.ahead.clear();
        }
        self.led = led;
        if !led.serves_writes {
            return Some(AppendError::NotLeader { leader: led.leader.filter(|_| !led.is_leader) });
        }
        let needed = self.in_flight_bytes.saturating_add(bytes).min(APPEND_BYTES_MAX);
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
        if let (Some(stamped), true) = (stamped, self.led.serves_writes) {
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
        if let Some(refusal) = refusal {
            if let Some(stamped) = stamped {
                self.ahead.refuse(producers, stamped);
            }
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
        Some(Accepted { proposal: Proposal { kind, payload, term, on_append }, producer, bytes })
    }

    /// Answers a batch that is not sent on its way, in its turn.
    fn decide(&mut self, reply: Reply, answer: Answer) {
        if let Some((reply, answer)) = self.pending.decide(reply, answer) {
            reply.give(answer, self.led.epoch);
        }
    }

    /// The oldest batch in flight is decided.
    fn settle(&mut self, (flight, outcome): Outcome) {
        self.in_flight_bytes = self.in_flight_bytes.saturating_sub(flight.bytes);
        match outcome {
            Ok(Committed { id, base_offset }) => {
                if let Some((producer, number)) = flight.producer {
                    self.ahead.settle(producer, number, base_offset);
                }
                self.pending.on_committed(base_offset, |reply, answer| reply.give(answer, id.term.into()));
            }
            Err(error) => {
                // What was judged with this batch before it no longer holds; the committed table is the truth.
                self.ahead.clear();
                let (error, epoch) = (self.explain(error), self.led.epoch);
                self.pending.on_failed(&error, |reply, answer| reply.give(answer, epoch));
            }
        }
    }

    fn explain(&self, error: ProposeError) -> AppendError {
        match error {
            ProposeError::NotLeader { leader } => AppendError::NotLeader { leader },
            ProposeError::Stopped => AppendError::Stopped,
            ProposeError::OutcomeUnknown => match self.log.poisoned() {
                Some(poisoned) => AppendError::StorageFailed { reason: poisoned.to_string() },
                None => AppendError::OutcomeUnknown,
            },
        }
    }
}

type Outcome = (InFlight, Result<Committed, ProposeError>);

/// Waits for the oldest batch in flight; for ever when there is none.
async fn next_outcome(in_flight: &mut VecDeque<InFlight>) -> Outcome {
    std::future::poll_fn(|cx| {
        let Some(oldest) = in_flight.front_mut() else { return Poll::Pending };
        let outcome = ready!(Pin::new(&mut oldest.ticket).poll(cx));
        match in_flight.pop_front() {
            Some(flight) => Poll::Ready((flight, outcome)),
            None => Poll::Pending,
        }
    })
    .await
}

fn framed(append: &Append) -> u64 {
    framed_bytes(append.batch.bytes().len())
}
