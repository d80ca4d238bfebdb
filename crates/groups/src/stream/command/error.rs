//! Why a coordinator refuses. What was refused did not happen.
//!
//! An enum for each operation; what several share stands in one of its own. The names are Kafka's where Kafka has one.

use highwater_types::TopicId;

use crate::stream::ids::{GenerationId, GroupId, InstanceId, MemberId};
use crate::stream::limits;

/// Why a member is not taken for who it says it is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MemberError {
    /// The group has no such member: it was thrown out, it left, or it never joined.
    #[error("group '{group}' has no such member as {}; join again", name_of(.member.as_ref(), .instance.as_ref()))]
    UnknownMember {
        /// The group.
        group: GroupId,
        /// The id it gave.
        member: Option<MemberId>,
        /// The instance it gave.
        instance: Option<InstanceId>,
    },
    /// Another client has taken the place of this static member.
    #[error(
        "instance '{instance}' of group '{group}' is another member by now; stop this one, or give it a name of its own"
    )]
    FencedInstance {
        /// The group.
        group: GroupId,
        /// The instance.
        instance: InstanceId,
    },
    /// The group has moved on.
    #[error("group '{group}' is in generation {current}, not in {given}; join again")]
    IllegalGeneration {
        /// The group.
        group: GroupId,
        /// Its generation.
        current: GenerationId,
        /// The generation that was given.
        given: GenerationId,
    },
}

fn name_of(member: Option<&MemberId>, instance: Option<&InstanceId>) -> String {
    match (member, instance) {
        (Some(member), _) => format!("'{member}'"),
        (None, Some(instance)) => format!("instance '{instance}'"),
        (None, None) => "one without a name".to_owned(),
    }
}

/// What is wrong with a request to join, whatever the group is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidJoin {
    /// It offers no way to assign.
    #[error("it names no protocol")]
    NoProtocol,
    /// It offers too many.
    #[error("it names {count} protocols, and at most {} are allowed", limits::MEMBER_PROTOCOLS_MAX)]
    TooManyProtocols {
        /// How many.
        count: usize,
    },
    /// It brings too much.
    #[error(
        "its metadata, subscription and partitions have {bytes} bytes, and at most {} are allowed",
        limits::MEMBER_BYTES_MAX
    )]
    TooLarge {
        /// How many bytes.
        bytes: usize,
    },
    /// The server should assign, but does not know such a way.
    #[error(
        "it names an assignor that this server does not have; there are range, roundrobin, sticky and cooperative-sticky"
    )]
    UnknownAssignor,
    /// The server should assign, but is not told what the member reads.
    #[error("it does not say which topics it reads")]
    NoSubscription,
}

/// Why a join was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JoinError {
    /// It is not who it says.
    #[error(transparent)]
    Member(#[from] MemberError),
    /// The request makes no sense.
    #[error("group '{group}' cannot be joined like this: {reason}")]
    Invalid {
        /// The group.
        group: GroupId,
        /// What is wrong.
        reason: InvalidJoin,
    },
    /// Come back with this id.
    #[error("join group '{group}' again as member '{member}'")]
    MemberIdRequired {
        /// The group.
        group: GroupId,
        /// The id, reserved for one session time-out.
        member: MemberId,
    },
    /// Its session time-out is out of bounds.
    #[error("a session time-out is {min} to {max} ms here, not {given}")]
    InvalidSessionTimeout {
        /// What it asked for, in milliseconds.
        given: u32,
        /// The shortest.
        min: u32,
        /// The longest.
        max: u32,
    },
    /// It has nothing in common with the members.
    #[error(
        "the members of group '{group}' assign in other ways, or are of another type; use one that all of them know, or another group"
    )]
    InconsistentProtocol {
        /// The group.
        group: GroupId,
    },
    /// The group has as many members as it may have.
    #[error("group '{group}' is full: it has at most {max} members")]
    GroupFull {
        /// The group.
        group: GroupId,
        /// How many it may have.
        max: usize,
    },
    /// The members bring as much as they may bring together.
    #[error(
        "the members of group '{group}' bring more than {} bytes of metadata together",
        limits::GROUP_MEMBERS_BYTES_MAX
    )]
    GroupTooLarge {
        /// The group.
        group: GroupId,
    },
    /// They read more partitions than the server assigns.
    #[error(
        "the members of group '{group}' read {count} partitions together, and at most {} are assigned",
        limits::GROUP_PARTITIONS_MAX
    )]
    TooManyPartitions {
        /// The group.
        group: GroupId,
        /// How many.
        count: usize,
    },
    /// The coordinator has as many groups as it may have.
    #[error("there are {} groups already; delete some that nobody uses", limits::COORDINATOR_GROUPS_MAX)]
    TooManyGroups,
    /// A newer request of the same member took the place of this one.
    #[error("the member has asked group '{group}' again, and this request is void")]
    Superseded {
        /// The group.
        group: GroupId,
    },
}

