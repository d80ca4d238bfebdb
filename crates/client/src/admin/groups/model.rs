//! What the calls about groups take and give, and their conversion from and to the wire.
//!
//! Never: guesses. What the server did not tell is `None`, and so is a state that this version does not know.

use std::time::Duration;

use highwater_proto::v1;
use highwater_types::{LeaderEpoch, NodeId, Offset, PartitionId, Timestamp, TopicName, number};

use crate::consumer::TopicPartitionName;
use crate::error::ServerError;

number! {
    /// Counts how often the members of a group have shared their partitions anew.
    GroupGeneration(i32)
}

/// What a group is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum GroupState {
    /// It has no members, perhaps offsets.
    Empty,
    /// Its members are joining the next generation.
    PreparingRebalance,
    /// Its partitions are being shared out.
    CompletingRebalance,
    /// Every member has what it was given.
    Stable,
    /// It is being deleted.
    Dead,
}

/// A group in a list of groups.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct GroupListing {
    /// Its name.
    pub group: String,
    /// What it is doing.
    pub state: Option<GroupState>,
    /// `highwater` for groups of this API, `consumer` for those of Kafka clients; empty when it never had members.
    pub protocol_type: String,
    /// The node that coordinates it.
    pub coordinator: NodeId,
    /// How many members it has.
    pub members: u32,
}

/// A group with its members and offsets.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct GroupDescription {
    /// Its name.
    pub group: String,
    /// What it is doing.
    pub state: Option<GroupState>,
    /// Its generation.
    pub generation: GroupGeneration,
    /// `highwater` for groups of this API, `consumer` for those of Kafka clients; empty when it never had members.
    pub protocol_type: String,
    /// How its members share partitions; empty while it has none.
    pub assignor: String,
    /// The node that coordinates it.
    pub coordinator: NodeId,
    /// Its members.
    pub members: Vec<GroupMember>,
    /// One for each partition that it has an offset for or a member was given.
    pub offsets: Vec<GroupOffset>,
}

/// One member of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct GroupMember {
    /// Its id, as [`Admin::fence_member`](crate::Admin::fence_member) takes it.
    pub member_id: String,
    /// The name that it keeps over its restarts, if it has one.
    pub instance_id: Option<String>,
    /// What it calls itself.
    pub client_id: String,
    /// Where it was last seen.
    pub host: String,
    /// What it was given.
    pub partitions: Vec<TopicPartitionName>,
}

/// How far a group has read a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct GroupOffset {
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: PartitionId,
    /// The next record to read; `None` when nothing was committed.
    pub offset: Option<Offset>,
    /// The leader epoch of the last record that was read, where it is known.
    pub leader_epoch: Option<LeaderEpoch>,
    /// The reader's text beside the offset.
    pub metadata: String,
    /// When it was committed.
    pub committed_at: Option<Timestamp>,
    /// The first offset that is kept; `None` when the partition's leader did not answer.
    pub log_start: Option<Offset>,
    /// The first offset that is not committed; `None` when the partition's leader did not answer.
    pub log_end: Option<Offset>,
    /// Records that are there and were not read; from the first that is kept where no offset is committed.
    pub lag_records: Option<u64>,
    /// How long ago the first of them was stored, by its timestamp; zero when there is none.
    pub lag: Option<Duration>,
    /// The member that was given it; `None`: nobody.
    pub member_id: Option<String>,
}

/// An offset that was not committed or deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RefusedOffset {
    /// The partition.
    pub partition: TopicPartitionName,
    /// Why.
    pub error: ServerError,
}

impl GroupState {
    pub(super) fn to_wire(self) -> v1::GroupState {
        match self {
            Self::Empty => v1::GroupState::Empty,
            Self::PreparingRebalance => v1::GroupState::PreparingRebalance,
            Self::CompletingRebalance => v1::GroupState::CompletingRebalance,
            Self::Stable => v1::GroupState::Stable,
            Self::Dead => v1::GroupState::Dead,
        }
    }

