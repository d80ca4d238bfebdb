//! What a worker has in hand, and what the server is to be told about it: credit, outcomes, extensions of leases.
//!
//! Pure: it does no I/O and takes the time as an argument. The worker's task owns one.
//!
//! Invariants:
//! - handlers that run and credit that is out never exceed the concurrency together;
//! - every message that was taken has one outcome told, again and again until it is answered or its worth is known;
//! - what is told and not answered is bounded: beyond that no credit is given.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap, VecDeque};
use std::time::Duration;

use highwater_proto::v1;
use highwater_types::{Offset, PartitionId, number};

use super::handle::SettledMessage;
use crate::clock::Instant;
use crate::error::ServerError;
use crate::queue::{MessageOutcome, MessageToken, Settle, Settled, unanswered};

/// The most outcomes in one message to the server.
const BATCH_OUTCOMES_MAX: usize = 1_024;
/// While so many batches are not answered, outcomes gather for the next one.
const BATCHES_MAX: usize = 2;
/// Credit is given when so large a part of the concurrency is free, or after the pause: one message that is asked for by
/// itself costs the server as much as many.
const CREDIT_PART: usize = 8;
const CREDIT_PAUSE: Duration = Duration::from_millis(1);
/// So many outcomes may be unanswered, or as many as there are handlers, before no more messages are asked for.
const UNANSWERED_MIN: usize = 1_024;
/// An outcome that the server could not take at the moment is told again so often, with pauses that double.
const TRIES_MAX: u32 = 12;
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// A lease is not extended more often than this, however short it is.
const EXTEND_PAUSE_MIN: Duration = Duration::from_millis(20);
/// So many dates of messages that are done may be kept beside those of messages in hand.
const EXTENSIONS_SPARE: usize = 64;

number! {
    /// A message that was taken, counted from 1, as long as this worker lives.
    Serial(u64)
}

/// Which message it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) partition: PartitionId,
    pub(super) offset: Offset,
}

/// A message that a handler works on.
#[derive(Debug)]
struct Held {
    place: Place,
    token: MessageToken,
    lease: Duration,
    since: Instant,
    /// When its lease is to be extended.
    extend_at: Option<Instant>,
}

/// Something to be told about a message.
#[derive(Clone, Debug)]
struct Parcel {
    serial: Serial,
    place: Place,
    /// When the message came.
    since: Instant,
    settle: Settle,
    tries: u32,
}

/// Parcels that were told together.
#[derive(Debug)]
struct Batch {
    request: u64,
    sent_at: Instant,
    parcels: Vec<Parcel>,
}

/// What the server made of an outcome, for those who count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// With an error it came to nothing: the message is somebody else's by now.
    Settled(SettledMessage),
    /// The lease stays as long as it was.
    NotExtended(ServerError),
}

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct Hands {
    concurrency: usize,
    extends_leases: bool,
    takes_more: bool,
    serials: u64,
    requests: u64,
    held: HashMap<Serial, Held>,
    /// Credit that the server has not used.
    granted: usize,
    /// Since when less could be given than is worth it.
    credit_since: Option<Instant>,
    /// When leases are to be extended, the next first. Of messages that are done some are left: see `extend_after`.
    extensions: BinaryHeap<Reverse<(Instant, Serial)>>,
    outbox: VecDeque<Parcel>,
    /// What could not be taken, until it is told again.
    resting: BTreeMap<(Instant, Serial), Parcel>,
    batches: VecDeque<Batch>,
}

impl Hands {
    pub(super) fn new(concurrency: usize, extends_leases: bool) -> Self {
        Self {
            concurrency,
            extends_leases,
            takes_more: true,
            serials: 0,
            requests: 0,
            held: HashMap::new(),
            granted: 0,
            credit_since: None,
            extensions: BinaryHeap::new(),
            outbox: VecDeque::new(),
            resting: BTreeMap::new(),
            batches: VecDeque::new(),
        }
    }

    /// A new stream begins; returns its first credit.
    pub(super) fn begin(&mut self, now: Instant) -> u32 {
        (self.granted, self.credit_since) = (0, None);
        self.next_credit(now).unwrap_or(0)
    }

