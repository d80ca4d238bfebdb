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
use highwater_types::{ClusterId, PartitionId, ProducerId, TopicId};

use crate::placement::Assignment;
use crate::settings::TopicSettings;
use crate::topic::{NodeRegistration, Topic};

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
            Self::NodeRegistered(NodeRegistration { node, uuid, address }) => {
                write!(f, "node-registered node={node} uuid={uuid} address={address}")
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
        }
    }
}

fn write_assignments(f: &mut fmt::Formatter<'_>, assignments: &[Assignment]) -> fmt::Result {
    let nodes =
        |assignment: &Assignment| assignment.replicas.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
    write!(f, " partitions=[{}]", assignments.iter().map(nodes).collect::<Vec<_>>().join(" "))
}

fn write_settings(f: &mut fmt::Formatter<'_>, settings: &TopicSettings) -> fmt::Result {
    settings.overrides().try_for_each(|(setting, value)| write!(f, " {setting}={value}"))
}
