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

mod deletions;
mod error;
mod handle;
mod in_flight;
mod pending;
pub mod producers;
mod read;
mod records;
mod retain;
mod space;
mod state;
mod take_apart;
#[cfg(test)]
mod tests;
mod ticket;
mod writer;

use std::sync::Arc;
use std::time::Duration;

use highwater_storage::{Log, LogKey, VoteFile};
use highwater_types::NodeId;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use self::deletions::{Beginning, Deleter};
pub use self::error::{AppendError, DeleteError, ReadError};
pub use self::handle::PartitionHandle;
pub use self::producers::{ProducerLimits, ProducerSummary, SequenceError};
pub(crate) use self::read::Reader;
pub use self::read::{ColdReads, Position, ReadFrom, ReadResult, ResolvedOffset};
pub(crate) use self::records::RecordsError;
pub(crate) use self::space::{Space, Writes};
use self::state::{PartitionState, SharedProducers};
pub(crate) use self::take_apart::take_apart;
pub use self::ticket::{Acks, AppendAck, AppendTicket};
use self::writer::{QUEUE_BATCHES_MAX, Writer};
use crate::clock::Clock;
use crate::queues::{QueueHandle, QueueTask, REQUESTS_WAITING_MAX, SharedQueues};
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
    queues: JoinHandle<()>,
    /// Cancelled when one of these tasks is gone, however it ended.
    task_gone: CancellationToken,
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
        let (producers, queues) = (SharedProducers::new(limits), SharedQueues::default());
        let beginning = Beginning::default();
        let replica = Replica::open(ReplicaSpec {
            group: name,
            key,
            log: log.clone(),
            votes,
            node,
            network,
            clock: clock.clone(),
            state: PartitionState::new(producers.clone(), queues.clone(), beginning.clone(), limits),
        })
        .await?;
        replica.begin_at_open(&first_voters).await?;
        let stop = CancellationToken::new();
        let (queue, queued) = mpsc::channel(QUEUE_BATCHES_MAX);
        #[cfg(test)]
        let table = producers.clone();
        let (space, known) = (Space::default(), producers.clone());
        let deleter = Deleter::new(space.clone());
        let writer =
            Writer::new(replica.clone(), log.clone(), clock.clone(), producers, queued, stop.clone(), space.clone());
        let reader = Reader {
            replica: replica.clone(),
            log,
            committed: replica.committed(),
            beginning,
            leadership: replica.leadership(),
            cold: cold_reads,
            stop: stop.clone(),
        };
        let (asked, questions) = mpsc::channel(REQUESTS_WAITING_MAX);
        let queue_task = QueueTask::new(reader.clone(), space, queues.clone(), clock.clone(), questions);
        let queues = QueueHandle::new(asked, queues, replica.clone());
        let handle = PartitionHandle { queue, reader, clock: clock.clone(), queues, producers: known, deleter };
        let task_gone = CancellationToken::new();
        // Also when they panic.
        let (writers_last_word, queues_last_word) = (task_gone.clone().drop_guard(), task_gone.clone().drop_guard());
        let writer = tokio::spawn(async move {
            let _last_word = writers_last_word;
            writer.run().await;
        });
        let stopping = stop.clone().cancelled_owned();
        let queues = tokio::spawn(async move {
            let _last_word = queues_last_word;
            queue_task.run(stopping).await;
        });
        Ok(Self {
            handle,
            replica,
            clock,
            stop,
            writer,
            queues,
            task_gone,
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
        self.replica.begin_unless_begun(first_voters).await
    }

    /// Resolves when the replica or one of the tasks stops by itself; the node cannot go on then.
    pub async fn failed(&self) -> ReplicaFailure {
        tokio::select! {
            // First why it stopped, then what ended because of it.
            biased;
            failure = self.replica.failed() => failure,
            () = self.task_gone.cancelled() => {
                let reason = "a task that writes to it ended although nobody asked it to; this is a bug".to_owned();
                ReplicaFailure { group: self.replica.group().to_owned(), reason }
            }
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
        let _ = (&mut self.queues).await;
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
    PartitionState::new(SharedProducers::new(limits), SharedQueues::default(), Beginning::default(), limits)
}
