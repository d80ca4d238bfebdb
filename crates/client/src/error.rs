//! Why things fail: the causes that every operation of this crate shares.
//!
//! Each operation has an enum of its own, made of these: [`ConnectError`](crate::ConnectError),
//! [`RequestError`](crate::RequestError), [`SendError`](crate::SendError), [`ProduceError`](crate::ProduceError),
//! [`ReadError`](crate::ReadError). All of them are cheap to clone, and none makes a caller compare texts.

use std::fmt;
use std::sync::Arc;

use highwater_proto::v1;
use highwater_types::{ErrorCode, Offset, OffsetRange};
use prost::Message;
use tonic::Status;

/// What is known about the thing that was asked for, after it failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// It did not happen, and will not. Asking again cannot do it twice.
    NotDone,
    /// It may have happened. Asking again may do it a second time.
    Unknown,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotDone => "it was not done",
            Self::Unknown => "whether it was done is not known",
        })
    }
}

/// The server answered, and the answer is an error.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message} ({code})")]
#[non_exhaustive]
pub struct ServerError {
    /// Why, for programs.
    pub code: ErrorCode,
    /// Why, for people: what happened, to which thing, and what to do.
    pub message: Arc<str>,
    /// Whether the same request may succeed later, unchanged.
    pub retryable: bool,
    /// The offsets that can be read; with [`ErrorCode::OffsetOutOfRange`].
    pub valid_range: Option<OffsetRange>,
    /// Who leads the partition, as `HOST:PORT`; with [`ErrorCode::NotLeader`], where it is known.
    pub leader_address: Option<Arc<str>>,
    /// The sequence number that would be accepted; with [`ErrorCode::OutOfOrderSequence`].
    pub expected_sequence: Option<i32>,
}

impl ServerError {
    /// What is known about the request that was refused.
    ///
    /// ```
    /// use highwater_client::{Outcome, ServerError};
    /// fn may_send_again_blindly(error: &ServerError) -> bool {
    ///     error.retryable && error.outcome() == Outcome::NotDone
    /// }
    /// # let _ = may_send_again_blindly;
    /// ```
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        match self.code {
            // A bug of the server's says nothing about how far it came.
            ErrorCode::StorageFailed | ErrorCode::OutcomeUnknown | ErrorCode::Internal => Outcome::Unknown,
            _ => Outcome::NotDone,
        }
    }

    pub(crate) fn from_wire(error: v1::Error) -> Self {
        let offset = |wire: Option<i64>| wire.and_then(Offset::from_wire);
        let valid_range = match (offset(error.valid_start), offset(error.valid_end)) {
            (Some(start), Some(end)) => Some(OffsetRange::new(start, end)),
            _ => None,
        };
        Self {
            // A code that a newer server invented: its message and its flag still tell what to do.
            code: ErrorCode::from_number(error.code).unwrap_or(ErrorCode::Internal),
            message: error.message.into(),
            retryable: error.retryable,
            valid_range,
            leader_address: error.leader_address.map(Arc::from),
            expected_sequence: error.expected_sequence,
        }
    }

    /// The error that a failed call carries in its trailing metadata, if the server put one there.
    pub(crate) fn from_status(status: &Status) -> Option<Self> {
        let value = status.metadata().get_bin(highwater_proto::ERROR_METADATA_KEY)?;
        let bytes = value.to_bytes().ok()?;
        v1::Error::decode(bytes).ok().map(Self::from_wire)
    }
}

/// A server could not be reached, or the connection to it broke.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no connection to {server}: {reason}")]
#[non_exhaustive]
pub struct ConnectionError {
    /// The server, as `HOST:PORT`.
    pub server: Arc<str>,
    /// What the transport said.
    pub reason: Arc<str>,
}

impl ConnectionError {
    pub(crate) fn new(server: &str, reason: &str) -> Self {
        Self { server: server.into(), reason: reason.into() }
    }
}

/// One failure of one call or stream, as the retry logic sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The server refused.
    Server(ServerError),
    /// The request never left: nothing was done.
    Unsent(ConnectionError),
    /// It broke on the way, or the answer did: it may have been done.
    Broken(ConnectionError),
    /// A status without our details, of a kind that the same request meets again: a wrong server, a missing right.
    Rejected(ConnectionError),
}

impl Failure {
    /// Sorts what tonic reports by what may be concluded from it.
    pub(crate) fn from_status(server: &str, status: &Status) -> Self {
        if let Some(error) = ServerError::from_status(status) {
            return Self::Server(error);
        }
        let error = ConnectionError::new(server, &describe(status));
        if is_connect_failure(status) {
            return Self::Unsent(error);
        }
        match status.code() {
            tonic::Code::Unimplemented
            | tonic::Code::Unauthenticated
            | tonic::Code::PermissionDenied
            | tonic::Code::InvalidArgument
            | tonic::Code::NotFound => Self::Rejected(error),
            _ => Self::Broken(error),
        }
    }

    pub(crate) fn is_retryable(&self) -> bool {
        match self {
            Self::Server(error) => error.retryable,
            Self::Unsent(_) | Self::Broken(_) => true,
            Self::Rejected(_) => false,
        }
    }

    pub(crate) fn outcome(&self) -> Outcome {
        match self {
            Self::Server(error) => error.outcome(),
            Self::Unsent(_) | Self::Rejected(_) => Outcome::NotDone,
            Self::Broken(_) => Outcome::Unknown,
        }
    }

    /// Where the request should go instead, when the server told.
    pub(crate) fn leader_address(&self) -> Option<&Arc<str>> {
        match self {
            Self::Server(error) => error.leader_address.as_ref(),
            _ => None,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Server(error) => error.fmt(f),
            Self::Unsent(error) | Self::Broken(error) | Self::Rejected(error) => error.fmt(f),
        }
    }
}

fn is_connect_failure(status: &Status) -> bool {
    let mut cause = std::error::Error::source(status);
    while let Some(error) = cause {
        if error.is::<tonic::ConnectError>() {
            return true;
        }
        cause = error.source();
    }
    false
}

/// A status' own words and its innermost cause: "transport error" alone helps nobody.
fn describe(status: &Status) -> String {
    let text = if status.message().is_empty() { status.code().description() } else { status.message() };
    match root_cause(status) {
        Some(root) if !text.contains(&root) => format!("{text}: {root}"),
        _ => text.to_owned(),
    }
}

/// The innermost cause of an error of the transport, which is the one that says something.
pub(crate) fn describe_transport(error: &tonic::transport::Error) -> String {
    root_cause(error).unwrap_or_else(|| error.to_string())
}

fn root_cause(error: &dyn std::error::Error) -> Option<String> {
    let mut cause = error.source()?;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    Some(cause.to_string())
}
