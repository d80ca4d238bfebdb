//! The disk gate: whether the disk has room for more records.
//!
//! Owns: the floor of free bytes, and whether the disk stands below it. The node looks at the disk (`node::disk_watch`)
//! and tells the gate; the produce path asks before it takes a batch.
//!
//! Why a floor: votes, metadata, checkpoints and deletes need room too, and a definite refusal before the disk is full
//! is worth more than an error in the middle of a write. Below the floor records are refused; reading and deleting go
//! on. Once there is room again, records are taken again, without a restart.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use highwater_storage::disk::DiskSpace;

const GIB: u64 = 1 << 30;

/// Says whether records may be taken. Clones are the same gate.
#[derive(Clone)]
pub struct DiskGate(Arc<State>);

struct State {
    floor_bytes: u64,
    free_bytes: AtomicU64,
    total_bytes: AtomicU64,
}

/// The disk has fewer free bytes than its floor. Nothing was stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the disk has {free_bytes} free bytes, fewer than the {floor_bytes} below which no records are taken; \
     free space, shorten a retention, or delete topics"
)]
pub struct BelowFloor {
    /// What is free, in bytes.
    pub free_bytes: u64,
    /// The floor, in bytes.
    pub floor_bytes: u64,
}

impl DiskGate {
    /// A gate for a disk that has this much space now. Without a configured floor it is 5% of the filesystem, and at
    /// least 1 GiB.
    #[must_use]
    pub fn new(floor_bytes: Option<u64>, space: DiskSpace) -> Self {
        let floor_bytes = floor_bytes.unwrap_or_else(|| (space.total_bytes / 20).max(GIB));
        let (free_bytes, total_bytes) = (AtomicU64::new(space.free_bytes), AtomicU64::new(space.total_bytes));
        Self(Arc::new(State { floor_bytes, free_bytes, total_bytes }))
    }

    /// Whether records may be taken.
    ///
    /// # Errors
    /// [`BelowFloor`] when not.
    pub fn check(&self) -> Result<(), BelowFloor> {
        let (free_bytes, floor_bytes) = (self.free_bytes(), self.0.floor_bytes);
        if free_bytes < floor_bytes { Err(BelowFloor { free_bytes, floor_bytes }) } else { Ok(()) }
    }

    /// The free bytes when the disk was last looked at.
    #[must_use]
    pub fn free_bytes(&self) -> u64 {
        self.0.free_bytes.load(Ordering::Relaxed)
    }

    /// The size of the filesystem.
    #[must_use]
    pub fn total_bytes(&self) -> u64 {
        self.0.total_bytes.load(Ordering::Relaxed)
    }

    /// The floor, in bytes.
    #[must_use]
    pub fn floor_bytes(&self) -> u64 {
        self.0.floor_bytes
    }

    /// Takes note of what the disk has now.
    pub(crate) fn observe(&self, space: DiskSpace) {
        let before = self.check();
        self.0.free_bytes.store(space.free_bytes, Ordering::Relaxed);
        self.0.total_bytes.store(space.total_bytes, Ordering::Relaxed);
        match (before, self.check()) {
            (Ok(()), Err(below)) => tracing::error!(%below, "records are refused until there is room"),
            (Err(_), Ok(())) => tracing::info!(free_bytes = space.free_bytes, "the disk has room again for records"),
            _ => {}
        }
    }
}

impl fmt::Debug for DiskGate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = f.debug_struct("DiskGate");
        text.field("floor_bytes", &self.floor_bytes()).field("free_bytes", &self.free_bytes()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn space(free_bytes: u64) -> DiskSpace {
        DiskSpace { free_bytes, total_bytes: 100 * GIB }
    }

    #[test]
    fn the_gate_closes_below_its_floor_and_opens_again() {
        let gate = DiskGate::new(Some(500), space(501));
        assert_eq!(gate.check(), Ok(()));
        gate.clone().observe(space(499));
        assert_eq!(gate.check(), Err(BelowFloor { free_bytes: 499, floor_bytes: 500 }));
        gate.observe(space(500));
        assert_eq!(gate.check(), Ok(()));
    }

    #[test]
    fn the_default_floor_is_a_share_of_the_disk() {
        assert_eq!(DiskGate::new(None, space(0)).floor_bytes(), 5 * GIB);
        let small = DiskSpace { free_bytes: 0, total_bytes: 4 * GIB };
        assert_eq!(DiskGate::new(None, small).floor_bytes(), GIB);
    }
}
