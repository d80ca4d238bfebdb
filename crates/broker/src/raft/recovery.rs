//! A replica whose log was damaged and that has peers: set aside, begun anew, and kept out of elections meanwhile.
//!
//! Its new log lacks what the old one had acknowledged. With its vote, a replica that lacks the same entries could come
//! to lead, and they would be lost. So until it has caught up it answers no request for its vote, asks for none, and
//! cannot be made the leader. It takes entries all the while; its acknowledgements count, as they are true.
//!
//! ```text
//!   damage ─► mark (durable) ─► log moved aside ─► new log, state from a leader ─► caught up ─► mark removed
//! ```
//!
//! Caught up: a leader that this replica follows has said since the start how far the group is committed, and all of
//! that is on disk and applied here. That leader was not elected by what is missing: it has every acknowledged entry,
//! and what it says is not older than the first append it got an answer for. A majority of recovering replicas elects
//! nobody: the group stands still until one that is whole is back. It does not lose anything by itself.
//!
//! Never: rebuilds the only replica of a group. Then the damaged log is all there is, and the start is refused.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use highwater_storage::{DataDir, Log, LogKey, LogOptions, OpenLogError, RecoveryReport};
use highwater_types::EntryId;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::checkpoint;
use crate::runtime::blocking;

type Applied = watch::Receiver<Option<EntryId>>;

/// How often a recovering replica looks whether it has caught up.
const LOOK: Duration = Duration::from_millis(100);

/// Opens the log of a replica. With `has_peers`, a log that is damaged or missing is set aside and begun anew; its replica
/// gets everything from them. Blocks.
///
/// # Errors
/// As [`DataDir::open_log`]; for a replica without peers, damage too.
pub fn open_log(
    data: &DataDir,
    key: LogKey,
    options: &LogOptions,
    group: &str,
    has_peers: bool,
) -> Result<(Log, RecoveryReport), OpenLogError> {
    if !has_peers {
        return data.open_log(key, options.clone());
    }
    if data.is_marked_damaged(key) {
        set_aside(data, key, group, "damage was met in it while it was open")?;
    } else if data.votes().get(key).is_some() && !data.logs()?.contains(&key) {
        tracing::error!(group, log = %key, "the log is gone, although this node has voted with it; it begins anew");
        data.begin_recovery(key, "the log was gone")?;
    }
    let reason = match data.open_log(key, options.clone()) {
        Ok((log, report)) => match checkpoint::load(&log) {
            Err(error) if error.is_damage() => {
                let _as_it_is = log.close();
                error.to_string()
            }
            // Whatever else is wrong is found again, and said, when the replica is opened.
            _ => return Ok((log, report)),
        },
        Err(error) if error.is_damage() => error.to_string(),
        Err(error) => return Err(error),
    };
    set_aside(data, key, group, &reason)?;
    data.open_log(key, options.clone())
}

fn set_aside(data: &DataDir, key: LogKey, group: &str, reason: &str) -> Result<(), OpenLogError> {
    let moved = data.quarantine_log(key, reason)?;
    let folder = moved.map_or_else(|| "nowhere: it was gone".to_owned(), |folder| folder.display().to_string());
    tracing::error!(group, log = %key, reason, folder, "the log is set aside; the other replicas have to fill a new one");
    Ok(())
}

/// Whether a replica is recovering, and what it waits for. Clones are the same.
///
/// Without the log: this stands in the table of groups, which may outlive a node that was not stopped in order, and a log
/// keeps its data directory locked.
#[derive(Clone, Debug)]
pub(crate) struct Recovery(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    is_on: AtomicBool,
    /// What the leader whose append was taken last said to be committed.
    heard: Mutex<Option<EntryId>>,
}

impl Recovery {
    /// As the log's mark says.
    pub(super) fn of(log: &Log) -> Self {
        let is_on = AtomicBool::new(log.is_recovering());
        Self(Arc::new(Inner { is_on, heard: Mutex::default() }))
    }

    /// Whether the replica keeps out of elections.
    pub(crate) fn is_on(&self) -> bool {
        self.0.is_on.load(Ordering::Acquire)
    }

    /// An append of a leader was taken, which said that the group is committed up to `committed`.
    pub(crate) fn heard(&self, committed: Option<EntryId>) {
        if self.is_on() {
            *self.0.heard.lock().unwrap_or_else(PoisonError::into_inner) = committed;
        }
    }

    /// Waits until the replica has caught up, and lets it take part in elections. Does nothing for one that is whole.
    pub(super) async fn finish(self, group: String, log: Log, applied: Applied, stop: CancellationToken) {
        while self.is_on() {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(LOOK) => {}
            }
            if !self.has_caught_up(&log, *applied.borrow()) {
                continue;
            }
            let log = log.clone();
            match blocking(move || log.end_recovery()).await {
                Ok(Ok(())) => {
                    self.0.is_on.store(false, Ordering::Release);
                    tracing::info!(group, "the replica has caught up after damage, and votes again");
                }
                Ok(Err(error)) => tracing::error!(group, %error, "the mark of a damaged log was not removed"),
                Err(error) => tracing::error!(group, %error, "the mark of a damaged log was not removed"),
            }
        }
    }

    fn has_caught_up(&self, log: &Log, applied: Option<EntryId>) -> bool {
        let heard = *self.0.heard.lock().unwrap_or_else(PoisonError::into_inner);
        if heard.is_none() || applied < heard {
            return false;
        }
        let state = log.state();
        heard <= state.purged || heard <= state.flushed.map(|flushed| flushed.id)
    }
}
