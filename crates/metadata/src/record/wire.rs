//! Metadata records as bytes: one byte of format, then Protocol Buffers.
//!
//! ```text
//!   format u8 = 2 │ Entry { repeated Record }      Record is a oneof: the field's number is the record's kind
//! ```
//!
//! A field's number is never used again. A change that older versions must not overlook raises [`FORMAT`]: 2 added the
//! target of a move, and a node's peer address and rack.

mod parts;

use bytes::Bytes;
use highwater_types::{NodeId, PartitionId, ProducerId, TopicPartition};
use prost::Message;

use super::{DecodeError, MetadataRecord};

pub(crate) use parts::{
    Node, Override, Partition, Topic, cluster_id, malformed, node_state, node_uuid, state_number, topic_id,
};
use parts::{assignments, overrides, partitions, settings};

/// The newest format of an entry of records.
pub(crate) const FORMAT: u8 = 2;

#[derive(Clone, PartialEq, Message)]
struct Entry {
    #[prost(message, repeated, tag = "1")]
    records: Vec<Record>,
}

#[derive(Clone, PartialEq, Message)]
struct Record {
    #[prost(oneof = "Kind", tags = "1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14")]
    kind: Option<Kind>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum Kind {
    #[prost(message, tag = "1")]
    ClusterFormed(ClusterFormed),
    #[prost(message, tag = "2")]
    NodeRegistered(Node),
    #[prost(message, tag = "3")]
    TopicCreated(Topic),
    #[prost(message, tag = "4")]
    TopicDeleted(TopicDeleted),
    #[prost(message, tag = "5")]
    TopicConfigured(TopicConfigured),
    #[prost(message, tag = "6")]
    PartitionsAdded(PartitionsAdded),
    #[prost(message, tag = "7")]
    ProducerIdsReserved(ProducerIdsReserved),
    #[prost(message, tag = "8")]
    NodeStateSet(NodeStateSet),
    #[prost(message, tag = "9")]
    NodeFenced(NodeNamed),
    #[prost(message, tag = "10")]
    NodeUnfenced(NodeNamed),
    #[prost(message, tag = "11")]
    NodeRemoved(NodeNamed),
    #[prost(message, tag = "12")]
    PartitionAssigned(PartitionAssigned),
    #[prost(message, tag = "13")]
    TopicReplicasSet(TopicReplicasSet),
    #[prost(message, tag = "14")]
    BalancingSet(BalancingSet),
}

#[derive(Clone, PartialEq, Message)]
struct ClusterFormed {
    #[prost(bytes = "vec", tag = "1")]
    cluster: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
struct TopicDeleted {
    #[prost(bytes = "vec", tag = "1")]
    topic: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
struct TopicConfigured {
    #[prost(bytes = "vec", tag = "1")]
    topic: Vec<u8>,
    #[prost(message, repeated, tag = "2")]
    settings: Vec<Override>,
}

#[derive(Clone, PartialEq, Message)]
struct PartitionsAdded {
    #[prost(bytes = "vec", tag = "1")]
    topic: Vec<u8>,
    #[prost(uint32, tag = "2")]
    first: u32,
    #[prost(message, repeated, tag = "3")]
    partitions: Vec<Partition>,
}

#[derive(Clone, PartialEq, Message)]
struct ProducerIdsReserved {
    #[prost(int64, tag = "1")]
    next: i64,
}

#[derive(Clone, PartialEq, Message)]
struct NodeStateSet {
    #[prost(uint64, tag = "1")]
    node: u64,
    #[prost(uint32, tag = "2")]
    state: u32,
    #[prost(uint64, optional, tag = "3")]
    successor: Option<u64>,
}

#[derive(Clone, PartialEq, Message)]
struct NodeNamed {
    #[prost(uint64, tag = "1")]
    node: u64,
}

#[derive(Clone, PartialEq, Message)]
struct PartitionAssigned {
    #[prost(bytes = "vec", tag = "1")]
    topic: Vec<u8>,
    #[prost(uint32, tag = "2")]
    partition: u32,
    #[prost(message, optional, tag = "3")]
    assignment: Option<Partition>,
}

#[derive(Clone, PartialEq, Message)]
struct TopicReplicasSet {
    #[prost(bytes = "vec", tag = "1")]
    topic: Vec<u8>,
    #[prost(uint32, tag = "2")]
    replicas: u32,
}

#[derive(Clone, PartialEq, Message)]
struct BalancingSet {
    #[prost(bool, tag = "1")]
    is_on: bool,
}

pub(super) fn encode(records: &[MetadataRecord]) -> Bytes {
    let entry = Entry { records: records.iter().map(|record| Record { kind: Some(Kind::from(record)) }).collect() };
    frame(FORMAT, &entry)
}

pub(super) fn decode(payload: &[u8]) -> Result<Vec<MetadataRecord>, DecodeError> {
    let entry: Entry = unframe(FORMAT, payload)?;
    entry.records.into_iter().map(|record| record.kind.ok_or(DecodeError::UnknownRecord)?.try_into()).collect()
}

/// A message behind the byte of its format.
pub(crate) fn frame(format: u8, message: &impl Message) -> Bytes {
    let mut bytes = vec![format];
    bytes.extend_from_slice(&message.encode_to_vec());
    bytes.into()
}

/// The message behind the byte of its format, if that is known.
pub(crate) fn unframe<M: Message + Default>(known: u8, bytes: &[u8]) -> Result<M, DecodeError> {
    match bytes.split_first() {
        None => Err(DecodeError::Empty),
        Some((0, _)) => Err(malformed("its format is 0")),
        Some((found, _)) if *found > known => Err(DecodeError::NewerFormat { found: *found, known }),
        Some((_, message)) => M::decode(message).map_err(malformed),
    }
}

impl From<&MetadataRecord> for Kind {
    fn from(record: &MetadataRecord) -> Self {
        match record {
            MetadataRecord::ClusterFormed { cluster } => {
                Self::ClusterFormed(ClusterFormed { cluster: cluster.to_bytes().into() })
            }
            MetadataRecord::NodeRegistered(node) => Self::NodeRegistered(node.into()),
            MetadataRecord::TopicCreated(topic) => Self::TopicCreated(topic.into()),
            MetadataRecord::TopicDeleted { topic } => {
                Self::TopicDeleted(TopicDeleted { topic: topic.to_bytes().into() })
            }
            MetadataRecord::TopicConfigured { topic, settings } => {
                Self::TopicConfigured(TopicConfigured { topic: topic.to_bytes().into(), settings: overrides(settings) })
            }
            MetadataRecord::PartitionsAdded { topic, first, assignments } => Self::PartitionsAdded(PartitionsAdded {
                topic: topic.to_bytes().into(),
                first: first.get(),
                partitions: partitions(assignments),
            }),
            MetadataRecord::ProducerIdsReserved { next } => {
                Self::ProducerIdsReserved(ProducerIdsReserved { next: next.get() })
            }
            MetadataRecord::NodeStateSet { node, state, successor } => Self::NodeStateSet(NodeStateSet {
                node: node.get(),
                state: state_number(*state),
                successor: successor.map(NodeId::get),
            }),
            MetadataRecord::NodeFenced { node } => Self::NodeFenced(NodeNamed { node: node.get() }),
            MetadataRecord::NodeUnfenced { node } => Self::NodeUnfenced(NodeNamed { node: node.get() }),
            MetadataRecord::NodeRemoved { node } => Self::NodeRemoved(NodeNamed { node: node.get() }),
            MetadataRecord::PartitionAssigned { partition, assignment } => Self::PartitionAssigned(PartitionAssigned {
                topic: partition.topic.to_bytes().into(),
                partition: partition.partition.get(),
                assignment: Some(assignment.into()),
            }),
            MetadataRecord::TopicReplicasSet { topic, replicas } => {
                Self::TopicReplicasSet(TopicReplicasSet { topic: topic.to_bytes().into(), replicas: *replicas })
            }
            MetadataRecord::BalancingSet { is_on } => Self::BalancingSet(BalancingSet { is_on: *is_on }),
        }
    }
}

impl TryFrom<Kind> for MetadataRecord {
    type Error = DecodeError;

