//! The one table from the node's errors to failures that a client sees, for every front (design D15).
//!
//! Owns: which [`ErrorCode`] and which details each error of each operation has. A front adds only its own spelling.
//!
//! Never: decides whether something failed, or changes the text: an error's own message is what the user reads.

mod groups;
mod queues;

use highwater_types::batch::BatchError;
use highwater_types::{ErrorCode, NodeId, OffsetRange, Sequence, TopicNameError};

use crate::admission::AdmissionError;
use crate::controller::ControllerError;
use crate::disk_gate::BelowFloor;
use crate::partition::{AppendError, DeleteError, ReadError, RecordsError, SequenceError};
use crate::router::RouteError;
use crate::usage::UsageError;

/// Why a request failed, in the terms that all fronts share.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// For programs.
    pub code: ErrorCode,
    /// For people.
    pub message: String,
    /// The offsets that can be read, where an offset was out of range.
    pub valid: Option<OffsetRange>,
    /// The node that leads the partition, where this one does not and knows.
    pub leader: Option<NodeId>,
    /// Where clients reach that node, HOST:PORT.
    pub leader_address: Option<String>,
    /// The sequence that would have been accepted.
    pub expected_sequence: Option<Sequence>,
}

impl Failure {
    /// A failure without details.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), valid: None, leader: None, leader_address: None, expected_sequence: None }
    }

    /// A request that is not well formed.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::InvalidRequest, message)
    }

    /// The node is stopping; nothing was done.
    #[must_use]
    pub fn shutting_down() -> Self {
        Self::new(ErrorCode::ShuttingDown, "the node is stopping; try again, here later or at another node")
    }

    /// Adds the offsets that can be read.
    #[must_use]
    pub fn with_valid(self, range: OffsetRange) -> Self {
        Self { valid: Some(range), ..self }
    }
}

impl From<TopicNameError> for Failure {
    fn from(error: TopicNameError) -> Self {
        Self::new(ErrorCode::InvalidTopicName, error.to_string())
    }
}

impl From<BatchError> for Failure {
    fn from(error: BatchError) -> Self {
        Self::new(error.code(), error.to_string())
    }
}

impl From<AdmissionError> for Failure {
    fn from(error: AdmissionError) -> Self {
        let code = match error {
            AdmissionError::LargerThanBudget { .. } => ErrorCode::BatchTooLarge,
            AdmissionError::Closed => ErrorCode::ShuttingDown,
        };
        Self::new(code, error.to_string())
    }
}

impl From<RouteError> for Failure {
    fn from(error: RouteError) -> Self {
        let leader = match &error {
            RouteError::Elsewhere { instead, .. } => Some(*instead),
            RouteError::UnknownTopic { .. }
            | RouteError::Internal { .. }
            | RouteError::UnknownPartition { .. }
            | RouteError::NotOpen { .. } => None,
        };
        Self { leader, ..Self::new(error.code(), error.to_string()) }
    }
}

impl From<BelowFloor> for Failure {
    fn from(error: BelowFloor) -> Self {
        Self::new(ErrorCode::DiskFull, error.to_string())
    }
}

impl From<AppendError> for Failure {
    fn from(error: AppendError) -> Self {
        let failure = Self::new(error.code(), error.to_string());
        match error {
            AppendError::NotLeader { leader } => Self { leader, ..failure },
            AppendError::Sequence(SequenceError::OutOfOrder { expected, .. }) => {
                Self { expected_sequence: Some(expected), ..failure }
            }
            _ => failure,
        }
    }
}

impl From<RecordsError> for Failure {
    fn from(error: RecordsError) -> Self {
        match error {
            RecordsError::Read(error) => error.into(),
            RecordsError::Batch(error) => error.into(),
            RecordsError::BrokenOff => Self::shutting_down(),
        }
    }
}

impl From<ReadError> for Failure {
    fn from(error: ReadError) -> Self {
        let failure = Self::new(error.code(), error.to_string());
        match error {
            ReadError::NotLeader { leader } => Self { leader, ..failure },
            ReadError::OffsetOutOfRange { valid, .. } => failure.with_valid(valid),
            _ => failure,
        }
    }
}

impl From<DeleteError> for Failure {
    fn from(error: DeleteError) -> Self {
        let failure = Self::new(error.code(), error.to_string());
        match error {
            DeleteError::NotLeader { leader } => Self { leader, ..failure },
            DeleteError::OffsetOutOfRange { valid, .. } => failure.with_valid(valid),
            _ => failure,
        }
    }
}

impl From<ControllerError> for Failure {
    fn from(error: ControllerError) -> Self {
        let failure = Self::new(error.code(), error.to_string());
        match error {
            ControllerError::NotController { leader } => Self { leader, ..failure },
            _ => failure,
        }
    }
}

impl From<UsageError> for Failure {
    fn from(error: UsageError) -> Self {
        Self::new(ErrorCode::Internal, error.to_string())
    }
}
