//! A partition on this node: one writer task over one Raft group, and handles for everybody else.
//!
//! Owns: what happens to a batch between a front and the Raft group: order, idempotent producers, answers; and reading
//! below the high watermark.
//! Never: knows a protocol, a topic's name, or openraft.
//!
//! ```text
//!   PartitionHandle ──append──► queue ──► writer ──► Replica (Raft group) ──► Log
//!        │                        in_flight + producers ◄── applied entries
//!        └──read───────────────────────────────────────────────────────────► Log, below the high watermark
//! ```

mod error;
mod handle;
mod in_flight;
mod pending;
pub mod producers;
mod read;
mod state;
#[cfg(test)]
mod tests;
mod ticket;
mod writer;

use std::sync::Arc;
use std::time::Duration;

use highwater_storage::{Log, LogKey, RetentionPolicy, VoteFile};
use highwater_types::NodeId;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub use self::error::{AppendError, ReadError};
pub use self::handle::PartitionHandle;
pub use self::producers::{ProducerLimits, SequenceError};
use self::read::Reader;
pub use self::read::{ColdReads, Position, ReadFrom, ReadResult, ResolvedOffset};
use self::state::{PartitionState, SharedProducers};
pub use self::ticket::{Acks, AppendAck, AppendTicket};
use self::writer::{QUEUE_BATCHES_MAX, Writer};
use crate::clock::Clock;
use crate::raft::{PeerNetwork, Replica, ReplicaError, ReplicaFailure, ReplicaSpec};

/// How long a stopping partition waits for what is in flight.
const DRAIN_PATIENCE: Duration = Duration::from_secs(10);

/// What a partition is made of.
pub struct PartitionSpec {
    /// What it is called in messages.
    pub name: String,
    /// The key of its log.
    pub key: LogKey,
    /// Its log; the partition closes it.
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
    /// What its producer table may hold.
    pub producers: ProducerLimits,
    /// The limit on reads that wait for the disk; one a node.
    pub cold_reads: ColdReads,
}

/// A running partition, owned by who started it. Give out [`Partition::handle`]s.
#[derive(Debug)]
pub struct Partition {
    handle: PartitionHandle,
    replica: Replica,
    clock: Clock,
    stop: CancellationToken,
    writer: JoinHandle<()>,
    /// Cancelled when the writer's task is gone, however it ended.
    writer_gone: CancellationToken,
    #[cfg(test)]
    producers: SharedProducers,
}

impl Partition {
    /// Starts a partition on its log. It serves once its replica leads; see [`Partition::wait_until_serving`].
    ///
    /// # Errors
    /// When the replica cannot start from what is on disk.
    pub async fn open(spec: PartitionSpec) -> Result<Self, ReplicaError> {
        let PartitionSpec { name, key, log, votes, node, first_voters, network, clock, producers: limits, cold_reads } =
            spec;
        let producers = SharedProducers::new(limits);
        let replica = Replica::open(ReplicaSpec {
            group: name,
            key,
            log: log.clone(),
            votes,
            node,
            network,
            clock: clock.clone(),
            state: PartitionState::new(producers.clone(), limits),
        })
        .await?;
        let begins = !first_voters.is_empty() && !replica.is_recovering() && !replica.is_initialized().await?;
        if begins && let Err(error) = replica.initialize(&first_voters).await {
            // Whoever tries again finds the log free.
            replica.shutdown().await;
            return Err(error);
        }
        let stop = CancellationToken::new();
        let (queue, queued) = mpsc::channel(QUEUE_BATCHES_MAX);
        #[cfg(test)]
        let table = producers.clone();
        let writer = Writer::new(replica.clone(), log.clone(), clock.clone(), producers, queued, stop.clone());
        let reader = Reader {
            replica: replica.clone(),
            log,
            committed: replica.committed(),
            leadership: replica.leadership(),
            cold: cold_reads,
            stop: stop.clone(),
        };
        let handle = PartitionHandle { queue, reader, clock: clock.clone() };
        let writer_gone = CancellationToken::new();
        let last_word = writer_gone.clone().drop_guard();
        let writer = tokio::spawn(async move {
            // Also when it panics.
            let _last_word = last_word;
            writer.run().await;
        });
        Ok(Self {
            handle,
            replica,
            clock,
            stop,
            writer,
            writer_gone,
            #[cfg(test)]
            producers: table,
        })
    }

    /// A handle for fronts.
    #[must_use]
    pub fn handle(&self) -> PartitionHandle {
        self.handle.clone()
    }

    /// Waits until this replica leads and serves.
    ///
    /// # Errors
    /// When it stopped instead.
    pub async fn wait_until_serving(&self) -> Result<(), ReplicaError> {
        self.replica.wait_until_serving().await
    }

    /// Gives the group its first members, unless it has some: what `first_voters` does, later.
    ///
    /// # Errors
    /// When the replica has stopped.
    pub async fn begin(&self, first_voters: &[NodeId]) -> Result<(), ReplicaError> {
        if self.replica.is_recovering() || self.replica.is_initialized().await? {
            return Ok(());
        }
        match self.replica.initialize(first_voters).await {
            // A leader came in between; that is as good.
            Err(_) if self.replica.is_initialized().await? => Ok(()),
            begun => begun,
        }
    }

    /// Resolves when the replica or the writer stops by itself; the node cannot go on then.
    pub async fn failed(&self) -> ReplicaFailure {
        tokio::select! {
            failure = self.replica.failed() => failure,
            () = self.writer_gone.cancelled() => {
                let reason = "the task that writes to it ended although nobody asked it to; this is a bug".to_owned();
                ReplicaFailure { group: self.replica.group().to_owned(), reason }
            }
        }
    }

    /// Lets go of what a retention policy no longer keeps: whole segments of committed records.
    ///
    /// # Errors
    /// When the log could not be cut.
    pub async fn retain(&self, policy: RetentionPolicy) -> Result<(), ReplicaError> {
        let (log, now) = (self.handle.reader.log.clone(), self.clock.now());
        let committed = *self.handle.reader.committed.borrow();
        match log.retention_boundary(&policy, now, committed) {
            Some(boundary) => self.replica.trim(boundary).await,
            None => Ok(()),
        }
    }

    /// What is to be done now and then: seal what is old, prepare what comes next, write a checkpoint.
    ///
    /// # Errors
    /// When the log or the checkpoint could not be written.
    pub async fn maintain(&self) -> Result<(), ReplicaError> {
        self.replica.maintain().await
    }

    /// Stops: takes no more batches, waits for those in flight, writes a last checkpoint and closes the log.
    pub async fn shutdown(mut self) {
        self.stop.cancel();
        if tokio::time::timeout(DRAIN_PATIENCE, &mut self.writer).await.is_err() {
            tracing::warn!(partition = ?self.replica, "batches in flight were not decided in time");
        }
        self.replica.shutdown().await;
        // Whatever was still in flight is answered now, by the replica's end.
        if !self.writer.is_finished() {
            let _ = (&mut self.writer).await;
        }
    }
}

#[cfg(test)]
impl Partition {
    fn producers_for_test(&self) -> producers::Producers {
        self.producers.lock().clone()
    }
}

/// The state of a partition, for the tests of the group below it.
#[cfg(test)]
pub(crate) fn test_state() -> impl crate::raft::GroupState {
    let limits = ProducerLimits::default();
    PartitionState::new(SharedProducers::new(limits), limits)
}
