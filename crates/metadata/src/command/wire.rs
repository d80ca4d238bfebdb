//! Commands and their answers as bytes, for the way from the node that is asked to the controller and back: one byte of
//! format, then Protocol Buffers.
//!
//! A field's number is never used again. A controller that does not know a kind of command refuses it; nothing happens.

use std::sync::Arc;

use bytes::Bytes;
use highwater_types::{NodeId, PartitionId, ProducerId, TopicName, TopicPartition};
use prost::Message;

use super::{AlterTopic, Command, CreateTopic, JoinNode, Reply};
use crate::record::{DecodeError, wire};

/// The newest format of a command and of an answer.
const FORMAT: u8 = 1;

#[derive(Clone, PartialEq, Message)]
struct Request {
    #[prost(oneof = "Kind", tags = "1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18")]
    kind: Option<Kind>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum Kind {
    #[prost(message, tag = "1")]
    FormCluster(Form),
    #[prost(message, tag = "2")]
    RegisterNode(wire::Node),
    #[prost(message, tag = "3")]
    JoinNode(Join),
    #[prost(message, tag = "4")]
    SetNodeState(Numbers),
    #[prost(message, tag = "5")]
    ReplaceNode(Numbers),
    #[prost(message, tag = "6")]
    FenceNode(Numbers),
    #[prost(message, tag = "7")]
    UnfenceNode(Numbers),
    #[prost(message, tag = "8")]
    RemoveNode(Numbers),
    #[prost(message, tag = "9")]
    CreateTopic(Create),
    #[prost(message, tag = "10")]
    DeleteTopic(Named),
    #[prost(message, tag = "11")]
    AlterTopic(Alter),
    #[prost(message, tag = "12")]
    SetReplicas(Named),
    #[prost(message, tag = "13")]
    MoveReplicas(OfPartition),
    #[prost(message, tag = "14")]
    CancelMove(OfPartition),
    #[prost(message, tag = "15")]
    FinishMove(OfPartition),
    #[prost(message, tag = "16")]
    PreferLeader(OfPartition),
    #[prost(message, tag = "17")]
    SetBalancing(Numbers),
    #[prost(message, tag = "18")]
    AllocateProducerIds(Numbers),
}

#[derive(Clone, PartialEq, Message)]
struct Form {
    #[prost(bytes = "vec", tag = "1")]
    cluster: Vec<u8>,
    #[prost(message, repeated, tag = "2")]
    nodes: Vec<wire::Node>,
}

#[derive(Clone, PartialEq, Message)]
struct Join {
    #[prost(bytes = "vec", tag = "1")]
    uuid: Vec<u8>,
    #[prost(string, tag = "2")]
    address: String,
    #[prost(string, tag = "3")]
    peer_address: String,
    #[prost(string, tag = "4")]
    rack: String,
}

/// What is said of a node or of the cluster: a number, and one more where one is needed.
#[derive(Clone, Copy, PartialEq, Message)]
struct Numbers {
    #[prost(uint64, tag = "1")]
    first: u64,
    #[prost(uint64, tag = "2")]
    second: u64,
}

#[derive(Clone, PartialEq, Message)]
struct Named {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(uint32, tag = "2")]
    number: u32,
}

#[derive(Clone, PartialEq, Message)]
struct Create {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(uint32, tag = "2")]
    partitions: u32,
    #[prost(uint32, tag = "3")]
    replicas: u32,
    #[prost(message, repeated, tag = "4")]
    settings: Vec<wire::Override>,
    #[prost(bool, tag = "5")]
    is_validate_only: bool,
}

#[derive(Clone, PartialEq, Message)]
struct Alter {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(message, repeated, tag = "2")]
    set: Vec<wire::Override>,
    #[prost(string, repeated, tag = "3")]
    unset: Vec<String>,
    #[prost(uint32, optional, tag = "4")]
    partitions: Option<u32>,
}

#[derive(Clone, PartialEq, Message)]
struct OfPartition {
    #[prost(bytes = "vec", tag = "1")]
    topic: Vec<u8>,
    #[prost(uint32, tag = "2")]
    partition: u32,
    #[prost(uint64, repeated, tag = "3")]
    nodes: Vec<u64>,
    #[prost(uint32, tag = "4")]
    generation: u32,
}

