//! The parts that records and the image are made of: generations, members, and columns of partitions and offsets.

use bytes::Bytes;
use highwater_types::{LeaderEpoch, Offset, PartitionId, Timestamp, TopicId, TopicPartition};
use prost::Message;

use crate::stream::ids::{
    ClientHost, ClientId, GenerationId, GroupId, InstanceId, MemberId, ProtocolName, ProtocolType,
};
use crate::stream::member::{self, Assignment, Client};
use crate::stream::offsets::CommittedOffset;
use crate::stream::record::{self, DecodeError};

/// A generation with its members; also in the image.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Generation {
    #[prost(string, tag = "1")]
    group: String,
    #[prost(int32, tag = "2")]
    generation: i32,
    #[prost(string, optional, tag = "3")]
    protocol_type: Option<String>,
    #[prost(string, optional, tag = "4")]
    protocol: Option<String>,
    #[prost(string, optional, tag = "5")]
    leader: Option<String>,
    #[prost(bool, tag = "6")]
    is_assigned: bool,
    #[prost(sint64, tag = "7")]
    started_at_ms: i64,
    #[prost(message, repeated, tag = "8")]
    members: Vec<Member>,
}

/// A member; also in the image.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Member {
    #[prost(string, tag = "1")]
    id: String,
    #[prost(string, optional, tag = "2")]
    instance: Option<String>,
    #[prost(string, tag = "3")]
    client_id: String,
    #[prost(string, tag = "4")]
    client_host: String,
    #[prost(uint32, tag = "5")]
    session_timeout_ms: u32,
    #[prost(uint32, tag = "6")]
    rebalance_timeout_ms: u32,
    #[prost(message, repeated, tag = "7")]
    protocols: Vec<Protocol>,
    /// The ids of its topics, 16 bytes each; absent when they are not known.
    #[prost(bytes = "vec", optional, tag = "8")]
    subscription: Option<Vec<u8>>,
    #[prost(message, repeated, tag = "9")]
    owned: Vec<TopicPartitions>,
    #[prost(oneof = "Given", tags = "10, 11")]
    assignment: Option<Given>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum Given {
    #[prost(bytes = "bytes", tag = "10")]
    Opaque(Bytes),
    #[prost(message, tag = "11")]
    Partitions(PartitionSet),
}

#[derive(Clone, PartialEq, Message)]
struct PartitionSet {
    #[prost(message, repeated, tag = "1")]
    topics: Vec<TopicPartitions>,
}

#[derive(Clone, PartialEq, Message)]
struct Protocol {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(bytes = "bytes", tag = "2")]
    metadata: Bytes,
}

/// Partitions of one topic.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct TopicPartitions {
    #[prost(bytes = "vec", tag = "1")]
    topic: Vec<u8>,
    #[prost(uint32, repeated, tag = "2")]
    partitions: Vec<u32>,
}

/// Offsets in one topic, in columns of one length. What few offsets have names its place in them.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct TopicOffsets {
    #[prost(bytes = "vec", tag = "1")]
    topic: Vec<u8>,
    #[prost(uint32, repeated, tag = "2")]
    partitions: Vec<u32>,
    #[prost(uint64, repeated, tag = "3")]
    offsets: Vec<u64>,
    /// -1 is "not known".
    #[prost(sint32, repeated, tag = "4")]
    leader_epochs: Vec<i32>,
    /// Empty where the record has one time for all.
    #[prost(sint64, repeated, tag = "5")]
    committed_at_ms: Vec<i64>,
    #[prost(message, repeated, tag = "6")]
    texts: Vec<Text>,
    #[prost(message, repeated, tag = "7")]
    expiries: Vec<Expiry>,
}

#[derive(Clone, PartialEq, Message)]
struct Text {
    #[prost(uint32, tag = "1")]
    place: u32,
    #[prost(string, tag = "2")]
    text: String,
}

#[derive(Clone, PartialEq, Message)]
struct Expiry {
    #[prost(uint32, tag = "1")]
    place: u32,
    #[prost(sint64, tag = "2")]
    expires_at_ms: i64,
}

impl From<&record::Generation> for Generation {
    fn from(generation: &record::Generation) -> Self {
        Self {
            group: generation.group.to_string(),
            generation: generation.generation.get(),
            protocol_type: generation.protocol_type.as_ref().map(ToString::to_string),
            protocol: generation.protocol.as_ref().map(ToString::to_string),
            leader: generation.leader.as_ref().map(ToString::to_string),
            is_assigned: generation.is_assigned,
            started_at_ms: generation.started_at.as_ms(),
            members: generation.members.iter().map(Member::from).collect(),
        }
    }
}

