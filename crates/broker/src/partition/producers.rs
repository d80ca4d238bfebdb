//! The producer table of one partition: what idempotent producers have stored, so that a retry is stored once (P5).
//!
//! Owns: for each producer its epoch and its last five batches, the rules that tell a new batch from a repeated, a
//! lost or a fenced one ([`judge`]), and the table's form in checkpoints and snapshots ([`codec`]).
//!
//! Never: reads a clock, awaits, or decides alone: what is in flight before a batch counts too (see `in_flight`).
//!
//! The table is a function of the committed entries alone, so every replica that applied the same entries has the same
//! one, also after a restart:
//! - Its time is the entries' own: the largest record timestamp so far, but one entry moves it by an hour at most, so
//!   one wild timestamp cannot make the table forget everybody.
//! - The producer that was quiet for longest is forgotten when there are more than the table may hold (P7); and, only if
//!   the limits say so, one that stored nothing for so much of that time.
//! - An entry that the table has seen before changes nothing.
//!
//! ```text
//!   known records of this epoch, in sequence numbers              next
//!   |------------- stored, offsets forgotten -------------|b1|b2|b3|b4|b5|----->
//!    repeated from here: DUPLICATE_SEQUENCE                 exact repeat of one: success, its first offset
//! ```
//!
//! A producer that the table does not know begins at sequence 0. Whatever else it sends is refused: either its first
//! batch was refused elsewhere or lost, and must not be overtaken, or the table has forgotten it.
//!
//! What was stored before the table first heard of a producer (a log may be older than that rule) is *not* in that range:
//! a batch from there is refused as out of order, never called a duplicate, because nobody knows that it was stored.

pub mod codec;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap, VecDeque};

use highwater_types::batch::{BatchHeader, ProducerStamp};
use highwater_types::limits::PRODUCER_BATCHES_IN_FLIGHT_MAX;
use highwater_types::{ErrorCode, Offset, ProducerEpoch, ProducerId, Sequence, Timestamp};

use crate::planted::{Bug, is_planted};

/// How many batches of a producer the table remembers: as many as it may have in flight.
pub const WINDOW: usize = PRODUCER_BATCHES_IN_FLIGHT_MAX;

/// How far one entry moves the log's time at most, in milliseconds: one hour.
const TIME_STEP_MS_MAX: u64 = 60 * 60 * 1_000;

/// How many sequence numbers there are before they wrap to 0.
const SEQUENCES: i64 = i32::MAX as i64 + 1;

/// What a table may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProducerLimits {
    /// The most producers; one more makes it forget the one that was quiet for longest.
    pub producers_max: usize,
    /// How long a producer is remembered after its last batch, in milliseconds of the log's own time; `None` for ever.
    pub expiry_ms: Option<u64>,
}

impl Default for ProducerLimits {
    /// 8,192 producers (under 1 MiB encoded), however old: the log's time is its clients', and one that stamps in
    /// microseconds would make the table forget everybody else within a few batches, so that their retries were stored
    /// twice.
    fn default() -> Self {
        Self { producers_max: 8_192, expiry_ms: None }
    }
}

/// Where a remembered batch is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Committed, its first record at this offset.
    Stored(Offset),
    /// Proposed and not yet decided; the number that its writer gave it.
    InFlight(u64),
}

/// A remembered batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecentBatch {
    /// The sequence of its first record.
    pub first: Sequence,
    /// The sequence of its last record.
    pub last: Sequence,
    /// Where it is.
    pub place: Place,
}

/// What is known of one producer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Producer {
    epoch: ProducerEpoch,
    /// Oldest first; never empty, never more than [`WINDOW`].
    batches: VecDeque<RecentBatch>,
    /// How many sequence numbers, back from the newest, are known to be stored without a gap.
    known_records: u64,
    /// The table's time when its last batch came.
    last_seen: Timestamp,
}

/// A producer as people see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProducerSummary {
    /// Who.
    pub id: ProducerId,
    /// Its epoch.
    pub epoch: ProducerEpoch,
    /// The sequence of its newest record.
    pub last_sequence: Sequence,
    /// The table's time when its last batch came.
    pub last_seen: Timestamp,
}

/// What to do with a batch of an idempotent producer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is the next one: append it.
    Next,
    /// It is there already, exactly so.
    Duplicate(Place),
    /// It must not be appended.
    Refused(SequenceError),
}

