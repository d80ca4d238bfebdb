//! Group commit for a whole data directory.
//!
//! Owns: when pending bytes become durable, in what order, and the thread that does it. One round takes everything that
//! is pending in every log, makes it durable with as few syncs as it can, and releases who waits:
//!
//! ```text
//!   take votes ─► take logs ─► sync files ─► logs' manifests ─► votes ─► release logs ─► release votes
//! ```
//!
//! Rounds run back to back while there is work: what arrives during one is the next one's batch, so the group grows
//! with the load. Only while many logs are written at the same time does a round wait a moment for more of them
//! ([`gather`]): a few logs never wait on a timer.
//!
//! Never: knows what a log looks like, tries a failed sync again, or runs two rounds at once.
//!
//! Invariants:
//! - Nothing is released as durable unless every sync and write of its round returned `Ok`.
//! - A vote is durable only after every append that was made before the vote was saved. That is why votes are taken
//!   *before* logs and written *after* them: an append that comes between is flushed too early, never too late.
//! - Every taken source is released exactly once, also when something fails or panics. A failure poisons the directory;
//!   from then on every round only says so.

use std::fmt;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::{self, JoinHandle};

use crate::disk::{Disk, DiskFile, DiskLock};
use crate::error::{FileError, FileStep};
use crate::locks::lock;
use crate::poison::{Poison, PoisonHook, Poisoned};
use crate::reserve::Reserve;

mod gather;
#[cfg(test)]
mod tests;

use gather::Gather;

/// Up to so many dirty files are synced one by one; above, the whole filesystem is synced once.
///
/// Measured (`examples/flush_crossover.rs`, ext4, 16 KiB in each file, median): one file 0.16 ms against 0.18 ms for the
/// filesystem, two 0.35 / 0.22, four 0.68 / 0.27, eight 0.98 / 0.32, 64 files 10.3 / 1.6; with 256 KiB in each, two
/// 0.52 / 0.47, four 1.03 / 0.66. So the two are even at one or two files. Up to three the difference is a tenth of a
/// millisecond, and not waiting for what strangers have written is worth more.
pub const DIRTY_FILES_MAX: usize = 3;

/// Called once when what it stands for is durable, or never will be. Runs on the flusher's thread: it must not block
/// and must not run a round.
pub type OnDurable = Box<dyn FnOnce(Result<(), Poisoned>) + Send>;

/// A file with bytes that are not durable yet.
#[derive(Clone, Debug)]
pub struct DirtyFile {
    /// Its name, for messages.
    pub path: Arc<Path>,
    /// The handle to sync.
    pub file: Arc<dyn DiskFile>,
}

/// What has pending bytes: a log, or the vote file. The flusher calls the three methods in this order, once a round,
/// from one thread at a time.
pub trait Flushable: Send + Sync + 'static {
    /// The round begins: adds every file with pending bytes to `dirty` and sets aside the callbacks that these bytes
    /// satisfy. Whatever is written after this returns belongs to a later round and must be announced again with
    /// [`Flusher::mark_dirty`]. Short: writers may be waiting.
    fn take_pending(&self, dirty: &mut Vec<DirtyFile>);

    /// The files are durable; writes, durably, what else must be so before anything is released (a manifest that names
    /// a new segment). Does nothing when nothing is due.
    ///
    /// # Errors
    /// Final: poisons the data directory.
    fn write_metadata(&self) -> Result<(), FileError>;

    /// The round is over: with `Ok` moves the durable mark to what was taken; then calls the callbacks that were set
    /// aside, in the order of their appends.
    fn release(&self, outcome: Result<(), Poisoned>);
}

/// Whether a round may sync the whole filesystem of the data directory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SyncFilesystem {
    /// When more than [`DIRTY_FILES_MAX`] files are dirty. One call instead of many, but it also waits for what
    /// strangers have written to the same filesystem. Needs Linux 5.8; on an older kernel files are synced one by one.
    #[default]
    Auto,
    /// Never: the data directory shares its filesystem with a heavy writer.
    Never,
}

