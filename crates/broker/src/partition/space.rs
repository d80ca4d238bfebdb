//! What is on its way into a partition's log, over all who write to it: records, what becomes of them in queues, and
//! deletions.
//!
//! The disk is asked to set space aside for everything that is not in the log yet, and does not add up what it is asked for
//! one after another. So each of them says first how much it has on its way, and then asks for the sum.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Clones are the same.
#[derive(Clone, Debug, Default)]
pub(crate) struct Space(Arc<All>);

#[derive(Debug, Default)]
struct All {
    records: AtomicU64,
    queues: AtomicU64,
    deletions: AtomicU64,
}

/// Who writes.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Writes {
    /// Batches of producers.
    Records,
    /// What became of messages.
    Queues,
    /// Where records begin.
    Deletions,
}

impl Space {
    /// One of them has so many bytes on its way from now on; what all have.
    pub(crate) fn claim(&self, who: Writes, bytes: u64) -> u64 {
        let All { records, queues, deletions } = &*self.0;
        let (own, others) = match who {
            Writes::Records => (records, [queues, deletions]),
            Writes::Queues => (queues, [records, deletions]),
            Writes::Deletions => (deletions, [records, queues]),
        };
        // In one order for all, so that of two who ask at the same time one sees the other.
        own.store(bytes, Ordering::SeqCst);
        others.iter().fold(bytes, |sum, other| sum.saturating_add(other.load(Ordering::SeqCst)))
    }
}
