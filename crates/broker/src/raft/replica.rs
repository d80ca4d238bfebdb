//! A replica: the handle through which a partition, or the controller, uses its Raft group.

mod guards;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use highwater_storage::{Boundary, EntryKind, Log, LogError, LogKey, ReserveError, VoteFile};
use highwater_types::{EntryId, NodeId, Offset};
use openraft::ReadPolicy;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::checkpoint::{self, CheckpointError};
use super::config::config;
use super::fence::FencedResponder;
use super::groups::Registered;
use super::log_store::{Installed, LogStore};
use super::network::PeerNetwork;
use super::pulse::Pacer;
use super::recovery::Recovery;
use super::state_machine::{GroupState, Marks, StateMachine};
use super::supervisor::{Leadership, ReplicaFailure, Supervisor};
use super::ticket::{Committed, Proposal, ProposeError, ProposeTicket};
use super::types::{Command, Proposed, Raft, log_id, raft_node};
use crate::clock::Clock;
use crate::runtime::blocking;

pub(super) use guards::{Changing, HeldBack};

/// How long a shutdown waits for the tasks of the replica.
const TASKS_PATIENCE: Duration = Duration::from_secs(10);

/// How long a trim waits for the log to be cut.
const TRIM_PATIENCE: Duration = Duration::from_secs(30);

/// What a replica is made of.
pub struct ReplicaSpec<S> {
    /// What the group is called in messages.
    pub group: String,
    /// The key of its log, under which its vote is kept too.
    pub key: LogKey,
    /// Its log. From here on the replica alone writes to it, and closes it.
    pub log: Log,
    /// Where votes are kept.
    pub votes: Arc<VoteFile>,
    /// This node.
    pub node: NodeId,
    /// The way to the other replicas.
    pub network: PeerNetwork,
    /// The time that appends are given.
    pub clock: Clock,
    /// The state that the entries add up to, as it is before the first of them.
    pub state: S,
}

/// A handle on a replica. Clones are the same replica, which runs until [`Replica::shutdown`].
#[derive(Clone)]
pub struct Replica(Arc<Inner>);

struct Inner {
    group: String,
    key: LogKey,
    node: NodeId,
    network: PeerNetwork,
    raft: Raft,
    pacer: Arc<Pacer>,
    log: Log,
    clock: Clock,
    leadership: watch::Receiver<Leadership>,
    committed: watch::Receiver<Offset>,
    failure: watch::Receiver<Option<ReplicaFailure>>,
    failure_marks: watch::Sender<Option<ReplicaFailure>>,
    recovery: Recovery,
    registered: Registered,
    /// Whether writes wait for a hand-over of the leadership.
    held_back: watch::Sender<bool>,
    /// Whether a change of the members is under way.
    is_changing: AtomicBool,
    stop: CancellationToken,
    /// Our own task, and openraft's as long as they hold the log.
    tasks: TaskTracker,
}

/// Why a replica did not start or an operation on it failed.
#[derive(Debug, thiserror::Error)]
pub enum ReplicaError {
    /// Its checkpoint cannot be read, does not fit its log, or was not written.
    #[error("group {group}: {reason}")]
    Checkpoint {
        /// The group.
        group: String,
        /// Why.
        #[source]
        reason: CheckpointError,
    },
    /// Its log failed.
    #[error("group {group}: its log failed")]
    Log {
        /// The group.
        group: String,
        /// Why.
        #[source]
        reason: LogError,
    },
    /// openraft refused to start, or stopped.
    #[error("group {group}: {reason}")]
    Raft {
        /// The group.
        group: String,
        /// openraft's word.
        reason: String,
    },
    /// It has members already, or this node is not among those given.
    #[error("group {group} cannot be initialized: {reason}")]
    Initialize {
        /// The group.
        group: String,
        /// Why not.
        reason: String,
    },
    /// The log was not cut at the boundary in time.
    #[error("group {group}: the log was not trimmed to entry {boundary} within {} s", TRIM_PATIENCE.as_secs())]
    NotTrimmed {
        /// The group.
        group: String,
        /// The boundary.
        boundary: EntryId,
    },
}

