//! The state that a partition's entries add up to: its producer table.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use highwater_storage::{Entry, EntryKind};
use highwater_types::batch::BatchHeader;

use super::producers::{ProducerLimits, Producers, codec};
use crate::raft::{ApplyError, GroupState, RestoreError};

/// The producer table, between the state machine that changes it and the writer that asks it.
///
/// Locked for moments: a look-up, a batch applied. Never across an await.
#[derive(Clone, Debug)]
pub(super) struct SharedProducers(Arc<Mutex<Producers>>);

impl SharedProducers {
    pub(super) fn new(limits: ProducerLimits) -> Self {
        Self(Arc::new(Mutex::new(Producers::new(limits))))
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Producers> {
        // A panic inside left the table as it was: every change of it is the last step of a call.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A partition as a [`GroupState`].
#[derive(Debug)]
pub(super) struct PartitionState {
    producers: SharedProducers,
    limits: ProducerLimits,
}

impl PartitionState {
    pub(super) const fn new(producers: SharedProducers, limits: ProducerLimits) -> Self {
        Self { producers, limits }
    }
}

impl GroupState for PartitionState {
    fn apply(&mut self, entry: &Entry) -> Result<(), ApplyError> {
        if entry.kind != EntryKind::Data {
            return Err(ApplyError { id: entry.id, reason: format!("a partition has no {:?} entries", entry.kind) });
        }
        let header = BatchHeader::read(&entry.payload)
            .map_err(|error| ApplyError { id: entry.id, reason: error.to_string() })?;
        self.producers.lock().apply(entry.base_offset, &header);
        Ok(())
    }

    fn encode(&self) -> Bytes {
        codec::encode(&self.producers.lock())
    }

    fn restore(&mut self, bytes: &[u8]) -> Result<(), RestoreError> {
        let table = codec::decode(bytes, self.limits).map_err(|error| RestoreError { reason: error.to_string() })?;
        *self.producers.lock() = table;
        Ok(())
    }
}
