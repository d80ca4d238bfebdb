//! Commands: what a coordinator may be asked about its groups. What it answers is in `answer`, why it refuses in
//! `error`.

mod answer;
mod error;

use bytes::Bytes;
use highwater_types::{LeaderEpoch, Offset, Timestamp, TopicId, TopicPartition};

use super::ids::{GenerationId, GroupId, InstanceId, MemberId, Moment, ProtocolName, ProtocolType};
use super::member::{Client, Protocol};

pub use answer::{
    Answer, Committed, Decision, Description, GroupState, Joined, JoinedMember, Left, Listing, MemberDescription,
    Refused, Reply, Synced,
};
pub use error::{
    CommitError, DeleteGroupError, DeleteOffsetsError, DescribeError, FenceError, FetchError, HeartbeatError,
    InvalidJoin, JoinError, LeaveError, MemberError, OffsetError, SeekError, SyncError,
};

/// Time, chance, and what the cluster looks like, at one command.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    /// Now, for deadlines.
    pub now: Moment,
    /// Now, for people and for the retention of offsets.
    pub wall: Timestamp,
    /// 128 random bits, drawn for this command alone; a new member's id is made of them.
    pub nonce: u128,
    /// How many partitions a topic has; 0 when there is no such topic.
    pub partitions: &'a dyn Fn(TopicId) -> u32,
}

/// Something that a coordinator is asked to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Asks to be part of the next generation.
    Join(JoinGroup),
    /// Asks what it was given; from the leader also says what each is given.
    Sync(SyncGroup),
    /// Says that a member is alive.
    Heartbeat {
        /// The group.
        group: GroupId,
        /// Who.
        by: Identity,
    },
    /// Says that members are gone for good.
    Leave {
        /// The group.
        group: GroupId,
        /// Who.
        members: Vec<Leaver>,
    },
    /// Says how far the group has read.
    CommitOffsets(CommitOffsets),
    /// Asks how far the group has read.
    FetchOffsets {
        /// The group.
        group: GroupId,
        /// Where; `None` is everywhere.
        partitions: Option<Vec<TopicPartition>>,
    },
    /// Asks what a group is.
    DescribeGroup {
        /// The group.
        group: GroupId,
    },
    /// Asks which groups there are.
    ListGroups {
        /// In which states; none is all.
        states: Vec<GroupState>,
    },
    /// Deletes a group without members, with its offsets.
    DeleteGroup {
        /// The group.
        group: GroupId,
    },
    /// Deletes offsets in topics that no member reads.
    DeleteOffsets {
        /// The group.
        group: GroupId,
        /// Where.
        partitions: Vec<TopicPartition>,
    },
    /// Sets where the group goes on reading, whatever it has read.
    SeekOffsets(SeekOffsets),
    /// Says that a topic exists no more.
    TopicDeleted {
        /// The topic.
        topic: TopicId,
    },
    /// Says that a topic has more partitions, or that it exists again under a pattern that members read.
    TopicGrown {
        /// The topic.
        topic: TopicId,
    },
    /// Throws a member out. It may join again as a new one.
    FenceMember {
        /// The group.
        group: GroupId,
        /// Who.
        member: MemberId,
    },
}

/// Who asks, and in which generation it believes to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Its id.
    pub member: MemberId,
    /// Its name over restarts, when it is static.
    pub instance: Option<InstanceId>,
    /// Its generation.
    pub generation: GenerationId,
}

/// See [`Command::Join`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinGroup {
    /// The group.
    pub group: GroupId,
    /// Its id, when it has one already.
    pub member: Option<MemberId>,
    /// Its name over restarts, when it is static.
    pub instance: Option<InstanceId>,
    /// Who is behind it.
    pub client: Client,
    /// How long it may be silent, in milliseconds.
    pub session_timeout_ms: u32,
    /// How long it may take to join again when the group rebalances, in milliseconds; at least a second.
    pub rebalance_timeout_ms: u32,
    /// What kind of members the group has. In one of [`ProtocolType::session`] the server assigns.
    pub protocol_type: ProtocolType,
    /// What it offers, the preferred one first.
    pub protocols: Vec<Protocol>,
    /// The topics that it reads; `None` when its metadata cannot be read. A session always says them.
    pub subscription: Option<Vec<TopicId>>,
    /// The partitions that it holds at this moment. Only a session says them.
    pub owned: Vec<TopicPartition>,
    /// Whether a new dynamic member first gets an id and has to come back with it (KIP-394): who gave up waiting then
    /// leaves a cheap reservation behind, and no member.
    pub needs_known_id: bool,
    /// Whether it understands "you lead, but do not assign" (KIP-814).
    pub can_skip_assignment: bool,
}

/// See [`Command::Sync`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyncGroup {
    /// The group.
    pub group: GroupId,
    /// Who.
    pub by: Identity,
    /// What kind of group it believes to be in, when it says so.
    pub protocol_type: Option<ProtocolType>,
    /// What it believes was agreed on, when it says so.
    pub protocol: Option<ProtocolName>,
    /// From the leader: what each is given.
    pub assignments: Vec<(MemberId, Bytes)>,
}

/// A member that leaves: named by its id, by its instance, or by both.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leaver {
    /// Its id.
    pub member: Option<MemberId>,
    /// Its name over restarts.
    pub instance: Option<InstanceId>,
}

/// See [`Command::CommitOffsets`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommitOffsets {
    /// The group.
    pub group: GroupId,
    /// Who. `None` is a reader that is no member, which may commit while the group has none.
    pub by: Option<Identity>,
    /// How long the offsets are kept while the group is empty, in milliseconds, when the reader says so itself.
    pub retention_ms: Option<u64>,
    /// What.
    pub offsets: Vec<(TopicPartition, NewOffset)>,
    /// Whether it says where reading begins: then it counts only where nothing is committed at its place in the log.
    pub is_beginning: bool,
}

/// How far a partition was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewOffset {
    /// The next record to read.
    pub offset: Offset,
    /// The leader epoch of the last record that was read, when it is known.
    pub leader_epoch: Option<LeaderEpoch>,
    /// A text of the reader's.
    pub metadata: String,
}

/// See [`Command::SeekOffsets`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeekOffsets {
    /// The group.
    pub group: GroupId,
    /// Where it goes on.
    pub offsets: Vec<(TopicPartition, Offset)>,
    /// Whether to do it although the group has members. Their generation ends then: what they commit in it is refused,
    /// and they have to join again.
    pub is_forced: bool,
}