impl Replica {
    /// Starts a replica on its log and checkpoint. A group without members waits for [`Replica::initialize`]; a group
    /// with this node as its only voter elects it at once.
    ///
    /// # Errors
    /// When the checkpoint does not fit the log (the file is named), or openraft refuses what it finds.
    pub async fn open<S: GroupState>(spec: ReplicaSpec<S>) -> Result<Self, ReplicaError> {
        let ReplicaSpec { group, key, log, votes, node, network, clock, state } = spec;
        let at = {
            let log = log.clone();
            blocking(move || checkpoint::load(&log)).await.unwrap_or(Err(CheckpointError::Interrupted))
        };
        let failed = |reason| ReplicaError::Checkpoint { group: group.clone(), reason };
        let at = at.map_err(failed)?;
        let (applied_marks, applied) = watch::channel(at.applied);
        let (committed_marks, committed) = watch::channel(at.next_offset);
        let machine_applied = applied.clone();
        let marks = Marks { applied: applied_marks, committed: committed_marks };
        let installed = Installed::default();
        let tasks = TaskTracker::new();
        let machine = StateMachine::new(log.clone(), Box::new(state), at, marks, installed.clone(), tasks.token());
        let machine = machine.map_err(failed)?;
        let store = LogStore::new(key, log.clone(), votes, clock.clone(), installed, tasks.token());
        let raft_failed = |reason: String| ReplicaError::Raft { group: group.clone(), reason };
        let recovery = Recovery::of(&log);
        let config = config(&group).validate().map_err(|error| raft_failed(error.to_string()))?;
        let raft = Raft::new(raft_node(node), Arc::new(config), network.of_group(key), store, machine)
            .await
            .map_err(|fatal| raft_failed(fatal.to_string()))?;
        let pacer = Arc::new(Pacer::new(key, raft.clone(), recovery.clone(), clock.clone()));
        let table = network.groups();
        let registered = table.register(key, raft.clone(), log.clone(), recovery.clone(), Arc::clone(&pacer));
        let (leadership_marks, leadership) = watch::channel(Leadership::default());
        let (failure_marks, failure) = watch::channel(None);
        let stop = CancellationToken::new();
        let supervisor = Supervisor {
            group: group.clone(),
            raft: raft.clone(),
            log: log.clone(),
            applied,
            leadership: leadership_marks,
            failure: failure_marks.clone(),
            stop: stop.clone(),
        };
        tasks.spawn(supervisor.run());
        if recovery.is_on() {
            tasks.spawn(recovery.clone().finish(group.clone(), log.clone(), machine_applied, stop.clone()));
        }
        let (held_back, is_changing) = (watch::Sender::new(false), AtomicBool::new(false));
        let inner = Inner {
            group,
            key,
            node,
            network,
            raft,
            pacer,
            log,
            clock,
            leadership,
            committed,
            failure,
            failure_marks,
            recovery,
            registered,
            held_back,
            is_changing,
            stop,
            tasks,
        };
        let replica = Self(Arc::new(inner));
        replica.elect_if_alone().await?;
        Ok(replica)
    }

    /// Nobody else could win, so there is nothing to wait for.
    async fn elect_if_alone(&self) -> Result<(), ReplicaError> {
        // The core itself is asked: its metrics say nothing before its first round.
        let voters = self.0.raft.with_raft_state(|state| state.membership_state.effective().voter_ids().collect());
        let voters: BTreeSet<u64> = voters.await.map_err(|fatal| self.raft_error(&fatal))?;
        // Without space it is elected when there is some: the pacer goes on trying.
        let is_able = !self.is_recovering() && self.make_room_for_own().is_ok();
        if voters.into_iter().eq([raft_node(self.0.node)]) && is_able {
            self.0.raft.trigger().elect(false).await.map_err(|fatal| self.raft_error(&fatal))?;
        }
        Ok(())
    }

