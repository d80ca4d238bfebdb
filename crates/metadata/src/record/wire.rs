//! Metadata records as bytes: one byte of format, then Protocol Buffers.
//!
//! ```text
//!   format u8 = 1 │ Entry { repeated Record }      Record is a oneof: the field's number is the record's kind
//! ```
//!
//! A field's number is never used again. A change that older versions must not overlook raises [`FORMAT`].

use bytes::Bytes;
use highwater_types::{ClusterId, NodeId, NodeUuid, PartitionId, ProducerId, Timestamp, TopicId, TopicName};
use prost::Message;

use super::{DecodeError, MetadataRecord};
use crate::placement::Assignment;
use crate::settings::{Setting, TopicSettings};
use crate::topic::{self, NodeRegistration};

/// The newest format of an entry of records.
const FORMAT: u8 = 1;

#[derive(Clone, PartialEq, Message)]
struct Entry {
    #[prost(message, repeated, tag = "1")]
    records: Vec<Record>,
}

#[derive(Clone, PartialEq, Message)]
struct Record {
    #[prost(oneof = "Kind", tags = "1, 2, 3, 4, 5, 6, 7")]
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
}

#[derive(Clone, PartialEq, Message)]
struct ClusterFormed {
    #[prost(bytes = "vec", tag = "1")]
    cluster: Vec<u8>,
}

/// A node; also in the image's snapshot.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Node {
    #[prost(uint64, tag = "1")]
    node: u64,
    #[prost(bytes = "vec", tag = "2")]
    uuid: Vec<u8>,
    #[prost(string, tag = "3")]
    address: String,
}

/// A topic; also in the image's snapshot.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Topic {
    #[prost(bytes = "vec", tag = "1")]
    topic: Vec<u8>,
    #[prost(string, tag = "2")]
    name: String,
    #[prost(sint64, tag = "3")]
    created_at_ms: i64,
    #[prost(uint32, tag = "4")]
    replicas: u32,
    #[prost(message, repeated, tag = "5")]
    partitions: Vec<Partition>,
    #[prost(message, repeated, tag = "6")]
    settings: Vec<Override>,
}

#[derive(Clone, PartialEq, Message)]
struct Partition {
    #[prost(uint64, repeated, tag = "1")]
    replicas: Vec<u64>,
}

#[derive(Clone, PartialEq, Message)]
struct Override {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    value: String,
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
        })
    }
}

impl From<&NodeRegistration> for Node {
    fn from(node: &NodeRegistration) -> Self {
        Self { node: node.node.get(), uuid: node.uuid.to_bytes().into(), address: node.address.clone() }
    }
}

impl TryFrom<Node> for NodeRegistration {
    type Error = DecodeError;

    fn try_from(node: Node) -> Result<Self, DecodeError> {
        let uuid = NodeUuid::from_bytes(id_bytes("node", &node.uuid)?);
        Ok(Self { node: NodeId::new(node.node), uuid, address: node.address })
    }
}

impl From<&topic::Topic> for Topic {
    fn from(topic: &topic::Topic) -> Self {
        Self {
            topic: topic.id.to_bytes().into(),
            name: topic.name.as_str().to_owned(),
            created_at_ms: topic.created_at.as_ms(),
            replicas: topic.replicas,
            partitions: partitions(&topic.partitions),
            settings: overrides(&topic.settings),
        }
    }
}

impl TryFrom<Topic> for topic::Topic {
    type Error = DecodeError;

    fn try_from(topic: Topic) -> Result<Self, DecodeError> {
        let id = topic_id(&topic.topic)?;
        Ok(Self {
            id,
            name: TopicName::new(&topic.name).map_err(malformed)?,
            created_at: Timestamp::from_ms(topic.created_at_ms),
            replicas: topic.replicas,
            partitions: assignments(topic.partitions)?,
            settings: settings(id, topic.settings)?,
        })
    }
}

fn partitions(assignments: &[Assignment]) -> Vec<Partition> {
    let nodes = |assignment: &Assignment| assignment.replicas.iter().map(|node| node.get()).collect();
    assignments.iter().map(|assignment| Partition { replicas: nodes(assignment) }).collect()
}

fn assignments(partitions: Vec<Partition>) -> Result<Vec<Assignment>, DecodeError> {
    partitions
        .into_iter()
        .map(|partition| match partition.replicas.is_empty() {
            true => Err(malformed("a partition has no replicas")),
            false => Ok(Assignment { replicas: partition.replicas.into_iter().map(NodeId::new).collect() }),
        })
        .collect()
}

fn overrides(settings: &TopicSettings) -> Vec<Override> {
    let text = |(setting, value): (Setting, _)| Override { name: setting.name().to_owned(), value: format!("{value}") };
    settings.overrides().map(text).collect()
}

fn settings(topic: TopicId, overrides: Vec<Override>) -> Result<TopicSettings, DecodeError> {
    let mut settings = TopicSettings::default();
    for Override { name, value } in overrides {
        let known = Setting::from_name(&name).ok().and_then(|setting| Some((setting, setting.read(&value)?)));
        match known {
            Some((setting, value)) => settings.set(setting, value),
            None => return Err(DecodeError::UnknownSetting { topic, name, value }),
        }
    }
    Ok(settings)
}

pub(crate) fn cluster_id(bytes: &[u8]) -> Result<ClusterId, DecodeError> {
    Ok(ClusterId::from_bytes(id_bytes("cluster", bytes)?))
}

fn topic_id(bytes: &[u8]) -> Result<TopicId, DecodeError> {
    Ok(TopicId::from_bytes(id_bytes("topic", bytes)?))
}

fn id_bytes(of: &str, bytes: &[u8]) -> Result<[u8; 16], DecodeError> {
    bytes.try_into().map_err(|_| malformed(format!("a {of} id has {} bytes instead of 16", bytes.len())))
}

fn malformed(reason: impl ToString) -> DecodeError {
    DecodeError::Malformed { reason: reason.to_string() }
}