/// How many of what, since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FlushCounts {
    /// Rounds that had something to do.
    pub rounds: u64,
    /// Syncs of single files.
    pub file_syncs: u64,
    /// Syncs of the filesystem.
    pub filesystem_syncs: u64,
}

/// The flusher of one data directory. Dropping it stops its thread after a last round.
pub struct Flusher {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
    /// The data directory's lock: every log has a handle of the flusher, so none outlives the lock.
    held: Option<Box<dyn DiskLock>>,
    /// Kept here because everybody who must write on a full disk has the flusher.
    reserve: Arc<Reserve>,
}

impl Flusher {
    /// A flusher without a thread: rounds run when [`Flusher::run_round`] is called, or after
    /// [`Flusher::start_thread`].
    #[must_use]
    pub fn new(disk: Arc<dyn Disk>, data_dir: &Path, mode: SyncFilesystem, poison: Arc<Poison>) -> Self {
        let shared = Shared {
            disk,
            data_dir: data_dir.to_owned(),
            may_sync_filesystem: AtomicBool::new(mode == SyncFilesystem::Auto),
            poison,
            queue: Mutex::new(Queue::default()),
            woken: Condvar::new(),
            round: Mutex::new(()),
            syncing: Mutex::new(()),
            counters: Counters::default(),
        };
        Self { shared: Arc::new(shared), thread: Mutex::new(None), held: None, reserve: Arc::default() }
    }

    /// The flusher, holding the lock of its data directory for as long as anybody has the flusher.
    #[must_use]
    pub(crate) fn holding(mut self, held: Box<dyn DiskLock>) -> Self {
        self.held = Some(held);
        self
    }

    /// The flusher with space for the writes of its data directory that must go on when the disk is full.
    #[must_use]
    pub(crate) fn with_reserve(mut self, reserve: Reserve) -> Self {
        self.reserve = Arc::new(reserve);
        self
    }

    pub(crate) const fn reserve(&self) -> &Arc<Reserve> {
        &self.reserve
    }

    /// Announces pending bytes of a log. Call it after the write, under the lock that orders the log's writes, and once
    /// is enough until the log's next [`Flushable::take_pending`].
    pub fn mark_dirty(&self, log: Arc<dyn Flushable>) {
        lock(&self.shared.queue).logs.push(log);
        self.shared.woken.notify_one();
    }

    /// Announces pending votes: taken before the logs and written after them.
    pub(crate) fn mark_votes_dirty(&self, votes: Arc<dyn Flushable>) {
        lock(&self.shared.queue).votes.push(votes);
        self.shared.woken.notify_one();
    }

    /// Runs one round now, after the one that may be running. What was announced before the call is durable and
    /// released, or refused, when it returns. Returns whether there was anything.
    pub fn run_round(&self) -> bool {
        self.shared.run_round()
    }

    /// Syncs `files` now, for a writer that cannot leave them to a round.
    ///
    /// # Errors
    /// Final: the directory is poisoned.
    pub(crate) fn sync_files(&self, files: &[DirtyFile]) -> Result<(), Poisoned> {
        self.shared.sync_alone(|| self.shared.sync_each(files))
    }

    /// Starts the thread that runs rounds whenever something is dirty. Once is enough.
    ///
    /// # Errors
    /// When the operating system gives no thread.
    pub fn start_thread(&self) -> io::Result<()> {
        let mut thread = lock(&self.thread);
        if thread.is_none() {
            lock(&self.shared.queue).is_stopping = false;
            let shared = Arc::clone(&self.shared);
            *thread = Some(thread::Builder::new().name("highwater-flush".to_owned()).spawn(move || shared.run())?);
        }
        Ok(())
    }