    /// Gives a group its first members; this node must be one of them. Once in the life of a group.
    ///
    /// # Errors
    /// When the group has members or entries already, or the disk has no space for the first ones.
    pub async fn initialize(&self, voters: &[NodeId]) -> Result<(), ReplicaError> {
        if self.is_recovering() {
            let reason = "this replica is being rebuilt: the group has members, who have to fill its log".to_owned();
            return Err(ReplicaError::Initialize { group: self.0.group.clone(), reason });
        }
        let cannot = |reason: String| ReplicaError::Initialize { group: self.0.group.clone(), reason };
        self.make_room_for_own().map_err(|no_space| cannot(no_space.to_string()))?;
        let voters: BTreeSet<u64> = voters.iter().copied().map(raft_node).collect();
        // It campaigns by itself then. Told to, it would begin a second term in the middle of its first.
        self.0.raft.initialize(voters).await.map_err(|error| cannot(error.to_string()))
    }

    /// Whether the group has members, that is, was initialized or has heard from a leader.
    ///
    /// # Errors
    /// When the replica has stopped.
    pub async fn is_initialized(&self) -> Result<bool, ReplicaError> {
        self.0.raft.is_initialized().await.map_err(|fatal| self.raft_error(&fatal))
    }

    /// Proposes one entry and waits until it is committed and applied here. Sent when first polled; to keep many in
    /// flight in a known order, use [`Replica::submit`] from one task.
    ///
    /// # Errors
    /// See [`ProposeError`]; only `OutcomeUnknown` leaves the outcome open.
    pub async fn propose(&self, kind: EntryKind, payload: Bytes) -> Result<Committed, ProposeError> {
        self.submit(Proposal { kind, payload, term: None, on_append: None, fence: None }).await.await
    }

    /// Sends a proposal on its way. Those of one task are appended in the order of their calls; those that arrive
    /// together are appended with one write. Waits only when the group's inbox is full.
    pub async fn submit(&self, proposal: Proposal) -> ProposeTicket {
        let Proposal { kind, payload, term, on_append, fence } = proposal;
        let (responder, answer) = FencedResponder::new_pair(fence.clone());
        let command = Command::Proposed(Proposed { kind, payload, on_append, fence });
        self.wake().await;
        let mut request = self.0.raft.write(command).responder(responder);
        if let Some(term) = term {
            request = request.with_leader(term.get());
        }
        match request.await {
            Ok(()) => ProposeTicket::waiting(answer),
            Err(_) => ProposeTicket::refused(ProposeError::Stopped),
        }
    }

    /// The node that this replica is on.
    #[must_use]
    pub fn node(&self) -> NodeId {
        self.0.node
    }

    /// Whether this replica is being rebuilt from its peers, and keeps out of elections until then.
    #[must_use]
    pub fn is_recovering(&self) -> bool {
        self.0.recovery.is_on()
    }

    /// Whether writes are to wait because the leadership is being handed over, now and from now on.
    pub(crate) fn held_back(&self) -> watch::Receiver<bool> {
        self.0.held_back.subscribe()
    }

    /// Holds back writes until the result is dropped; nothing when they are held back already.
    pub(super) fn hold_back_writes(&self) -> Option<HeldBack> {
        let is_first = self.0.held_back.send_if_modified(|held_back| !std::mem::replace(held_back, true));
        is_first.then(|| HeldBack(self.clone()))
    }

    /// Keeps other changes of the members out until the result is dropped; nothing when one is under way.
    pub(super) fn begin_change(&self) -> Option<Changing> {
        let is_first = !self.0.is_changing.swap(true, Ordering::AcqRel);
        is_first.then(|| Changing(self.clone()))
    }