/// Why a batch of an idempotent producer is not appended. Nothing was stored by this attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SequenceError {
    /// A newer incarnation of the producer has written.
    #[error("producer {producer} has epoch {current} here; epoch {epoch} is fenced: ask for a new epoch")]
    Fenced {
        /// The producer.
        producer: ProducerId,
        /// What the batch carried.
        epoch: ProducerEpoch,
        /// What is known.
        current: ProducerEpoch,
    },
    /// Nothing is known of the producer, and the batch is not its first one.
    #[error(
        "producer {producer} is not known here and sent sequence {first}: send what comes before it, or begin again at 0 \
         with a new epoch"
    )]
    Unknown {
        /// The producer.
        producer: ProducerId,
        /// The first sequence of the batch.
        first: Sequence,
    },
    /// Batches between the last one and this one are missing.
    #[error("producer {producer} sent sequence {first}, but {expected} comes next: send what lies between first")]
    OutOfOrder {
        /// The producer.
        producer: ProducerId,
        /// The first sequence of the batch.
        first: Sequence,
        /// The one that would be right.
        expected: Sequence,
    },
    /// The batch was stored so long ago that its offset is forgotten.
    #[error("producer {producer} sent sequence {first} again; it is stored, but its offset is no longer remembered")]
    Forgotten {
        /// The producer.
        producer: ProducerId,
        /// The first sequence of the batch.
        first: Sequence,
    },
}

impl SequenceError {
    /// The code that clients act on.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::Fenced { .. } => ErrorCode::ProducerFenced,
            Self::Unknown { .. } => ErrorCode::UnknownProducer,
            Self::OutOfOrder { .. } => ErrorCode::OutOfOrderSequence,
            Self::Forgotten { .. } => ErrorCode::DuplicateSequence,
        }
    }
}

/// A batch of an idempotent producer, as the rules see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamped {
    /// Producer, epoch and first sequence.
    pub stamp: ProducerStamp,
    /// The sequence of its last record.
    pub last: Sequence,
}

impl Stamped {
    /// From a batch's header; `None` when the batch is not from an idempotent producer.
    #[must_use]
    pub fn of(header: &BatchHeader) -> Option<Self> {
        let stamp = header.producer?;
        Some(Self { stamp, last: stamp.first_sequence.wrapping_add(header.last_offset_delta) })
    }

    fn records(&self) -> u64 {
        distance(self.stamp.first_sequence, self.last) + 1
    }
}

/// Decides on a batch, given what is known of its producer with everything that goes before the batch.
///
/// An unknown producer starts at 0, and so does a known one in a new epoch.
#[must_use]
pub fn judge(known: Option<&Producer>, batch: Stamped) -> Verdict {
    let ProducerStamp { id: producer, epoch, first_sequence: first } = batch.stamp;
    let Some(known) = known else {
        let is_first = first == Sequence::new(0);
        return if is_first { Verdict::Next } else { Verdict::Refused(SequenceError::Unknown { producer, first }) };
    };
    if epoch < known.epoch {
        return Verdict::Refused(SequenceError::Fenced { producer, epoch, current: known.epoch });
    }
    let expected = if epoch > known.epoch { Sequence::new(0) } else { known.next() };
    if first == expected {
        return Verdict::Next;
    }
    let refused = Verdict::Refused(SequenceError::OutOfOrder { producer, first, expected });
    if epoch > known.epoch {
        return refused;
    }
    match known.batches.iter().find(|b| b.first == first && b.last == batch.last) {
        Some(same) => Verdict::Duplicate(same.place),
        None if known.has_forgotten(batch) => Verdict::Refused(SequenceError::Forgotten { producer, first }),
        None => refused,
    }
}

impl Producer {
    /// A producer of which one batch is known.
    #[must_use]
    pub fn starting(batch: Stamped, place: Place, now: Timestamp) -> Self {
        let mut producer = Self {
            epoch: batch.stamp.epoch,
            batches: VecDeque::with_capacity(WINDOW),
            known_records: 0,
            last_seen: now,
        };
        producer.push(batch, place);
        producer
    }

    /// Takes in a batch that is in the log, or will be. It is taken as it is: the log is the truth.
    pub fn record(&mut self, batch: Stamped, place: Place, now: Timestamp) {
        self.last_seen = now;
        if batch.stamp.epoch < self.epoch {
            return;
        }
        if batch.stamp.epoch > self.epoch || batch.stamp.first_sequence != self.next() {
            self.epoch = batch.stamp.epoch;
            self.batches.clear();
            self.known_records = 0;
        }
        self.push(batch, place);
    }

    /// Says where the batch that was in flight under `number` is now.
    pub fn settle(&mut self, number: u64, base_offset: Offset) {
        if let Some(batch) = self.batches.iter_mut().find(|b| b.place == Place::InFlight(number)) {
            batch.place = Place::Stored(base_offset);
        }
    }

    /// The sequence that follows the newest batch.
    fn next(&self) -> Sequence {
        self.batches.back().map_or(Sequence::new(0), |newest| newest.last.wrapping_add(1))
    }

