//! The batches of one partition that were taken and are not settled: at most five, in order, with their sequences.
//!
//! Pure: no clock, no network. The sender tells it what happened and asks what to do; so every retry, every gap and every
//! lost answer can be tested as plain calls.
//!
//! ```text
//!   push ─► queued ─► in flight ─► settled ─► released, in order
//!              ▲          │
//!              └──────────┘ refused for now, or the stream broke
//! ```
//! Invariants:
//! - Requests go out, and batches are released, in the order in which they were pushed.
//! - After a refusal nothing is sent until all that is in flight was answered; then all that is left goes again in order,
//!   under the same sequences, so that the server can tell what it has stored.
//! - A batch gets new sequences only while it is certain that none of the batches that are left was stored; and then
//!   under a new epoch, so that whatever of it still is on its way is fenced off.
//!   It is taken for granted that what was sent on a stream that broke does not come to the server after its delivery
//!   timeout: a batch given up as unknown that is stored even later could bring its successors in a second time.
//! - A batch fails as [`Outcome::NotDone`] only if none of its attempts may have been stored.
//! - What is certainly not stored is not sent so late that its time ends before an answer can come: that would break the
//!   stream, and make an outcome unknown that is known.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use highwater_types::batch::{self, BatchBuilder, BatchError, BatchHeader, ProducerStamp};
use highwater_types::{ErrorCode, Offset, ProducerEpoch, ProducerId, Sequence};

use super::accumulator::Gathered;
use super::delivery::Promise;
use super::error::ProduceError;
use crate::clock::Instant;
use crate::error::{ConnectionError, Failure, Outcome, ServerError};

/// The most time that is kept at the end of a batch's delivery timeout for the answer to its last attempt.
const LAST_ANSWER_MAX: Duration = Duration::from_secs(1);

/// Who the producer is to one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    pub(super) id: ProducerId,
    pub(super) epoch: ProducerEpoch,
}

impl Identity {
    /// The next incarnation; `None` when there is none left.
    fn next(self) -> Option<Self> {
        let epoch = ProducerEpoch::new(self.epoch.get().checked_add(1)?);
        Some(Self { id: self.id, epoch })
    }
}

/// What a window allows and promises.
#[derive(Clone, Copy, Debug)]
pub(super) struct WindowOptions {
    /// The most batches in it.
    pub(super) batches_max: usize,
    pub(super) is_idempotent: bool,
    /// Whether a batch that may be stored may be sent again without sequences to tell: at least once, or at most once.
    pub(super) repeats_unknown: bool,
    pub(super) delivery_timeout: Duration,
    /// How long an answer may take before the stream counts as broken.
    pub(super) answer_timeout: Duration,
}

#[derive(Debug)]
enum Place {
    Queued,
    InFlight { correlation: u64, since: Instant },
    Settled(Result<Option<Offset>, ProduceError>),
}

#[derive(Debug)]
struct Entry {
    promise: Promise,
    batch: Bytes,
    /// Before compression.
    gathered_bytes: usize,
    record_count: u32,
    first_sequence: Sequence,
    deadline: Instant,
    place: Place,
    /// Whether an attempt that is over may have been stored.
    may_be_stored: bool,
    last_failure: Option<Failure>,
}

/// Why sending has stopped until nothing is in flight.
#[derive(Clone, Debug, PartialEq)]
enum Trouble {
    /// Wait a while and send all again.
    Retry(Failure),
    /// There is a gap in the sequences: take a new epoch and number what is left anew. Until then only what may be stored
    /// is sent, to learn whether it is.
    Renumber,
}

/// An answer that fits no request that is in flight: the stream cannot be trusted any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct UnexpectedAnswer {
    pub(super) correlation: u64,
}

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct Window {
    options: WindowOptions,
    entries: VecDeque<Entry>,
    identity: Option<Identity>,
    next_sequence: Sequence,
    next_correlation: u64,
    trouble: Option<Trouble>,
    /// Whether the server knows a newer incarnation of the identity.
    is_fenced: bool,
}

impl Window {
    pub(super) fn new(options: WindowOptions) -> Self {
        Self {
            options,
            entries: VecDeque::new(),
            identity: None,
            next_sequence: Sequence::new(0),
            next_correlation: 1,
            trouble: None,
            is_fenced: false,
        }
    }

