//! Why a record could not be taken, and why one that was taken could not be stored.

use std::sync::Arc;
use std::time::Duration;

use highwater_types::batch::BatchError;
use highwater_types::{ErrorCode, PartitionId, TopicName};

use crate::error::{ConnectionError, Failure, Outcome, ServerError};
use crate::request::RequestError;

/// Why the producer did not take a record. It was not sent, and will not be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// The topic's partitions could not be asked for; for instance because there is no such topic.
    #[error("topic {topic}: {source}")]
    Topic {
        /// The topic.
        topic: Arc<str>,
        /// Why.
        source: RequestError,
    },
    /// The topic has no such partition.
    #[error("topic {topic} has partitions 0 to {}, not {partition}", count.saturating_sub(1))]
    UnknownPartition {
        /// The topic.
        topic: TopicName,
        /// The partition of the record.
        partition: PartitionId,
        /// How many the topic has.
        count: u32,
    },
    /// The record alone is larger than the producer's memory.
    #[error("the record has {bytes} bytes, the producer may hold {memory_bytes}; raise `memory_bytes`")]
    LargerThanMemory {
        /// Its size in bytes.
        bytes: usize,
        /// The producer's memory in bytes.
        memory_bytes: usize,
    },
    /// The record breaks a limit of the format.
    #[error(transparent)]
    Record(#[from] BatchError),
    /// The producer was closed.
    #[error("the producer is closed")]
    Closed,
}

impl SendError {
    /// Whether the same record may be taken later.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Topic { source, .. } => source.is_retryable(),
            _ => false,
        }
    }
}

/// Why a record that the producer took was not acknowledged.
///
/// The producer has tried again already, where that could help, until its delivery timeout was over.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProduceError {
    /// The server refused it.
    #[error("{topic}-{partition}: {source}; {outcome}")]
    Refused {
        /// The topic.
        topic: TopicName,
        /// The partition.
        partition: PartitionId,
        /// What the server said.
        source: ServerError,
        /// What is known about the record; unknown when an earlier attempt broke before its answer.
        outcome: Outcome,
    },
    /// It was not acknowledged within the delivery timeout.
    #[error("{topic}-{partition}: not acknowledged within {after:?}{}; {outcome}", last_words(last.as_deref()))]
    TimedOut {
        /// The topic.
        topic: TopicName,
        /// The partition.
        partition: PartitionId,
        /// The delivery timeout.
        after: Duration,
        /// What went wrong last, as a text; `None` when nothing did and time just passed.
        last: Option<Arc<str>>,
        /// What is known about the record.
        outcome: Outcome,
    },
    /// What answered is no Highwater server or does not let this client in, or, with [`Acks::None`](crate::Acks), the
    /// connection broke.
    #[error("{topic}-{partition}: {source}; {outcome}")]
    Connection {
        /// The topic.
        topic: TopicName,
        /// The partition.
        partition: PartitionId,
        /// What the transport said.
        source: ConnectionError,
        /// What is known about the record.
        outcome: Outcome,
    },
    /// The records could not be made a batch: the codec failed, or compressing left them larger than a batch may be.
    #[error("{topic}-{partition}: {source}")]
    Batch {
        /// The topic.
        topic: TopicName,
        /// The partition.
        partition: PartitionId,
        /// What is wrong.
        source: BatchError,
    },
    /// The runtime stopped before the record was acknowledged.
    #[error("{topic}-{partition}: the runtime stopped before the record was acknowledged")]
    Abandoned {
        /// The topic.
        topic: TopicName,
        /// The partition.
        partition: PartitionId,
    },
}

fn last_words(last: Option<&str>) -> String {
    last.map_or_else(String::new, |last| format!("; the last failure was: {last}"))
}

impl ProduceError {
    /// Whether sending the record again may succeed. It may then be stored twice, unless [`outcome`](Self::outcome) says
    /// [`Outcome::NotDone`].
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Refused { source, .. } => source.retryable,
            Self::TimedOut { .. } | Self::Abandoned { .. } => true,
            Self::Connection { outcome, .. } => *outcome == Outcome::Unknown,
            Self::Batch { .. } => false,
        }
    }

    /// What is known about the record: certainly not stored, or perhaps.
    ///
    /// ```
    /// use highwater_client::{Outcome, ProduceError};
    /// fn advice(error: &ProduceError) -> &'static str {
    ///     match (error.is_retryable(), error.outcome()) {
    ///         (true, Outcome::NotDone) => "send it again",
    ///         (true, Outcome::Unknown) => "look first, or accept a duplicate",
    ///         (false, _) => "sending it again will not help",
    ///     }
    /// }
    /// # let _ = advice;
    /// ```
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        match self {
            Self::Refused { outcome, .. } | Self::TimedOut { outcome, .. } | Self::Connection { outcome, .. } => {
                *outcome
            }
            Self::Batch { .. } => Outcome::NotDone,
            Self::Abandoned { .. } => Outcome::Unknown,
        }
    }

    /// The server's code, when it was the server that refused.
    #[must_use]
    pub fn code(&self) -> Option<ErrorCode> {
        match self {
            Self::Refused { source, .. } => Some(source.code),
            _ => None,
        }
    }

    /// The last failure of a record that is not tried any more.
    pub(super) fn from_failure(topic: &TopicName, partition: PartitionId, failure: Failure, outcome: Outcome) -> Self {
        let topic = topic.clone();
        match failure {
            Failure::Server(source) => Self::Refused { topic, partition, source, outcome },
            Failure::Unsent(source) | Failure::Broken(source) | Failure::Rejected(source) => {
                Self::Connection { topic, partition, source, outcome }
            }
        }
    }
}
