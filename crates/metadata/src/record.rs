//! Metadata records: the only thing about the cluster that is ever persisted, one entry of the controller's log at a time.
//!
//! Owns: what each record says, its form as text, and (in `wire`) its form as bytes.
//!
//! Invariants:
//! - A record carries absolute values (all settings of a topic, the next free producer id), so replaying it twice is
//!   as replaying it once.
//! - What one command decides stands in one entry, so it happens wholly or not at all.

pub(crate) mod wire;

use std::fmt;

use bytes::Bytes;
use highwater_types::{ClusterId, NodeId, PartitionId, ProducerId, TopicId, TopicPartition};

use crate::assignment::Assignment;
use crate::node::{NodeRegistration, NodeState};
use crate::settings::TopicSettings;
use crate::topic::Topic;

/// One fact about the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MetadataRecord {
    /// The cluster exists and has this id. The first record of all.
    ClusterFormed {
        /// The cluster.
        cluster: ClusterId,
    },
    /// A node belongs to the cluster, reached at this address from now on.
    NodeRegistered(NodeRegistration),
    /// A topic exists.
    TopicCreated(Topic),
    /// A topic exists no more, nor does what was in it.
    TopicDeleted {
        /// The topic.
        topic: TopicId,
    },
    /// A topic sets exactly this; its other settings are the defaults.
    TopicConfigured {
        /// The topic.
        topic: TopicId,
        /// All that it sets.
        settings: TopicSettings,
    },
    /// A topic has more partitions.
    PartitionsAdded {
        /// The topic.
        topic: TopicId,
        /// The number of the first new partition.
        first: PartitionId,
        /// Where the new partitions are, in order.
        assignments: Vec<Assignment>,
    },
    /// All producer ids below this one are handed out, or may be.
    ProducerIdsReserved {
        /// The next free id.
        next: ProducerId,
    },
    /// What the operator wants of a node.
    NodeStateSet {
        /// The node.
        node: NodeId,
        /// What is wanted.
        state: NodeState,
        /// Where its replicas go, if one node replaces it.
        successor: Option<NodeId>,
    },
    /// The controller does not hear from a node.
    NodeFenced {
        /// The node.
        node: NodeId,
    },
    /// The controller hears from a node again.
    NodeUnfenced {
        /// The node.
        node: NodeId,
    },
    /// A node is no part of the cluster any more; its number and its data directory are refused for ever.
    NodeRemoved {
        /// The node.
        node: NodeId,
    },
    /// A partition is, or shall be, on these nodes.
    PartitionAssigned {
        /// The partition.
        partition: TopicPartition,
        /// The nodes.
        assignment: Assignment,
    },
    /// The partitions of a topic shall have so many replicas each.
    TopicReplicasSet {
        /// The topic.
        topic: TopicId,
        /// How many.
        replicas: u32,
    },
    /// Replicas and leaders are being evened out over the nodes, or not any more.
    BalancingSet {
        /// Whether they are.
        is_on: bool,
    },
}

/// Why bytes are no metadata that this version understands. Never skipped: a node that ignored a record would
/// disagree with the others about the cluster.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Nothing at all.
    #[error("the metadata is empty")]
    Empty,
    /// A newer version of the product wrote it.
    #[error("the metadata has format {found}, this version knows formats up to {known}; start a newer version")]
    NewerFormat {
        /// The format that was found.
        found: u8,
        /// The newest format that this version knows.
        known: u8,
    },
    /// A kind of record that this version does not know.
    #[error("the metadata has a record of a kind that this version does not know; start a newer version")]
    UnknownRecord,
    /// A topic has a setting, or the value of one, that this version does not know.
    #[error("topic {topic} has the setting {name}={value}, which this version does not know; start a newer version")]
    UnknownSetting {
        /// The topic.
        topic: TopicId,
        /// The setting.
        name: String,
        /// Its value.
        value: String,
    },
    /// It is not what its format says.
    #[error("the metadata is damaged: {reason}")]
    Malformed {
        /// What is wrong.
        reason: String,
    },
}

/// The records of one decision as one payload for the log.
#[must_use]
pub fn encode(records: &[MetadataRecord]) -> Bytes {
    wire::encode(records)
}

/// The records in one payload of the log.
///
/// # Errors
/// [`DecodeError`] when this version does not understand all of it.
pub fn decode(payload: &[u8]) -> Result<Vec<MetadataRecord>, DecodeError> {
    wire::decode(payload)
}

impl fmt::Display for MetadataRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ClusterFormed { cluster } => write!(f, "cluster-formed cluster={cluster}"),
            Self::NodeRegistered(registration) => {
                let NodeRegistration { node, uuid, address, peer_address, rack, kafka_address, kafka_listeners } =
                    registration;
                write!(f, "node-registered node={node} uuid={uuid} address={address}")?;
                write_given(f, "peer", peer_address)?;
                write_given(f, "rack", rack)?;
                write_given(f, "kafka", kafka_address)?;
                kafka_listeners.iter().try_for_each(|(name, address)| write!(f, " kafka.{name}={address}"))
            }
            Self::TopicCreated(Topic { id, name, created_at, replicas, partitions, settings }) => {
                write!(f, "topic-created topic={id} name={name} created_at={created_at} replicas={replicas}")?;
                write_assignments(f, partitions)?;
                write_settings(f, settings)
            }
            Self::TopicDeleted { topic } => write!(f, "topic-deleted topic={topic}"),
            Self::TopicConfigured { topic, settings } => {
                write!(f, "topic-configured topic={topic}")?;
                write_settings(f, settings)
            }
            Self::PartitionsAdded { topic, first, assignments } => {
                write!(f, "partitions-added topic={topic} first={first}")?;
                write_assignments(f, assignments)
            }
            Self::ProducerIdsReserved { next } => write!(f, "producer-ids-reserved next={next}"),
            Self::NodeStateSet { node, state, successor } => {
                write!(f, "node-state-set node={node} state={state}")?;
                successor.map_or(Ok(()), |successor| write!(f, " successor={successor}"))
            }
            Self::NodeFenced { node } => write!(f, "node-fenced node={node}"),
            Self::NodeUnfenced { node } => write!(f, "node-unfenced node={node}"),
            Self::NodeRemoved { node } => write!(f, "node-removed node={node}"),
            Self::PartitionAssigned { partition: TopicPartition { topic, partition }, assignment } => {
                let generation = assignment.generation;
                write!(
                    f,
                    "partition-assigned topic={topic} partition={partition} nodes={assignment} generation={generation}"
                )
            }
            Self::TopicReplicasSet { topic, replicas } => {
                write!(f, "topic-replicas-set topic={topic} replicas={replicas}")
            }
            Self::BalancingSet { is_on } => write!(f, "balancing-set is_on={is_on}"),
        }
    }
}

fn write_assignments(f: &mut fmt::Formatter<'_>, assignments: &[Assignment]) -> fmt::Result {
    write!(f, " partitions=[{}]", assignments.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "))
}

fn write_given(f: &mut fmt::Formatter<'_>, name: &str, value: &str) -> fmt::Result {
    if value.is_empty() { Ok(()) } else { write!(f, " {name}={value}") }
}

fn write_settings(f: &mut fmt::Formatter<'_>, settings: &TopicSettings) -> fmt::Result {
    settings.overrides().try_for_each(|(setting, value)| write!(f, " {setting}={value}"))
}