    fn push(&mut self, batch: Stamped, place: Place) {
        let window = if is_planted(Bug::SmallWindow) { 1 } else { WINDOW };
        if self.batches.len() == window {
            self.batches.pop_front();
        }
        self.batches.push_back(RecentBatch { first: batch.stamp.first_sequence, last: batch.last, place });
        self.known_records = self.known_records.saturating_add(batch.records());
    }

    /// Whether the whole batch lies among the stored records that are older than the remembered batches.
    fn has_forgotten(&self, batch: Stamped) -> bool {
        let next = self.next();
        let back_to_window = self.batches.front().map_or(0, |oldest| distance(oldest.first, next));
        let back_to_first = distance(batch.stamp.first_sequence, next);
        // Sequences wrap: what lies further back than half of them is rather something still to come.
        let is_behind = back_to_first <= SEQUENCES.unsigned_abs() / 2;
        is_behind && back_to_first <= self.known_records && back_to_first >= back_to_window + batch.records()
    }

    /// The first offset of the newest batch, if that is committed.
    fn newest_offset(&self) -> Option<Offset> {
        match self.batches.back()?.place {
            Place::Stored(offset) => Some(offset),
            Place::InFlight(_) => None,
        }
    }
}

/// How many steps it is from `from` forward to `to`, sequences wrapping.
fn distance(from: Sequence, to: Sequence) -> u64 {
    (i64::from(to.get()) - i64::from(from.get())).rem_euclid(SEQUENCES).unsigned_abs()
}

/// All producers of a partition, as of the committed entries applied so far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Producers {
    limits: ProducerLimits,
    by_id: HashMap<ProducerId, Producer>,
    /// The same producers by the first offset of their newest batch: the quietest first.
    by_age: BTreeMap<Offset, ProducerId>,
    /// The log's own time; none before the first entry.
    now: Option<Timestamp>,
}

impl Producers {
    /// An empty table.
    #[must_use]
    pub fn new(limits: ProducerLimits) -> Self {
        Self { limits, by_id: HashMap::new(), by_age: BTreeMap::new(), now: None }
    }

    /// What is known of a producer.
    #[must_use]
    pub fn get(&self, id: ProducerId) -> Option<&Producer> {
        self.by_id.get(&id)
    }

    /// How many producers are known.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Whether no producer is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    /// All producers, by id.
    #[must_use]
    pub fn summaries(&self) -> Vec<ProducerSummary> {
        let summary = |(id, known): (&ProducerId, &Producer)| {
            let last_sequence = known.batches.back()?.last;
            Some(ProducerSummary { id: *id, epoch: known.epoch, last_sequence, last_seen: known.last_seen })
        };
        let mut summaries: Vec<_> = self.by_id.iter().filter_map(summary).collect();
        summaries.sort_unstable_by_key(|summary| summary.id);
        summaries
    }

    /// The log's own time, or 0 before its first entry.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.now.unwrap_or_default()
    }

    /// Takes in a committed batch, in the order of the log. Each is taken in once, however often it is given.
    pub fn apply(&mut self, base_offset: Offset, header: &BatchHeader) {
        let now = self.advance(header.max_timestamp);
        if let Some(batch) = Stamped::of(header) {
            self.store(base_offset, batch, now);
        }
        self.forget(now);
    }

    fn store(&mut self, base_offset: Offset, batch: Stamped, now: Timestamp) {
        let id = batch.stamp.id;
        match self.by_id.get_mut(&id) {
            Some(known) => {
                let newest = known.newest_offset();
                if newest.is_some_and(|newest| newest >= base_offset) {
                    return;
                }
                known.record(batch, Place::Stored(base_offset), now);
                if known.newest_offset() == newest {
                    return;
                }
                if let Some(newest) = newest {
                    self.by_age.remove(&newest);
                }
            }
            None => {
                self.by_id.insert(id, Producer::starting(batch, Place::Stored(base_offset), now));
            }
        }
        self.by_age.insert(base_offset, id);
    }

    /// Moves the log's time towards the timestamp of an entry, by an hour at most.
    fn advance(&mut self, timestamp: Timestamp) -> Timestamp {
        let now = self.now.unwrap_or(timestamp);
        let step = timestamp.ms_since(now).min(TIME_STEP_MS_MAX);
        let now = Timestamp::from_ms(now.as_ms().saturating_add_unsigned(step));
        self.now = Some(now);
        now
    }

    /// Forgets who was quiet for too long, and the quietest when there are too many.
    fn forget(&mut self, now: Timestamp) {
        while let Some(oldest) = self.by_age.first_entry() {
            let last_seen = self.by_id.get(oldest.get()).map_or(now, |p| p.last_seen);
            let is_expired = self.limits.expiry_ms.is_some_and(|expiry_ms| now.ms_since(last_seen) >= expiry_ms);
            if !is_expired && self.by_id.len() <= self.limits.producers_max {
                return;
            }
            self.by_id.remove(&oldest.remove());
        }
    }
}
