//! The router: from the name of a partition to its handle on this node.
//!
//! Owns: nothing. It reads the image (what exists) and the table of open partitions (what runs here), both published
//! by others. What it cannot route it refuses with who to ask instead; it never retries or forwards.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use highwater_metadata::{MetadataImage, Topic, is_internal};
use highwater_types::{ErrorCode, NodeId, PartitionId, TopicId, TopicName, TopicPartition};
use tokio::sync::watch;

use crate::coordinator::CoordinatorHandle;
use crate::disk_gate::DiskGate;
use crate::partition::PartitionHandle;
use crate::raft::Replica;

/// The groups that run on this node, by topic id: a topic created again under a name is another.
pub(crate) type OpenPartitions = HashMap<TopicPartition, Open>;

/// What runs on this node for one partition of the image.
#[derive(Clone, Debug)]
pub(crate) enum Open {
    /// Records.
    Partition(PartitionHandle),
    /// A partition of the topic whose partitions coordinate groups.
    Coordinator(CoordinatorHandle),
}

impl Open {
    /// The replica below.
    pub(crate) fn replica(&self) -> &Replica {
        match self {
            Self::Partition(partition) => partition.replica(),
            Self::Coordinator(coordinator) => coordinator.replica(),
        }
    }

    /// How many bytes its entries take on disk.
    pub(crate) fn size_bytes(&self) -> u64 {
        match self {
            Self::Partition(partition) => partition.size_bytes(),
            Self::Coordinator(coordinator) => coordinator.size_bytes(),
        }
    }

    /// Where records are, if it is a partition of records.
    pub(crate) fn partition(&self) -> Option<&PartitionHandle> {
        match self {
            Self::Partition(partition) => Some(partition),
            Self::Coordinator(_) => None,
        }
    }

    fn coordinator(&self) -> Option<&CoordinatorHandle> {
        match self {
            Self::Partition(_) => None,
            Self::Coordinator(coordinator) => Some(coordinator),
        }
    }
}

/// Finds partitions. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Router {
    node: NodeId,
    image: watch::Receiver<Arc<MetadataImage>>,
    partitions: watch::Receiver<OpenPartitions>,
    disk_gate: DiskGate,
}

/// Why a partition was not found here. Nothing was done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RouteError {
    /// No topic has that name.
    #[error("there is no topic '{topic}'")]
    UnknownTopic {
        /// The name.
        topic: TopicName,
    },
    /// The topic is the server's own.
    #[error("topic '{topic}' is the server's own: clients neither write nor read it")]
    Internal {
        /// The topic.
        topic: TopicName,
    },
    /// The topic has fewer partitions.
    #[error("topic '{topic}' has no partition {partition}; it has {count}, counted from 0")]
    UnknownPartition {
        /// The topic.
        topic: TopicName,
        /// The partition that was asked for.
        partition: PartitionId,
        /// How many there are.
        count: u32,
    },
    /// Other nodes hold the partition.
    #[error("partition {partition} of topic '{topic}' is not on this node; ask node {instead}")]
    Elsewhere {
        /// The topic.
        topic: TopicName,
        /// The partition.
        partition: PartitionId,
        /// A node that holds it and leads it by preference.
        instead: NodeId,
    },
    /// The partition belongs here, and is being opened or closed.
    #[error("partition {partition} of topic '{topic}' is being opened or closed on this node; try again")]
    NotOpen {
        /// The topic.
        topic: TopicName,
        /// The partition.
        partition: PartitionId,
    },
}

impl RouteError {
    /// The code that clients act on.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::UnknownTopic { .. } => ErrorCode::UnknownTopic,
            Self::Internal { .. } => ErrorCode::InvalidTopicName,
            Self::UnknownPartition { .. } => ErrorCode::UnknownPartition,
            Self::Elsewhere { .. } => ErrorCode::NotLeader,
            Self::NotOpen { .. } => ErrorCode::LeaderUnavailable,
        }
    }

    /// Whether the same request may succeed later.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        self.code().is_retryable()
    }
}

impl Router {
    pub(crate) fn new(
        node: NodeId,
        image: watch::Receiver<Arc<MetadataImage>>,
        partitions: watch::Receiver<OpenPartitions>,
        disk_gate: DiskGate,
    ) -> Self {
        Self { node, image, partitions, disk_gate }
    }

    /// What the cluster is, as this node has it now.
    #[must_use]
    pub fn image(&self) -> Arc<MetadataImage> {
        Arc::clone(&self.image.borrow())
    }