    /// Before a write: a leader that was quiet has its lease renewed, or the core would refuse what comes.
    pub(super) async fn wake(&self) {
        if self.0.pacer.wake() {
            // Without a majority the core refuses the write, and says so.
            let _ = self.0.raft.ensure_linearizable(ReadPolicy::ReadIndex).await;
            self.0.pacer.renewed();
        }
    }

    /// Makes sure that the log has space for entries that openraft makes by itself.
    pub(super) fn make_room_for_own(&self) -> Result<(), ReserveError> {
        self.0.registered.make_room_for_own()
    }

    pub(super) fn pacer(&self) -> &Pacer {
        &self.0.pacer
    }

    pub(super) fn raft(&self) -> &Raft {
        &self.0.raft
    }

    /// What the group is called in messages.
    #[must_use]
    pub fn group(&self) -> &str {
        &self.0.group
    }

    /// Who leads, now and from now on.
    #[must_use]
    pub fn leadership(&self) -> watch::Receiver<Leadership> {
        self.0.leadership.clone()
    }

    /// The first offset that is not committed and applied here (the high watermark), now and from now on.
    #[must_use]
    pub fn committed(&self) -> watch::Receiver<Offset> {
        self.0.committed.clone()
    }

    /// Waits until this replica leads and serves writes.
    ///
    /// # Errors
    /// When the replica failed or was shut down.
    pub async fn wait_until_serving(&self) -> Result<(), ReplicaError> {
        let served = self.leadership().wait_for(|leadership| leadership.serves_writes).await.map(|_| ());
        served.map_err(|_| ReplicaError::Raft { group: self.0.group.clone(), reason: "it has stopped".to_owned() })
    }