    /// Whether a producer id is needed before anything can be pushed or sent.
    pub(super) fn needs_identity(&self) -> bool {
        self.options.is_idempotent && self.identity.is_none()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(super) fn has_room(&self) -> bool {
        self.entries.len() < self.options.batches_max && self.trouble.is_none() && !self.needs_identity()
    }

    pub(super) fn in_flight(&self) -> usize {
        self.entries.iter().filter(|entry| matches!(entry.place, Place::InFlight { .. })).count()
    }

    /// The bytes of records that are in flight, before compression.
    pub(super) fn in_flight_bytes(&self) -> usize {
        let in_flight = self.entries.iter().filter(|entry| matches!(entry.place, Place::InFlight { .. }));
        in_flight.map(|entry| entry.gathered_bytes).sum()
    }

    /// Takes a batch in. The caller has seen that there is room.
    pub(super) fn push(&mut self, mut gathered: Gathered) {
        assert!(self.has_room(), "a window takes no more than its batches");
        let record_count = gathered.builder.record_count();
        let gathered_bytes = gathered.bytes();
        let first_sequence = self.next_sequence;
        if let Some(identity) = self.identity {
            gathered.builder.set_producer(stamp(identity, first_sequence));
        }
        let deadline = gathered.opened + self.options.delivery_timeout;
        let (place, batch) = match gathered.builder.finish() {
            Ok(batch) => {
                self.next_sequence = first_sequence.wrapping_add(record_count);
                (Place::Queued, batch)
            }
            // Settled in its turn, as every other; it takes no sequence.
            Err(error) => (Place::Settled(Err(batch_error(&gathered.promise, error))), Bytes::new()),
        };
        self.entries.push_back(Entry {
            promise: gathered.promise,
            batch,
            gathered_bytes,
            record_count,
            first_sequence,
            deadline,
            place,
            may_be_stored: false,
            last_failure: None,
        });
    }

    /// The next request to send: its correlation and its batch.
    pub(super) fn next_request(&mut self, now: Instant) -> Option<(u64, Bytes)> {
        if self.needs_identity() {
            return None;
        }
        let only_uncertain = match self.trouble {
            None => false,
            Some(Trouble::Renumber) => true,
            Some(Trouble::Retry(_)) => return None,
        };
        let may_go = |entry: &Entry| matches!(entry.place, Place::Queued) && (entry.may_be_stored || !only_uncertain);
        let last_answer = (self.options.delivery_timeout / 8).min(LAST_ANSWER_MAX);
        let entry = self.entries.iter_mut().find(|entry| may_go(entry))?;
        // Nor does any other go before it. What may be stored goes also late: its outcome can only become clearer.
        if !entry.may_be_stored && entry.deadline < now + last_answer {
            return None;
        }
        let correlation = self.next_correlation;
        self.next_correlation += 1;
        entry.place = Place::InFlight { correlation, since: now };
        Some((correlation, entry.batch.clone()))
    }

    /// The answer to the oldest request in flight.
    pub(super) fn on_answer(
        &mut self,
        answered: u64,
        result: Result<Option<Offset>, ServerError>,
    ) -> Result<(), UnexpectedAnswer> {
        let unexpected = UnexpectedAnswer { correlation: answered };
        let is_in_flight = |entry: &&mut Entry| matches!(entry.place, Place::InFlight { .. });
        let entry = self.entries.iter_mut().find(is_in_flight).ok_or(unexpected)?;
        if !matches!(entry.place, Place::InFlight { correlation, .. } if correlation == answered) {
            return Err(unexpected);
        }
        match result {
            Ok(base_offset) => entry.place = Place::Settled(Ok(base_offset)),
            // Stored by an earlier attempt, so long ago that the offset is forgotten.
            Err(error) if error.code == ErrorCode::DuplicateSequence => entry.place = Place::Settled(Ok(None)),
            Err(error) => self.on_refusal(answered, error),
        }
        Ok(())
    }

    fn on_refusal(&mut self, answered: u64, error: ServerError) {
        let options = self.options;
        let is_answered =
            |entry: &&mut Entry| matches!(entry.place, Place::InFlight { correlation, .. } if correlation == answered);
        let Some(entry) = self.entries.iter_mut().find(is_answered) else { return };
        let is_first = entry.first_sequence == Sequence::new(0) || !options.is_idempotent;
        if error.code == ErrorCode::UnknownProducer && !is_first {
            entry.place = Place::Queued;
            // With one before it refused for now, sending all again in order is enough. Otherwise the server has never heard
            // of the producer, or has forgotten it, and with it whether an earlier attempt was stored.
            if !matches!(self.trouble, Some(Trouble::Retry(_))) && entry.may_be_stored {
                entry.fail(Failure::Server(error));
            }
            self.note_gap();
            return;
        }
        if error.code == ErrorCode::OutOfOrderSequence && !is_first {
            // The server has looked: this batch is not there, and neither is one before it. If that is because one
            // before it was refused for now, sending all again in order is enough.
            entry.may_be_stored = false;
            entry.place = Place::Queued;
            self.note_gap();
            return;
        }
        let unknown = error.outcome() == Outcome::Unknown;
        let is_fenced = error.code == ErrorCode::ProducerFenced;
        let failure = Failure::Server(error);
        if failure.is_retryable() && (!unknown || options.is_idempotent || options.repeats_unknown) {
            entry.may_be_stored |= unknown;
            entry.last_failure = Some(failure.clone());
            entry.place = Place::Queued;
            // Goes before a gap: that is still there when all was sent again.
            self.trouble = Some(Trouble::Retry(failure));
            return;
        }
        entry.may_be_stored |= unknown;
        self.is_fenced |= is_fenced;
        entry.fail(failure);
        self.note_gap();
    }

    /// The stream is gone, and with it the answers to all that was in flight.
    pub(super) fn on_break(&mut self, failure: &Failure) {
        let may_be_stored = failure.outcome() == Outcome::Unknown;
        let repeats = self.options.is_idempotent || self.options.repeats_unknown || !may_be_stored;
        for entry in &mut self.entries {
            let was_in_flight = matches!(entry.place, Place::InFlight { .. });
            if was_in_flight {
                entry.may_be_stored |= may_be_stored;
                entry.place = Place::Queued;
            }
            if matches!(entry.place, Place::Queued) {
                entry.last_failure = Some(failure.clone());
                if !failure.is_retryable() || (was_in_flight && !repeats) {
                    entry.fail(failure.clone());
                }
            }
        }
        // What is left goes again in order anyway. A gap stays one.
        if matches!(self.trouble, Some(Trouble::Retry(_))) {
            self.trouble = None;
        }
        if !failure.is_retryable() {
            self.note_gap();
        }
    }

    /// The server will never get a batch whose sequence was taken.
    fn note_gap(&mut self) {
        if self.options.is_idempotent {
            self.trouble.get_or_insert(Trouble::Renumber);
        }
    }

    /// Ends a stop, once nothing is in flight: numbers anew what is left, or tells for what failure to wait a while.
    pub(super) fn take_trouble(&mut self) -> Option<Failure> {
        if self.in_flight() > 0 {
            return None;
        }
        // What may be stored keeps its sequence. Sent once more, it is acknowledged or certainly not stored.
        let is_uncertain = |entry: &Entry| matches!(entry.place, Place::Queued) && entry.may_be_stored;
        if self.trouble == Some(Trouble::Renumber) && self.entries.iter().any(is_uncertain) {
            return None;
        }
        let trouble = self.trouble.take()?;
        if trouble == Trouble::Renumber {
            // Somebody has a higher epoch of a fenced id; another id is nobody's.
            let is_fenced = std::mem::take(&mut self.is_fenced);
            self.identity = self.identity.filter(|_| !is_fenced).and_then(Identity::next);
            self.renumber();
        }
        match trouble {
            Trouble::Retry(failure) => Some(failure),
            Trouble::Renumber => None,
        }
    }

    /// The producer id, once the server gave one.
    pub(super) fn set_identity(&mut self, identity: Identity) {
        self.identity = Some(identity);
        self.renumber();
    }

    /// Numbers all that is not settled from 0 on. None of it may be stored, nor in flight.
    fn renumber(&mut self) {
        let mut next = Sequence::new(0);
        for entry in &mut self.entries {
            if !matches!(entry.place, Place::Queued) {
                continue;
            }
            assert!(!entry.may_be_stored, "a batch that may be stored keeps its sequence");
            entry.first_sequence = next;
            let Some(identity) = self.identity else { continue };
            match restamp(&entry.batch, stamp(identity, next)) {
                Ok(batch) => {
                    entry.batch = batch;
                    next = next.wrapping_add(entry.record_count);
                }
                Err(error) => entry.place = Place::Settled(Err(batch_error(&entry.promise, error))),
            }
        }
        self.next_sequence = next;
    }

    /// The earliest moment at which [`Window::on_time`] has something to do.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.entries.iter().filter_map(|entry| self.deadline(entry)).min()
    }

