//! A data directory: one process at a time, one format, one identity.
//!
//! ```text
//!   DATA/LOCK        held by the process that uses it
//!   DATA/format      sealed: the version of this layout; written last when the directory is made
//!   DATA/identity    sealed: whose it is
//!   DATA/joining     sealed: the UUID it has asked to join a cluster with
//!   DATA/votes       what each log's replica has promised
//!   DATA/reserve     space for what must be written when the disk is full
//!   DATA/logs/KEY/   one folder a log
//!   DATA/recovering  marks of logs that began anew after damage (see `quarantine`)
//!   DATA/quarantine  what was damaged, as it was found
//! ```
//!
//! Owns: the lock, the marks above, and the flusher and the votes that all logs share. Never: touches a name that it
//! did not make, or takes half a directory for a new one.
//!
//! Invariants:
//! - `format` is there: so are `votes` and `logs`, or the start is refused.
//! - `format` is missing: nothing else of ours holds anything, or the start is refused.
//! - There are logs or votes: so is `identity`, or the start is refused.
//! - The lock is held until the last log is dropped, not only until this is.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use highwater_types::NodeUuid;
use thiserror::Error;

use crate::background::Background;
use crate::disk::{DirEntry, Disk, DiskLock, DiskSpace};
use crate::error::{FileError, FileStep};
use crate::flush::{Flusher, SyncFilesystem};
use crate::identity::{Identity, SetIdentityError};
use crate::locks::lock;
use crate::log::{Log, LogOptions, LogWatch, OpenLogError, RecoveryReport};
use crate::log_key::LogKey;
use crate::poison::Poison;
use crate::reserve::Reserve;
use crate::sealed_file::{self, FileKind};
use crate::votes::VoteFile;

pub(crate) mod quarantine;
#[cfg(test)]
mod tests;

use self::quarantine::{Marks, QUARANTINE, RECOVERING};

const LOCK: &str = "LOCK";
const FORMAT: &str = "format";
const IDENTITY: &str = "identity";
const JOINING: &str = "joining";
const VOTES: &str = "votes";
const LOGS: &str = "logs";
const RESERVE: &str = "reserve";
/// What the name of a log's folder ends with once the log is deleted and its files are going.
const DELETED: &str = ".deleted";

/// What `format` says to a human.
const FORMAT_TEXT: &[u8] = b"This is a Highwater data directory. Its format is the version in this file's header.\n";

/// How a data directory is opened.
#[derive(Clone, Copy, Debug)]
pub struct DataDirOptions {
    /// Whether a new directory may be made where there is none, or an empty one. `false` on a node that has data: then
    /// a disk that is not mounted is not taken for a new node.
    pub may_create: bool,
    /// Whether a flush round may sync the whole filesystem.
    pub sync_filesystem: SyncFilesystem,
    /// Whether the flusher and the background get their threads. Without them somebody must call
    /// [`Flusher::run_round`] and [`Background::run_pending`]: a simulation.
    pub starts_flusher: bool,
}

impl Default for DataDirOptions {
    fn default() -> Self {
        Self { may_create: true, sync_filesystem: SyncFilesystem::Auto, starts_flusher: true }
    }
}

/// Why a data directory cannot be used. Nothing in it was changed, but for what an earlier start left half done.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Another process has it.
    #[error("the data directory {} is in use by another highwater process; stop that, or choose another directory", path.display())]
    Locked {
        /// The data directory.
        path: PathBuf,
    },
    /// There is nothing, and nothing may be made.
    #[error("{} holds no highwater data; is its disk mounted? To start a new node there, allow it to be created", path.display())]
    NotThere {
        /// The data directory.
        path: PathBuf,
    },
    /// A part that must be there is not.
    #[error("{} is missing, although the directory is in use since an earlier start; restore it, or rebuild this node from its peers", file.display())]
    Missing {
        /// The part.
        file: PathBuf,
    },
    /// A file cannot be read or written, is damaged, or is newer.
    #[error(transparent)]
    File(#[from] FileError),
    /// The operating system gave no thread for the flusher or the background.
    #[error("cannot start a thread of the data directory: {0}")]
    NoThread(#[source] std::io::Error),
}

/// What opening a data directory found besides its own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DataDirReport {
    /// Whether it was made by this start.
    pub is_new: bool,
    /// Names that Highwater did not make. They were left alone.
    pub foreign: Vec<PathBuf>,
}

