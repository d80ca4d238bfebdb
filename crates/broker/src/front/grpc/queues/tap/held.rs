//! The messages of one partition that are with a worker, by the tokens that settle them.
//!
//! Invariant: a message is in it once, under its newest token. Leases that are given one after the other have tokens that count
//! on, so they are one entry: a million messages in hand take no more than the gaps between them.

use std::collections::BTreeMap;

use highwater_groups::queue::{AckToken, Nonce, Serial};
use highwater_types::Offset;

/// See the module's documentation.
#[derive(Debug, Default)]
pub(super) struct Held {
    /// By the offset of the first.
    runs: BTreeMap<Offset, Run>,
    count: u64,
}

/// Messages whose offsets and serials count on together.
#[derive(Clone, Copy, Debug)]
struct Run {
    nonce: Nonce,
    /// Of the first.
    serial: u64,
    count: u64,
}

impl Held {
    /// How many there are.
    pub(super) fn count(&self) -> u64 {
        self.count
    }

    /// A message has come. What was known of it before is over.
    pub(super) fn insert(&mut self, token: AckToken) {
        let (offset, serial) = (token.offset, token.serial.get());
        self.take(offset);
        self.count += 1;
        let before = self.runs.range_mut(..offset).next_back();
        let goes_on = |start: Offset, run: &Run| {
            start.saturating_add(run.count) == offset
                && run.nonce == token.nonce
                && run.serial.checked_add(run.count) == Some(serial)
        };
        match before.filter(|(start, run)| goes_on(**start, run)) {
            Some((_, run)) => run.count += 1,
            None => drop(self.runs.insert(offset, Run { nonce: token.nonce, serial, count: 1 })),
        }
    }

    /// A message has gone, if it was here under this token.
    pub(super) fn remove(&mut self, token: AckToken) {
        let found = self.run_of(token.offset).map(|(start, run)| run.token(start, token.offset.records_since(start)));
        if found == Some(token) {
            self.take(token.offset);
        }
    }

    /// All of them, in the order of their offsets.
    pub(super) fn tokens(&self) -> impl Iterator<Item = AckToken> {
        self.runs.iter().flat_map(|(start, run)| (0..run.count).map(|place| run.token(*start, place)))
    }

    /// The run that a message is in, and its start.
    fn run_of(&self, offset: Offset) -> Option<(Offset, Run)> {
        let (start, run) = self.runs.range(..=offset).next_back()?;
        (offset.records_since(*start) < run.count).then_some((*start, *run))
    }

    fn take(&mut self, offset: Offset) {
        let Some((start, run)) = self.run_of(offset) else { return };
        self.count -= 1;
        let before = offset.records_since(start);
        let parts = [(start, 0, before), (offset.saturating_add(1), before + 1, run.count - before - 1)];
        self.runs.remove(&start);
        for (start, place, count) in parts.into_iter().filter(|(.., count)| *count > 0) {
            self.runs.insert(start, Run { serial: run.serial + place, count, ..run });
        }
    }
}

impl Run {
    fn token(&self, start: Offset, place: u64) -> AckToken {
        let (offset, serial) = (start.saturating_add(place), Serial::new(self.serial + place));
        AckToken { offset, nonce: self.nonce, serial }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn token(offset: u64, nonce: u64, serial: u64) -> AckToken {
        AckToken { offset: Offset::new(offset).unwrap(), nonce: Nonce::new(nonce), serial: Serial::new(serial) }
    }

    #[test]
    fn messages_that_count_on_are_one_entry() {
        let mut held = Held::default();
        (0..1_000).for_each(|number| held.insert(token(500 + number, 7, number)));
        assert_eq!((held.count(), held.runs.len()), (1_000, 1));
        held.remove(token(600, 7, 99));
        held.remove(token(600, 8, 100));
        assert_eq!(held.count(), 1_000, "tokens of other leases settle nothing here");
        held.remove(token(600, 7, 100));
        held.remove(token(600, 7, 100));
        assert_eq!((held.count(), held.runs.len()), (999, 2));
        held.insert(token(600, 7, 1_000));
        assert_eq!((held.count(), held.runs.len()), (1_000, 3));
        assert_eq!(held.tokens().nth(100), Some(token(600, 7, 1_000)));
    }

    proptest! {
        #[test]
        fn it_holds_what_a_map_would(steps in prop::collection::vec((any::<bool>(), 0..12_u64, 0..3_u64, 0..3_u64), 1..80)) {
            let (mut held, mut model) = (Held::default(), BTreeMap::new());
            for (comes, offset, nonce, ahead) in steps {
                let token = token(offset, nonce, offset + ahead);
                if comes {
                    held.insert(token);
                    model.insert(offset, token);
                } else {
                    held.remove(token);
                    model.retain(|_, known| *known != token);
                }
                prop_assert_eq!(held.count(), model.len() as u64);
                prop_assert!(held.tokens().eq(model.values().copied()));
            }
        }
    }
}