    fn deadline(&self, entry: &Entry) -> Option<Instant> {
        match entry.place {
            Place::Queued => Some(entry.deadline),
            Place::InFlight { since, .. } => Some(entry.deadline.min(since + self.options.answer_timeout)),
            Place::Settled(_) => None,
        }
    }

    /// Whether an answer is overdue, so that the stream has to be given up.
    pub(super) fn is_stalled(&self, now: Instant) -> bool {
        let is_overdue = |entry: &Entry| {
            matches!(entry.place, Place::InFlight { .. })
                && self.deadline(entry).is_some_and(|deadline| deadline <= now)
        };
        self.entries.iter().any(is_overdue)
    }

    /// Gives up the batches whose delivery timeout is over. What is in flight is answered, or broken, first.
    pub(super) fn expire(&mut self, now: Instant) {
        let after = self.options.delivery_timeout;
        let mut has_expired = false;
        for entry in &mut self.entries {
            if matches!(entry.place, Place::Queued) && entry.deadline <= now {
                let error = ProduceError::TimedOut {
                    topic: entry.promise.topic().clone(),
                    partition: entry.promise.partition(),
                    after,
                    last: entry.last_failure.as_ref().map(|failure| failure.to_string().into()),
                    outcome: entry.outcome(),
                };
                entry.place = Place::Settled(Err(error));
                has_expired = true;
            }
        }
        if has_expired {
            self.note_gap();
        }
    }