    /// The stream broke: what this worker had, others get. What was not answered is told again, to learn whether it was done.
    pub(super) fn on_break(&mut self) {
        self.granted = 0;
        self.extensions.clear();
        for batch in std::mem::take(&mut self.batches).into_iter().rev() {
            let told = batch.parcels.into_iter().filter(|parcel| !parcel.settle.is_extension());
            for parcel in told.rev() {
                self.outbox.push_front(parcel);
            }
        }
        self.outbox.retain(|parcel| !parcel.settle.is_extension());
    }

    /// The credit to give now.
    pub(super) fn next_credit(&mut self, now: Instant) -> Option<u32> {
        if !self.takes_more {
            self.credit_since = None;
            return None;
        }
        let of_handlers = self.concurrency.saturating_sub(self.held.len());
        let of_answers = self.concurrency.max(UNANSWERED_MIN).saturating_sub(self.unanswered());
        let more = of_handlers.min(of_answers).saturating_sub(self.granted);
        if more == 0 {
            self.credit_since = None;
            return None;
        }
        let since = *self.credit_since.get_or_insert(now);
        if more < self.concurrency / CREDIT_PART && now < since + CREDIT_PAUSE {
            return None;
        }
        self.credit_since = None;
        self.granted += more;
        Some(u32::try_from(more).unwrap_or(u32::MAX))
    }

    /// A message came; `None`: nobody works on it, it goes back.
    pub(super) fn take(&mut self, place: Place, token: MessageToken, lease: Duration, now: Instant) -> Option<Serial> {
        self.granted = self.granted.saturating_sub(1);
        self.serials += 1;
        let serial = Serial::new(self.serials);
        let held = Held { place, token, lease, since: now, extend_at: None };
        if !self.takes_more || self.held.len() >= self.concurrency {
            self.tell(serial, held, MessageOutcome::Release);
            return None;
        }
        self.held.insert(serial, held);
        self.extend_after(serial, lease / 2, now);
        Some(serial)
    }

    /// A handler has ended. What is not held any more has its outcome already.
    pub(super) fn finish(&mut self, serial: Serial, outcome: MessageOutcome) {
        if let Some(held) = self.held.remove(&serial) {
            self.tell(serial, held, outcome);
        }
    }

    /// All that handlers still work on goes back.
    pub(super) fn release_all(&mut self) {
        for (serial, held) in std::mem::take(&mut self.held) {
            self.tell(serial, held, MessageOutcome::Release);
        }
    }

    /// Takes no more messages: what still comes goes back.
    pub(super) fn stop(&mut self) {
        self.takes_more = false;
    }

    fn tell(&mut self, serial: Serial, held: Held, outcome: MessageOutcome) {
        let settle = Settle::new(held.token, outcome);
        self.outbox.push_back(Parcel { serial, place: held.place, since: held.since, settle, tries: 0 });
    }

    fn extend_after(&mut self, serial: Serial, pause: Duration, now: Instant) {
        if let Some(held) = self.held.get_mut(&serial).filter(|_| self.extends_leases) {
            let at = now + pause.max(EXTEND_PAUSE_MIN);
            held.extend_at = Some(at);
            // Dates come in order, more or less, so this costs little; taking one out of the middle would cost more.
            self.extensions.push(Reverse((at, serial)));
            if self.extensions.len() > EXTENSIONS_SPARE + 2 * self.held.len() {
                let held = &self.held;
                self.extensions.retain(|Reverse((at, serial))| is_due_at(held, *serial, *at));
            }
        }
    }

    /// What is to be told now; `None`: nothing, or too much is unanswered.
    pub(super) fn next_batch(&mut self, now: Instant) -> Option<v1::SettleBatch> {
        self.take_due(now);
        if self.outbox.is_empty() || self.batches.len() >= BATCHES_MAX {
            return None;
        }
        self.requests += 1;
        let count = self.outbox.len().min(BATCH_OUTCOMES_MAX);
        let parcels: Vec<Parcel> = self.outbox.drain(..count).collect();
        let outcomes = parcels.iter().map(|parcel| parcel.settle.clone().into_wire()).collect();
        self.batches.push_back(Batch { request: self.requests, sent_at: now, parcels });
        Some(v1::SettleBatch { request: self.requests, outcomes })
    }

