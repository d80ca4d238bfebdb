//! The image of a partition's queues, between the state machine that changes it and the task that decides on it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use highwater_groups::queue::QueuesImage;

/// Locked for moments, never across an await. Clones are the same.
#[derive(Clone, Debug, Default)]
pub(crate) struct SharedQueues(Arc<Mutex<QueuesImage>>);

impl SharedQueues {
    pub(crate) fn lock(&self) -> MutexGuard<'_, QueuesImage> {
        // A panic while it was changed ends the replica, and with it whoever asks.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
