//! openraft's state machine: applies committed entries to a [`GroupState`], publishes how far it is, and keeps what a
//! restart or a far-behind replica begins from.
//!
//! Owns: the applied position, the committed offset (high watermark), the checkpoint, and the snapshot boundary.
//! Never: touches a payload (a state reads the header of a batch), or waits for a disk while entries wait.
//!
//! ```text
//!   purged = boundary ≤ checkpoint ≤ applied ≤ committed,   checkpoint ≤ flushed
//! ```
//!
//! - **Checkpoint**: last applied entry, membership, the state's bytes. Written every so many bytes, in the background,
//!   atomically, and only when the disk holds the log that far: a state ahead of its log would make openraft drop the log.
//! - **Boundary**: what the log may begin after; it is older than the state. A snapshot *is* that boundary with the
//!   present state. So a replica that starts from it gets every retained entry the normal way, and has seen some of
//!   them before: those up to `seen` are not given to the state again.

use std::io;

use bytes::Bytes;
use futures_util::{Stream, TryStreamExt};
use highwater_storage::{Boundary, Entry, Log, MembershipEntry};
use highwater_types::{EntryId, Offset};
use openraft::entry::RaftEntry as _;
use openraft::storage::{EntryResponder, RaftSnapshotBuilder, RaftStateMachine};
use openraft::{EntryPayload, OptionalSend};
use tokio::sync::watch;
use tokio_util::task::task_tracker::TaskTrackerToken;

use super::checkpoint::{self, CheckpointError, CheckpointWriter};
use super::codec::{self, Checkpoint, SnapshotData};
use super::log_store::Installed;
use super::types::{
    Applied, ApplyResponder, Command, LogId, RaftEntry, Snapshot, SnapshotMeta, StoredMembership, TypeConfig, entry_id,
    log_id,
};

/// After so many bytes of entries a checkpoint is due. A restart after a crash applies about that much again, looking at
/// headers only; a checkpoint costs a few syncs, which at full speed must stay few.
const CHECKPOINT_BYTES: u64 = 256 * 1024 * 1024;

/// After so many entries the positions are published and answers given, at the latest.
const APPLY_ENTRIES_MAX: usize = 1_024;

/// The state of one group: what its entries add up to.
///
/// A function of the entries alone: no clock, no chance. It is given each committed entry once, in order.
pub trait GroupState: Send + Sync + 'static {
    /// Takes in a committed entry that is neither blank nor a membership.
    ///
    /// # Errors
    /// When the entry cannot be understood. This stops the replica: a state that skipped an entry is wrong for ever.
    fn apply(&mut self, entry: &Entry) -> Result<(), ApplyError>;

    /// Its bytes for a checkpoint or a snapshot, with their own version in front.
    fn encode(&self) -> Bytes;

    /// Becomes what [`GroupState::encode`] wrote; empty bytes are a state that has seen nothing.
    ///
    /// # Errors
    /// When the bytes are of a newer version or damaged.
    fn restore(&mut self, bytes: &[u8]) -> Result<(), RestoreError>;
}

/// A committed entry that the state does not understand.
#[derive(Debug, thiserror::Error)]
#[error("committed entry {id} cannot be applied: {reason}")]
pub struct ApplyError {
    /// The entry.
    pub id: EntryId,
    /// Why not.
    pub reason: String,
}

/// Bytes that are no state of this kind.
#[derive(Debug, thiserror::Error)]
#[error("the state of this group cannot be read: {reason}")]
pub struct RestoreError {
    /// Why not.
    pub reason: String,
}

/// Where the state machine publishes how far it is.
#[derive(Debug)]
pub(crate) struct Marks {
    /// The last applied entry.
    pub(crate) applied: watch::Sender<Option<EntryId>>,
    /// The first offset that is not committed: readers stop below it.
    pub(crate) committed: watch::Sender<Offset>,
}

/// The state machine of one group.
pub(crate) struct StateMachine {
    log: Log,
    state: Box<dyn GroupState>,
    marks: Marks,
    installed: Installed,
    writer: CheckpointWriter,
    /// Everything a checkpoint holds but the state's bytes, kept up to date.
    at: Checkpoint,
    /// Bytes of entries applied since the last checkpoint began.
    bytes_since: u64,
    /// What the last checkpoint that was begun stands for.
    checkpointed: Option<EntryId>,
    /// Last, so that whoever waits for it finds the log let go.
    alive: TaskTrackerToken,
}