/// An open data directory.
#[derive(Debug)]
pub struct DataDir {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    flusher: Arc<Flusher>,
    background: Arc<Background>,
    votes: Arc<VoteFile>,
    identity: Mutex<Option<Identity>>,
    marks: Arc<Marks>,
    /// The logs that were opened; `None` while one is being opened.
    opened: Mutex<BTreeMap<LogKey, Option<LogWatch>>>,
    report: DataDirReport,
}

impl DataDir {
    /// Takes the lock and checks what is there; makes a new directory where there is nothing.
    ///
    /// # Errors
    /// See [`OpenError`]; each names the file.
    pub fn open(disk: Arc<dyn Disk>, path: &Path, options: DataDirOptions) -> Result<Self, OpenError> {
        if options.may_create {
            disk.create_dir_all(path).map_err(FileError::io(FileStep::CreateDir, path))?;
        } else if !list(&*disk, path)?.iter().any(|entry| entry.name == FORMAT) {
            return Err(OpenError::NotThere { path: path.to_owned() });
        }
        let held = take_lock(&*disk, path)?;
        let is_new = check_parts(&*disk, path)?;
        for file in [FORMAT, IDENTITY, JOINING] {
            sealed_file::remove_temporary(&*disk, &path.join(file))?;
        }
        let poison = Arc::new(Poison::new());
        let flusher = Flusher::new(Arc::clone(&disk), path, options.sync_filesystem, poison).holding(held);
        let reserve = Reserve::new(Arc::clone(&disk), path.join(RESERVE));
        let flusher = Arc::new(flusher.with_reserve(reserve));
        let votes = VoteFile::open(Arc::clone(&disk), &path.join(VOTES), Arc::clone(&flusher))?;
        let marks = Arc::new(Marks::read(&disk, path, &flusher)?);
        let identity = Identity::read(&*disk, &path.join(IDENTITY))?;
        let mut report = DataDirReport { is_new, foreign: foreign_names(&list(&*disk, path)?, path) };
        let mut data_dir = Self {
            disk,
            path: path.to_owned(),
            flusher,
            background: Arc::new(Background::new()),
            votes: Arc::new(votes),
            identity: Mutex::new(identity),
            marks,
            opened: Mutex::default(),
            report: DataDirReport::default(),
        };
        data_dir.finish_deletes()?;
        data_dir.check_content(is_new)?;
        report.foreign.extend(data_dir.foreign_logs()?);
        for name in &report.foreign {
            tracing::warn!(name = %name.display(), "not made by highwater; left alone");
        }
        data_dir.report = report;
        if is_new {
            let format = path.join(FORMAT);
            sealed_file::write(&*data_dir.disk, &format, FileKind::Format, FORMAT_TEXT)?;
        }
        data_dir.flusher.reserve().refill();
        if options.starts_flusher {
            data_dir.flusher.start_thread().map_err(OpenError::NoThread)?;
            data_dir.background.start_thread().map_err(OpenError::NoThread)?;
        }
        Ok(data_dir)
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The disk it is on.
    #[must_use]
    pub fn disk(&self) -> &Arc<dyn Disk> {
        &self.disk
    }

    /// What opening it found.
    #[must_use]
    pub fn report(&self) -> &DataDirReport {
        &self.report
    }

    /// Whose it is; `None` until it was set.
    #[must_use]
    pub fn identity(&self) -> Option<Identity> {
        *lock(&self.identity)
    }

    /// Says whose it is, durably. To be done before the first log is made; the same again is fine.
    ///
    /// # Errors
    /// When it is somebody else's, or the file cannot be written.
    pub fn set_identity(&self, wanted: Identity) -> Result<(), SetIdentityError> {
        let file = self.path.join(IDENTITY);
        let mut identity = lock(&self.identity);
        match *identity {
            Some(present) if present == wanted => Ok(()),
            Some(present) => Err(SetIdentityError::AlreadySet { file, present, wanted }),
            None => {
                wanted.write(&*self.disk, &file)?;
                *identity = Some(wanted);
                Ok(())
            }
        }
    }

    /// The UUID that it asks to join a cluster with, durable from the first call on: `new` then, and what was written
    /// before ever after. So a cluster that gave it a place gives it the same one again.
    ///
    /// # Errors
    /// When the file cannot be read or written.
    pub fn joining_uuid(&self, new: NodeUuid) -> Result<NodeUuid, FileError> {
        let file = self.path.join(JOINING);
        // The lock of what this comes before: two callers agree on one UUID.
        let _identity = lock(&self.identity);
        if let Some(joining) = Identity::read(&*self.disk, &file)? {
            return Ok(joining.uuid);
        }
        Identity::joining(new).write(&*self.disk, &file)?;
        Ok(new)
    }

    /// What makes everything in it durable.
    #[must_use]
    pub fn flusher(&self) -> &Arc<Flusher> {
        &self.flusher
    }

    /// What the replicas have promised.
    #[must_use]
    pub fn votes(&self) -> &Arc<VoteFile> {
        &self.votes
    }

    /// What works ahead of the appends of its logs.
    #[must_use]
    pub fn background(&self) -> &Arc<Background> {
        &self.background
    }

    /// Opens a log, making an empty one where there is none. Open it once, and clone the handle.
    ///
    /// # Errors
    /// When something of it is damaged, missing or newer, the disk fails, or it is open already.
    ///
    /// # Panics
    /// When the identity was not set: the next start would refuse a directory that has logs but is nobody's.
    pub fn open_log(&self, key: LogKey, options: LogOptions) -> Result<(Log, RecoveryReport), OpenLogError> {
        assert!(self.identity().is_some(), "the identity of a data directory must be set before its first log is made");
        let path = self.log_path(key);
        if !self.begin_open(key) {
            // The flusher and the background may be the only ones that still have it: then they finish, and let go.
            self.flusher.run_round();
            self.background.run_pending();
            if !self.begin_open(key) {
                return Err(OpenLogError::AlreadyOpen { path });
            }
        }
        let opened = Log::open(&self.disk, &path, key, options, &self.flusher, &self.background);
        match &opened {
            Ok((log, _)) => {
                log.set_marks(&self.marks);
                lock(&self.opened).insert(key, Some(log.watch()));
            }
            Err(_) => {
                lock(&self.opened).remove(&key);
            }
        }
        opened
    }

    /// Notes that a log is being opened, unless it is open.
    fn begin_open(&self, key: LogKey) -> bool {
        let mut opened = lock(&self.opened);
        let is_free = opened.get(&key).is_none_or(|watch| watch.as_ref().is_some_and(|watch| !watch.may_write()));
        if is_free {
            opened.insert(key, None);
        }
        is_free
    }

    /// The folder of a log, whether it is there or not.
    #[must_use]
    pub fn log_path(&self, key: LogKey) -> PathBuf {
        self.path.join(LOGS).join(key.to_string())
    }

    /// The logs that are there, sorted.
    ///
    /// # Errors
    /// What the disk says.
    pub fn logs(&self) -> Result<Vec<LogKey>, FileError> {
        let keys = self.log_entries()?.iter().filter_map(log_key).collect();
        Ok(keys)
    }

    /// Deletes a log and its votes, durably. The log must be closed and its last handle not in use. A missing one is
    /// fine. Space is free when the last slice of it that a reader holds is dropped.
    ///
    /// # Errors
    /// When the disk fails; a failed sync poisons the directory.
    pub fn delete_log(&self, key: LogKey) -> Result<(), FileError> {
        let folder = self.log_path(key);
        let mut doomed = folder.clone().into_os_string();
        doomed.push(DELETED);
        // The name goes first and at once: a folder with half its segments would look like a damaged log.
        match self.disk.rename(&folder, Path::new(&doomed)) {
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            renamed => renamed.map_err(FileError::io(FileStep::Rename, &folder))?,
        }
        self.sync_logs()?;
        // One that is still open goes on being refused.
        lock(&self.opened).retain(|other, watch| *other != key || watch.as_ref().is_none_or(LogWatch::may_write));
        // And only then the votes: a log without its votes could vote twice.
        self.votes.remove(key);
        self.forget_marks(key)?;
        self.finish_deletes()
    }

    /// The space on its filesystem.
    ///
    /// # Errors
    /// What the disk says.
    pub fn space(&self) -> Result<DiskSpace, FileError> {
        self.disk.space(&self.path).map_err(FileError::io(FileStep::Space, &self.path))
    }

    fn log_entries(&self) -> Result<Vec<DirEntry>, FileError> {
        list(&*self.disk, &self.path.join(LOGS))
    }

    fn sync_logs(&self) -> Result<(), FileError> {
        let logs = self.path.join(LOGS);
        self.disk.sync_dir(&logs).map_err(FileError::io(FileStep::SyncDir, &logs)).inspect_err(|error| {
            self.flusher.poison().set(error);
        })
    }

    /// Removes the files of deleted logs.
    fn finish_deletes(&self) -> Result<(), FileError> {
        for entry in self.log_entries()?.iter().filter(|entry| is_deleted(entry)) {
            let folder = self.path.join(LOGS).join(&entry.name);
            self.disk.remove_dir_all(&folder).map_err(FileError::io(FileStep::Remove, &folder))?;
        }
        Ok(())
    }

    /// Refuses what cannot be by the order in which things are made.
    fn check_content(&self, is_new: bool) -> Result<(), OpenError> {
        let has_content = !self.logs()?.is_empty() || !self.votes.is_empty();
        if is_new && has_content {
            return Err(OpenError::Missing { file: self.path.join(FORMAT) });
        }
        if has_content && self.identity().is_none() {
            return Err(OpenError::Missing { file: self.path.join(IDENTITY) });
        }
        Ok(())
    }

    fn foreign_logs(&self) -> Result<Vec<PathBuf>, FileError> {
        let logs = self.path.join(LOGS);
        let foreign = |entry: &DirEntry| log_key(entry).is_none().then(|| logs.join(&entry.name));
        Ok(self.log_entries()?.iter().filter_map(foreign).collect())
    }
}

impl Drop for DataDir {
    /// Ends the background work and runs a last round. Both also free logs that nobody has any more but a queue, and
    /// with them the lock.
    fn drop(&mut self) {
        self.background.stop();
        self.background.run_pending();
        self.flusher.run_round();
    }
}

fn list(disk: &dyn Disk, dir: &Path) -> Result<Vec<DirEntry>, FileError> {
    match disk.list(dir) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        listed => listed.map_err(FileError::io(FileStep::List, dir)),
    }
}

