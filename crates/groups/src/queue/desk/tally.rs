//! How often a message has failed. The image alone knows; here is where the simulation can plant that a desk forgets it.

use std::collections::BTreeMap;

use highwater_types::{Offset, OffsetRange};

use crate::planted::{Bug, is_planted};
use crate::queue::image::Queue;

#[derive(Debug)]
pub(super) struct Tally {
    /// What does not count, by a planted bug alone.
    forgotten: BTreeMap<Offset, u32>,
}

impl Tally {
    pub(super) fn new(queue: &Queue) -> Self {
        let forgets = is_planted(Bug::AttemptsForgotten);
        let everything = OffsetRange::new(Offset::ZERO, Offset::MAX);
        let entries = queue.entries(everything).take_while(|_| forgets);
        Self { forgotten: entries.map(|(offset, entry)| (offset, entry.attempts)).collect() }
    }

    /// How many attempts have failed in this budget.
    pub(super) fn attempts(&self, queue: &Queue, offset: Offset) -> u32 {
        let attempts = queue.entry(offset).map_or(0, |entry| entry.attempts);
        attempts.saturating_sub(self.forgotten.get(&offset).copied().unwrap_or(0))
    }
}
