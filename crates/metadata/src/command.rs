//! Commands: what the controller may be asked to do, what it answers, and why it refuses.

use std::sync::Arc;

use highwater_types::{ClusterId, ErrorCode, NodeId, ProducerId, Timestamp, TopicId, TopicName, limits};

use crate::placement::PlacementError;
use crate::record::MetadataRecord;
use crate::settings::SettingError;
use crate::topic::{NodeRegistration, Topic};

/// Something that the controller is asked to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Makes the cluster, with its first node. Once only.
    FormCluster {
        /// Its id.
        cluster: ClusterId,
        /// The first node.
        node: NodeRegistration,
    },
    /// Adds a node, or tells the new address of one.
    RegisterNode(NodeRegistration),
    /// Creates a topic.
    CreateTopic(CreateTopic),
    /// Deletes a topic and everything in it.
    DeleteTopic {
        /// Its name.
        name: TopicName,
    },
    /// Changes a topic.
    AlterTopic(AlterTopic),
    /// Sets a block of producer ids aside, none of which was ever handed out.
    AllocateProducerIds {
        /// How many.
        count: u32,
    },
}

/// The topic to create.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreateTopic {
    /// Its name.
    pub name: TopicName,
    /// How many partitions; 0: the default.
    pub partitions: u32,
    /// How many replicas each; 0: the default, or fewer while the cluster has fewer nodes.
    pub replicas: u32,
    /// Its settings, by name, as they were written.
    pub settings: Vec<(String, String)>,
    /// Whether to check everything and create nothing.
    pub is_validate_only: bool,
}

/// What to change of a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AlterTopic {
    /// Its name.
    pub name: TopicName,
    /// Settings to set, by name, as they were written.
    pub set: Vec<(String, String)>,
    /// Settings to return to their defaults, by name.
    pub unset: Vec<String>,
    /// How many partitions it shall have; `None`: as many as now.
    pub partitions: Option<u32>,
}

/// What a decision takes besides the image and the command: time, chance, and what the node was configured with.
#[derive(Clone, Copy, Debug)]
pub struct Context {
    /// The time.
    pub now: Timestamp,
    /// The id of the topic, if one is created; never used before.
    pub topic_id: TopicId,
    /// The chance in placement.
    pub seed: u64,
    /// What was configured.
    pub policy: Policy,
}

/// What an operator configures about decisions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Partitions of a topic that does not say.
    pub partitions_default: u32,
    /// Replicas of a topic that does not say, if the cluster has as many nodes.
    pub replicas_default: u32,
    /// The most replicas that one node holds. Each costs about a megabyte of memory and an open file or two.
    pub replicas_per_node_max: usize,
}

impl Default for Policy {
    fn default() -> Self {
        Self { partitions_default: 1, replicas_default: 3, replicas_per_node_max: 2_000 }
    }
}

/// What a command leads to: records that must be committed before anybody hears the reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// The records; none when nothing changes.
    pub records: Vec<MetadataRecord>,
    /// The answer.
    pub reply: Reply,
}

/// The answer to a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// It is done.
    Done,
    /// The topic as it is now.
    Topic(Arc<Topic>),
    /// A block of producer ids.
    ProducerIds {
        /// The first of them.
        first: ProducerId,
        /// How many.
        count: u32,
    },
}

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
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::TopicExists { .. } => ErrorCode::TopicExists,
            Self::UnknownTopic { .. } => ErrorCode::UnknownTopic,
            Self::Setting(_) => ErrorCode::InvalidConfig,
            Self::Placement(PlacementError::TooFewNodes { .. }) => ErrorCode::InvalidReplication,
            Self::Placement(PlacementError::NodesFull { .. })
            | Self::TooManyPartitions { .. }
            | Self::FewerPartitions { .. }
            | Self::AlreadyFormed { .. }
            | Self::NodeIdTaken { .. } => ErrorCode::InvalidRequest,
            Self::NotFormed => ErrorCode::LeaderUnavailable,
            Self::ProducerIdsExhausted { .. } => ErrorCode::Internal,
        }
    }
}
