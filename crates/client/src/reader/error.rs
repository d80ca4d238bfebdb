//! Why reading stopped.

use std::time::Duration;

use highwater_types::batch::BatchError;
use highwater_types::{ErrorCode, Offset, OffsetRange, PartitionId, TopicName};

use crate::error::{ConnectionError, Failure, ServerError};
use crate::request::RequestError;

/// Why a reader could not be opened, or why one of its partitions cannot be read on.
///
/// A partition that failed with a retryable error is tried again when the reader is asked for more, from where it was;
/// any other error ends that partition, until [`Reader::seek`](crate::Reader::seek) sets it going again. Either way the
/// other partitions go on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The topic, its partitions or a position could not be asked for.
    #[error("topic {topic:?}: {source}")]
    Topic {
        /// The topic.
        topic: String,
        /// Why.
        source: RequestError,
    },
    /// The list of topics could not be asked for.
    #[error("the topics could not be asked for: {0}")]
    Topics(RequestError),
    /// Neither a topic nor a pattern was given.
    #[error("there is nothing to read; name at least one topic or pattern")]
    Nothing,
    /// The offset is not there: trimmed away already, or not written yet.
    #[error("{topic}-{partition}: offset {offset} cannot be read{}", range_text(*valid))]
    OutOfRange {
        /// The topic.
        topic: TopicName,
        /// The partition.
        partition: PartitionId,
        /// The offset that was asked for.
        offset: Offset,
        /// What can be read; the end is the high watermark, where reading may start and waits.
        valid: Option<OffsetRange>,
    },
    /// The server refused.
    #[error("{topic}-{partition}: {source}")]
    Refused {
        /// The topic.
        topic: TopicName,
        /// The partition.
        partition: PartitionId,
        /// What the server said.
        source: ServerError,
    },
    /// The partition could not be read for as long as the reader's retry timeout.
    #[error("{topic}-{partition}: not readable for {after:?}; the last failure was: {last}")]
    Unavailable {
        /// The topic.
        topic: TopicName,
        /// The partition.
        partition: PartitionId,
        /// How long it was tried.
        after: Duration,
        /// What went wrong last.
        last: String,
    },
    /// What answered is no Highwater server, or does not let this client in.
    #[error("{topic}-{partition}: {source}")]
    Rejected {
        /// The topic.
        topic: TopicName,
        /// The partition.
        partition: PartitionId,
        /// What the transport said.
        source: ConnectionError,
    },
    /// A batch arrived damaged, or is not what this version can read. Nothing of it was given out.
    #[error("{topic}-{partition}: the batch at offset {offset} cannot be read: {source}")]
    Batch {
        /// The topic.
        topic: TopicName,
        /// The partition.
        partition: PartitionId,
        /// Where reading had come to.
        offset: Offset,
        /// What is wrong with the batch.
        source: BatchError,
    },
    /// The reader does not read that partition.
    #[error("the reader does not read partition {partition} of topic {topic}")]
    NotAssigned {
        /// The topic.
        topic: TopicName,
        /// The partition.
        partition: PartitionId,
    },
}

fn range_text(valid: Option<OffsetRange>) -> String {
    valid.map_or_else(String::new, |valid| format!(", offsets {} up to {} can", valid.start, valid.end))
}

impl ReadError {
    /// Whether asking the reader for more may succeed.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Topic { source, .. } | Self::Topics(source) => source.is_retryable(),
            Self::Refused { source, .. } => source.retryable,
            Self::Unavailable { .. } => true,
            Self::Nothing
            | Self::OutOfRange { .. }
            | Self::Rejected { .. }
            | Self::Batch { .. }
            | Self::NotAssigned { .. } => false,
        }
    }

    /// The server's code, when it was the server that refused.
    #[must_use]
    pub fn code(&self) -> Option<ErrorCode> {
        match self {
            Self::Topic { source, .. } | Self::Topics(source) => source.code(),
            Self::OutOfRange { .. } => Some(ErrorCode::OffsetOutOfRange),
            Self::Refused { source, .. } => Some(source.code),
            _ => None,
        }
    }

    /// The offsets that can be read, with [`ReadError::OutOfRange`].
    #[must_use]
    pub fn valid_range(&self) -> Option<OffsetRange> {
        match self {
            Self::OutOfRange { valid, .. } => *valid,
            _ => None,
        }
    }

    /// A failure that does not pass.
    pub(super) fn from_failure(topic: &TopicName, partition: PartitionId, failure: Failure) -> Self {
        let topic = topic.clone();
        match failure {
            Failure::Server(source) => Self::Refused { topic, partition, source },
            Failure::Rejected(source) | Failure::Unsent(source) | Failure::Broken(source) => {
                Self::Rejected { topic, partition, source }
            }
        }
    }
}