    /// Settles what can be settled in order; `note` hears of each failure before anybody who waits for it does.
    pub(super) fn release(&mut self, note: impl Fn(&ProduceError)) {
        while let Some(entry) = self.entries.pop_front_if(|entry| matches!(entry.place, Place::Settled(_))) {
            let Place::Settled(result) = entry.place else { continue };
            if let Err(error) = &result {
                note(error);
            }
            entry.promise.settle(result);
        }
    }
}

impl Entry {
    fn outcome(&self) -> Outcome {
        if self.may_be_stored { Outcome::Unknown } else { Outcome::NotDone }
    }

    fn fail(&mut self, failure: Failure) {
        let (topic, partition) = (self.promise.topic(), self.promise.partition());
        self.place = Place::Settled(Err(ProduceError::from_failure(topic, partition, failure, self.outcome())));
    }
}

/// What a stream that does not answer is taken for.
pub(super) fn stalled(server: &str, answer_timeout: Duration) -> Failure {
    Failure::Broken(ConnectionError::new(server, &format!("no answer within {answer_timeout:?}")))
}

fn stamp(identity: Identity, first_sequence: Sequence) -> ProducerStamp {
    ProducerStamp { id: identity.id, epoch: identity.epoch, first_sequence }
}

fn batch_error(promise: &Promise, source: BatchError) -> ProduceError {
    ProduceError::Batch { topic: promise.topic().clone(), partition: promise.partition(), source }
}

/// The same records under another stamp. Encodes them again: rare, and the codec alone knows the layout.
fn restamp(batch: &Bytes, producer: ProducerStamp) -> Result<Bytes, BatchError> {
    let header = BatchHeader::read(batch)?;
    let mut builder = BatchBuilder::with_capacity(header.compression, batch.len());
    for record in batch::records(batch.clone())? {
        let record = record?;
        let headers: Vec<_> = record.headers.iter().map(|header| (&header.name, header.value.as_deref())).collect();
        builder.append(record.timestamp, record.key.as_deref(), record.value.as_deref(), &headers)?;
    }
    builder.set_producer(producer);
    builder.finish()
}

#[cfg(test)]
mod tests;