    /// Stops the thread, if there is one, and runs a last round. Rounds can still be run by hand.
    pub fn stop(&self) {
        lock(&self.shared.queue).is_stopping = true;
        self.shared.woken.notify_all();
        let Some(thread) = lock(&self.thread).take() else {
            self.run_round();
            return;
        };
        // A callback may own the last handle of the flusher: then this is the flusher's own thread, which ends by
        // itself after the round that it is in.
        if thread.thread().id() != thread::current().id() {
            let _panic_is_already_logged = thread.join();
            self.run_round();
        }
    }

    /// Why nothing is written any more, if so.
    #[must_use]
    pub fn poisoned(&self) -> Option<Poisoned> {
        self.shared.poison.get()
    }

    /// The mark shared with everything in the data directory.
    #[must_use]
    pub fn poison(&self) -> &Arc<Poison> {
        &self.shared.poison
    }

    /// Runs `hook` once when the directory is poisoned, at once when it is already.
    pub fn on_poison(&self, hook: PoisonHook) {
        self.shared.poison.on_poison(hook);
    }

    /// What it has done so far.
    #[must_use]
    pub fn counts(&self) -> FlushCounts {
        let counters = &self.shared.counters;
        FlushCounts {
            rounds: counters.rounds.load(Ordering::Relaxed),
            file_syncs: counters.file_syncs.load(Ordering::Relaxed),
            filesystem_syncs: counters.filesystem_syncs.load(Ordering::Relaxed),
        }
    }
}

impl Drop for Flusher {
    fn drop(&mut self) {
        self.stop();
    }
}

impl fmt::Debug for Flusher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Flusher")
            .field("data_dir", &self.shared.data_dir)
            .field("poison", &self.shared.poison)
            .field("held", &self.held)
            .finish_non_exhaustive()
    }
}

struct Shared {
    disk: Arc<dyn Disk>,
    data_dir: PathBuf,
    /// Also cleared for good when the disk says that it cannot.
    may_sync_filesystem: AtomicBool,
    poison: Arc<Poison>,
    queue: Mutex<Queue>,
    woken: Condvar,
    /// Held for the whole of a round.
    round: Mutex<()>,
    /// Held while files are synced and until a failure is known. The kernel tells of a failed write-back once to an open
    /// file: a sync beside the failing one would hear `Ok`.
    syncing: Mutex<()>,
    counters: Counters,
}

#[derive(Default)]
struct Counters {
    rounds: AtomicU64,
    file_syncs: AtomicU64,
    filesystem_syncs: AtomicU64,
}

#[expect(clippy::disallowed_methods, reason = "time is what it waits for; a condition would wake it with every append")]
fn rest(pause: std::time::Duration) {
    thread::sleep(pause);
}

/// What was announced since the last round. At most one entry a log, so it is bounded by the number of logs.
#[derive(Default)]
struct Queue {
    logs: Vec<Arc<dyn Flushable>>,
    votes: Vec<Arc<dyn Flushable>>,
    is_stopping: bool,
}

impl Queue {
    fn is_empty(&self) -> bool {
        self.logs.is_empty() && self.votes.is_empty()
    }
}

/// What one round has taken.
struct Round {
    votes: Vec<Arc<dyn Flushable>>,
    logs: Vec<Arc<dyn Flushable>>,
}

impl Round {
    fn in_order(&self) -> impl Iterator<Item = &Arc<dyn Flushable>> {
        self.logs.iter().chain(&self.votes)
    }
}

impl Shared {
    /// The thread: rounds while there is work, sleep while there is none.
    fn run(&self) {
        let mut gather = Gather::default();
        loop {
            {
                let mut queue = lock(&self.queue);
                if queue.is_empty() && !queue.is_stopping {
                    let waited = self.woken.wait_timeout(queue, gather::CALM_AFTER);
                    queue = waited.unwrap_or_else(std::sync::PoisonError::into_inner).0;
                    if queue.is_empty() {
                        gather.calm_down();
                    }
                }
                while queue.is_empty() && !queue.is_stopping {
                    queue = self.woken.wait(queue).unwrap_or_else(std::sync::PoisonError::into_inner);
                }
                if queue.is_empty() {
                    return;
                }
            }
            if let Some(pause) = gather.pause() {
                rest(pause);
            }
            self.run_round_and(|round| gather.note(round.logs.iter().map(|log| Arc::as_ptr(log).addr())));
        }
    }

