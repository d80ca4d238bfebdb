//! Group records: the only thing about stream groups that is ever persisted, one decision's records together.
//!
//! Owns: what each record says, its form as text, and (in `wire`) its form as bytes.
//!
//! Invariants:
//! - A record carries absolute values, so replaying it twice is as replaying it once.
//! - Decisions run ahead of the image by what is not committed yet. So the two records that remove what nobody uses say
//!   under which condition, and replay judges it at their place in the log: what was committed in between stays.

mod wire;

pub(crate) use wire::{frame, parts, unframe};

use std::fmt;

use bytes::Bytes;
use highwater_types::{Timestamp, TopicId, TopicPartition};

use super::ids::{GenerationId, GroupId, MemberId, ProtocolName, ProtocolType};
use super::member::{Assignment, Member};
use super::offsets::CommittedOffset;

/// One fact about the groups of a coordinator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GroupRecord {
    /// A group has a new generation, and exactly these members. Without members it is empty.
    GenerationStarted(Generation),
    /// The members of a generation were given these assignments by their leader; the others nothing.
    Assigned {
        /// The group.
        group: GroupId,
        /// The generation that it is about; of another one it says nothing.
        generation: GenerationId,
        /// What each was given.
        assignments: Vec<(MemberId, Bytes)>,
    },
    /// Members are gone. Those who stay go on in the same generation until they have shared anew.
    MembersRemoved {
        /// The group.
        group: GroupId,
        /// Who.
        members: Vec<MemberId>,
    },
    /// A static member came back under a new id, or says something new of itself, and goes on in the same generation.
    MemberReplaced {
        /// The group.
        group: GroupId,
        /// Its id until now.
        old: MemberId,
        /// What it is now. It keeps its place; when it led the group it goes on leading.
        member: Member,
    },
    /// The group begins to read there, where it has committed nothing at this place in the log.
    OffsetsBegun {
        /// The group.
        group: GroupId,
        /// When it was decided; the same for all.
        committed_at: Timestamp,
        /// The offsets; in each `committed_at` is the one above.
        offsets: Vec<(TopicPartition, CommittedOffset)>,
    },
    /// The group goes on reading there.
    OffsetsCommitted {
        /// The group.
        group: GroupId,
        /// When it was decided; the same for all.
        committed_at: Timestamp,
        /// The offsets; in each `committed_at` is the one above.
        offsets: Vec<(TopicPartition, CommittedOffset)>,
    },
    /// The group has no offset there any more.
    OffsetsDeleted {
        /// The group.
        group: GroupId,
        /// Where.
        partitions: Vec<TopicPartition>,
    },
    /// The same, but not where it committed again after `committed_until`.
    OffsetsExpired {
        /// The group.
        group: GroupId,
        /// When the newest of these offsets was committed.
        committed_until: Timestamp,
        /// Where.
        partitions: Vec<TopicPartition>,
    },
    /// The group exists no more, nor do its offsets.
    GroupDeleted {
        /// The group.
        group: GroupId,
    },
    /// The same, but not if it has members or offsets by then.
    GroupExpired {
        /// The group.
        group: GroupId,
    },
    /// A topic exists no more, nor do offsets in it.
    TopicDeleted {
        /// The topic.
        topic: TopicId,
    },
}

/// A generation of a group, as it starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Generation {
    /// The group.
    pub group: GroupId,
    /// Its number.
    pub generation: GenerationId,
    /// What kind of members it has; `None` when it never had any.
    pub protocol_type: Option<ProtocolType>,
    /// What they agreed on.
    pub protocol: Option<ProtocolName>,
    /// Who assigns; `None` where the server does, and where everybody must join again first.
    pub leader: Option<MemberId>,
    /// Whether the assignments stand already.
    pub is_assigned: bool,
    /// When it was decided; a group without members is empty since then.
    pub started_at: Timestamp,
    /// The members, in the order in which they joined.
    pub members: Vec<Member>,
}