impl StateMachine {
    /// Starts from what [`checkpoint::load`] gave.
    ///
    /// # Errors
    /// When the state does not understand the checkpoint's bytes.
    pub(crate) fn new(
        log: Log,
        mut state: Box<dyn GroupState>,
        mut at: Checkpoint,
        marks: Marks,
        installed: Installed,
        alive: TaskTrackerToken,
    ) -> Result<Self, CheckpointError> {
        if at.seen.is_some() {
            let bytes = std::mem::take(&mut at.state);
            state
                .restore(&bytes)
                .map_err(|error| CheckpointError::BadState { file: log.checkpoint_path(), reason: error.reason })?;
        }
        let writer = CheckpointWriter::new(log.clone());
        let checkpointed = at.applied;
        let machine = Self { log, state, marks, installed, writer, at, bytes_since: 0, checkpointed, alive };
        machine.publish();
        Ok(machine)
    }

    /// Writes a checkpoint of what is applied now. The result resolves when it is durable.
    pub(crate) fn checkpoint(&mut self) -> impl Future<Output = Result<(), CheckpointError>> + Send + 'static + use<> {
        self.bytes_since = 0;
        self.checkpointed = self.at.applied;
        self.at.state = self.state.encode();
        let written = self.writer.write(&self.at);
        self.at.state = Bytes::new();
        written
    }

    /// Whether anything was applied since the last checkpoint began.
    pub(crate) fn has_news(&self) -> bool {
        self.at.applied > self.checkpointed
    }

    /// Lets the log begin after `boundary`, once the result has resolved; nothing for a boundary that is behind, not yet
    /// applied, or where the log begins already. The same one may be given again after a failure.
    pub(crate) fn set_boundary(
        &mut self,
        boundary: Boundary,
    ) -> Option<impl Future<Output = Result<(), CheckpointError>> + Send + 'static + use<>> {
        let is_behind = self.at.boundary.as_ref().is_some_and(|old| old.id > boundary.id);
        let is_done = self.log.state().purged >= Some(boundary.id);
        if is_behind || is_done || Some(boundary.id) > self.at.applied {
            return None;
        }
        self.at.boundary = Some(boundary);
        Some(self.checkpoint())
    }

    /// Takes in one committed entry.
    fn take_in(&mut self, entry: RaftEntry) -> io::Result<Applied> {
        let id = entry_id(&entry.log_id());
        let base_offset = self.at.next_offset;
        let is_blank = matches!(entry.payload, EntryPayload::Blank);
        match entry.payload {
            EntryPayload::Blank => {}
            EntryPayload::Membership(m) => self.at.membership = Some((id, codec::encode_membership(&m))),
            EntryPayload::Normal(Command::Stored(stored)) => {
                assert!(
                    stored.base_offset == base_offset,
                    "entry {id} begins at {}, not {base_offset}",
                    stored.base_offset
                );
                if self.at.seen.is_none_or(|seen| seen.index < id.index) {
                    self.state.apply(&stored).map_err(io::Error::other)?;
                }
                self.at.next_offset = stored.next_offset();
                self.bytes_since += stored.payload.len() as u64;
            }
            EntryPayload::Normal(Command::Proposed(_)) => {
                return Err(io::Error::other(format!("entry {id} was to be applied without being in the log")));
            }
        }
        self.at.applied = Some(id);
        self.at.seen = self.at.seen.max(Some(id));
        self.at.reset_log = false;
        Ok(Applied { base_offset, is_blank })
    }

    /// Moves the watermarks, and only then answers: who has its answer can read what it wrote.
    fn answer(&mut self, answers: &mut Vec<(ApplyResponder, Applied)>) {
        self.publish();
        for (responder, applied) in answers.drain(..) {
            responder.send(applied);
        }
    }

    fn publish(&self) {
        self.marks.applied.send_replace(self.at.applied);
        self.marks.committed.send_if_modified(|committed| {
            let moves = *committed < self.at.next_offset;
            *committed = self.at.next_offset.max(*committed);
            moves
        });
    }

    fn checkpoint_if_due(&mut self) {
        let is_due = self.bytes_since >= CHECKPOINT_BYTES;
        if !is_due || self.writer.is_busy() || !self.writer.is_flushed(self.at.applied) {
            return;
        }
        let (written, alive) = (self.checkpoint(), self.alive.clone());
        tokio::spawn(async move {
            let _alive = alive;
            if let Err(error) = written.await {
                // Nothing is lost: the log holds it all, and the next one may succeed.
                tracing::warn!(error = &error as &dyn std::error::Error, "a checkpoint was not written");
            }
        });
    }

    /// The boundary with the state as it is now; before there is a boundary, one of nothing.
    fn snapshot(&self) -> io::Result<Snapshot> {
        let boundary = self.at.boundary.as_ref();
        let last_membership = stored_membership(boundary.and_then(|boundary| boundary.membership.as_ref()))?;
        let meta = SnapshotMeta { last_log_id: boundary.map(|boundary| log_id(boundary.id)), last_membership };
        let next_offset = boundary.map_or(Offset::ZERO, |boundary| boundary.next_offset);
        let data = SnapshotData { next_offset, seen: self.at.seen, state: self.state.encode() };
        Ok(Snapshot { meta, snapshot: codec::encode_snapshot(&data) })
    }
}

