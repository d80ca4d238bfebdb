//! Workers: who has how many messages. A worker that has none is forgotten.

use std::collections::BTreeMap;

use super::slots::WorkerIndex;
use crate::queue::ids::WorkerId;

#[derive(Debug, Default)]
pub(super) struct Workers {
    by_index: Vec<Option<(WorkerId, usize)>>,
    indexes: BTreeMap<WorkerId, WorkerIndex>,
    free: Vec<WorkerIndex>,
}

impl Workers {
    /// How many workers have messages.
    pub(super) fn len(&self) -> usize {
        self.indexes.len()
    }

    pub(super) fn in_flight(&self, worker: &WorkerId) -> usize {
        self.indexes.get(worker).and_then(|index| self.at(*index)).map_or(0, |(_, count)| *count)
    }

    pub(super) fn name(&self, index: WorkerIndex) -> Option<&WorkerId> {
        self.at(index).map(|(name, _)| name)
    }

    /// A worker gets so many messages.
    pub(super) fn add(&mut self, worker: &WorkerId, messages: usize) -> WorkerIndex {
        let index = *self.indexes.entry(worker.clone()).or_insert_with(|| {
            self.free.pop().unwrap_or_else(|| {
                self.by_index.push(None);
                WorkerIndex::try_from(self.by_index.len() - 1).unwrap_or(WorkerIndex::MAX)
            })
        });
        if let Some(place) = self.by_index.get_mut(wide(index)) {
            place.get_or_insert_with(|| (worker.clone(), 0)).1 += messages;
        }
        index
    }

    /// A worker has so many messages fewer.
    pub(super) fn release(&mut self, index: WorkerIndex, messages: usize) {
        let Some(place) = self.by_index.get_mut(wide(index)) else { return };
        let Some((name, count)) = place else { return };
        *count -= messages;
        if *count == 0 {
            self.indexes.remove(name);
            self.free.push(index);
            *place = None;
        }
    }

    fn at(&self, index: WorkerIndex) -> Option<&(WorkerId, usize)> {
        self.by_index.get(wide(index))?.as_ref()
    }
}

fn wide(index: WorkerIndex) -> usize {
    usize::try_from(index).unwrap_or(usize::MAX)
}