#[derive(Clone, PartialEq, Message)]
struct Answer {
    #[prost(oneof = "AnswerKind", tags = "1, 2, 3, 4")]
    kind: Option<AnswerKind>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum AnswerKind {
    #[prost(bool, tag = "1")]
    Done(bool),
    #[prost(message, tag = "2")]
    Topic(wire::Topic),
    #[prost(message, tag = "3")]
    ProducerIds(ProducerIds),
    #[prost(uint64, tag = "4")]
    Node(u64),
}

#[derive(Clone, Copy, PartialEq, Message)]
struct ProducerIds {
    #[prost(int64, tag = "1")]
    first: i64,
    #[prost(uint32, tag = "2")]
    count: u32,
}

impl Command {
    /// The command as bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Bytes {
        wire::frame(FORMAT, &Request { kind: Some(Kind::from(self)) })
    }

    /// The command that [`Command::to_bytes`] wrote.
    ///
    /// # Errors
    /// [`DecodeError`] when this version does not understand all of it.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, DecodeError> {
        let request: Request = wire::unframe(FORMAT, bytes)?;
        request.kind.ok_or(DecodeError::UnknownRecord)?.try_into()
    }
}

impl Reply {
    /// The answer as bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Bytes {
        let kind = match self {
            Self::Done => AnswerKind::Done(true),
            Self::Topic(topic) => AnswerKind::Topic((&**topic).into()),
            Self::ProducerIds { first, count } => {
                AnswerKind::ProducerIds(ProducerIds { first: first.get(), count: *count })
            }
            Self::Node { node } => AnswerKind::Node(node.get()),
        };
        wire::frame(FORMAT, &Answer { kind: Some(kind) })
    }

    /// The answer that [`Reply::to_bytes`] wrote.
    ///
    /// # Errors
    /// [`DecodeError`] when this version does not understand all of it.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, DecodeError> {
        let answer: Answer = wire::unframe(FORMAT, bytes)?;
        Ok(match answer.kind.ok_or(DecodeError::UnknownRecord)? {
            AnswerKind::Done(_) => Self::Done,
            AnswerKind::Topic(topic) => Self::Topic(Arc::new(topic.try_into()?)),
            AnswerKind::ProducerIds(ids) => Self::ProducerIds { first: ProducerId::new(ids.first), count: ids.count },
            AnswerKind::Node(node) => Self::Node { node: NodeId::new(node) },
        })
    }
}

impl From<&Command> for Kind {
    fn from(command: &Command) -> Self {
        match command {
            Command::FormCluster { cluster, nodes } => Self::FormCluster(Form {
                cluster: cluster.to_bytes().into(),
                nodes: nodes.iter().map(wire::Node::from).collect(),
            }),
            Command::RegisterNode(node) => Self::RegisterNode(node.into()),
            Command::JoinNode(JoinNode { uuid, address, peer_address, rack }) => Self::JoinNode(Join {
                uuid: uuid.to_bytes().into(),
                address: address.clone(),
                peer_address: peer_address.clone(),
                rack: rack.clone(),
            }),
            Command::SetNodeState { node, state } => {
                Self::SetNodeState(numbers(node.get(), wire::state_number(*state).into()))
            }
            Command::ReplaceNode { node, by } => Self::ReplaceNode(numbers(node.get(), by.get())),
            Command::FenceNode { node } => Self::FenceNode(numbers(node.get(), 0)),
            Command::UnfenceNode { node } => Self::UnfenceNode(numbers(node.get(), 0)),
            Command::RemoveNode { node } => Self::RemoveNode(numbers(node.get(), 0)),
            Command::CreateTopic(topic) => Self::CreateTopic(Create {
                name: topic.name.as_str().to_owned(),
                partitions: topic.partitions,
                replicas: topic.replicas,
                settings: pairs(&topic.settings),
                is_validate_only: topic.is_validate_only,
            }),
            Command::DeleteTopic { name } => Self::DeleteTopic(named(name, 0)),
            Command::AlterTopic(change) => Self::AlterTopic(Alter {
                name: change.name.as_str().to_owned(),
                set: pairs(&change.set),
                unset: change.unset.clone(),
                partitions: change.partitions,
            }),
            Command::SetReplicas { name, replicas } => Self::SetReplicas(named(name, *replicas)),
            Command::MoveReplicas { partition, target } => Self::MoveReplicas(of_partition(*partition, target, 0)),
            Command::CancelMove { partition } => Self::CancelMove(of_partition(*partition, &[], 0)),
            Command::FinishMove { partition, generation } => {
                Self::FinishMove(of_partition(*partition, &[], *generation))
            }
            Command::PreferLeader { partition, node } => Self::PreferLeader(of_partition(*partition, &[*node], 0)),
            Command::SetBalancing { is_on } => Self::SetBalancing(numbers((*is_on).into(), 0)),
            Command::AllocateProducerIds { count } => Self::AllocateProducerIds(numbers((*count).into(), 0)),
        }
    }
}

