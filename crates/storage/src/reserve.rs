//! Disk space that is kept for the writes that must go on when the disk is full.
//!
//! A purge frees space, but must first write a manifest, and before that perhaps a checkpoint; votes and manifests of
//! a flush round cannot be refused any more. On a full disk the first of them that finds no room gives this space back
//! to the filesystem and tries again.
//!
//! Owns: the file `reserve`. Never: holds a byte of worth, or is needed for correctness: without it these writes fail as
//! they would have.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use crate::disk::Disk;
use crate::error::FileError;
use crate::locks::lock;

/// How much is kept. Far more than the manifests and the votes of a node; a checkpoint is rarely larger.
pub(crate) const RESERVE_BYTES: u64 = 4 << 20;
/// The reserve is made again only while this many times as much is free: what is left belongs to those who need it now.
const PLENTY: u64 = 4;

/// The space, while it is held.
#[derive(Default)]
pub(crate) struct Reserve {
    /// `None`: there is none, and never will be.
    place: Option<(Arc<dyn Disk>, PathBuf)>,
    is_held: Mutex<bool>,
}

impl Reserve {
    /// The reserve in this file, which may be there from an earlier start.
    pub(crate) fn new(disk: Arc<dyn Disk>, path: PathBuf) -> Self {
        let is_held = disk.open(&path).and_then(|file| file.size()).is_ok_and(|size| size == RESERVE_BYTES);
        Self { place: Some((disk, path)), is_held: Mutex::new(is_held) }
    }

    /// Runs `write`; once more with the space of the reserve if it finds the disk full. `write` must have changed nothing
    /// then.
    pub(crate) fn or_give_way<T>(&self, write: impl Fn() -> Result<T, FileError>) -> Result<T, FileError> {
        match write() {
            Err(error) if error.is_disk_full() && self.give_back() => write(),
            written => written,
        }
    }

    /// Whether there was any space to give.
    fn give_back(&self) -> bool {
        let Some((disk, path)) = &self.place else { return false };
        let mut is_held = lock(&self.is_held);
        if !std::mem::replace(&mut *is_held, false) {
            return false;
        }
        tracing::warn!(file = %path.display(), "the disk is full: its reserve is given to what must be written");
        disk.remove(path).is_ok()
    }

    /// Takes the space again, if it was given away and there is plenty. Best effort.
    pub(crate) fn refill(&self) {
        let Some((disk, path)) = &self.place else { return };
        let mut is_held = lock(&self.is_held);
        if !*is_held {
            *is_held = has_plenty(&**disk, path) && take(&**disk, path);
        }
    }
}

impl fmt::Debug for Reserve {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reserve").field("is_held", &*lock(&self.is_held)).finish_non_exhaustive()
    }
}

fn has_plenty(disk: &dyn Disk, path: &Path) -> bool {
    let dir = path.parent().unwrap_or_else(|| Path::new("."));
    disk.space(dir).is_ok_and(|space| space.free_bytes >= PLENTY * RESERVE_BYTES)
}

fn take(disk: &dyn Disk, path: &Path) -> bool {
    // Half of one may be there: a crash, or a take that failed.
    let _nothing_there = disk.remove(path);
    let taken = disk.create(path).and_then(|file| file.allocate(0..RESERVE_BYTES));
    if taken.is_err() {
        let _best_effort = disk.remove(path);
    }
    taken.is_ok()
}