impl TryFrom<Generation> for record::Generation {
    type Error = DecodeError;

    fn try_from(wire: Generation) -> Result<Self, DecodeError> {
        Ok(Self {
            group: GroupId::new(&wire.group).map_err(malformed)?,
            generation: GenerationId::new(wire.generation),
            protocol_type: wire.protocol_type.as_deref().map(ProtocolType::new).transpose().map_err(malformed)?,
            protocol: wire.protocol.as_deref().map(ProtocolName::new).transpose().map_err(malformed)?,
            leader: wire.leader.as_deref().map(MemberId::new).transpose().map_err(malformed)?,
            is_assigned: wire.is_assigned,
            started_at: Timestamp::from_ms(wire.started_at_ms),
            members: wire.members.into_iter().map(TryInto::try_into).collect::<Result<_, _>>()?,
        })
    }
}

impl From<&member::Member> for Member {
    fn from(member: &member::Member) -> Self {
        let protocol = |protocol: &member::Protocol| Protocol {
            name: protocol.name.to_string(),
            metadata: protocol.metadata.clone(),
        };
        let topics = |topics: &Vec<TopicId>| topics.iter().flat_map(|topic| topic.to_bytes()).collect();
        Self {
            id: member.id.to_string(),
            instance: member.instance.as_ref().map(ToString::to_string),
            client_id: member.client.id.to_string(),
            client_host: member.client.host.to_string(),
            session_timeout_ms: member.session_timeout_ms,
            rebalance_timeout_ms: member.rebalance_timeout_ms,
            protocols: member.protocols.iter().map(protocol).collect(),
            subscription: member.subscription.as_ref().map(topics),
            owned: partition_columns(&member.owned),
            assignment: Some(match &member.assignment {
                Assignment::Opaque(bytes) => Given::Opaque(bytes.clone()),
                Assignment::Partitions(partitions) => {
                    Given::Partitions(PartitionSet { topics: partition_columns(partitions) })
                }
            }),
        }
    }
}

impl TryFrom<Member> for member::Member {
    type Error = DecodeError;

    fn try_from(wire: Member) -> Result<Self, DecodeError> {
        let protocol = |Protocol { name, metadata }| {
            Ok(member::Protocol { name: ProtocolName::new(&name).map_err(malformed)?, metadata })
        };
        Ok(Self {
            id: MemberId::new(&wire.id).map_err(malformed)?,
            instance: wire.instance.as_deref().map(InstanceId::new).transpose().map_err(malformed)?,
            client: Client {
                id: ClientId::new(&wire.client_id).map_err(malformed)?,
                host: ClientHost::new(&wire.client_host).map_err(malformed)?,
            },
            session_timeout_ms: wire.session_timeout_ms,
            rebalance_timeout_ms: wire.rebalance_timeout_ms,
            protocols: wire.protocols.into_iter().map(protocol).collect::<Result<_, DecodeError>>()?,
            subscription: wire.subscription.as_deref().map(topic_ids).transpose()?,
            owned: partitions(wire.owned)?,
            assignment: match wire.assignment {
                None => return Err(malformed("a member has no assignment, not even an empty one")),
                Some(Given::Opaque(bytes)) => Assignment::Opaque(bytes),
                Some(Given::Partitions(set)) => Assignment::Partitions(partitions(set.topics)?),
            },
        })
    }
}

/// Partitions in columns: neighbours of one topic share one.
pub(crate) fn partition_columns(partitions: &[TopicPartition]) -> Vec<TopicPartitions> {
    let same_topic = |a: &TopicPartition, b: &TopicPartition| a.topic == b.topic;
    let column = |run: &[TopicPartition]| TopicPartitions {
        topic: run.first().map(|first| topic_bytes(first.topic)).unwrap_or_default(),
        partitions: run.iter().map(|at| at.partition.get()).collect(),
    };
    partitions.chunk_by(same_topic).map(column).collect()
}

pub(crate) fn partitions(columns: Vec<TopicPartitions>) -> Result<Vec<TopicPartition>, DecodeError> {
    let mut found = Vec::with_capacity(columns.iter().map(|column| column.partitions.len()).sum());
    for column in columns {
        let topic = topic_id(&column.topic)?;
        let partition = |number| TopicPartition { topic, partition: PartitionId::new(number) };
        found.extend(column.partitions.into_iter().map(partition));
    }
    Ok(found)
}

