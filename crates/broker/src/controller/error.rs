//! Why the controller did not do what it was asked.

use highwater_metadata::CommandError;
use highwater_storage::ReserveError;
use highwater_types::{ErrorCode, NodeId};

/// Why a command failed, or is not known to have been done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ControllerError {
    /// It was refused. Nothing changed.
    #[error(transparent)]
    Refused(#[from] CommandError),
    /// This node does not lead the metadata group. Nothing changed.
    #[error("this node is not the cluster's controller{}; try again", hint(*leader))]
    NotController {
        /// The node that is, where that is known.
        leader: Option<NodeId>,
    },
    /// The node that leads the metadata group refused it, in its words. Nothing changed.
    #[error("{message}")]
    RefusedThere {
        /// The code that clients act on.
        code: ErrorCode,
        /// Its words.
        message: String,
    },
    /// The node that leads the metadata group cannot be reached. Nothing changed.
    #[error("the cluster's controller, node {node}, cannot be reached ({reason}); try again")]
    Unreachable {
        /// The node.
        node: NodeId,
        /// Why not.
        reason: String,
    },
    /// The node is stopping. Nothing changed.
    #[error("the node is stopping; nothing was changed")]
    Stopped,
    /// The disk has no room for the change. Nothing changed.
    #[error("the disk has no room for a change of the cluster's metadata: {reason}; free space on it")]
    DiskFull {
        /// What the disk says.
        reason: String,
    },
    /// Leadership or the node was lost while the change was under way.
    #[error("the change was under way when the controller stopped or lost its leadership; look whether it was made")]
    OutcomeUnknown,
    /// The disk failed while the change was under way.
    #[error("the disk of this node failed ({reason}); the change may be made or not")]
    StorageFailed {
        /// What failed.
        reason: String,
    },
    /// A command got the answer of another kind: a bug.
    #[error("the controller gave the answer to another kind of command; this is a bug")]
    WrongReply,
}

impl ControllerError {
    /// The code that clients act on.
    #[must_use]
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Refused(refusal) => refusal.code(),
            Self::NotController { leader: Some(_) } => ErrorCode::NotLeader,
            Self::RefusedThere { code, .. } => *code,
            Self::NotController { leader: None } | Self::Unreachable { .. } => ErrorCode::LeaderUnavailable,
            Self::Stopped => ErrorCode::ShuttingDown,
            Self::DiskFull { .. } => ErrorCode::DiskFull,
            Self::OutcomeUnknown => ErrorCode::OutcomeUnknown,
            Self::StorageFailed { .. } => ErrorCode::StorageFailed,
            Self::WrongReply => ErrorCode::Internal,
        }
    }

    /// Whether the same command may succeed later.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        self.code().is_retryable()
    }
}

impl From<ReserveError> for ControllerError {
    fn from(error: ReserveError) -> Self {
        match error {
            ReserveError::Closed => Self::Stopped,
            // Nothing was written yet, but what was before it may be lost.
            ReserveError::Poisoned(poisoned) => Self::StorageFailed { reason: poisoned.reason().to_owned() },
            other => Self::DiskFull { reason: other.to_string() },
        }
    }
}

fn hint(leader: Option<NodeId>) -> String {
    leader.map_or_else(String::new, |leader| format!(" (node {leader} is)"))
}