/// Why bytes are no group records or image that this version understands. Never skipped: a node that ignored a record
/// would disagree with the others about a group.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Nothing at all.
    #[error("the group data is empty")]
    Empty,
    /// A newer version of the product wrote it.
    #[error("the group data has format {found}, this version knows formats up to {known}; start a newer version")]
    NewerFormat {
        /// The format that was found.
        found: u8,
        /// The newest format that this version knows.
        known: u8,
    },
    /// A kind of record that this version does not know.
    #[error("the group data has a record of a kind that this version does not know; start a newer version")]
    UnknownRecord,
    /// It is not what its format says.
    #[error("the group data is damaged: {reason}")]
    Malformed {
        /// What is wrong.
        reason: String,
    },
}

/// Records as one payload for the log. Records of several decisions may share a payload, in their order.
#[must_use]
pub fn encode(records: &[GroupRecord]) -> Bytes {
    wire::encode(records)
}

/// The records in one payload of the log.
///
/// # Errors
/// [`DecodeError`] when this version does not understand all of it.
pub fn decode(payload: &[u8]) -> Result<Vec<GroupRecord>, DecodeError> {
    wire::decode(payload)
}

impl fmt::Display for GroupRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::GenerationStarted(generation) => generation.fmt(f),
            Self::Assigned { group, generation, assignments } => {
                write!(f, "assigned group={group} generation={generation}")?;
                assignments
                    .iter()
                    .try_for_each(|(member, bytes)| write!(f, " {member}={}", Assignment::Opaque(bytes.clone())))
            }
            Self::MembersRemoved { group, members } => write!(f, "members-removed group={group}{}", Words(members)),
            Self::MemberReplaced { group, old, member } => {
                write!(f, "member-replaced group={group} old={old} new={member}")
            }
            Self::OffsetsBegun { group, committed_at, offsets } => {
                write!(f, "offsets-begun group={group} at={committed_at}")?;
                offsets.iter().try_for_each(|(at, committed)| write!(f, " {at}={committed}"))
            }
            Self::OffsetsCommitted { group, committed_at, offsets } => {
                write!(f, "offsets-committed group={group} at={committed_at}")?;
                offsets.iter().try_for_each(|(at, committed)| write!(f, " {at}={committed}"))
            }
            Self::OffsetsDeleted { group, partitions } => {
                write!(f, "offsets-deleted group={group}{}", Words(partitions))
            }
            Self::OffsetsExpired { group, committed_until, partitions } => {
                write!(f, "offsets-expired group={group} committed_until={committed_until}{}", Words(partitions))
            }
            Self::GroupDeleted { group } => write!(f, "group-deleted group={group}"),
            Self::GroupExpired { group } => write!(f, "group-expired group={group}"),
            Self::TopicDeleted { topic } => write!(f, "topic-deleted topic={topic}"),
        }
    }
}

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { group, generation, protocol, leader, is_assigned, started_at, members, .. } = self;
        write!(f, "generation-started group={group} generation={generation}")?;
        protocol.as_ref().map_or(Ok(()), |protocol| write!(f, " protocol={protocol}"))?;
        leader.as_ref().map_or(Ok(()), |leader| write!(f, " leader={leader}"))?;
        write!(f, " is_assigned={is_assigned} at={started_at}{}", Words(members))
    }
}

impl fmt::Display for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.id.fmt(f)?;
        match &self.assignment {
            Assignment::Opaque(bytes) if bytes.is_empty() => Ok(()),
            Assignment::Partitions(partitions) if partitions.is_empty() => Ok(()),
            assignment => write!(f, "={assignment}"),
        }
    }
}

impl fmt::Display for Assignment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Opaque(bytes) => write!(f, "{}", bytes.escape_ascii()),
            Self::Partitions(partitions) => {
                let texts: Vec<_> = partitions.iter().map(ToString::to_string).collect();
                write!(f, "[{}]", texts.join(","))
            }
        }
    }
}

impl fmt::Display for CommittedOffset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.offset)?;
        self.leader_epoch.map_or(Ok(()), |epoch| write!(f, "@{epoch}"))?;
        if !self.metadata.is_empty() {
            write!(f, ":{:?}", self.metadata)?;
        }
        self.expires_at.map_or(Ok(()), |at| write!(f, ":until:{at}"))
    }
}

/// Things, each behind a blank.
struct Words<'a, T>(&'a [T]);

impl<T: fmt::Display> fmt::Display for Words<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|word| write!(f, " {word}"))
    }
}
