//! Group records as bytes: one byte of format, then Protocol Buffers.
//!
//! ```text
//!   format u8 = 1 │ Entry { repeated Record }      Record is a oneof: the field's number is the record's kind
//! ```
//!
//! A field's number is never used again. A change that older versions must not overlook raises [`FORMAT`]. Offsets stand
//! in columns, so a commit of many partitions is a few packed arrays.

pub(crate) mod parts;

use bytes::{BufMut, Bytes, BytesMut};
use highwater_types::{Timestamp, TopicPartition};
use prost::Message;

use super::{DecodeError, GroupRecord};
use crate::stream::ids::{GenerationId, GroupId, MemberId};
use crate::stream::offsets::CommittedOffset;
use parts::{
    Generation, Member, TopicOffsets, TopicPartitions, malformed, offset_columns, offsets, partition_columns,
    partitions, topic_bytes, topic_id,
};

/// The newest format of an entry of records, and of an image.
pub(crate) const FORMAT: u8 = 1;

#[derive(Clone, PartialEq, Message)]
struct Entry {
    #[prost(message, repeated, tag = "1")]
    records: Vec<Record>,
}

#[derive(Clone, PartialEq, Message)]
struct Record {
    #[prost(oneof = "Kind", tags = "1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11")]
    kind: Option<Kind>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum Kind {
    #[prost(message, tag = "1")]
    GenerationStarted(Generation),
    #[prost(message, tag = "2")]
    Assigned(Assigned),
    #[prost(message, tag = "3")]
    MembersRemoved(MembersRemoved),
    #[prost(message, tag = "4")]
    MemberReplaced(MemberReplaced),
    #[prost(message, tag = "5")]
    OffsetsCommitted(OffsetsCommitted),
    #[prost(message, tag = "6")]
    OffsetsDeleted(OffsetsGone),
    #[prost(message, tag = "7")]
    OffsetsExpired(OffsetsGone),
    #[prost(message, tag = "8")]
    GroupDeleted(GroupNamed),
    #[prost(message, tag = "9")]
    GroupExpired(GroupNamed),
    #[prost(message, tag = "10")]
    TopicDeleted(TopicNamed),
    #[prost(message, tag = "11")]
    OffsetsBegun(OffsetsCommitted),
}

#[derive(Clone, PartialEq, Message)]
struct Assigned {
    #[prost(string, tag = "1")]
    group: String,
    #[prost(int32, tag = "2")]
    generation: i32,
    #[prost(message, repeated, tag = "3")]
    assignments: Vec<Given>,
}

#[derive(Clone, PartialEq, Message)]
struct Given {
    #[prost(string, tag = "1")]
    member: String,
    #[prost(bytes = "bytes", tag = "2")]
    assignment: Bytes,
}

#[derive(Clone, PartialEq, Message)]
struct MembersRemoved {
    #[prost(string, tag = "1")]
    group: String,
    #[prost(string, repeated, tag = "2")]
    members: Vec<String>,
}

#[derive(Clone, PartialEq, Message)]
struct MemberReplaced {
    #[prost(string, tag = "1")]
    group: String,
    #[prost(string, tag = "2")]
    old: String,
    #[prost(message, optional, tag = "3")]
    member: Option<Member>,
}

#[derive(Clone, PartialEq, Message)]
struct OffsetsCommitted {
    #[prost(string, tag = "1")]
    group: String,
    #[prost(sint64, tag = "2")]
    committed_at_ms: i64,
    #[prost(message, repeated, tag = "3")]
    topics: Vec<TopicOffsets>,
}

fn offsets_committed(
    group: &GroupId,
    committed_at: Timestamp,
    offsets: &[(TopicPartition, CommittedOffset)],
) -> OffsetsCommitted {
    OffsetsCommitted {
        group: group.to_string(),
        committed_at_ms: committed_at.as_ms(),
        topics: offset_columns(offsets.iter().map(|(at, committed)| (*at, committed)), false),
    }
}

/// Offsets that are deleted, or that are expired up to a time.
#[derive(Clone, PartialEq, Message)]
struct OffsetsGone {
    #[prost(string, tag = "1")]
    group: String,
    #[prost(sint64, tag = "2")]
    committed_until_ms: i64,
    #[prost(message, repeated, tag = "3")]
    topics: Vec<TopicPartitions>,
}

#[derive(Clone, PartialEq, Message)]
struct GroupNamed {
    #[prost(string, tag = "1")]
    group: String,
}

#[derive(Clone, PartialEq, Message)]
struct TopicNamed {
    #[prost(bytes = "vec", tag = "1")]
    topic: Vec<u8>,
}

pub(super) fn encode(records: &[GroupRecord]) -> Bytes {
    frame(&Entry { records: records.iter().map(|record| Record { kind: Some(record.into()) }).collect() })
}

pub(super) fn decode(payload: &[u8]) -> Result<Vec<GroupRecord>, DecodeError> {
    let entry: Entry = unframe(payload)?;
    let kinds = entry.records.into_iter().map(|record| record.kind.ok_or(DecodeError::UnknownRecord));
    kinds.map(|kind| kind?.try_into()).collect()
}

/// A message behind the byte of its format.
pub(crate) fn frame(message: &impl Message) -> Bytes {
    let mut bytes = BytesMut::with_capacity(1 + message.encoded_len());
    bytes.put_u8(FORMAT);
    // It cannot fail: the room is there, and the buffer grows anyway.
    let _ = message.encode(&mut bytes);
    bytes.freeze()
}

/// The message behind the byte of its format.
pub(crate) fn unframe<M: Message + Default>(payload: &[u8]) -> Result<M, DecodeError> {
    match payload.split_first() {
        None => Err(DecodeError::Empty),
        Some((0, _)) => Err(malformed("there is no format 0")),
        Some((format, _)) if *format > FORMAT => Err(DecodeError::NewerFormat { found: *format, known: FORMAT }),
        Some((_, message)) => M::decode(message).map_err(malformed),
    }
}

fn group_id(text: &str) -> Result<GroupId, DecodeError> {
    GroupId::new(text).map_err(malformed)
}

fn member_id(text: &str) -> Result<MemberId, DecodeError> {
    MemberId::new(text).map_err(malformed)
}

impl From<&GroupRecord> for Kind {
    fn from(record: &GroupRecord) -> Self {
        let named = |group: &GroupId| GroupNamed { group: group.to_string() };
        match record {
            GroupRecord::GenerationStarted(generation) => Self::GenerationStarted(generation.into()),
            GroupRecord::Assigned { group, generation, assignments } => Self::Assigned(Assigned {
                group: group.to_string(),
                generation: generation.get(),
                assignments: assignments
                    .iter()
                    .map(|(member, bytes)| Given { member: member.to_string(), assignment: bytes.clone() })
                    .collect(),
            }),
            GroupRecord::MembersRemoved { group, members } => Self::MembersRemoved(MembersRemoved {
                group: group.to_string(),
                members: members.iter().map(ToString::to_string).collect(),
            }),
            GroupRecord::MemberReplaced { group, old, member } => Self::MemberReplaced(MemberReplaced {
                group: group.to_string(),
                old: old.to_string(),
                member: Some(member.into()),
            }),
            GroupRecord::OffsetsBegun { group, committed_at, offsets } => {
                Self::OffsetsBegun(offsets_committed(group, *committed_at, offsets))
            }
            GroupRecord::OffsetsCommitted { group, committed_at, offsets } => {
                Self::OffsetsCommitted(offsets_committed(group, *committed_at, offsets))
            }
            GroupRecord::OffsetsDeleted { group, partitions } => Self::OffsetsDeleted(OffsetsGone {
                group: group.to_string(),
                committed_until_ms: 0,
                topics: partition_columns(partitions),
            }),
            GroupRecord::OffsetsExpired { group, committed_until, partitions } => Self::OffsetsExpired(OffsetsGone {
                group: group.to_string(),
                committed_until_ms: committed_until.as_ms(),
                topics: partition_columns(partitions),
            }),
            GroupRecord::GroupDeleted { group } => Self::GroupDeleted(named(group)),
            GroupRecord::GroupExpired { group } => Self::GroupExpired(named(group)),
            GroupRecord::TopicDeleted { topic } => Self::TopicDeleted(TopicNamed { topic: topic_bytes(*topic) }),
        }
    }
}

impl TryFrom<Kind> for GroupRecord {
    type Error = DecodeError;

