//! One request, one answer: deadlines, the next server when one cannot be reached, and what may be tried again.
//!
//! Invariant: a request that might do something twice is tried again only while it is certain that it was not done.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use highwater_proto::REDIRECT_METADATA_KEY;
use highwater_types::{ErrorCode, TopicNameError};
use tonic::metadata::MetadataValue;
use tonic::transport::Channel;
use tonic::{Request, Response, Status};

use crate::client::{ConnectError, Shared};
use crate::clock;
use crate::error::{ConnectionError, Failure, Outcome, ServerError};
use crate::finder::Finder;

/// Whether doing a request twice is the same as doing it once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Repeat {
    /// It only reads: try again after any failure that may pass.
    Harmless,
    /// It changes something: try again only when it was certainly not done.
    OnlyIfNotDone,
}

/// Sends one request, to another server or again later where that is safe, until the request timeout is over.
///
/// `send` is called with a connection for each attempt.
pub(crate) async fn request<T, F, Answer>(shared: &Shared, repeat: Repeat, send: F) -> Result<T, RequestError>
where
    F: Fn(Channel) -> Answer,
    Answer: Future<Output = Result<Response<T>, Status>>,
{
    request_within(shared, shared.request_timeout, repeat, send).await
}

/// The same with a timeout of its own, for requests that the server lets wait.
pub(crate) async fn request_within<T, F, Answer>(
    shared: &Shared,
    timeout: Duration,
    repeat: Repeat,
    send: F,
) -> Result<T, RequestError>
where
    F: Fn(Channel) -> Answer,
    Answer: Future<Output = Result<Response<T>, Status>>,
{
    let deadline = clock::now() + timeout;
    let mut finder = Finder::default();
    let mut outcome = Outcome::NotDone;
    loop {
        let server = finder.server(&shared.connections);
        let channel = shared.connections.channel(&server)?;
        let failure = match tokio::time::timeout_at(deadline, send(channel)).await {
            Ok(Ok(answer)) => return Ok(answer.into_inner()),
            Ok(Err(status)) => Failure::from_status(&server, &status),
            Err(_) => return Err(RequestError::TimedOut { after: timeout, server, outcome: Outcome::Unknown }),
        };
        if failure.outcome() == Outcome::Unknown {
            outcome = Outcome::Unknown;
        }
        let may_repeat = repeat == Repeat::Harmless || outcome == Outcome::NotDone;
        if !failure.is_retryable() || !may_repeat {
            return Err(failure.into());
        }
        tracing::debug!(%server, %failure, "a request failed and is tried again");
        let wait = finder.on_failure(&shared.connections, &server, &failure, clock::chance());
        if clock::now() + wait >= deadline {
            return Err(failure.into());
        }
        tokio::time::sleep(wait).await;
    }
}

/// A call that goes to the leader itself: a node that does not lead says who does, instead of passing it on.
pub(crate) fn to_the_leader<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert(REDIRECT_METADATA_KEY, MetadataValue::from_static("1"));
    request
}

/// Why a single request failed: those of [`Admin`](crate::Admin), and those that a producer or reader makes on its way.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// The server refused it.
    #[error(transparent)]
    Server(ServerError),
    /// No server could be reached until the request timeout was over. Nothing was done.
    #[error("{0}; is the server running there?")]
    Unreachable(ConnectionError),
    /// The connection broke before the answer came. It may have been done.
    #[error("{0}; the connection broke before the answer, so whether it was done is not known")]
    Broken(ConnectionError),
    /// What answered is no Highwater server, or does not let this client in. Nothing was done.
    #[error("{0}")]
    Rejected(ConnectionError),
    /// No answer came in time.
    #[error("{server} did not answer within {after:?}; {outcome}")]
    TimedOut {
        /// The request timeout.
        after: Duration,
        /// The server that was asked last.
        server: Arc<str>,
        /// What is known about it.
        outcome: Outcome,
    },
    /// The name is no topic name. Nothing was sent.
    #[error("{name:?} is no topic name: {reason}")]
    InvalidTopicName {
        /// What was given.
        name: String,
        /// What is wrong with it.
        reason: TopicNameError,
    },
    /// The server told an address that is not `HOST:PORT`.
    #[error("the server named a leader that cannot be connected to: {0}")]
    InvalidLeader(ConnectError),
    /// The answer lacks something that the protocol promises. The server is of another version, or has a bug.
    #[error("the server's answer to {request} lacks {missing}")]
    Incomplete {
        /// The request.
        request: &'static str,
        /// What is not there.
        missing: &'static str,
    },
}

impl RequestError {
    /// Whether the same request may succeed later, unchanged.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Server(error) => error.retryable,
            Self::Unreachable(_) | Self::Broken(_) | Self::TimedOut { .. } => true,
            Self::Rejected(_) | Self::InvalidTopicName { .. } | Self::InvalidLeader(_) | Self::Incomplete { .. } => {
                false
            }
        }
    }

    /// What is known about the thing that was asked for.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        match self {
            Self::Server(error) => error.outcome(),
            Self::Broken(_) | Self::Incomplete { .. } => Outcome::Unknown,
            Self::TimedOut { outcome, .. } => *outcome,
            Self::Unreachable(_) | Self::Rejected(_) | Self::InvalidTopicName { .. } | Self::InvalidLeader(_) => {
                Outcome::NotDone
            }
        }
    }

    /// The server's code, when it was the server that refused.
    #[must_use]
    pub fn code(&self) -> Option<ErrorCode> {
        match self {
            Self::Server(error) => Some(error.code),
            _ => None,
        }
    }
}

impl From<Failure> for RequestError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Server(error) => Self::Server(error),
            Failure::Unsent(error) => Self::Unreachable(error),
            Failure::Broken(error) => Self::Broken(error),
            Failure::Rejected(error) => Self::Rejected(error),
        }
    }
}

impl From<ConnectError> for RequestError {
    fn from(error: ConnectError) -> Self {
        match error {
            ConnectError::Unreachable(error) => Self::Unreachable(error),
            invalid => Self::InvalidLeader(invalid),
        }
    }
}
