//! The state that a coordinator's entries add up to: the image of its groups.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use highwater_groups::stream::{GroupsImage, record};
use highwater_storage::{Entry, EntryKind};

use crate::raft::{ApplyError, GroupState, RestoreError};

/// The image, between the state machine that changes it and the task that decides on it.
///
/// Locked for moments, never across an await.
#[derive(Clone, Debug, Default)]
pub(super) struct SharedImage(Arc<Mutex<GroupsImage>>);

impl SharedImage {
    pub(super) fn lock(&self) -> MutexGuard<'_, GroupsImage> {
        // A panic while it was changed ends the replica, and with it whoever asks.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A coordinator as a [`GroupState`].
#[derive(Debug)]
pub(super) struct CoordinatorState(SharedImage);

impl CoordinatorState {
    pub(super) const fn new(image: SharedImage) -> Self {
        Self(image)
    }
}

impl GroupState for CoordinatorState {
    fn apply(&mut self, entry: &Entry) -> Result<(), ApplyError> {
        let fails = |reason: String| ApplyError { id: entry.id, reason };
        if entry.kind != EntryKind::Groups {
            return Err(fails(format!("a coordinator has no {:?} entries", entry.kind)));
        }
        let records = record::decode(&entry.payload).map_err(|error| fails(error.to_string()))?;
        self.0.lock().replay_entry(entry.id.index, &records);
        Ok(())
    }

    fn encode(&self) -> Bytes {
        // The clone shares the groups, so nobody waits while they are encoded.
        let image = self.0.lock().clone();
        image.to_bytes()
    }

    fn restore(&mut self, bytes: &[u8]) -> Result<(), RestoreError> {
        let image = match bytes {
            [] => GroupsImage::default(),
            bytes => GroupsImage::from_bytes(bytes).map_err(|error| RestoreError { reason: error.to_string() })?,
        };
        *self.0.lock() = image;
        Ok(())
    }
}
