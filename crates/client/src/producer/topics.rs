//! Which partitions a topic has, and which of them a record goes to.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use highwater_types::partitioner::partition_of;
use highwater_types::{PartitionId, TopicName};

use super::accumulator::Accumulator;
use super::error::SendError;
use crate::record::Record;

/// A topic that the producer sends to.
#[derive(Debug)]
pub(super) struct Topic {
    name: TopicName,
    /// By partition; it only grows.
    partitions: RwLock<Arc<[Arc<Accumulator>]>>,
    /// Where records without a key go until their batch is closed.
    sticky: AtomicU32,
}

impl Topic {
    pub(super) fn new(name: TopicName, partitions: Arc<[Arc<Accumulator>]>, chance: u64) -> Self {
        // Producers that start together must not all begin with partition 0.
        let sticky = AtomicU32::new(u32::try_from(chance >> 32).unwrap_or(0));
        Self { name, partitions: RwLock::new(partitions), sticky }
    }

    pub(super) fn name(&self) -> &TopicName {
        &self.name
    }

    pub(super) fn partitions(&self) -> Arc<[Arc<Accumulator>]> {
        Arc::clone(&self.partitions.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The topic has `count` partitions: `extend` gives those that are known and the new ones behind them. Called only if
    /// there are any, and once for each.
    pub(super) fn grow(&self, count: usize, extend: impl FnOnce(&[Arc<Accumulator>]) -> Arc<[Arc<Accumulator>]>) {
        let mut known = self.partitions.write().unwrap_or_else(PoisonError::into_inner);
        if count > known.len() {
            *known = extend(&known);
        }
    }

    /// Where this record goes.
    pub(super) fn choose(&self, record: &Record) -> Result<Arc<Accumulator>, SendError> {
        let partitions = self.partitions.read().unwrap_or_else(PoisonError::into_inner);
        let count = u32::try_from(partitions.len()).unwrap_or(u32::MAX);
        let partition = match (record.partition, &record.key) {
            (Some(partition), _) => partition,
            (None, Some(key)) => partition_of(key, count),
            (None, None) => self.sticky(&partitions, count),
        };
        let unknown = || SendError::UnknownPartition { topic: self.name.clone(), partition, count };
        partitions.get(partition.get() as usize).cloned().ok_or_else(unknown)
    }

    /// Keyless records fill one batch before they go to the next partition, so that batches get large on topics with
    /// many partitions too.
    fn sticky(&self, partitions: &[Arc<Accumulator>], count: u32) -> PartitionId {
        let turn = self.sticky.load(Ordering::Relaxed);
        let current = turn % count.max(1);
        if count > 1 && partitions.get(current as usize).is_some_and(|partition| partition.is_between_batches()) {
            self.move_on(turn);
            return PartitionId::new(self.sticky.load(Ordering::Relaxed) % count);
        }
        PartitionId::new(current)
    }

    /// A batch of `accumulator` was closed: keyless records go elsewhere next.
    pub(super) fn on_sealed(&self, accumulator: &Accumulator) {
        let count = u32::try_from(self.partitions().len()).unwrap_or(u32::MAX).max(1);
        let turn = self.sticky.load(Ordering::Relaxed);
        if turn % count == accumulator.partition().get() {
            self.move_on(turn);
        }
    }

    fn move_on(&self, turn: u32) {
        // Whoever loses this race finds that another moved on.
        let _ = self.sticky.compare_exchange(turn, turn.wrapping_add(1), Ordering::Relaxed, Ordering::Relaxed);
    }
}

/// The topics that a producer has sent to.
#[derive(Debug, Default)]
pub(super) struct Topics {
    known: RwLock<Known>,
}

#[derive(Debug, Default)]
struct Known {
    by_name: HashMap<Box<str>, Arc<Topic>>,
    is_closed: bool,
}

impl Topics {
    pub(super) fn get(&self, name: &str) -> Option<Arc<Topic>> {
        self.known.read().unwrap_or_else(PoisonError::into_inner).by_name.get(name).cloned()
    }

    /// The topic of this name: the one that is known, or else what `make` gives; `None` once it is closed.
    pub(super) fn get_or_insert(&self, name: &TopicName, make: impl FnOnce() -> Topic) -> Option<Arc<Topic>> {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        if known.is_closed {
            return None;
        }
        Some(Arc::clone(known.by_name.entry(name.as_str().into()).or_insert_with(|| Arc::new(make()))))
    }

    pub(super) fn all(&self) -> Vec<Arc<Topic>> {
        self.known.read().unwrap_or_else(PoisonError::into_inner).by_name.values().cloned().collect()
    }

    /// Takes no further topic.
    pub(super) fn close(&self) {
        self.known.write().unwrap_or_else(PoisonError::into_inner).is_closed = true;
    }

    pub(super) fn is_closed(&self) -> bool {
        self.known.read().unwrap_or_else(PoisonError::into_inner).is_closed
    }
}
