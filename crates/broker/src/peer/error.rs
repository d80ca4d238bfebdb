//! Why something did not reach another node, or came back without an answer.

use highwater_types::NodeId;

use super::frame::Malformed;
use super::hello::Refusal;

/// Why a request to another node has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PeerError {
    /// This node was not told where that one is.
    #[error("node {node} has no known address")]
    UnknownNode {
        /// The node.
        node: NodeId,
    },
    /// No connection; the request was not sent.
    #[error("{address} cannot be reached: {reason}")]
    Unreachable {
        /// Where it should be.
        address: String,
        /// Why.
        reason: String,
    },
    /// One side refused the other in their greeting; nothing was sent.
    #[error("{address}: {refusal}")]
    Refused {
        /// Where it is.
        address: String,
        /// Why.
        refusal: Refusal,
    },
    /// The connection broke after the request was sent: it may have been done.
    #[error("the connection to {address} was lost: {reason}")]
    Lost {
        /// Where it was.
        address: String,
        /// Why.
        reason: String,
    },
    /// No answer in time: it may have been done.
    #[error("no answer from {address} in time")]
    TimedOut {
        /// Where it is.
        address: String,
    },
    /// The other node answered that it cannot.
    #[error("{address} answered: {reason}")]
    Answered {
        /// Where it is.
        address: String,
        /// Its words.
        reason: String,
    },
    /// The answer is not understood.
    #[error("{address} answered with a {malformed}")]
    Malformed {
        /// Where it is.
        address: String,
        /// What about it.
        malformed: Malformed,
    },
    /// More than a link carries at a time.
    #[error("a message of {bytes} bytes is more than a link carries ({bytes_max})")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The limit.
        bytes_max: usize,
    },
    /// This node is stopping.
    #[error("this node is stopping")]
    Stopped,
}

impl PeerError {
    /// Whether the other node has certainly not acted on the request.
    #[must_use]
    pub const fn is_definite(&self) -> bool {
        match self {
            Self::UnknownNode { .. }
            | Self::Unreachable { .. }
            | Self::Refused { .. }
            | Self::TooLarge { .. }
            | Self::Stopped => true,
            Self::Lost { .. } | Self::TimedOut { .. } | Self::Answered { .. } | Self::Malformed { .. } => false,
        }
    }
}
