//! Why an append or a read of a partition, or a deletion in it, failed, and which code that is for clients.

use highwater_types::{ErrorCode, NodeId, Offset, OffsetRange};

use super::producers::SequenceError;

/// Why a batch was not appended, or is not known to be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// This replica does not lead the partition. Nothing was stored.
    #[error("this node does not lead the partition{}: ask for metadata again", hint(*leader))]
    NotLeader {
        /// Who does, if that is known.
        leader: Option<NodeId>,
    },
    /// An idempotent batch is repeated, too early or fenced. Nothing was stored by this attempt.
    #[error(transparent)]
    Sequence(#[from] SequenceError),
    /// The disk has no room for it. Nothing was stored.
    #[error("no room to append {bytes} bytes: {reason}; free space or shorten the retention")]
    DiskFull {
        /// How much was to be appended.
        bytes: u64,
        /// What the disk says.
        reason: String,
    },
    /// The partition is stopping and took no more. Nothing was stored.
    #[error("the partition is stopping; nothing was stored")]
    Stopped,
    /// It was on its way when leadership was lost or the node stopped: it may be stored or not.
    #[error("leadership changed or the node stopped before the batch was committed; it may be stored or not")]
    OutcomeUnknown,
    /// The disk failed; what was on its way may be stored or not.
    #[error("the disk of this node failed ({reason}); the batch may be stored or not")]
    StorageFailed {
        /// What failed.
        reason: String,
    },
}

impl AppendError {
    /// The code that clients act on.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::NotLeader { leader: Some(_) } => ErrorCode::NotLeader,
            Self::NotLeader { leader: None } => ErrorCode::LeaderUnavailable,
            Self::Sequence(refusal) => refusal.code(),
            Self::DiskFull { .. } => ErrorCode::DiskFull,
            Self::Stopped => ErrorCode::ShuttingDown,
            Self::OutcomeUnknown => ErrorCode::OutcomeUnknown,
            Self::StorageFailed { .. } => ErrorCode::StorageFailed,
        }
    }

    /// Whether the same batch may be stored by trying again.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        self.code().is_retryable()
    }

    /// Whether this was decided with batches in flight taken as stored.
    pub(super) const fn rests_on_what_is_in_flight(&self) -> bool {
        matches!(self, Self::Sequence(_))
    }
}

/// Why records were not deleted, or are not known to be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DeleteError {
    /// This replica does not lead the partition. Nothing was deleted.
    #[error("this node does not lead the partition{}: ask for metadata again", hint(*leader))]
    NotLeader {
        /// Who does, if that is known.
        leader: Option<NodeId>,
    },
    /// There are no records up to there. Nothing was deleted.
    #[error("offset {offset} is out of range: the partition holds {} up to but not including {}", valid.start, valid.end)]
    OffsetOutOfRange {
        /// What was asked for.
        offset: Offset,
        /// What there is.
        valid: OffsetRange,
    },
    /// The disk has no room to note it. Nothing was deleted.
    #[error("no room to note what is deleted: {reason}; free space or shorten the retention")]
    DiskFull {
        /// What the disk says.
        reason: String,
    },
    /// The partition is stopping. Nothing was deleted.
    #[error("the partition is stopping; nothing was deleted")]
    Stopped,
    /// It was on its way when leadership was lost or the node stopped: the records may be deleted or not.
    #[error("leadership changed or the node stopped before the deletion was committed; it may be done or not")]
    OutcomeUnknown,
}

impl DeleteError {
    /// The code that clients act on.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::NotLeader { leader: Some(_) } => ErrorCode::NotLeader,
            Self::NotLeader { leader: None } => ErrorCode::LeaderUnavailable,
            Self::OffsetOutOfRange { .. } => ErrorCode::OffsetOutOfRange,
            Self::DiskFull { .. } => ErrorCode::DiskFull,
            Self::Stopped => ErrorCode::ShuttingDown,
            Self::OutcomeUnknown => ErrorCode::OutcomeUnknown,
        }
    }
}

/// Why records were not read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// This replica does not lead the partition, or does not know yet what is committed.
    #[error("this node does not lead the partition{}: ask for metadata again", hint(*leader))]
    NotLeader {
        /// Who does, if that is known.
        leader: Option<NodeId>,
    },
    /// The offset is not kept any more, or not there yet.
    #[error("offset {offset} is out of range: the partition holds {} up to but not including {}", valid.start, valid.end)]
    OffsetOutOfRange {
        /// What was asked for.
        offset: Offset,
        /// What there is.
        valid: OffsetRange,
    },
    /// The log could not be read; damage is never served.
    #[error("the partition's log cannot be read at this place")]
    Storage(#[source] highwater_storage::ReadError),
    /// The partition is stopping.
    #[error("the partition is stopping")]
    Stopped,
}

impl ReadError {
    /// The code that clients act on.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::NotLeader { leader: Some(_) } => ErrorCode::NotLeader,
            Self::NotLeader { leader: None } => ErrorCode::LeaderUnavailable,
            Self::OffsetOutOfRange { .. } => ErrorCode::OffsetOutOfRange,
            Self::Storage(_) => ErrorCode::StorageFailed,
            Self::Stopped => ErrorCode::ShuttingDown,
        }
    }

    /// Whether the same read may succeed later.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        self.code().is_retryable()
    }
}

fn hint(leader: Option<NodeId>) -> String {
    leader.map_or_else(String::new, |leader| format!(" (node {leader} does)"))
}