fn stored_membership(membership: Option<&MembershipEntry>) -> io::Result<StoredMembership> {
    let Some((id, payload)) = membership else { return Ok(StoredMembership::default()) };
    let membership = codec::decode_membership(payload.clone()).map_err(io::Error::other)?;
    Ok(StoredMembership::new(Some(log_id(*id)), membership))
}

impl RaftStateMachine<TypeConfig> for StateMachine {
    type SnapshotData = Bytes;
    type SnapshotBuilder = SnapshotBuilder;

    async fn applied_state(&mut self) -> io::Result<(Option<LogId>, StoredMembership)> {
        // `checkpoint::load` has made sure that this is not beyond the end of the log.
        Ok((self.at.applied.map(log_id), stored_membership(self.at.membership.as_ref())?))
    }

    async fn apply<Strm>(&mut self, mut entries: Strm) -> io::Result<()>
    where
        Strm: Stream<Item = io::Result<EntryResponder<TypeConfig>>> + Unpin + OptionalSend,
    {
        let mut answers = Vec::new();
        let mut unpublished = 0;
        while let Some((entry, responder)) = entries.try_next().await? {
            let applied = self.take_in(entry)?;
            answers.extend(responder.map(|responder| (responder, applied)));
            unpublished += 1;
            if unpublished == APPLY_ENTRIES_MAX {
                self.answer(&mut answers);
                unpublished = 0;
                // A long replay must not keep this thread from everybody else.
                tokio::task::yield_now().await;
            }
        }
        self.answer(&mut answers);
        self.checkpoint_if_due();
        Ok(())
    }

    async fn try_create_snapshot_builder(&mut self, force: bool) -> Option<SnapshotBuilder> {
        // openraft insists when its log was purged and there is no snapshot. `checkpoint::load` rules that out, so this
        // is not worth a write: the next checkpoint has the boundary.
        if force && self.at.applied > self.at.boundary.as_ref().map(|boundary| boundary.id) {
            let (next_offset, membership) = (self.at.next_offset, self.at.membership.clone());
            self.at.boundary = self.at.applied.map(|id| Boundary { id, next_offset, membership });
        }
        if self.at.boundary.is_none() && !force {
            return None;
        }
        Some(SnapshotBuilder { snapshot: Some(self.snapshot()) })
    }

    async fn get_snapshot_builder(&mut self) -> SnapshotBuilder {
        SnapshotBuilder { snapshot: Some(self.snapshot()) }
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMeta, snapshot: Bytes) -> io::Result<()> {
        let Some(id) = meta.last_log_id.as_ref().map(entry_id) else { return Ok(()) };
        let data = codec::decode_snapshot(snapshot).map_err(io::Error::other)?;
        self.state.restore(&data.state).map_err(io::Error::other)?;
        let stored = &meta.last_membership;
        let membership =
            stored.log_id().as_ref().map(|at| (entry_id(at), codec::encode_membership(stored.membership())));
        let boundary = Boundary { id, next_offset: data.next_offset, membership: membership.clone() };
        self.installed.set(boundary.clone());
        self.at = Checkpoint {
            applied: Some(id),
            next_offset: data.next_offset,
            seen: data.seen.max(Some(id)),
            membership,
            boundary: Some(boundary),
            reset_log: !checkpoint::holds(&self.log, id).map_err(io::Error::other)?,
            state: Bytes::new(),
        };
        self.checkpoint().await.map_err(io::Error::other)?;
        self.publish();
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> io::Result<Option<Snapshot>> {
        self.at.boundary.as_ref().map(|_| self.snapshot()).transpose()
    }
}

/// A snapshot whose boundary is on disk already: see [`StateMachine::set_boundary`].
pub(crate) struct SnapshotBuilder {
    snapshot: Option<io::Result<Snapshot>>,
}

impl RaftSnapshotBuilder<TypeConfig> for SnapshotBuilder {
    type SnapshotData = Bytes;

    async fn build_snapshot(&mut self) -> io::Result<Snapshot> {
        self.snapshot.take().unwrap_or_else(|| Err(io::Error::other("this snapshot was built already")))
    }
}