impl TryFrom<Kind> for Command {
    type Error = DecodeError;

    fn try_from(kind: Kind) -> Result<Self, DecodeError> {
        Ok(match kind {
            Kind::FormCluster(form) => Self::FormCluster {
                cluster: wire::cluster_id(&form.cluster)?,
                nodes: form.nodes.into_iter().map(TryInto::try_into).collect::<Result<_, _>>()?,
            },
            Kind::RegisterNode(node) => Self::RegisterNode(node.try_into()?),
            Kind::JoinNode(Join { uuid, address, peer_address, rack }) => {
                Self::JoinNode(JoinNode { uuid: wire::node_uuid(&uuid)?, address, peer_address, rack })
            }
            Kind::SetNodeState(Numbers { first, second }) => {
                let state = wire::node_state(narrow(second)?)?;
                Self::SetNodeState { node: NodeId::new(first), state }
            }
            Kind::ReplaceNode(Numbers { first, second }) => {
                Self::ReplaceNode { node: NodeId::new(first), by: NodeId::new(second) }
            }
            Kind::FenceNode(numbers) => Self::FenceNode { node: NodeId::new(numbers.first) },
            Kind::UnfenceNode(numbers) => Self::UnfenceNode { node: NodeId::new(numbers.first) },
            Kind::RemoveNode(numbers) => Self::RemoveNode { node: NodeId::new(numbers.first) },
            Kind::CreateTopic(topic) => Self::CreateTopic(CreateTopic {
                name: name(&topic.name)?,
                partitions: topic.partitions,
                replicas: topic.replicas,
                settings: unpair(topic.settings),
                is_validate_only: topic.is_validate_only,
            }),
            Kind::DeleteTopic(named) => Self::DeleteTopic { name: name(&named.name)? },
            Kind::AlterTopic(change) => Self::AlterTopic(AlterTopic {
                name: name(&change.name)?,
                set: unpair(change.set),
                unset: change.unset,
                partitions: change.partitions,
            }),
            Kind::SetReplicas(named) => Self::SetReplicas { name: name(&named.name)?, replicas: named.number },
            Kind::MoveReplicas(of) => Self::MoveReplicas {
                partition: partition(&of)?,
                target: of.nodes.into_iter().map(NodeId::new).collect(),
            },
            Kind::CancelMove(of) => Self::CancelMove { partition: partition(&of)? },
            Kind::FinishMove(of) => Self::FinishMove { partition: partition(&of)?, generation: of.generation },
            Kind::PreferLeader(of) => {
                let node = of.nodes.first().copied().ok_or_else(|| wire::malformed("no node is named"))?;
                Self::PreferLeader { partition: partition(&of)?, node: NodeId::new(node) }
            }
            Kind::SetBalancing(numbers) => Self::SetBalancing { is_on: numbers.first != 0 },
            Kind::AllocateProducerIds(numbers) => Self::AllocateProducerIds { count: narrow(numbers.first)? },
        })
    }
}

const fn numbers(first: u64, second: u64) -> Numbers {
    Numbers { first, second }
}

fn narrow(number: u64) -> Result<u32, DecodeError> {
    u32::try_from(number).map_err(wire::malformed)
}

fn named(name: &TopicName, number: u32) -> Named {
    Named { name: name.as_str().to_owned(), number }
}

fn name(name: &str) -> Result<TopicName, DecodeError> {
    TopicName::new(name).map_err(wire::malformed)
}

fn of_partition(of: TopicPartition, nodes: &[NodeId], generation: u32) -> OfPartition {
    OfPartition {
        topic: of.topic.to_bytes().into(),
        partition: of.partition.get(),
        nodes: nodes.iter().map(|node| node.get()).collect(),
        generation,
    }
}

fn partition(of: &OfPartition) -> Result<TopicPartition, DecodeError> {
    Ok(TopicPartition { topic: wire::topic_id(&of.topic)?, partition: PartitionId::new(of.partition) })
}

fn pairs(pairs: &[(String, String)]) -> Vec<wire::Override> {
    let pair = |(name, value): &(String, String)| wire::Override { name: name.clone(), value: value.clone() };
    pairs.iter().map(pair).collect()
}

fn unpair(pairs: Vec<wire::Override>) -> Vec<(String, String)> {
    pairs.into_iter().map(|wire::Override { name, value }| (name, value)).collect()
}
