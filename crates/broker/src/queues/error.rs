//! Why a queue did not answer. What the engine refuses stands in its answers.

use highwater_groups::queue::GroupId;
use highwater_types::{ErrorCode, NodeId};

/// Why a queue did not answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QueueError {
    /// This node does not lead the partition, or not yet. Nothing was done.
    #[error("this node does not lead the partition{}", hint(*leader))]
    NotLeader {
        /// The node that does, if that is known.
        leader: Option<NodeId>,
    },
    /// The node is stopping. Nothing was done.
    #[error("the node is stopping")]
    Stopped,
    /// The disk has no room for what this would write. Nothing was done.
    #[error("the disk is full: {reason}")]
    DiskFull {
        /// What is missing.
        reason: String,
    },
    /// The partition has no such group.
    #[error("there is no queue group '{group}' on this topic; make it with 'highwater queue set', or by working")]
    UnknownGroup {
        /// The group.
        group: GroupId,
    },
    /// A setting is out of its bounds. Nothing was done.
    #[error("{reason}")]
    Config {
        /// Which, and what they are.
        reason: String,
    },
    /// The partition has as many groups as it may have.
    #[error("a topic has at most {max} queue groups; delete one with 'highwater queue delete'")]
    TooManyGroups {
        /// How many it may have.
        max: usize,
    },
    /// Another node may lead the partition by now. What was asked may have been done.
    #[error("the leader changed before this was decided; whether it was done is not known")]
    OutcomeUnknown,
}

impl QueueError {
    /// The code that clients act on.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::NotLeader { leader: Some(_) } => ErrorCode::NotLeader,
            Self::NotLeader { leader: None } => ErrorCode::LeaderUnavailable,
            Self::Stopped => ErrorCode::ShuttingDown,
            Self::DiskFull { .. } => ErrorCode::DiskFull,
            Self::UnknownGroup { .. } => ErrorCode::UnknownGroup,
            Self::Config { .. } => ErrorCode::InvalidConfig,
            Self::TooManyGroups { .. } => ErrorCode::GroupLimit,
            Self::OutcomeUnknown => ErrorCode::OutcomeUnknown,
        }
    }
}

fn hint(leader: Option<NodeId>) -> String {
    leader.map_or_else(String::new, |leader| format!("; node {leader} does"))
}
