//! The controller: who is asked to change what the cluster is.
//!
//! Owns: the metadata group (a Raft group like any other, whose state is the image), the one task that decides, the
//! handle that everybody else asks, the way of a command to the node that leads the group, and what that node does by
//! itself: it fences who is silent and carries out what the image asks for.
//!
//! Never: decides by itself what a command leads to (crate `metadata` does, as a pure function), or answers before
//! the records are committed and applied.
//!
//! ```text
//!   ControllerHandle ──command──► task: decide(image) ──records──► Replica ──commit──► MetadataState
//!          ▲      └─ another node leads: Peers ─► its task           │                      │
//!          │                        └──────────reply after apply◄─────┘                     │
//!          └───────────────── Arc<MetadataImage>, published after each entry ◄──────────────┘
//! ```
//!
//! Invariant: one command is under way at a time, so the image that it is decided on holds every command before it.
//! What one decides is an fsync away from the next; commands are rare, and producer ids come in blocks.

mod beats;
mod error;
mod forward;
pub mod health;
mod producer_ids;
mod service;
mod state;
mod steward;
mod task;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use highwater_metadata::{AlterTopic, Command, CreateTopic, MetadataImage, Policy, Reply, Topic};
use highwater_proto::internal::v1::NodeHeartbeat;
use highwater_storage::{Log, LogKey};
use highwater_types::{NodeId, ProducerEpoch, ProducerId, TopicName};
use tokio::sync::{mpsc, oneshot, watch};

use crate::clock::Clock;
use crate::peer::Peers;
use crate::raft::Replica;
use crate::shutdown::Shutdown;

pub use error::ControllerError;
pub(crate) use state::MetadataState;
pub(crate) use steward::Facts;

use beats::Beats;
use forward::Forward;
use producer_ids::ProducerIds;
use task::{Request, Task};

/// The log of the metadata group in a data directory: no topic has this id.
pub const METADATA_LOG: LogKey = LogKey::new([0; 16], 0);

/// Commands that may wait for their turn; whoever sends more waits for room.
const COMMANDS_WAITING_MAX: usize = 256;

/// Asks the controller. Cheap to clone.
#[derive(Clone, Debug)]
pub struct ControllerHandle {
    commands: mpsc::Sender<Request>,
    image: watch::Receiver<Arc<MetadataImage>>,
    producer_ids: Arc<ProducerIds>,
    replica: Replica,
    policy: Policy,
    forward: Forward,
    beats: Beats,
}

impl ControllerHandle {
    /// Starts the task that decides on this replica of the metadata group. It ends with `shutdown`.
    pub(crate) fn start(
        replica: Replica,
        log: Log,
        image: watch::Receiver<Arc<MetadataImage>>,
        policy: Policy,
        clock: Clock,
        shutdown: &Shutdown,
    ) -> Self {
        let (commands, requests) = mpsc::channel(COMMANDS_WAITING_MAX);
        let forward = Forward::new(replica.leadership(), image.clone(), clock.clone());
        let task = Task::new(replica.clone(), log, image.clone(), policy, clock, requests);
        shutdown.spawn(task.run(shutdown.requested()));
        Self { commands, image, producer_ids: Arc::default(), replica, policy, forward, beats: Beats::default() }
    }

    /// Tells how other nodes are reached. Until then a command is decided here or not at all. Once; a second call
    /// changes nothing.
    pub fn connect(&self, peers: Peers) {
        self.forward.connect(peers);
    }

    /// Says that this node lives, with what `facts` tells of it, and fences who is silent while this node leads the
    /// metadata group. Runs until `stop`.
    pub(crate) async fn beat(self, facts: Facts, stop: impl Future<Output = ()>) {
        steward::beat(&self, facts, stop).await;
    }

    /// Carries out what the image asks for while this node leads the metadata group. Runs until `stop`.
    pub(crate) async fn tend(self, stop: impl Future<Output = ()>) {
        steward::tend(&self, stop).await;
    }

    /// The image as this node has it, and every later one.
    #[must_use]
    pub fn image(&self) -> watch::Receiver<Arc<MetadataImage>> {
        self.image.clone()
    }

    /// Creates a topic, or with `is_validate_only` says what would be created.
    ///
    /// # Errors
    /// [`ControllerError`]; it tells whether the topic may exist nonetheless.
    pub async fn create_topic(&self, topic: CreateTopic) -> Result<Arc<Topic>, ControllerError> {
        expect_topic(self.submit(Command::CreateTopic(topic)).await?)
    }

    /// Deletes a topic with everything in it.
    ///
    /// # Errors
    /// [`ControllerError`]; it tells whether the topic may be gone nonetheless.
    pub async fn delete_topic(&self, name: TopicName) -> Result<(), ControllerError> {
        self.submit(Command::DeleteTopic { name }).await.map(drop)
    }

    /// Changes the settings of a topic, or adds partitions.
    ///
    /// # Errors
    /// [`ControllerError`]; it tells whether the topic may have changed nonetheless.
    pub async fn alter_topic(&self, change: AlterTopic) -> Result<Arc<Topic>, ControllerError> {
        expect_topic(self.submit(Command::AlterTopic(change)).await?)
    }

    /// A producer id that nobody was ever given, with its first epoch.
    ///
    /// # Errors
    /// [`ControllerError`], when a new block of ids was needed and not granted.
    pub async fn allocate_producer_id(&self) -> Result<(ProducerId, ProducerEpoch), ControllerError> {
        let id = self.producer_ids.next(|count| self.submit(Command::AllocateProducerIds { count })).await?;
        Ok((id, ProducerEpoch::new(0)))
    }

    /// Sends a command to whoever leads the metadata group, and waits until what it leads to is committed, and applied
    /// here. Tries for a while when there is no leader, or another one.
    ///
    /// # Errors
    /// [`ControllerError`].
    pub async fn submit(&self, command: Command) -> Result<Reply, ControllerError> {
        self.forward.submit(&command, || self.submit_here(command.clone())).await
    }

    /// Has a command decided by this node, once.
    ///
    /// # Errors
    /// [`ControllerError`]; at once when this node does not lead the metadata group.
    pub(crate) async fn submit_here(&self, command: Command) -> Result<Reply, ControllerError> {
        let (reply, answer) = oneshot::channel();
        self.commands.send(Request { command, reply }).await.map_err(|_| ControllerError::Stopped)?;
        // The task drops a request unanswered only when it ends in the middle of it.
        answer.await.unwrap_or(Err(ControllerError::OutcomeUnknown))
    }

    /// Whether the image here holds everything that was committed before the question. `false` also when nobody could
    /// say so in time.
    pub(crate) async fn has_newest_image(&self, patience: Duration) -> bool {
        let confirmed = tokio::time::timeout(patience, self.forward.confirm(&self.replica)).await;
        confirmed.unwrap_or(false)
    }

    /// What each node told of itself last, and how long ago; all there is on the node that leads the metadata group.
    pub fn heartbeats(&self) -> BTreeMap<NodeId, (Duration, NodeHeartbeat)> {
        self.beats.said(self.forward.clock().instant())
    }
}

fn expect_topic(reply: Reply) -> Result<Arc<Topic>, ControllerError> {
    match reply {
        Reply::Topic(topic) => Ok(topic),
        _ => Err(ControllerError::WrongReply),
    }
}
