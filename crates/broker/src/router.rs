//! The router: from the name of a partition to its handle on this node.
//!
//! Owns: nothing. It reads the image (what exists) and the table of open partitions (what runs here), both published
//! by others. What it cannot route it refuses with who to ask instead; it never retries or forwards.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use highwater_metadata::{MetadataImage, Topic};
use highwater_types::{ErrorCode, NodeId, PartitionId, TopicId, TopicName, TopicPartition};
use tokio::sync::watch;

use crate::disk_gate::DiskGate;
use crate::partition::PartitionHandle;

/// The partitions that run on this node, by topic id: a topic created again under a name is another.
pub(crate) type OpenPartitions = HashMap<TopicPartition, PartitionHandle>;

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
        let found = self.topic(topic)?;
        let id = TopicPartition { topic: found.id, partition };
        if let Some(handle) = self.partitions.borrow().get(&id) {
            return Ok(handle.clone());
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
        self.partitions.borrow().get(&id).cloned()
    }

    /// All partitions that run on this node.
    #[must_use]
    pub fn open_partitions(&self) -> Vec<(TopicPartition, PartitionHandle)> {
        let mut open: Vec<_> = self.partitions.borrow().iter().map(|(id, handle)| (*id, handle.clone())).collect();
        open.sort_unstable_by_key(|(id, _)| *id);
        open
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
