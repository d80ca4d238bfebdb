//! The producers as they will be once everything in flight is committed.
//!
//! Owns: for each producer with batches in flight, its state with those batches in it. Without this, the second of two
//! pipelined batches would look out of order until the first is applied.
//!
//! Never: outlives its leader epoch. When leadership changed, what was in flight is decided by the log alone, so the
//! writer clears this and judges by the committed table again.
//!
//! Invariant: bounded by what is in flight, and that by the queue and the byte permits of the writer (P7).

use std::collections::HashMap;

use highwater_types::{Offset, ProducerId};

use super::producers::{Place, Producer, Producers, Stamped, Verdict, judge};

/// Producers with batches in flight.
#[derive(Debug, Default)]
pub(super) struct InFlightProducers {
    by_id: HashMap<ProducerId, Ahead>,
}

#[derive(Debug)]
struct Ahead {
    producer: Producer,
    /// The number of its newest batch. Batches settle in order, so when this one has, none is left.
    newest: u64,
}

impl InFlightProducers {
    /// Decides on a batch that comes after everything in flight.
    #[must_use]
    pub(super) fn judge(&self, committed: &Producers, batch: Stamped) -> Verdict {
        let id = batch.stamp.id;
        let known = self.by_id.get(&id).map(|ahead| &ahead.producer).or_else(|| committed.get(id));
        judge(known, batch)
    }

    /// Takes in a batch that goes on its way under `number`.
    pub(super) fn accept(&mut self, committed: &Producers, batch: Stamped, number: u64) {
        let id = batch.stamp.id;
        let (place, now) = (Place::InFlight(number), committed.now());
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
}

#[cfg(test)]
mod tests;
