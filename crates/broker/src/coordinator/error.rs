//! Why a coordinator did not answer. What it refuses stands in its answers.

use highwater_types::{ErrorCode, NodeId};

/// Why a coordinator did not answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CoordinatorError {
    /// This node does not lead the coordinator, or not yet. Nothing was done.
    #[error("this node does not coordinate the group{}", hint(*leader))]
    NotCoordinator {
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
    /// Another node may coordinate the group by now. What was asked may have been done.
    #[error("the coordinator of the group changed before this was decided; whether it was done is not known")]
    OutcomeUnknown,
}

impl CoordinatorError {
    /// The code that clients act on.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::NotCoordinator { leader: Some(_) } => ErrorCode::NotLeader,
            Self::NotCoordinator { leader: None } => ErrorCode::LeaderUnavailable,
            Self::Stopped => ErrorCode::ShuttingDown,
            Self::DiskFull { .. } => ErrorCode::DiskFull,
            Self::OutcomeUnknown => ErrorCode::OutcomeUnknown,
        }
    }
}

fn hint(leader: Option<NodeId>) -> String {
    leader.map_or_else(String::new, |leader| format!("; node {leader} does"))
}
