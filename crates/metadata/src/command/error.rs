//! Why a command is refused.

use highwater_types::{ClusterId, ErrorCode, NodeId, TopicName, TopicPartition, limits};

use crate::node::NodeState;
use crate::placement::PlacementError;
use crate::settings::SettingError;

/// Why a command was refused. Nothing changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// The cluster exists.
    #[error("the cluster was formed already; its id is {cluster}")]
    AlreadyFormed {
        /// Its id.
        cluster: ClusterId,
    },
    /// The cluster does not exist.
    #[error("the cluster was not formed yet")]
    NotFormed,
    /// Another data directory has that node id.
    #[error("node {node} has another data directory; a node that lost its data joins again under a new id")]
    NodeIdTaken {
        /// The node.
        node: NodeId,
    },
    /// No node has that number.
    #[error("the cluster has no node {node}")]
    UnknownNode {
        /// The number.
        node: NodeId,
    },
    /// The node is no part of the cluster any more.
    #[error(
        "node {node} was removed from the cluster; to come back it joins with an empty data directory, under a new id"
    )]
    NodeRemoved {
        /// The node.
        node: NodeId,
    },
    /// What a node says of itself cannot be right.
    #[error("the node cannot be registered: {reason}")]
    InvalidNode {
        /// What is wrong.
        reason: &'static str,
    },
    /// The cluster has as many nodes as it may.
    #[error("the cluster has {} nodes, and that is the most it can have", limits::CLUSTER_NODES_MAX)]
    TooManyNodes,
    /// Another node would have to be there.
    #[error("node {node} is the last one; a cluster keeps at least one node")]
    LastNode {
        /// The node.
        node: NodeId,
    },
    /// Without the node a topic cannot have all its replicas.
    #[error(
        "topic '{topic}' has {replicas} replicas, and without node {node} only {others} nodes could hold them; \
         add a node first, or lower the topic's replicas"
    )]
    NodeNeeded {
        /// The node.
        node: NodeId,
        /// A topic that needs it.
        topic: TopicName,
        /// How many replicas that has.
        replicas: u32,
        /// How many nodes would be left.
        others: usize,
    },
    /// It holds replicas.
    #[error("node {node} still holds {replicas} replicas; decommission it, and it is removed when they are moved")]
    NodeHoldsReplicas {
        /// The node.
        node: NodeId,
        /// How many.
        replicas: usize,
    },
    /// It is not on its way out.
    #[error("node {node} is {state}; decommission it, and it is removed when its replicas are moved")]
    NodeNotDecommissioned {
        /// The node.
        node: NodeId,
        /// What it is.
        state: NodeState,
    },
    /// It has a say in the metadata.
    #[error("node {node} still votes on the cluster's metadata; decommission it, and another node takes its place")]
    NodeVotes {
        /// The node.
        node: NodeId,
    },
    /// It cannot take replicas now.
    #[error("node {node} cannot take replicas: it {reason}")]
    NodeNotReady {
        /// The node.
        node: NodeId,
        /// Why not.
        reason: &'static str,
    },
    /// It holds as many replicas as it may.
    #[error("node {node} holds {per_node_max} replicas, and that is the most it may hold")]
    NodeFull {
        /// The node.
        node: NodeId,
        /// How many a node may hold.
        per_node_max: usize,
    },
    /// No such partition.
    #[error("there is no partition {partition}; its topic may have been deleted")]
    UnknownPartition {
        /// Its topic's id and its number.
        partition: TopicPartition,
    },
    /// The nodes that were named are not what the topic needs.
    #[error("topic '{topic}' has {replicas} replicas, so a move names that many different nodes, not [{named}]")]
    InvalidTarget {
        /// The topic.
        topic: TopicName,
        /// How many replicas it has.
        replicas: u32,
        /// What was named.
        named: String,
    },
    /// It moves already.
    #[error("the partition is moving to [{target}] already; wait for that, or cancel it first")]
    MoveUnderWay {
        /// Where to.
        target: String,
    },
    /// It does not move.
    #[error("the partition is not moving")]
    NotMoving,
    /// Nothing could be taken back.
    #[error("the move only takes replicas away and is not taken back; move the partition again when it is done")]
    MoveAddsNothing,
    /// The node does not hold the partition.
    #[error("node {node} holds no replica of the partition; those that do are [{replicas}]")]
    NoReplica {
        /// The node.
        node: NodeId,
        /// The nodes that do.
        replicas: String,
    },
    /// The number of replicas makes no sense.
    #[error("a partition has 1 to {} replicas, not {asked}", limits::REPLICAS_MAX)]
    InvalidReplicas {
        /// How many were asked for.
        asked: u32,
    },
    /// The name is taken.
    #[error("topic '{name}' exists already")]
    TopicExists {
        /// The name.
        name: TopicName,
    },
    /// No topic has that name.
    #[error("there is no topic '{name}'")]
    UnknownTopic {
        /// The name.
        name: TopicName,
    },
    /// Too many partitions.
    #[error("a topic has at most {} partitions, not {asked}", limits::TOPIC_PARTITIONS_MAX)]
    TooManyPartitions {
        /// How many were asked for.
        asked: u32,
    },
    /// Partitions would be lost.
    #[error("topic '{name}' has {now} partitions and cannot shrink to {asked}: their records would be lost")]
    FewerPartitions {
        /// The topic.
        name: TopicName,
        /// How many it has.
        now: u32,
        /// How many were asked for.
        asked: u32,
    },
    /// The partitions have no place.
    #[error(transparent)]
    Placement(#[from] PlacementError),
    /// A setting is wrong.
    #[error(transparent)]
    Setting(#[from] SettingError),
    /// All producer ids are handed out.
    #[error("no {count} producer ids are left")]
    ProducerIdsExhausted {
        /// How many were asked for.
        count: u32,
    },
}

impl CommandError {
    /// The code that clients act on.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::TopicExists { .. } => ErrorCode::TopicExists,
            Self::UnknownTopic { .. } => ErrorCode::UnknownTopic,
            Self::UnknownPartition { .. } => ErrorCode::UnknownPartition,
            Self::Setting(_) => ErrorCode::InvalidConfig,
            Self::Placement(PlacementError::TooFewNodes { .. } | PlacementError::TooFewAlive { .. })
            | Self::InvalidReplicas { .. } => ErrorCode::InvalidReplication,
            Self::NotFormed => ErrorCode::LeaderUnavailable,
            Self::ProducerIdsExhausted { .. } => ErrorCode::Internal,
            _ => ErrorCode::InvalidRequest,
        }
    }
}
