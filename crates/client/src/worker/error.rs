//! Why a worker could not go on.

use std::time::Duration;

use highwater_types::{ErrorCode, TopicNameError};

use crate::error::{ConnectionError, Failure, ServerError};
use crate::request::RequestError;

/// Why a worker could not begin, or not go on. The server has given what it had to others.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WorkError {
    /// The settings make no sense. Nothing was sent.
    #[error("a worker of group {group:?} cannot start: {reason}")]
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
    /// The server gives this worker no messages: there is no such topic or group, or a name is none.
    #[error("queue {topic} of group {group:?}: {source}")]
    Refused {
        /// The topic.
        topic: String,
        /// The group.
        group: String,
        /// What the server said.
        source: ServerError,
    },
    /// What answered is no Highwater server, or does not let this client in.
    #[error("queue {topic} of group {group:?}: {source}")]
    Rejected {
        /// The topic.
        topic: String,
        /// The group.
        group: String,
        /// What the transport said.
        source: ConnectionError,
    },
    /// No server could be reached for as long as the retry timeout.
    #[error("queue {topic} of group {group:?} could not be reached for {after:?}; the last failure was: {last}")]
    Unavailable {
        /// The topic.
        topic: String,
        /// The group.
        group: String,
        /// How long it was tried.
        after: Duration,
        /// What went wrong last.
        last: String,
    },
    /// Whether there is anything left to do could not be asked for.
    #[error("queue {topic} of group {group:?}: whether it is empty cannot be found out: {source}")]
    Counts {
        /// The topic.
        topic: String,
        /// The group.
        group: String,
        /// Why.
        source: RequestError,
    },
}

impl WorkError {
    /// Whether a new worker may fare better.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Unavailable { .. } => true,
            Self::Refused { source, .. } => source.retryable,
            Self::Counts { source, .. } => source.is_retryable(),
            Self::Settings { .. } | Self::InvalidTopicName { .. } | Self::Rejected { .. } => false,
        }
    }

    /// The server's code, when it was the server that refused.
    #[must_use]
    pub fn code(&self) -> Option<ErrorCode> {
        match self {
            Self::Refused { source, .. } => Some(source.code),
            Self::Counts { source, .. } => source.code(),
            _ => None,
        }
    }

    /// A failure that does not pass.
    pub(super) fn from_failure(topic: &str, group: &str, failure: Failure) -> Self {
        let (topic, group) = (topic.to_owned(), group.to_owned());
        match failure {
            Failure::Server(source) => Self::Refused { topic, group, source },
            Failure::Rejected(source) | Failure::Unsent(source) | Failure::Broken(source) => {
                Self::Rejected { topic, group, source }
            }
        }
    }
}