/// Offsets in columns: neighbours of one topic share them. The times are left out where the record has one for all.
pub(crate) fn offset_columns<'a>(
    offsets: impl IntoIterator<Item = (TopicPartition, &'a CommittedOffset)>,
    has_times: bool,
) -> Vec<TopicOffsets> {
    let mut topics: Vec<TopicOffsets> = Vec::new();
    let mut last = None;
    for (at, committed) in offsets {
        if last != Some(at.topic) {
            topics.push(TopicOffsets { topic: topic_bytes(at.topic), ..TopicOffsets::default() });
            last = Some(at.topic);
        }
        if let Some(columns) = topics.last_mut() {
            columns.push(at.partition, committed, has_times);
        }
    }
    topics
}

impl TopicOffsets {
    fn push(&mut self, partition: PartitionId, committed: &CommittedOffset, has_times: bool) {
        // A column has at most as many places as there are partitions, which are counted in 32 bits.
        let place = u32::try_from(self.partitions.len()).unwrap_or(u32::MAX);
        self.partitions.push(partition.get());
        self.offsets.push(committed.offset.get());
        self.leader_epochs.push(committed.leader_epoch.map_or(-1, LeaderEpoch::get));
        if has_times {
            self.committed_at_ms.push(committed.committed_at.as_ms());
        }
        if !committed.metadata.is_empty() {
            self.texts.push(Text { place, text: committed.metadata.clone() });
        }
        if let Some(expires_at) = committed.expires_at {
            self.expiries.push(Expiry { place, expires_at_ms: expires_at.as_ms() });
        }
    }

    fn append_to(
        self,
        found: &mut Vec<(TopicPartition, CommittedOffset)>,
        time_of_all: Option<Timestamp>,
    ) -> Result<(), DecodeError> {
        let (topic, count, first) = (topic_id(&self.topic)?, self.partitions.len(), found.len());
        let has_times = time_of_all.is_some() || self.committed_at_ms.len() == count;
        if self.offsets.len() != count || self.leader_epochs.len() != count || !has_times {
            return Err(malformed("the columns of a topic's offsets differ in length"));
        }
        let times =
            self.committed_at_ms.into_iter().map(|ms| Some(Timestamp::from_ms(ms))).chain(std::iter::repeat(None));
        let columns = self.partitions.into_iter().zip(self.offsets).zip(self.leader_epochs).zip(times);
        for (((partition, offset), leader_epoch), committed_at) in columns {
            let at = TopicPartition { topic, partition: PartitionId::new(partition) };
            let committed = CommittedOffset {
                offset: Offset::new(offset).ok_or_else(|| malformed(format!("{offset} is no offset")))?,
                leader_epoch: (leader_epoch >= 0).then(|| LeaderEpoch::new(leader_epoch)),
                metadata: String::new(),
                committed_at: time_of_all.or(committed_at).unwrap_or_default(),
                expires_at: None,
            };
            found.push((at, committed));
        }
        let mut of_topic = found.split_off(first);
        for Text { place, text } in self.texts {
            at_place(&mut of_topic, place)?.metadata = text;
        }
        for Expiry { place, expires_at_ms } in self.expiries {
            at_place(&mut of_topic, place)?.expires_at = Some(Timestamp::from_ms(expires_at_ms));
        }
        found.append(&mut of_topic);
        Ok(())
    }
}

fn at_place(
    of_topic: &mut [(TopicPartition, CommittedOffset)],
    place: u32,
) -> Result<&mut CommittedOffset, DecodeError> {
    let found = usize::try_from(place).ok().and_then(|place| of_topic.get_mut(place));
    found.map(|(_, committed)| committed).ok_or_else(|| malformed("a text or an expiry is of no offset"))
}

/// The offsets in columns; each was committed at `time_of_all`, or has its own time.
pub(crate) fn offsets(
    topics: Vec<TopicOffsets>,
    time_of_all: Option<Timestamp>,
) -> Result<Vec<(TopicPartition, CommittedOffset)>, DecodeError> {
    let mut found = Vec::with_capacity(topics.iter().map(|columns| columns.partitions.len()).sum());
    topics.into_iter().try_for_each(|columns| columns.append_to(&mut found, time_of_all))?;
    Ok(found)
}

pub(crate) fn topic_bytes(topic: TopicId) -> Vec<u8> {
    topic.to_bytes().into()
}

pub(crate) fn topic_id(bytes: &[u8]) -> Result<TopicId, DecodeError> {
    let bytes = bytes.try_into().map_err(|_| malformed(format!("a topic id has {} bytes instead of 16", bytes.len())));
    bytes.map(TopicId::from_bytes)
}

fn topic_ids(bytes: &[u8]) -> Result<Vec<TopicId>, DecodeError> {
    bytes.chunks(16).map(topic_id).collect()
}

pub(crate) fn malformed(reason: impl ToString) -> DecodeError {
    DecodeError::Malformed { reason: reason.to_string() }
}