fn take_lock(disk: &dyn Disk, path: &Path) -> Result<Box<dyn DiskLock>, OpenError> {
    let file = path.join(LOCK);
    match disk.lock(&file) {
        Err(error) if error.kind() == ErrorKind::WouldBlock => Err(OpenError::Locked { path: path.to_owned() }),
        held => Ok(held.map_err(FileError::io(FileStep::Lock, &file))?),
    }
}

/// Checks that the directory is whole, or makes the parts of a new one but for `format`. Returns whether it is new.
fn check_parts(disk: &dyn Disk, path: &Path) -> Result<bool, OpenError> {
    let entries = list(disk, path)?;
    let has = |name: &str| entries.iter().any(|entry| entry.name == name);
    let (votes, logs) = (path.join(VOTES), path.join(LOGS));
    if has(FORMAT) {
        let format = path.join(FORMAT);
        sealed_file::read(disk, &format, FileKind::Format)?.ok_or(OpenError::Missing { file: format })?;
        return match [VOTES, LOGS].into_iter().find(|part| !has(part)) {
            Some(part) => Err(OpenError::Missing { file: path.join(part) }),
            None => Ok(false),
        };
    }
    if has(IDENTITY) {
        return Err(OpenError::Missing { file: path.join(FORMAT) });
    }
    if !has(LOGS) {
        disk.create_dir_all(&logs).map_err(FileError::io(FileStep::CreateDir, &logs))?;
    }
    if !has(VOTES) {
        VoteFile::create(disk, &votes)?;
    }
    Ok(true)
}

fn is_deleted(entry: &DirEntry) -> bool {
    entry.is_dir && entry.name.strip_suffix(DELETED).is_some_and(|name| name.parse::<LogKey>().is_ok())
}

fn log_key(entry: &DirEntry) -> Option<LogKey> {
    entry.name.parse().ok().filter(|_| entry.is_dir)
}

fn foreign_names(entries: &[DirEntry], path: &Path) -> Vec<PathBuf> {
    let ours = [LOCK, FORMAT, IDENTITY, JOINING, VOTES, LOGS, RESERVE, RECOVERING, QUARANTINE];
    let is_ours = |entry: &DirEntry| ours.contains(&entry.name.as_str());
    entries.iter().filter(|entry| !is_ours(entry)).map(|entry| path.join(&entry.name)).collect()
}