    /// The topic with this name.
    ///
    /// # Errors
    /// [`RouteError::UnknownTopic`].
    pub fn topic(&self, name: &TopicName) -> Result<Arc<Topic>, RouteError> {
        let topic = self.image.borrow().topic(name).map(Arc::clone);
        topic.ok_or_else(|| RouteError::UnknownTopic { topic: name.clone() })
    }

    /// The handle of a partition that this node holds.
    ///
    /// # Errors
    /// [`RouteError`] when there is none, or not here, or not now.
    pub fn partition(&self, topic: &TopicName, partition: PartitionId) -> Result<PartitionHandle, RouteError> {
        if is_internal(topic) {
            return Err(RouteError::Internal { topic: topic.clone() });
        }
        self.open(topic, partition, |open| open.partition().cloned())
    }

    /// The handle of a coordinator that this node holds: a partition of the topic that coordinates groups.
    ///
    /// # Errors
    /// As [`Router::partition`].
    pub fn coordinator(&self, topic: &TopicName, partition: PartitionId) -> Result<CoordinatorHandle, RouteError> {
        self.open(topic, partition, |open| open.coordinator().cloned())
    }

    fn open<T>(
        &self,
        topic: &TopicName,
        partition: PartitionId,
        wanted: impl FnOnce(&Open) -> Option<T>,
    ) -> Result<T, RouteError> {
        let found = self.topic(topic)?;
        let id = TopicPartition { topic: found.id, partition };
        if let Some(handle) = self.partitions.borrow().get(&id).and_then(wanted) {
            return Ok(handle);
        }
        let topic = topic.clone();
        let Some(assignment) = found.partition(partition) else {
            return Err(RouteError::UnknownPartition { topic, partition, count: found.partition_count() });
        };
        if assignment.holds(self.node) {
            return Err(RouteError::NotOpen { topic, partition });
        }
        // The preferred leader leads, unless it does not answer; then one of the others knows who does.
        let image = self.image.borrow();
        let answers = |node: &&NodeId| image.member(**node).is_some_and(|member| !member.is_fenced);
        let replicas = &assignment.replicas;
        match replicas.iter().find(answers).or_else(|| replicas.first()) {
            Some(instead) => Err(RouteError::Elsewhere { topic, partition, instead: *instead }),
            None => Err(RouteError::NotOpen { topic, partition }),
        }
    }

    /// The handle of a partition by its id, if it runs on this node.
    #[must_use]
    pub fn open_partition(&self, id: TopicPartition) -> Option<PartitionHandle> {
        self.partitions.borrow().get(&id).and_then(Open::partition).cloned()
    }

    /// All partitions of records that run on this node.
    #[must_use]
    pub fn open_partitions(&self) -> Vec<(TopicPartition, PartitionHandle)> {
        let partitions = self.partitions.borrow();
        let open = partitions.iter().filter_map(|(id, open)| Some((*id, open.partition()?.clone())));
        let mut open: Vec<_> = open.collect();
        open.sort_unstable_by_key(|(id, _)| *id);
        open
    }

    /// All coordinators that run on this node.
    #[must_use]
    pub fn open_coordinators(&self) -> Vec<(TopicPartition, CoordinatorHandle)> {
        let partitions = self.partitions.borrow();
        let open = partitions.iter().filter_map(|(id, open)| Some((*id, open.coordinator()?.clone())));
        let mut open: Vec<_> = open.collect();
        open.sort_unstable_by_key(|(id, _)| *id);
        open
    }

    /// Whether anything runs here for a partition.
    pub(crate) fn is_open(&self, id: TopicPartition) -> bool {
        self.partitions.borrow().contains_key(&id)
    }

    /// Waits until this node has opened what it holds of a topic, so that who created the topic can use it at once.
    /// Gives up after `patience`; the topic exists nonetheless.
    pub async fn wait_until_open(&self, topic: TopicId, patience: Duration) {
        let is_open = |partitions: &OpenPartitions| {
            // A topic that is deleted again is not waited for.
            self.image.borrow().topic_by_id(topic).is_none_or(|topic| {
                topic
                    .numbered_partitions()
                    .filter(|(_, assignment)| assignment.replicas.contains(&self.node))
                    .all(|(partition, _)| partitions.contains_key(&TopicPartition { topic: topic.id, partition }))
            })
        };
        let mut partitions = self.partitions.clone();
        // Neither giving up nor a stopping node is a failure of whoever waits.
        let _opened = tokio::time::timeout(patience, partitions.wait_for(is_open)).await;
    }

    /// Whether the disk has room for more records: asked before a batch is taken.
    #[must_use]
    pub fn disk_gate(&self) -> &DiskGate {
        &self.disk_gate
    }

    /// This node.
    #[must_use]
    pub fn node(&self) -> NodeId {
        self.node
    }
}