    fn run_round(&self) -> bool {
        self.run_round_and(|_| ())
    }

    fn run_round_and(&self, see: impl FnOnce(&Round)) -> bool {
        let _one_at_a_time = lock(&self.round);
        let votes = std::mem::take(&mut lock(&self.queue).votes);
        let mut round = Round { votes, logs: Vec::new() };
        let outcome = match catch_unwind(AssertUnwindSafe(|| self.make_durable(&mut round))) {
            Ok(outcome) => outcome,
            Err(_panic) => Err(self.poison.set("the flush round panicked; see the log")),
        };
        see(&round);
        let did_something = round.in_order().next().is_some();
        for source in round.in_order() {
            // What is durable stays so, whatever a callback does: the others hear the true outcome.
            if catch_unwind(AssertUnwindSafe(|| source.release(outcome.clone()))).is_err() {
                self.poison.set("a callback of the flush round panicked; see the log");
            }
        }
        did_something
    }

    /// Takes everything that is pending and makes it durable. `round` holds what has been taken, whatever happens.
    fn make_durable(&self, round: &mut Round) -> Result<(), Poisoned> {
        let mut dirty = Vec::new();
        for source in &round.votes {
            source.take_pending(&mut dirty);
        }
        // Only now: a log that was appended to before one of these votes was saved is in the queue by this time.
        round.logs = std::mem::take(&mut lock(&self.queue).logs);
        for source in &round.logs {
            source.take_pending(&mut dirty);
        }
        self.poison.check()?;
        if round.in_order().next().is_some() {
            self.counters.rounds.fetch_add(1, Ordering::Relaxed);
        }
        self.sync_alone(|| self.sync(&dirty))?;
        for source in round.in_order() {
            source.write_metadata().map_err(|error| self.poison.set(error))?;
        }
        // A writer may have failed meanwhile, in the middle of what was taken.
        self.poison.check()
    }

    /// Runs a sync while no other runs; what it says is known before the next begins.
    fn sync_alone(&self, sync: impl FnOnce() -> Result<(), FileError>) -> Result<(), Poisoned> {
        let _one_at_a_time = lock(&self.syncing);
        self.poison.check()?;
        sync().map_err(|error| self.poison.set(error))
    }

    fn sync(&self, dirty: &[DirtyFile]) -> Result<(), FileError> {
        if dirty.len() > DIRTY_FILES_MAX && self.sync_filesystem()? {
            return Ok(());
        }
        self.sync_each(dirty)
    }

    fn sync_each(&self, dirty: &[DirtyFile]) -> Result<(), FileError> {
        for DirtyFile { path, file } in dirty {
            file.sync_data().map_err(FileError::io(FileStep::Sync, path))?;
            self.counters.file_syncs.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Syncs the filesystem; `false` when that may not or cannot be done here, which is no failure.
    fn sync_filesystem(&self) -> Result<bool, FileError> {
        if !self.may_sync_filesystem.load(Ordering::Relaxed) {
            return Ok(false);
        }
        match self.disk.sync_filesystem(&self.data_dir) {
            Ok(()) => {
                self.counters.filesystem_syncs.fetch_add(1, Ordering::Relaxed);
                Ok(true)
            }
            Err(error) if error.kind() == io::ErrorKind::Unsupported => {
                tracing::info!("this system cannot sync a filesystem and report errors; syncing file by file");
                self.may_sync_filesystem.store(false, Ordering::Relaxed);
                Ok(false)
            }
            Err(source) => Err(FileError::Io { step: FileStep::SyncFilesystem, file: self.data_dir.clone(), source }),
        }
    }
}
