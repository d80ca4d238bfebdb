//! The image as bytes: one byte of format, then Protocol Buffers. Equal images give equal bytes.

use std::sync::Arc;

use bytes::Bytes;
use highwater_types::{LogIndex, Timestamp};
use prost::Message;

use super::{Group, GroupsImage};
use crate::stream::ids::{GenerationId, GroupId};
use crate::stream::record::parts::{self, malformed, offset_columns, offsets};
use crate::stream::record::{self, DecodeError, frame, unframe};

#[derive(Clone, PartialEq, Message)]
struct Snapshot {
    #[prost(uint64, optional, tag = "1")]
    revision: Option<u64>,
    #[prost(int32, tag = "2")]
    retired: i32,
    #[prost(message, repeated, tag = "3")]
    groups: Vec<GroupState>,
}

#[derive(Clone, PartialEq, Message)]
struct GroupState {
    #[prost(message, optional, tag = "1")]
    generation: Option<parts::Generation>,
    /// Whether the group ever had members; its generation says when the newest one started.
    #[prost(bool, tag = "2")]
    had_members: bool,
    #[prost(message, repeated, tag = "3")]
    topics: Vec<parts::TopicOffsets>,
}

impl GroupsImage {
    /// The image as bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Bytes {
        frame(&Snapshot {
            revision: self.revision.map(LogIndex::get),
            retired: self.retired.get(),
            groups: self.groups().map(|(id, group)| GroupState::new(id, group)).collect(),
        })
    }

    /// The image that [`GroupsImage::to_bytes`] wrote.
    ///
    /// # Errors
    /// [`DecodeError`] when this version does not understand all of it.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, DecodeError> {
        let snapshot: Snapshot = unframe(bytes)?;
        let groups = snapshot.groups.into_iter().map(GroupState::read);
        Ok(Self {
            revision: snapshot.revision.map(LogIndex::new),
            retired: GenerationId::new(snapshot.retired),
            groups: groups.collect::<Result<_, _>>()?,
        })
    }
}

impl GroupState {
    fn new(id: &GroupId, group: &Group) -> Self {
        let generation = record::Generation {
            group: id.clone(),
            generation: group.generation,
            protocol_type: group.protocol_type.clone(),
            protocol: group.protocol.clone(),
            leader: group.leader.clone(),
            is_assigned: group.is_assigned,
            started_at: group.started_at.unwrap_or_default(),
            members: group.members.clone(),
        };
        let held: Vec<_> = group.offsets.iter().collect();
        Self {
            generation: Some((&generation).into()),
            had_members: group.started_at.is_some(),
            topics: offset_columns(held.iter().map(|(at, committed)| (*at, committed)), true),
        }
    }

    fn read(self) -> Result<(GroupId, Arc<Group>), DecodeError> {
        let generation = self.generation.ok_or_else(|| malformed("a group has no generation"))?;
        let started = record::Generation::try_from(generation)?;
        let mut group = Group::default();
        group.start(&started);
        group.started_at = group.started_at.filter(|_: &Timestamp| self.had_members);
        offsets(self.topics, None)?.iter().for_each(|(at, committed)| group.offsets.set(*at, committed));
        Ok((started.group, Arc::new(group)))
    }
}
