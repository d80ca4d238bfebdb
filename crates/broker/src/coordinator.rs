//! A coordinator on this node: one task over one Raft group that decides for stream groups, and handles for the fronts.
//!
//! Owns: the way of a command through the engine of crate `groups`: decided by the leader, its records committed, its
//! answer released; and what the leader tells the engine by itself, which is time and what became of topics.
//! Never: decides anything (the engine does), or knows a protocol.
//!
//! ```text
//!   CoordinatorHandle ──command──► task: sessions.decide(image) ──records──► Replica ──commit──► CoordinatorState
//!          ▲                          │        ▲                                │                      │ replay
//!          └───────── answers ◄── outbox ◄─────┼───── committed ◄───────────────┘                    image
//!                                              └─────── time, topics                                   │
//!                                                                 read by decide and by describe ◄─────┘
//! ```
//!
//! The coordinators are the partitions of an internal topic, so that placement, moves, drain, leader balance and
//! catch-up are those of every partition: see `docs/adr/081`.

mod bell;
mod error;
mod handle;
mod leading;
mod state;
mod task;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use highwater_groups::stream::Config;
use highwater_metadata::MetadataImage;
use highwater_storage::{Log, LogKey, RetentionPolicy, VoteFile};
use highwater_types::{NodeId, Offset};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub use error::CoordinatorError;
pub use handle::{CoordinatorHandle, Reply, received};

use crate::clock::Clock;
use crate::raft::{PeerNetwork, Replica, ReplicaError, ReplicaFailure, ReplicaSpec};
use bell::Bells;
use state::{CoordinatorState, SharedImage};
use task::Task;

/// Commands that may wait for their turn; whoever sends more waits for room.
const REQUESTS_WAITING_MAX: usize = 1_024;

/// The log is cut when it is larger than this, in bytes; the image stands for what is gone.
const LOG_BYTES_MAX: u64 = 32 << 20;

/// Checkpoints hold the whole image, so one is written at every so many looks only. What comes after it is replayed.
const LOOKS_A_CHECKPOINT: u32 = 12;

/// How long a stopping coordinator waits for its task.
const STOP_PATIENCE: Duration = Duration::from_secs(5);

/// What a coordinator is made of.
pub struct CoordinatorSpec {
    /// What it is called in messages.
    pub name: String,
    /// The key of its log.
    pub key: LogKey,
    /// Its log; the coordinator closes it.
    pub log: Log,
    /// Where votes are kept.
    pub votes: Arc<VoteFile>,
    /// This node.
    pub node: NodeId,
    /// The members that a group without any begins with, this node among them; empty when it is to wait for a leader.
    pub first_voters: Vec<NodeId>,
    /// The way to its other replicas.
    pub network: PeerNetwork,
    /// The broker's clock.
    pub clock: Clock,
    /// What the cluster is: how many partitions topics have.
    pub images: watch::Receiver<Arc<MetadataImage>>,
    /// What the operator chose.
    pub config: Config,
}

/// A running coordinator, owned by who started it. Give out [`Coordinator::handle`]s.
#[derive(Debug)]
pub struct Coordinator {
    handle: CoordinatorHandle,
    log: Log,
    clock: Clock,
    stop: CancellationToken,
    task: JoinHandle<()>,
    /// Cancelled when the task is gone, however it ended.
    task_gone: CancellationToken,
    looks: AtomicU32,
}

impl Coordinator {
    /// Starts a coordinator on its log. It serves once its replica leads.
    ///
    /// # Errors
    /// When the replica cannot start from what is on disk.
    pub async fn open(spec: CoordinatorSpec) -> Result<Self, ReplicaError> {
        let CoordinatorSpec { name, key, log, votes, node, first_voters, network, clock, images, config } = spec;
        let image = SharedImage::default();
        let state = CoordinatorState::new(image.clone());
        let spec =
            ReplicaSpec { group: name, key, log: log.clone(), votes, node, network, clock: clock.clone(), state };
        let replica = Replica::open(spec).await?;
        replica.begin_at_open(&first_voters).await?;
        let (requests, queue) = mpsc::channel(REQUESTS_WAITING_MAX);
        let bells = Bells::default();
        let handle = CoordinatorHandle::new(requests, replica.clone(), log.clone(), image.clone(), bells.clone());
        let stop = CancellationToken::new();
        let task = Task::new(replica, log.clone(), image, images, clock.clone(), config, queue, bells);
        let task_gone = CancellationToken::new();
        let (last_word, stopping) = (task_gone.clone().drop_guard(), stop.clone().cancelled_owned());
        let task = tokio::spawn(async move {
            // Also when it panics.
            let _last_word = last_word;
            task.run(stopping).await;
        });
        Ok(Self { handle, log, clock, stop, task, task_gone, looks: AtomicU32::new(0) })
    }

    /// A handle for fronts.
    #[must_use]
    pub fn handle(&self) -> CoordinatorHandle {
        self.handle.clone()
    }

    /// Waits until this replica leads and serves.
    ///
    /// # Errors
    /// When it stopped instead.
    pub async fn wait_until_serving(&self) -> Result<(), ReplicaError> {
        self.replica().wait_until_serving().await
    }

    /// Gives the group its first members, unless it has some: what `first_voters` does, later.
    ///
    /// # Errors
    /// When the replica has stopped.
    pub async fn begin(&self, first_voters: &[NodeId]) -> Result<(), ReplicaError> {
        self.replica().begin_unless_begun(first_voters).await
    }

    /// Resolves when the replica or the task stops by itself; the node cannot go on then.
    pub async fn failed(&self) -> ReplicaFailure {
        tokio::select! {
            // First why it stopped, then what ended because of it.
            biased;
            failure = self.replica().failed() => failure,
            () = self.task_gone.cancelled() => {
                let reason = "the task that decides for it ended although nobody asked it to; this is a bug".to_owned();
                ReplicaFailure { group: self.replica().group().to_owned(), reason }
            }
        }
    }

    /// What is to be done now and then: seal what is old, write a checkpoint, let go of entries that the image holds.
    ///
    /// # Errors
    /// When the log or the checkpoint could not be written.
    pub async fn maintain(&self) -> Result<(), ReplicaError> {
        let look = self.looks.fetch_add(1, Ordering::Relaxed);
        match look % LOOKS_A_CHECKPOINT {
            0 => self.replica().maintain().await?,
            _ => self.replica().maintain_log().await?,
        }
        let policy = RetentionPolicy { age_ms_max: None, bytes_max: Some(LOG_BYTES_MAX) };
        match self.log.retention_boundary(&policy, self.clock.now(), Offset::MAX) {
            Some(boundary) => self.replica().trim(boundary).await,
            None => Ok(()),
        }
    }

    /// Stops: who waits is told, a last checkpoint is written and the log closed.
    pub async fn shutdown(mut self) {
        self.stop.cancel();
        if tokio::time::timeout(STOP_PATIENCE, &mut self.task).await.is_err() {
            tracing::warn!(coordinator = self.replica().group(), "what was under way was not decided in time");
        }
        self.replica().shutdown().await;
        if !self.task.is_finished() {
            // Its proposals are answered now, by the replica's end.
            let _ = (&mut self.task).await;
        }
    }

    fn replica(&self) -> &Replica {
        self.handle.replica()
    }
}