    fn from_wire(state: v1::GroupState) -> Option<Self> {
        match state {
            v1::GroupState::Unspecified => None,
            v1::GroupState::Empty => Some(Self::Empty),
            v1::GroupState::PreparingRebalance => Some(Self::PreparingRebalance),
            v1::GroupState::CompletingRebalance => Some(Self::CompletingRebalance),
            v1::GroupState::Stable => Some(Self::Stable),
            v1::GroupState::Dead => Some(Self::Dead),
        }
    }
}

impl GroupListing {
    pub(super) fn from_wire(listing: v1::GroupListing) -> Self {
        Self {
            state: GroupState::from_wire(listing.state()),
            group: listing.group,
            protocol_type: listing.protocol_type,
            coordinator: NodeId::new(listing.coordinator),
            members: listing.members,
        }
    }
}

impl GroupDescription {
    pub(super) fn from_wire(found: v1::GroupDescription) -> Option<Self> {
        Some(Self {
            state: GroupState::from_wire(found.state()),
            group: found.group,
            generation: GroupGeneration::new(found.generation),
            protocol_type: found.protocol_type,
            assignor: found.assignor,
            coordinator: NodeId::new(found.coordinator),
            members: found.members.into_iter().map(GroupMember::from_wire).collect::<Option<_>>()?,
            offsets: found.offsets.into_iter().map(GroupOffset::from_wire).collect(),
        })
    }
}

impl GroupMember {
    fn from_wire(member: v1::GroupMember) -> Option<Self> {
        let partitions = member.partitions.iter().map(|given| partition_name(&given.topic, given.partition));
        Some(Self {
            partitions: partitions.collect::<Option<_>>()?,
            member_id: member.member_id,
            instance_id: unless_empty(member.instance_id),
            client_id: member.client_id,
            host: member.host,
        })
    }
}

impl GroupOffset {
    fn from_wire(offset: v1::GroupOffset) -> Self {
        Self {
            topic: offset.topic,
            partition: PartitionId::new(offset.partition),
            offset: offset.offset.and_then(Offset::from_wire),
            leader_epoch: offset.leader_epoch.map(LeaderEpoch::new),
            metadata: offset.metadata,
            committed_at: offset.committed_at_ms.map(Timestamp::from_ms),
            log_start: offset.log_start.and_then(Offset::from_wire),
            log_end: offset.log_end.and_then(Offset::from_wire),
            lag_records: offset.lag_records,
            lag: offset.lag_ms.map(Duration::from_millis),
            member_id: unless_empty(offset.member_id),
        }
    }
}

/// `None` where the server names what cannot be a topic.
pub(super) fn partition_name(topic: &str, partition: u32) -> Option<TopicPartitionName> {
    Some(TopicPartitionName::new(TopicName::new(topic).ok()?, PartitionId::new(partition)))
}

fn unless_empty(text: String) -> Option<String> {
    Some(text).filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_server_did_not_tell_is_none() {
        let empty = GroupOffset::from_wire(v1::GroupOffset { offset: Some(-1), ..v1::GroupOffset::default() });
        assert_eq!((empty.offset, empty.lag, empty.member_id), (None, None, None));
        let newer = v1::GroupListing { state: 99, ..v1::GroupListing::default() };
        assert_eq!(GroupListing::from_wire(newer).state, None, "a state of a newer server");
        assert_eq!(GroupMember::from_wire(v1::GroupMember::default()).unwrap().instance_id, None);
    }

    #[test]
    fn states_are_the_same_on_both_sides() {
        use GroupState::{CompletingRebalance, Dead, Empty, PreparingRebalance, Stable};
        for state in [Empty, PreparingRebalance, CompletingRebalance, Stable, Dead] {
            assert_eq!(GroupState::from_wire(state.to_wire()), Some(state));
        }
    }
}