    fn try_from(kind: Kind) -> Result<Self, DecodeError> {
        Ok(match kind {
            Kind::GenerationStarted(generation) => Self::GenerationStarted(generation.try_into()?),
            Kind::Assigned(Assigned { group, generation, assignments }) => {
                let given = assignments.into_iter().map(|given| Ok((member_id(&given.member)?, given.assignment)));
                Self::Assigned {
                    group: group_id(&group)?,
                    generation: GenerationId::new(generation),
                    assignments: given.collect::<Result<_, DecodeError>>()?,
                }
            }
            Kind::MembersRemoved(removed) => Self::MembersRemoved {
                group: group_id(&removed.group)?,
                members: removed.members.iter().map(|member| member_id(member)).collect::<Result<_, _>>()?,
            },
            Kind::MemberReplaced(MemberReplaced { group, old, member }) => Self::MemberReplaced {
                group: group_id(&group)?,
                old: member_id(&old)?,
                member: member.ok_or_else(|| malformed("the new member is missing"))?.try_into()?,
            },
            Kind::OffsetsBegun(OffsetsCommitted { group, committed_at_ms, topics }) => {
                let committed_at = Timestamp::from_ms(committed_at_ms);
                Self::OffsetsBegun {
                    group: group_id(&group)?,
                    committed_at,
                    offsets: offsets(topics, Some(committed_at))?,
                }
            }
            Kind::OffsetsCommitted(OffsetsCommitted { group, committed_at_ms, topics }) => {
                let committed_at = Timestamp::from_ms(committed_at_ms);
                Self::OffsetsCommitted {
                    group: group_id(&group)?,
                    committed_at,
                    offsets: offsets(topics, Some(committed_at))?,
                }
            }
            Kind::OffsetsDeleted(gone) => {
                Self::OffsetsDeleted { group: group_id(&gone.group)?, partitions: partitions(gone.topics)? }
            }
            Kind::OffsetsExpired(gone) => Self::OffsetsExpired {
                group: group_id(&gone.group)?,
                committed_until: Timestamp::from_ms(gone.committed_until_ms),
                partitions: partitions(gone.topics)?,
            },
            Kind::GroupDeleted(named) => Self::GroupDeleted { group: group_id(&named.group)? },
            Kind::GroupExpired(named) => Self::GroupExpired { group: group_id(&named.group)? },
            Kind::TopicDeleted(named) => Self::TopicDeleted { topic: topic_id(&named.topic)? },
        })
    }
}