/// Why a sync was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SyncError {
    /// It is not who it says.
    #[error(transparent)]
    Member(#[from] MemberError),
    /// The next generation is being made.
    #[error("group '{group}' is rebalancing; join again")]
    RebalanceInProgress {
        /// The group.
        group: GroupId,
    },
    /// It believes that something else was agreed on.
    #[error("group '{group}' agreed on another protocol; join again")]
    InconsistentProtocol {
        /// The group.
        group: GroupId,
    },
    /// The leader gives more than fits.
    #[error(
        "the assignments of group '{group}' have {bytes} bytes, and at most {} are allowed",
        limits::GROUP_ASSIGNMENTS_BYTES_MAX
    )]
    AssignmentsTooLarge {
        /// The group.
        group: GroupId,
        /// How many bytes.
        bytes: usize,
    },
}

/// Why a heartbeat was refused. The member counts as alive when only the group rebalances.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeartbeatError {
    /// It is not who it says.
    #[error(transparent)]
    Member(#[from] MemberError),
    /// The next generation is being made.
    #[error("group '{group}' is rebalancing; join again")]
    RebalanceInProgress {
        /// The group.
        group: GroupId,
    },
}

/// Why a leave was refused as a whole.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LeaveError {
    /// It names more members than a group has.
    #[error("{count} members cannot leave at once, at most {}", limits::GROUP_MEMBERS_MAX)]
    TooManyMembers {
        /// How many it names.
        count: usize,
    },
}

/// Why nothing of a commit was done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommitError {
    /// It is not who it says.
    #[error(transparent)]
    Member(#[from] MemberError),
    /// The member is only joining, or the leader is assigning: nothing was read in this generation yet.
    #[error("group '{group}' is rebalancing; join again")]
    RebalanceInProgress {
        /// The group.
        group: GroupId,
    },
    /// A reader that is no member commits while the group has members.
    #[error("group '{group}' has members, and only they may commit; use another group, or stop them")]
    NotEmpty {
        /// The group.
        group: GroupId,
    },
    /// It names too many partitions.
    #[error("{count} partitions cannot be committed at once, at most {}", limits::REQUEST_PARTITIONS_MAX)]
    TooManyPartitions {
        /// How many it names.
        count: usize,
    },
    /// The texts beside the offsets are too long together.
    #[error(
        "the texts of one commit have {bytes} bytes together, and at most {} are allowed",
        limits::COMMIT_METADATA_BYTES_MAX
    )]
    TooLarge {
        /// How many bytes.
        bytes: usize,
    },
    /// The group keeps as many offsets, or as much text, as it may.
    #[error("group '{group}' keeps as many offsets as it may; delete those of topics that it reads no more")]
    GroupFull {
        /// The group.
        group: GroupId,
    },
    /// The coordinator has as many groups as it may have.
    #[error("there are {} groups already; delete some that nobody uses", limits::COORDINATOR_GROUPS_MAX)]
    TooManyGroups,
}

/// Why something was refused for one partition.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OffsetError {
    /// The text beside the offset is too long.
    #[error("the text beside an offset has at most {max} bytes, this one has {bytes}")]
    MetadataTooLarge {
        /// Its length.
        bytes: usize,
        /// The longest.
        max: usize,
    },
    /// Members read the topic.
    #[error("members of the group read topic {topic}; stop them first")]
    Subscribed {
        /// The topic.
        topic: TopicId,
    },
}

/// Why a fetch was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FetchError {
    /// It names too many partitions.
    #[error("{count} partitions cannot be asked for at once, at most {}", limits::REQUEST_PARTITIONS_MAX)]
    TooManyPartitions {
        /// How many it names.
        count: usize,
    },
}

/// Why a group was not described.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DescribeError {
    /// There is none.
    #[error("there is no group '{group}'")]
    GroupNotFound {
        /// The group.
        group: GroupId,
    },
}

/// Why a group was not deleted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DeleteGroupError {
    /// There is none.
    #[error("there is no group '{group}'")]
    GroupNotFound {
        /// The group.
        group: GroupId,
    },
    /// It has members.
    #[error("group '{group}' has members; stop them first")]
    NotEmpty {
        /// The group.
        group: GroupId,
    },
}

/// Why no offset was deleted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DeleteOffsetsError {
    /// There is no such group.
    #[error("there is no group '{group}'")]
    GroupNotFound {
        /// The group.
        group: GroupId,
    },
    /// It names too many partitions.
    #[error("{count} partitions cannot be deleted at once, at most {}", limits::REQUEST_PARTITIONS_MAX)]
    TooManyPartitions {
        /// How many it names.
        count: usize,
    },
}

/// Why the group does not go on reading elsewhere.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SeekError {
    /// It has members.
    #[error("group '{group}' has members; stop them first, or force it: then they have to join again")]
    NotEmpty {
        /// The group.
        group: GroupId,
    },
    /// It names too many partitions.
    #[error("{count} partitions cannot be set at once, at most {}", limits::REQUEST_PARTITIONS_MAX)]
    TooManyPartitions {
        /// How many it names.
        count: usize,
    },
    /// The group keeps as many offsets as it may.
    #[error("group '{group}' keeps as many offsets as it may; delete those of topics that it reads no more")]
    GroupFull {
        /// The group.
        group: GroupId,
    },
    /// The coordinator has as many groups as it may have.
    #[error("there are {} groups already; delete some that nobody uses", limits::COORDINATOR_GROUPS_MAX)]
    TooManyGroups,
}

/// Why a member was not thrown out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FenceError {
    /// There is no such member.
    #[error(transparent)]
    Member(#[from] MemberError),
}
