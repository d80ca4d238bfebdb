//! Damaged logs, set aside, and the marks that say so.
//!
//! ```text
//!   DATA/quarantine/KEY.N     the folder of a log that could not be believed, as it was; nothing here is ever deleted
//!   DATA/recovering/KEY       sealed: the log begins anew, and its replica has promises that it cannot keep yet
//!   DATA/recovering/KEY.bad   sealed: damage was met while the log was open; the next open sets it aside
//! ```
//!
//! Owns: the order of these steps: first the mark, then the move. Never: touches the votes. What was promised with the
//! damaged log stays promised.
//!
//! Invariant: from before the damaged log is moved until [`Marks::end_recovery`] the mark is there, whatever crashes.
//! A replica that has the mark keeps out of elections (the broker sees to that): its new log lacks what it has
//! acknowledged, and with its help a leader could be elected that lacks it too.

use std::collections::BTreeSet;
use std::fmt;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use super::{DataDir, LOGS, list};
use crate::disk::Disk;
use crate::error::{FileError, FileStep};
use crate::flush::Flusher;
use crate::locks::lock;
use crate::log_key::LogKey;
use crate::sealed_file::{self, FileKind};

#[cfg(test)]
mod tests;

pub(super) const QUARANTINE: &str = "quarantine";
pub(super) const RECOVERING: &str = "recovering";
/// What the name of the mark of a damaged log ends with.
const BAD: &str = ".bad";

/// The marks of a data directory, shared with its logs.
pub(crate) struct Marks {
    disk: Arc<dyn Disk>,
    data: PathBuf,
    flusher: Arc<Flusher>,
    marked: Mutex<Marked>,
}

#[derive(Debug, Default)]
struct Marked {
    recovering: BTreeSet<LogKey>,
    bad: BTreeSet<LogKey>,
}

impl Marks {
    /// Reads which there are. A mark counts by its name alone: one that cannot be read is still one.
    pub(super) fn read(disk: &Arc<dyn Disk>, data: &Path, flusher: &Arc<Flusher>) -> Result<Self, FileError> {
        let mut marked = Marked::default();
        for entry in list(&**disk, &data.join(RECOVERING))? {
            match entry.name.strip_suffix(BAD) {
                Some(name) => marked.bad.extend(name.parse::<LogKey>()),
                None => marked.recovering.extend(entry.name.parse::<LogKey>()),
            }
        }
        let (disk, flusher) = (Arc::clone(disk), Arc::clone(flusher));
        Ok(Self { disk, data: data.to_owned(), flusher, marked: Mutex::new(marked) })
    }

    pub(crate) fn is_recovering(&self, key: LogKey) -> bool {
        lock(&self.marked).recovering.contains(&key)
    }

    fn is_bad(&self, key: LogKey) -> bool {
        lock(&self.marked).bad.contains(&key)
    }

    pub(crate) fn mark_damaged(&self, key: LogKey, reason: &str) -> Result<(), FileError> {
        self.write(&format!("{key}{BAD}"), reason)?;
        lock(&self.marked).bad.insert(key);
        Ok(())
    }

    fn begin_recovery(&self, key: LogKey, reason: &str) -> Result<(), FileError> {
        self.write(&key.to_string(), reason)?;
        lock(&self.marked).recovering.insert(key);
        Ok(())
    }

    pub(crate) fn end_recovery(&self, key: LogKey) -> Result<(), FileError> {
        self.remove(&key.to_string())?;
        lock(&self.marked).recovering.remove(&key);
        Ok(())
    }

    fn forget_damage(&self, key: LogKey) -> Result<(), FileError> {
        self.remove(&format!("{key}{BAD}"))?;
        lock(&self.marked).bad.remove(&key);
        Ok(())
    }

    fn write(&self, name: &str, reason: &str) -> Result<(), FileError> {
        let dir = self.data.join(RECOVERING);
        self.disk.create_dir_all(&dir).map_err(FileError::io(FileStep::CreateDir, &dir))?;
        self.sync_dir(&self.data)?;
        let write = || sealed_file::write(&*self.disk, &dir.join(name), FileKind::Mark, reason.as_bytes());
        self.flusher.reserve().or_give_way(write)
    }

    fn remove(&self, name: &str) -> Result<(), FileError> {
        let dir = self.data.join(RECOVERING);
        let file = dir.join(name);
        match self.disk.remove(&file) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            removed => {
                removed.map_err(FileError::io(FileStep::Remove, &file))?;
                self.sync_dir(&dir)
            }
        }
    }

    fn sync_dir(&self, dir: &Path) -> Result<(), FileError> {
        let synced = self.disk.sync_dir(dir).map_err(FileError::io(FileStep::SyncDir, dir));
        synced.inspect_err(|error| drop(self.flusher.poison().set(error)))
    }
}

impl fmt::Debug for Marks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Marks").field("marked", &self.marked).finish_non_exhaustive()
    }
}

impl DataDir {
    /// Whether the replica of this log began anew after damage, and has not caught up since.
    #[must_use]
    pub fn is_recovering(&self, key: LogKey) -> bool {
        self.marks.is_recovering(key)
    }

    /// Whether damage was met in this log while it was open.
    #[must_use]
    pub fn is_marked_damaged(&self, key: LogKey) -> bool {
        self.marks.is_bad(key)
    }

    /// Notes, durably, that the replica of this log lacks what it has acknowledged. Blocks.
    ///
    /// # Errors
    /// What the disk says.
    pub fn begin_recovery(&self, key: LogKey, reason: &str) -> Result<(), FileError> {
        self.marks.begin_recovery(key, reason)
    }

    /// Sets the folder of a log aside, so that the next open makes a new one, and says where it is; `None` when there
    /// was none. The log must not be in use. Blocks.
    ///
    /// # Errors
    /// When the disk fails; a failed sync poisons the directory.
    pub fn quarantine_log(&self, key: LogKey, reason: &str) -> Result<Option<PathBuf>, FileError> {
        self.begin_recovery(key, reason)?;
        let folder = self.log_path(key);
        let aside = self.path.join(QUARANTINE);
        self.disk.create_dir_all(&aside).map_err(FileError::io(FileStep::CreateDir, &aside))?;
        self.marks.sync_dir(&self.path)?;
        let target = self.free_name(&aside, key)?;
        let moved = match self.disk.rename(&folder, &target) {
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            renamed => {
                renamed.map_err(FileError::io(FileStep::Rename, &folder))?;
                Some(target)
            }
        };
        self.marks.sync_dir(&aside)?;
        self.marks.sync_dir(&self.path.join(LOGS))?;
        if self.is_marked_damaged(key) {
            self.marks.forget_damage(key)?;
        }
        Ok(moved)
    }

    /// Removes the marks of a log that is deleted.
    pub(super) fn forget_marks(&self, key: LogKey) -> Result<(), FileError> {
        if self.is_recovering(key) {
            self.marks.end_recovery(key)?;
        }
        if self.is_marked_damaged(key) {
            self.marks.forget_damage(key)?;
        }
        Ok(())
    }

    fn free_name(&self, aside: &Path, key: LogKey) -> Result<PathBuf, FileError> {
        let taken = list(&*self.disk, aside)?;
        let is_free = |name: &String| taken.iter().all(|entry| entry.name != *name);
        let name = (1_u64..).map(|number| format!("{key}.{number}")).find(is_free).unwrap_or_default();
        Ok(aside.join(name))
    }
}
