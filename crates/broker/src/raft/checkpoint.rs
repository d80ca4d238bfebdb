//! The checkpoint of a group: read and held against the log at the start, written in the background.
//!
//! Never: believes a checkpoint that does not fit its log. One is written only up to what the disk holds, so one that
//! is ahead of its log means that the log lost something. That is refused by the file's name, never mended.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use highwater_storage::{FileError, Log, LogError, ReadError};
use highwater_types::EntryId;

use super::codec::{self, Checkpoint, DecodeError};
use crate::runtime::blocking;

/// How long a checkpoint waits for the disk to hold what it stands for, and how often it looks.
const FLUSH_PATIENCE: Duration = Duration::from_secs(10);
const FLUSH_LOOK: Duration = Duration::from_millis(2);

/// Why a group cannot start from its checkpoint, or why none was written.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// The log no longer holds what the missing checkpoint stood for.
    #[error(
        "{} is missing, and the log beside it begins after entry {purged}: restore it, or rebuild this replica",
        file.display()
    )]
    Missing {
        /// The file.
        file: PathBuf,
        /// The last entry that the log has dropped.
        purged: EntryId,
    },
    /// It stands for entries that the log does not have.
    #[error(
        "{} stands for entry {applied}, which the log beside it does not hold (it ends at {}): the log lost entries; \
         restore both from a backup, or rebuild this replica",
        file.display(),
        last.map_or_else(|| "nothing".to_owned(), |id| id.to_string())
    )]
    DoesNotFitLog {
        /// The file.
        file: PathBuf,
        /// What it stands for.
        applied: EntryId,
        /// The last entry of the log.
        last: Option<EntryId>,
    },
    /// The log dropped entries beyond the boundary that the checkpoint allows.
    #[error("{} lets the log begin after {}, but the log begins after {purged}", file.display(),
        boundary.map_or_else(|| "nothing".to_owned(), |id| id.to_string()))]
    PurgedTooFar {
        /// The file.
        file: PathBuf,
        /// The boundary in it.
        boundary: Option<EntryId>,
        /// The last entry that the log has dropped.
        purged: EntryId,
    },
    /// Its contents make no sense.
    #[error("{} cannot be read", file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// Why not.
        #[source]
        reason: DecodeError,
    },
    /// The state in it makes no sense to this kind of group.
    #[error("{} holds a state that cannot be read: {reason}", file.display())]
    BadState {
        /// The file.
        file: PathBuf,
        /// Why not.
        reason: String,
    },
    /// The file could not be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// The log could not be read.
    #[error("the log beside the checkpoint cannot be read")]
    Read(#[from] ReadError),
    /// The log could not be reset to an installed snapshot.
    #[error("the log cannot be reset to the installed snapshot")]
    Log(#[from] LogError),
    /// The disk did not hold in time what the checkpoint stands for, so it was not written.
    #[error("entry {applied} was not on disk after {} s, so no checkpoint was written", FLUSH_PATIENCE.as_secs())]
    NotFlushed {
        /// The last applied entry.
        applied: EntryId,
    },
    /// The thread that wrote it panicked or the runtime stopped.
    #[error("the checkpoint's writer did not finish")]
    Interrupted,
}

impl CheckpointError {
    /// Whether the checkpoint and its log cannot both be true; not that a file could not be read, or is newer.
    pub(crate) const fn is_damage(&self) -> bool {
        match self {
            Self::Missing { .. } | Self::DoesNotFitLog { .. } | Self::PurgedTooFar { .. } | Self::BadState { .. } => {
                true
            }
            Self::Unreadable { reason, .. } => matches!(reason, DecodeError::Malformed { .. }),
            Self::File(error) => error.is_damage(),
            Self::Read(error) => matches!(error, ReadError::Corrupt(_)),
            Self::Log(_) | Self::NotFlushed { .. } | Self::Interrupted => false,
        }
    }
}

/// Reads the checkpoint beside `log` and makes sure that both belong together. Blocks.
pub(crate) fn load(log: &Log) -> Result<Checkpoint, CheckpointError> {
    let file = log.checkpoint_path();
    let Some(bytes) = log.read_checkpoint()? else {
        return match log.state().purged {
            Some(purged) => Err(CheckpointError::Missing { file, purged }),
            None => Ok(Checkpoint::default()),
        };
    };
    let checkpoint =
        codec::decode_checkpoint(bytes).map_err(|reason| CheckpointError::Unreadable { file: file.clone(), reason })?;
    if let (true, Some(boundary)) = (checkpoint.reset_log, &checkpoint.boundary)
        && !holds(log, boundary.id)?
    {
        tracing::info!(boundary = %boundary.id, "finishing the installation of a snapshot: the log is reset to it");
        log.reset(boundary)?;
    }
    let state = log.state();
    if let Some(applied) = checkpoint.applied
        && !holds(log, applied)?
    {
        return Err(CheckpointError::DoesNotFitLog { file, applied, last: state.last });
    }
    let boundary = checkpoint.boundary.as_ref().map(|boundary| boundary.id);
    match state.purged {
        Some(purged) if boundary < Some(purged) => Err(CheckpointError::PurgedTooFar { file, boundary, purged }),
        _ => Ok(checkpoint),
    }
}

/// Whether the log holds this entry, or has dropped it as its last one.
pub(crate) fn holds(log: &Log, id: EntryId) -> Result<bool, ReadError> {
    let state = log.state();
    if state.purged == Some(id) {
        return Ok(true);
    }
    let is_inside = state.last.is_some_and(|last| id.index <= last.index)
        && state.purged.is_none_or(|purged| id.index > purged.index);
    Ok(is_inside && log.id_at(id.index)? == Some(id))
}

/// Writes checkpoints of one group, the newest last, away from the async threads.
#[derive(Debug)]
pub(crate) struct CheckpointWriter {
    log: Log,
    /// The number of the newest checkpoint that is on disk.
    written: Arc<Mutex<u64>>,
    next: u64,
    is_busy: Arc<AtomicBool>,
}

impl CheckpointWriter {
    pub(crate) fn new(log: Log) -> Self {
        Self { log, written: Arc::default(), next: 1, is_busy: Arc::default() }
    }

    /// Whether one is being written.
    pub(crate) fn is_busy(&self) -> bool {
        self.is_busy.load(Ordering::Acquire)
    }

    /// Whether the disk holds the log up to this entry.
    pub(crate) fn is_flushed(&self, applied: Option<EntryId>) -> bool {
        is_flushed(&self.log, applied)
    }

    /// Writes one. The result resolves when it is durable, or when a newer one is.
    pub(crate) fn write(
        &mut self,
        checkpoint: &Checkpoint,
    ) -> impl Future<Output = Result<(), CheckpointError>> + Send + 'static + use<> {
        let (number, bytes) = (self.next, codec::encode_checkpoint(checkpoint));
        self.next += 1;
        self.is_busy.store(true, Ordering::Release);
        let (log, written, busy) = (self.log.clone(), Arc::clone(&self.written), BusyGuard(Arc::clone(&self.is_busy)));
        let applied = checkpoint.applied;
        let must_wait = !checkpoint.reset_log;
        async move {
            let _busy = busy;
            if must_wait {
                wait_until_flushed(&log, applied).await?;
            }
            let write = move || {
                let mut written = written.lock().unwrap_or_else(PoisonError::into_inner);
                if *written < number {
                    log.write_checkpoint(&bytes)?;
                    *written = number;
                }
                Ok(())
            };
            blocking(write).await.map_err(|_| CheckpointError::Interrupted)?
        }
    }
}

/// Clears the mark however the writing ends.
struct BusyGuard(Arc<AtomicBool>);

impl Drop for BusyGuard {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

/// A majority may have committed what this disk does not hold yet; the checkpoint must not be ahead of it.
async fn wait_until_flushed(log: &Log, applied: Option<EntryId>) -> Result<(), CheckpointError> {
    let Some(applied) = applied else { return Ok(()) };
    let wait = async {
        while !is_flushed(log, Some(applied)) {
            tokio::time::sleep(FLUSH_LOOK).await;
        }
    };
    tokio::time::timeout(FLUSH_PATIENCE, wait).await.map_err(|_| CheckpointError::NotFlushed { applied })
}

fn is_flushed(log: &Log, applied: Option<EntryId>) -> bool {
    let state = log.state();
    applied <= state.purged || applied <= state.flushed.map(|flushed| flushed.id)
}