    /// Leases that are half over, and what has rested.
    fn take_due(&mut self, now: Instant) {
        while let Some(&Reverse((at, serial))) = self.extensions.peek()
            && at <= now
        {
            self.extensions.pop();
            // A handler that has ended left its date behind.
            if is_due_at(&self.held, serial, at)
                && let Some(held) = self.held.get_mut(&serial)
            {
                held.extend_at = None;
                let settle = Settle::extend(held.token.clone(), held.lease);
                self.outbox.push_back(Parcel { serial, place: held.place, since: held.since, settle, tries: 0 });
            }
        }
        while let Some(first) = self.resting.first_entry()
            && first.key().0 <= now
        {
            self.outbox.push_back(first.remove());
        }
    }

    /// The server answered a batch.
    pub(super) fn on_settled(&mut self, settled: v1::SettledBatch, now: Instant) -> Vec<Answer> {
        let Some(place) = self.batches.iter().position(|batch| batch.request == settled.request) else {
            return Vec::new();
        };
        let Some(batch) = self.batches.remove(place) else { return Vec::new() };
        let results = settled.results.into_iter().map(Settled::from_wire);
        let results = results.chain(std::iter::repeat_with(|| Err(unanswered())));
        let answers = batch.parcels.into_iter().zip(results);
        answers.filter_map(|(parcel, result)| self.on_answer(parcel, result, now)).collect()
    }

    fn on_answer(&mut self, parcel: Parcel, result: Result<Settled, ServerError>, now: Instant) -> Option<Answer> {
        let is_held = self.held.contains_key(&parcel.serial);
        match result {
            Ok(Settled::Extended { lease }) => {
                if is_held {
                    self.extend_after(parcel.serial, lease / 2, now);
                }
                None
            }
            Err(error) if error.retryable && parcel.settle.is_extension() => {
                if is_held {
                    self.extend_after(parcel.serial, FIRST_PAUSE, now);
                }
                None
            }
            Err(error) if parcel.settle.is_extension() => is_held.then_some(Answer::NotExtended(error)),
            Err(error) if error.retryable && parcel.tries < TRIES_MAX => {
                let pause = FIRST_PAUSE.saturating_mul(1 << parcel.tries).min(LONGEST_PAUSE);
                self.resting.insert((now + pause, parcel.serial), Parcel { tries: parcel.tries + 1, ..parcel });
                None
            }
            result => {
                let Place { partition, offset } = parcel.place;
                let took = now.duration_since(parcel.since);
                Some(Answer::Settled(SettledMessage { partition, offset, took, result }))
            }
        }
    }

    /// Outcomes that are not answered, told or not.
    fn unanswered(&self) -> usize {
        self.outbox.len() + self.resting.len() + self.batches.iter().map(|batch| batch.parcels.len()).sum::<usize>()
    }

    /// Whether nothing is worked on and everything is answered.
    pub(super) fn are_empty(&self) -> bool {
        self.held.is_empty() && self.unanswered() == 0
    }

    /// What would be lost if this was the end: messages that are worked on or whose outcome is not answered.
    pub(super) fn left(&self) -> usize {
        self.held.len() + self.unanswered()
    }

    /// Since when an answer is waited for.
    pub(super) fn unanswered_since(&self) -> Option<Instant> {
        self.batches.iter().map(|batch| batch.sent_at).min()
    }

    /// When something is to be told, unless something happens before.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        let resting = self.resting.first_key_value().map(|((at, _), _)| *at);
        let credit = self.credit_since.map(|since| since + CREDIT_PAUSE);
        self.extensions.peek().map(|Reverse((at, _))| *at).into_iter().chain(resting).chain(credit).min()
    }
}

fn is_due_at(held: &HashMap<Serial, Held>, serial: Serial, at: Instant) -> bool {
    held.get(&serial).is_some_and(|held| held.extend_at == Some(at))
}

#[cfg(test)]
mod tests;
