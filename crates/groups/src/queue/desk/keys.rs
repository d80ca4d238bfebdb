//! Keys: which message holds which key, and which wait for it. No key belongs to a worker: whoever asks gets the next.
//!
//! Invariant: a key is held by at most one message; what waits for it goes on in the order of offsets.

use std::collections::{BTreeMap, BTreeSet};

use highwater_types::Offset;

use crate::queue::ids::KeyHash;

#[derive(Debug, Default)]
pub(super) struct Keys {
    held: BTreeMap<KeyHash, Offset>,
    waiting: BTreeSet<(KeyHash, Offset)>,
}

impl Keys {
    /// Gives a key to a message, unless another has it. Returns whether it has it now.
    pub(super) fn hold(&mut self, key: KeyHash, offset: Offset) -> bool {
        *self.held.entry(key).or_insert(offset) == offset
    }

    /// Takes a key from a message. Returns whether it had it.
    pub(super) fn free(&mut self, key: KeyHash, offset: Offset) -> bool {
        let had_it = self.held.get(&key) == Some(&offset);
        if had_it {
            self.held.remove(&key);
        }
        had_it
    }

    pub(super) fn is_held(&self, key: KeyHash) -> bool {
        self.held.contains_key(&key)
    }

    pub(super) fn wait(&mut self, key: KeyHash, offset: Offset) {
        self.waiting.insert((key, offset));
    }

    pub(super) fn stop_waiting(&mut self, key: KeyHash, offset: Offset) {
        self.waiting.remove(&(key, offset));
    }

    /// The first that waits for a key.
    pub(super) fn next(&self, key: KeyHash) -> Option<Offset> {
        let (found, offset) = self.waiting.range((key, Offset::ZERO)..).next()?;
        (*found == key).then_some(*offset)
    }
}
