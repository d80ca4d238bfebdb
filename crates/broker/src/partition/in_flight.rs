//! The producers as they will be once everything in flight is committed.
//!
//! Owns: for each producer with batches in flight, its state with those batches in it. Without this, the second of two
//! pipelined batches would look out of order until the first is applied.
//!
//! Never: outlives its leader epoch. When leadership changed, what was in flight is decided by the log alone, so the
//! writer clears this and judges by the committed table again.
//!
//! Invariant: bounded by what is in flight, and that by the queue and the byte permits of the writer (P7).

use std::collections::{HashMap, VecDeque};

use highwater_types::batch::ProducerStamp;
use highwater_types::{Offset, ProducerEpoch, ProducerId, Sequence};

use super::producers::{Place, Producer, Producers, SequenceError, Stamped, Verdict, judge};

/// The most refused starts that are remembered; beyond this the oldest is forgotten.
const OWED_MAX: usize = 1_024;

/// Producers with batches in flight, and what unknown producers still owe.
#[derive(Debug, Default)]
pub(super) struct InFlightProducers {
    by_id: HashMap<ProducerId, Ahead>,
    owed: VecDeque<Owed>,
}

#[derive(Debug)]
struct Ahead {
    producer: Producer,
    /// The number of its newest batch. Batches settle in order, so when this one has, none is left.
    newest: u64,
}

/// The batch with which an unknown producer wanted to start, and which was refused for want of space or of a leader.
///
/// An unknown producer may start with any sequence, so without this its next batch in the pipeline would be stored
/// before the refused one.
#[derive(Clone, Copy, Debug)]
struct Owed {
    producer: ProducerId,
    epoch: ProducerEpoch,
    first: Sequence,
}

impl InFlightProducers {
    /// Decides on a batch that comes after everything in flight.
    #[must_use]
    pub(super) fn judge(&self, committed: &Producers, batch: Stamped) -> Verdict {
        let id = batch.stamp.id;
        let known = self.by_id.get(&id).map(|ahead| &ahead.producer).or_else(|| committed.get(id));
        match (known, self.owed_by(id)) {
            (None, Some(owed)) if owed.epoch == batch.stamp.epoch && owed.first != batch.stamp.first_sequence => {
                let first = batch.stamp.first_sequence;
                Verdict::Refused(SequenceError::OutOfOrder { producer: id, first, expected: owed.first })
            }
            _ => judge(known, batch),
        }
    }

    /// Takes in a batch that goes on its way under `number`.
    pub(super) fn accept(&mut self, committed: &Producers, batch: Stamped, number: u64) {
        let id = batch.stamp.id;
        let (place, now) = (Place::InFlight(number), committed.now());
        self.owed.retain(|owed| owed.producer != id);
        match self.by_id.get_mut(&id) {
            Some(ahead) => {
                ahead.producer.record(batch, place, now);
                ahead.newest = number;
            }
            None => {
                let producer = match committed.get(id) {
                    Some(known) => {
                        let mut producer = known.clone();
                        producer.record(batch, place, now);
                        producer
                    }
                    None => Producer::starting(batch, place, now),
                };
                self.by_id.insert(id, Ahead { producer, newest: number });
            }
        }
    }

    /// Notes that a batch that was the next one is refused all the same, for want of space or of a leader.
    pub(super) fn refuse(&mut self, committed: &Producers, batch: Stamped) {
        let ProducerStamp { id, epoch, first_sequence: first } = batch.stamp;
        if self.by_id.contains_key(&id) || committed.get(id).is_some() || self.owed_by(id).is_some() {
            return;
        }
        if self.owed.len() == OWED_MAX {
            self.owed.pop_front();
        }
        self.owed.push_back(Owed { producer: id, epoch, first });
    }

    /// The batch that went under `number` is committed, and in the committed table.
    pub(super) fn settle(&mut self, id: ProducerId, number: u64, base_offset: Offset) {
        let Some(ahead) = self.by_id.get_mut(&id) else { return };
        ahead.producer.settle(number, base_offset);
        if ahead.newest == number {
            self.by_id.remove(&id);
        }
    }

    /// Forgets what is in flight: another epoch began, or something in this one failed.
    pub(super) fn clear(&mut self) {
        self.by_id.clear();
    }

    fn owed_by(&self, id: ProducerId) -> Option<&Owed> {
        self.owed.iter().find(|owed| owed.producer == id)
    }
}

#[cfg(test)]
mod tests;