    fn try_from(kind: Kind) -> Result<Self, DecodeError> {
        Ok(match kind {
            Kind::ClusterFormed(formed) => Self::ClusterFormed { cluster: cluster_id(&formed.cluster)? },
            Kind::NodeRegistered(node) => Self::NodeRegistered(node.try_into()?),
            Kind::TopicCreated(topic) => Self::TopicCreated(topic.try_into()?),
            Kind::TopicDeleted(deleted) => Self::TopicDeleted { topic: topic_id(&deleted.topic)? },
            Kind::TopicConfigured(configured) => {
                let topic = topic_id(&configured.topic)?;
                Self::TopicConfigured { topic, settings: settings(topic, configured.settings)? }
            }
            Kind::PartitionsAdded(added) => Self::PartitionsAdded {
                topic: topic_id(&added.topic)?,
                first: PartitionId::new(added.first),
                assignments: assignments(added.partitions)?,
            },
            Kind::ProducerIdsReserved(reserved) => Self::ProducerIdsReserved { next: ProducerId::new(reserved.next) },
            Kind::NodeStateSet(set) => Self::NodeStateSet {
                node: NodeId::new(set.node),
                state: node_state(set.state)?,
                successor: set.successor.map(NodeId::new),
            },
            Kind::NodeFenced(fenced) => Self::NodeFenced { node: NodeId::new(fenced.node) },
            Kind::NodeUnfenced(unfenced) => Self::NodeUnfenced { node: NodeId::new(unfenced.node) },
            Kind::NodeRemoved(removed) => Self::NodeRemoved { node: NodeId::new(removed.node) },
            Kind::PartitionAssigned(assigned) => {
                let (topic, partition) = (topic_id(&assigned.topic)?, PartitionId::new(assigned.partition));
                let assignment =
                    assigned.assignment.ok_or_else(|| malformed("an assignment is missing"))?.try_into()?;
                Self::PartitionAssigned { partition: TopicPartition { topic, partition }, assignment }
            }
            Kind::TopicReplicasSet(set) => {
                Self::TopicReplicasSet { topic: topic_id(&set.topic)?, replicas: set.replicas }
            }
            Kind::BalancingSet(set) => Self::BalancingSet { is_on: set.is_on },
        })
    }
}
