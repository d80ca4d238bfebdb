//! The parts that several messages are made of: nodes, topics, partitions, ids.

use highwater_types::{ClusterId, NodeId, NodeUuid, Timestamp, TopicId, TopicName};
use prost::Message;

use crate::assignment::Assignment;
use crate::node::{NodeRegistration, NodeState};
use crate::record::DecodeError;
use crate::settings::{Setting, TopicSettings};
use crate::topic;

/// A node; also in the image's snapshot.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Node {
    #[prost(uint64, tag = "1")]
    node: u64,
    #[prost(bytes = "vec", tag = "2")]
    uuid: Vec<u8>,
    #[prost(string, tag = "3")]
    address: String,
    #[prost(string, tag = "4")]
    peer_address: String,
    #[prost(string, tag = "5")]
    rack: String,
    #[prost(string, tag = "6")]
    kafka_address: String,
    /// Names and addresses.
    #[prost(message, repeated, tag = "7")]
    kafka_listeners: Vec<Override>,
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

/// Where a partition is.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Partition {
    #[prost(uint64, repeated, tag = "1")]
    replicas: Vec<u64>,
    /// Empty: it does not move.
    #[prost(uint64, repeated, tag = "2")]
    target: Vec<u64>,
    #[prost(uint32, tag = "3")]
    generation: u32,
}

/// A setting, or any other pair of texts.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Override {
    #[prost(string, tag = "1")]
    pub(crate) name: String,
    #[prost(string, tag = "2")]
    pub(crate) value: String,
}

impl From<&NodeRegistration> for Node {
    fn from(node: &NodeRegistration) -> Self {
        Self {
            node: node.node.get(),
            uuid: node.uuid.to_bytes().into(),
            address: node.address.clone(),
            peer_address: node.peer_address.clone(),
            rack: node.rack.clone(),
            kafka_address: node.kafka_address.clone(),
            kafka_listeners: listeners(node),
        }
    }
}

impl TryFrom<Node> for NodeRegistration {
    type Error = DecodeError;

    fn try_from(node: Node) -> Result<Self, DecodeError> {
        let Node { node, uuid, address, peer_address, rack, kafka_address, kafka_listeners } = node;
        let (node, uuid) = (NodeId::new(node), node_uuid(&uuid)?);
        let kafka_listeners = kafka_listeners.into_iter().map(|Override { name, value }| (name, value)).collect();
        Ok(Self { node, uuid, address, peer_address, rack, kafka_address, kafka_listeners })
    }
}

fn listeners(node: &NodeRegistration) -> Vec<Override> {
    let pairs = node.kafka_listeners.iter();
    pairs.map(|(name, address)| Override { name: name.clone(), value: address.clone() }).collect()
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

impl From<&Assignment> for Partition {
    fn from(assignment: &Assignment) -> Self {
        let numbers = |nodes: &[NodeId]| nodes.iter().map(|node| node.get()).collect();
        Self {
            replicas: numbers(&assignment.replicas),
            target: assignment.target.as_deref().map(numbers).unwrap_or_default(),
            generation: assignment.generation,
        }
    }
}

impl TryFrom<Partition> for Assignment {
    type Error = DecodeError;

    fn try_from(partition: Partition) -> Result<Self, DecodeError> {
        if partition.replicas.is_empty() {
            return Err(malformed("a partition has no replicas"));
        }
        let nodes = |numbers: Vec<u64>| numbers.into_iter().map(NodeId::new).collect::<Vec<_>>();
        Ok(Self {
            replicas: nodes(partition.replicas),
            target: Some(nodes(partition.target)).filter(|target| !target.is_empty()),
            generation: partition.generation,
        })
    }
}

pub(super) fn partitions(assignments: &[Assignment]) -> Vec<Partition> {
    assignments.iter().map(Partition::from).collect()
}

pub(super) fn assignments(partitions: Vec<Partition>) -> Result<Vec<Assignment>, DecodeError> {
    partitions.into_iter().map(Assignment::try_from).collect()
}

pub(super) fn overrides(settings: &TopicSettings) -> Vec<Override> {
    let text = |(setting, value): (Setting, _)| Override { name: setting.name().to_owned(), value: format!("{value}") };
    settings.overrides().map(text).collect()
}

pub(super) fn settings(topic: TopicId, overrides: Vec<Override>) -> Result<TopicSettings, DecodeError> {
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

pub(crate) fn topic_id(bytes: &[u8]) -> Result<TopicId, DecodeError> {
    Ok(TopicId::from_bytes(id_bytes("topic", bytes)?))
}

fn id_bytes(of: &str, bytes: &[u8]) -> Result<[u8; 16], DecodeError> {
    bytes.try_into().map_err(|_| malformed(format!("a {of} id has {} bytes instead of 16", bytes.len())))
}

pub(crate) fn malformed(reason: impl ToString) -> DecodeError {
    DecodeError::Malformed { reason: reason.to_string() }
}

pub(crate) fn node_uuid(bytes: &[u8]) -> Result<NodeUuid, DecodeError> {
    Ok(NodeUuid::from_bytes(id_bytes("node", bytes)?))
}

/// The number of a state; a number is never used again.
pub(crate) const fn state_number(state: NodeState) -> u32 {
    match state {
        NodeState::Active => 0,
        NodeState::Draining => 1,
        NodeState::Decommissioning => 2,
    }
}

pub(crate) fn node_state(number: u32) -> Result<NodeState, DecodeError> {
    match number {
        0 => Ok(NodeState::Active),
        1 => Ok(NodeState::Draining),
        2 => Ok(NodeState::Decommissioning),
        unknown => Err(malformed(format!("a node has the state {unknown}, which this version does not know"))),
    }
}
