//! Why a consumer could not go on, or could not do what it was asked for.

use std::time::Duration;

use highwater_types::{ErrorCode, TopicNameError};

use super::rebalance::TopicPartitionName;
use crate::error::{ConnectionError, Failure, ServerError};
use crate::reader::ReadError;

/// Why a consumer could not be opened, cannot go on with a partition or at all, or could not commit or seek.
///
/// What [`Consumer`](crate::Consumer) yields as a stream: after [`Self::Partition`] and [`Self::Unreadable`] the other
/// partitions go on, and that one after a seek; after [`Self::Unavailable`] asking again waits for the group to be back;
/// after any other the stream ends.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConsumeError {
    /// The settings make no sense. Nothing was sent.
    #[error("group {group:?} cannot be joined: {reason}")]
    Settings {
        /// The group.
        group: String,
        /// What is wrong.
        reason: &'static str,
    },
    /// The name is no topic name. Nothing was sent.
    #[error("{name:?} is no topic name: {reason}")]
    InvalidTopicName {
        /// What was given.
        name: String,
        /// What is wrong with it.
        reason: TopicNameError,
    },
    /// The group does not have this member, or not any more, and will not take it again.
    #[error("group {group:?}: {source}")]
    Refused {
        /// The group.
        group: String,
        /// What the server said.
        source: ServerError,
    },
    /// What answered is no Highwater server, or does not let this client in.
    #[error("group {group:?}: {source}")]
    Rejected {
        /// The group.
        group: String,
        /// What the transport said.
        source: ConnectionError,
    },
    /// The group could not be reached for as long as the consumer's retry timeout.
    #[error("group {group:?} could not be reached for {after:?}; the last failure was: {last}")]
    Unavailable {
        /// The group.
        group: String,
        /// How long it was tried.
        after: Duration,
        /// What went wrong last.
        last: String,
    },
    /// A partition cannot be read. It stays with this consumer, and is read again after a seek.
    #[error("{partition}: {source}; seek to go on with this partition")]
    Partition {
        /// The partition.
        partition: TopicPartitionName,
        /// What the server said.
        source: ServerError,
    },
    /// A batch arrived damaged, or is not what this version can read. Nothing of it was given out; a seek goes on with the
    /// partition.
    #[error("{source}; seek to go on with {partition}")]
    Unreadable {
        /// The partition.
        partition: TopicPartitionName,
        /// What is wrong with the batch, and where.
        source: Box<ReadError>,
    },
    /// The partition is not this consumer's: another one's of the group, or nobody's.
    #[error("{partition} is not assigned to this consumer of group {group:?}")]
    NotAssigned {
        /// The group.
        group: String,
        /// The partition.
        partition: TopicPartitionName,
    },
    /// Some offsets were refused; the others of the same commit are committed.
    #[error("group {group:?}: {} offsets were not committed{}", refused.len(), first_refusal(refused))]
    CommitRefused {
        /// The group.
        group: String,
        /// The partitions, and why.
        refused: Vec<(TopicPartitionName, ServerError)>,
    },
    /// The commit failed as a whole.
    #[error("group {group:?}: the commit failed: {source}")]
    CommitFailed {
        /// The group.
        group: String,
        /// What the server said; its outcome says whether it may have been done.
        source: ServerError,
    },
    /// The position was not found; the partition goes on where it was.
    #[error("{partition}: seeking failed: {source}")]
    SeekFailed {
        /// The partition.
        partition: TopicPartitionName,
        /// What the server said.
        source: ServerError,
    },
    /// The group took this member for dead while it waited for an answer. Others may read its partitions by now; it has
    /// joined again, as a new member.
    #[error("group {group:?} has shared out this member's partitions; what was under way was not done")]
    MembershipLost {
        /// The group.
        group: String,
    },
    /// The consumer did not come to its end in time. The group takes it for dead after the session time-out.
    #[error(
        "group {group:?} could not be left within {after:?}: what was done last may not be committed, and its \
        partitions go to others only after the session time-out"
    )]
    NotLeft {
        /// The group.
        group: String,
        /// How long it was tried.
        after: Duration,
    },
    /// The consumer has ended: an error that it yielded before says why.
    #[error("the consumer of group {group:?} has ended")]
    Ended {
        /// The group.
        group: String,
    },
}

fn first_refusal(refused: &[(TopicPartitionName, ServerError)]) -> String {
    refused.first().map_or_else(String::new, |(partition, error)| format!("; the first, of {partition}: {error}"))
}

impl ConsumeError {
    /// Whether the same thing may succeed later: asking for more, committing or seeking again.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Unavailable { .. } | Self::MembershipLost { .. } => true,
            Self::CommitRefused { refused, .. } => refused.iter().all(|(_, error)| error.retryable),
            Self::CommitFailed { source, .. } | Self::SeekFailed { source, .. } => source.retryable,
            _ => false,
        }
    }

    /// The server's code, when it was the server that refused.
    #[must_use]
    pub fn code(&self) -> Option<ErrorCode> {
        match self {
            Self::Refused { source, .. }
            | Self::Partition { source, .. }
            | Self::CommitFailed { source, .. }
            | Self::SeekFailed { source, .. } => Some(source.code),
            Self::CommitRefused { refused, .. } => refused.first().map(|(_, error)| error.code),
            _ => None,
        }
    }

    /// A failure of the session that does not pass.
    pub(super) fn from_failure(group: &str, failure: Failure) -> Self {
        let group = group.to_owned();
        match failure {
            Failure::Server(source) => Self::Refused { group, source },
            Failure::Rejected(source) | Failure::Unsent(source) | Failure::Broken(source) => {
                Self::Rejected { group, source }
            }
        }
    }
}
