//! What a coordinator answers, and when the answer may go.

use bytes::Bytes;
use highwater_types::{TopicId, TopicPartition};
use std::fmt;

use super::error::{
    CommitError, DeleteGroupError, DeleteOffsetsError, DescribeError, FenceError, FetchError, HeartbeatError,
    JoinError, LeaveError, MemberError, OffsetError, SeekError, SyncError,
};
use crate::stream::ids::{GenerationId, GroupId, InstanceId, MemberId, ProtocolName, ProtocolType, Ticket};
use crate::stream::member::{Assignment, Client};
use crate::stream::offsets::CommittedOffset;
use crate::stream::record::GroupRecord;

/// What a command leads to. Hand it to an [`Outbox`](crate::stream::Outbox), which keeps the order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use = "records are to be proposed, and answers to be sent"]
pub struct Decision {
    /// To be committed, in this order, behind the records of every earlier decision. A crash between two of them leaves
    /// nothing half done, so they may stand in several entries.
    pub records: Vec<GroupRecord>,
    /// Answers that rest on these records or on earlier ones: they go when all of those are committed and replayed. A
    /// refusal may rest on what is not committed yet just as well as a success.
    pub then: Vec<Reply>,
    /// Answers that rest on the request alone, or on the committed image.
    pub now: Vec<Reply>,
    /// Groups whose members are to join again from now on. They learn it by their next heartbeat; whoever is near may
    /// tell them to send it at once.
    pub began: Vec<GroupId>,
}

/// An answer for one who waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// Who waits.
    pub to: Ticket,
    /// What it is told.
    pub answer: Answer,
}

/// What a command is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// To a join.
    Join(Result<Joined, JoinError>),
    /// To a sync.
    Sync(Result<Synced, SyncError>),
    /// To a heartbeat.
    Heartbeat(Result<(), HeartbeatError>),
    /// To a leave: what became of each.
    Leave(Result<Vec<Left>, LeaveError>),
    /// To a commit.
    Commit(Result<Committed, CommitError>),
    /// To a fetch: the offset of each partition that was asked for, or of each that has one.
    Fetch(Result<Vec<(TopicPartition, Option<CommittedOffset>)>, FetchError>),
    /// To a description.
    Describe(Result<Description, DescribeError>),
    /// To a list.
    List(Vec<Listing>),
    /// To a deletion of a group.
    DeleteGroup(Result<(), DeleteGroupError>),
    /// To a deletion of offsets: what was refused; the others are deleted.
    DeleteOffsets(Result<Vec<Refused>, DeleteOffsetsError>),
    /// To a seek.
    Seek(Result<(), SeekError>),
    /// To the fencing of a member.
    Fence(Result<(), FenceError>),
    /// To what cannot be refused.
    Done,
}

/// A member is in a generation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Joined {
    /// The generation.
    pub generation: GenerationId,
    /// What kind of group it is.
    pub protocol_type: Option<ProtocolType>,
    /// What its members agreed on.
    pub protocol: Option<ProtocolName>,
    /// Who assigns; `None` where the server does.
    pub leader: Option<MemberId>,
    /// The id of the member that joined.
    pub member: MemberId,
    /// Whether it leads and yet must not assign, because the assignments of this generation stand.
    pub skip_assignment: bool,
    /// All members, for the leader; nothing for others.
    pub members: Vec<JoinedMember>,
}

/// A member as the leader sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinedMember {
    /// Its id.
    pub id: MemberId,
    /// Its name over restarts.
    pub instance: Option<InstanceId>,
    /// What it says for the protocol that was agreed on.
    pub metadata: Bytes,
}

/// What a member was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Synced {
    /// The generation.
    pub generation: GenerationId,
    /// What kind of group it is.
    pub protocol_type: Option<ProtocolType>,
    /// What its members agreed on.
    pub protocol: Option<ProtocolName>,
    /// What it was given.
    pub assignment: Assignment,
}

/// What became of one who leaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Left {
    /// Its id, as it was named.
    pub member: Option<MemberId>,
    /// Its instance, as it was named.
    pub instance: Option<InstanceId>,
    /// Whether it is gone by this.
    pub result: Result<(), MemberError>,
}

/// A partition for which something was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The partition.
    pub at: TopicPartition,
    /// Why.
    pub error: OffsetError,
}

/// What a commit did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Committed {
    /// Where it was refused; everywhere else it is done.
    pub refused: Vec<Refused>,
}

/// What a group is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum GroupState {
    /// It has no members, perhaps offsets.
    Empty,
    /// Its members are joining the next generation.
    PreparingRebalance,
    /// Its leader is assigning.
    CompletingRebalance,
    /// Its members have their assignments.
    Stable,
    /// It does not exist.
    Dead,
}

impl fmt::Display for GroupState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "Empty",
            Self::PreparingRebalance => "PreparingRebalance",
            Self::CompletingRebalance => "CompletingRebalance",
            Self::Stable => "Stable",
            Self::Dead => "Dead",
        })
    }
}

/// One group of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listing {
    /// The group.
    pub group: GroupId,
    /// What it is doing.
    pub state: GroupState,
    /// What kind of members it has or had.
    pub protocol_type: Option<ProtocolType>,
}

/// A group in detail. Its offsets are asked for by themselves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Description {
    /// What it is doing.
    pub state: GroupState,
    /// Its newest generation.
    pub generation: GenerationId,
    /// What kind of members it has or had.
    pub protocol_type: Option<ProtocolType>,
    /// What its members agreed on.
    pub protocol: Option<ProtocolName>,
    /// Who assigns.
    pub leader: Option<MemberId>,
    /// Its members, by id.
    pub members: Vec<MemberDescription>,
}

/// A member in detail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberDescription {
    /// Its id.
    pub id: MemberId,
    /// Its name over restarts.
    pub instance: Option<InstanceId>,
    /// Who is behind it.
    pub client: Client,
    /// The topics that it reads, when they are known.
    pub subscription: Option<Vec<TopicId>>,
    /// What it says for the protocol that was agreed on.
    pub metadata: Bytes,
    /// What it was given.
    pub assignment: Assignment,
}