    /// Resolves when the replica stops by itself; never after a shutdown. The node cannot go on then.
    pub async fn failed(&self) -> ReplicaFailure {
        let mut failure = self.0.failure.clone();
        loop {
            if let Some(failure) = &*failure.borrow_and_update() {
                return failure.clone();
            }
            if failure.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// Damage was met in the log while somebody read it. Where others have the same entries the replica stops, so that
    /// the next start sets the log aside and gets them from there; the only replica goes on with what can be read.
    pub(crate) async fn report_damage(&self, damage: String) {
        if self.status().members.all().len() < 2 {
            return;
        }
        let (log, why) = (self.0.log.clone(), damage.clone());
        let marked = blocking(move || log.mark_damaged(&why)).await;
        tracing::error!(group = self.0.group, damage, ?marked, "damage was met in the log; the replica stops");
        let reason = format!("{damage}; the next start gets the log from the other replicas");
        self.0.failure_marks.send_replace(Some(ReplicaFailure { group: self.0.group.clone(), reason }));
    }

    /// Lets go of everything up to `boundary`: it becomes the group's snapshot, then the log is cut there. A boundary
    /// that is not newer than the last, or not applied yet, is left alone.
    ///
    /// # Errors
    /// When the boundary could not be made durable, or the log was not cut in time.
    pub async fn trim(&self, boundary: Boundary) -> Result<(), ReplicaError> {
        let id = boundary.id;
        let set = self.0.raft.with_state_machine(move |machine| {
            let written = machine.set_boundary(boundary);
            Box::pin(async move {
                match written {
                    Some(written) => written.await.map(|()| true),
                    None => Ok(false),
                }
            })
        });
        let is_set =
            set.await.map_err(|fatal| self.raft_error(&fatal))?.map_err(|reason| self.checkpoint_error(reason))?;
        if !is_set {
            return Ok(());
        }
        self.0.raft.trigger().snapshot().await.map_err(|fatal| self.raft_error(&fatal))?;
        let is_trimmed = self
            .0
            .raft
            .wait(Some(TRIM_PATIENCE))
            .metrics(|metrics| metrics.purged >= Some(log_id(id)), "the log is cut at the retention boundary")
            .await;
        is_trimmed.map_err(|_| ReplicaError::NotTrimmed { group: self.0.group.clone(), boundary: id })?;
        if self.0.log.state().purged >= Some(id) {
            return Ok(());
        }
        // There was no space for it when openraft asked, and it asks once.
        let log = self.0.log.clone();
        self.on_log(move || log.purge_through(id)).await
    }

    /// What is to be done now and then: seal what is old, prepare what comes next, and write a checkpoint when there
    /// is something new in it.
    ///
    /// # Errors
    /// When the log or the checkpoint could not be written.
    pub async fn maintain(&self) -> Result<(), ReplicaError> {
        self.maintain_log().await?;
        self.checkpoint().await
    }

    /// The same without a checkpoint.
    ///
    /// # Errors
    /// When the log could not be written.
    pub async fn maintain_log(&self) -> Result<(), ReplicaError> {
        let (log, now) = (self.0.log.clone(), self.0.clock.now());
        self.on_log(move || log.maintain(now)).await
    }

    /// Stops the replica: no more proposals, a last checkpoint, the log closed. Others' handles find it stopped.
    pub async fn shutdown(&self) {
        self.0.stop.cancel();
        if self.0.log.poisoned().is_none()
            && let Err(error) = self.checkpoint().await
        {
            tracing::warn!(error = &error as &dyn std::error::Error, "no last checkpoint; the next start applies more");
        }
        self.0.network.groups().remove(self.0.key);
        if let Err(error) = self.0.raft.shutdown().await {
            tracing::error!(group = self.0.group, %error, "the replica's core did not end well");
        }
        self.wait_for_tasks().await;
        let log = self.0.log.clone();
        if let Err(error) = self.on_log(move || log.close()).await {
            tracing::error!(error = &error as &dyn std::error::Error, "the log was not closed");
        }
    }

    /// openraft waits for its core, not for the state machine's task.
    async fn wait_for_tasks(&self) {
        self.0.tasks.close();
        if tokio::time::timeout(TASKS_PATIENCE, self.0.tasks.wait()).await.is_err() {
            tracing::error!(group = self.0.group, "a task of the replica did not end");
        }
    }

    async fn checkpoint(&self) -> Result<(), ReplicaError> {
        let written = self.0.raft.with_state_machine(move |machine| {
            let is_due = machine.has_news();
            let written = is_due.then(|| machine.checkpoint());
            Box::pin(async move { written })
        });
        let written = written.await.map_err(|fatal| self.raft_error(&fatal))?;
        match written {
            Some(written) => written.await.map_err(|reason| self.checkpoint_error(reason)),
            None => Ok(()),
        }
    }

    async fn on_log(&self, work: impl FnOnce() -> Result<(), LogError> + Send + 'static) -> Result<(), ReplicaError> {
        match blocking(work).await {
            Ok(done) => done.map_err(|reason| ReplicaError::Log { group: self.0.group.clone(), reason }),
            Err(error) => Err(ReplicaError::Raft { group: self.0.group.clone(), reason: error.to_string() }),
        }
    }

    fn raft_error(&self, fatal: &impl std::fmt::Display) -> ReplicaError {
        ReplicaError::Raft { group: self.0.group.clone(), reason: fatal.to_string() }
    }

    fn checkpoint_error(&self, reason: CheckpointError) -> ReplicaError {
        ReplicaError::Checkpoint { group: self.0.group.clone(), reason }
    }
}

#[cfg(test)]
impl Replica {
    /// Ends the replica's tasks and nothing else, as a crash would.
    pub(crate) async fn stop_abruptly(&self) {
        self.0.stop.cancel();
        self.0.network.groups().remove(self.0.key);
        self.0.raft.shutdown().await.unwrap();
        self.wait_for_tasks().await;
    }

    /// What a replica that is far behind would be sent.
    pub(crate) async fn snapshot(&self) -> Option<super::types::Snapshot> {
        self.0.raft.get_snapshot().await.unwrap()
    }
}

impl std::fmt::Debug for Replica {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Replica").field("group", &self.0.group).field("node", &self.0.node).finish_non_exhaustive()
    }
}
