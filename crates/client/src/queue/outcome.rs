//! What may become of a message, and what the server made of it.

use std::fmt;
use std::time::Duration;

use highwater_proto::v1;
use highwater_types::ErrorCode;

use super::message::MessageToken;
use crate::error::ServerError;

/// The server keeps so much of a reason.
const REASON_BYTES_MAX: usize = 512;

/// What became of a message that a handler was given.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MessageOutcome {
    /// It is done: no worker of the group gets it again.
    Ack,
    /// It goes back to the queue, and that is nobody's fault: not counted as an attempt.
    Release,
    /// The attempt failed. It is tried again later; after as many failures as the group allows it is dead.
    Fail {
        /// Why, for people; the first 512 bytes are kept.
        reason: String,
        /// How long it rests. `None`: what the back-off of the group says.
        retry_after: Option<Duration>,
    },
    /// It need not be tried again: dead at once.
    Reject {
        /// Why, for people; the first 512 bytes are kept.
        reason: String,
    },
}

impl MessageOutcome {
    /// A failure, with what the back-off of the group says.
    pub fn fail(reason: impl fmt::Display) -> Self {
        Self::Fail { reason: reason_text(&reason), retry_after: None }
    }

    /// A failure after which the message rests for so long.
    pub fn fail_for(reason: impl fmt::Display, rest: Duration) -> Self {
        Self::Fail { reason: reason_text(&reason), retry_after: Some(rest) }
    }

    /// A message that no further attempt would make good.
    pub fn reject(reason: impl fmt::Display) -> Self {
        Self::Reject { reason: reason_text(&reason) }
    }
}

/// What a handler may return.
///
/// Nothing or `Ok(())` is an ack, and an error is a failure with its text as the reason. A handler that has more to say
/// returns a [`MessageOutcome`], alone or in a result.
pub trait IntoOutcome {
    /// What becomes of the message.
    fn into_outcome(self) -> MessageOutcome;
}

impl IntoOutcome for MessageOutcome {
    fn into_outcome(self) -> MessageOutcome {
        self
    }
}

impl IntoOutcome for () {
    fn into_outcome(self) -> MessageOutcome {
        MessageOutcome::Ack
    }
}

impl<T: IntoOutcome, E: fmt::Display> IntoOutcome for Result<T, E> {
    fn into_outcome(self) -> MessageOutcome {
        match self {
            Ok(outcome) => outcome.into_outcome(),
            Err(error) => MessageOutcome::fail(error),
        }
    }
}

/// What became of one message, to be told with [`Queue::settle`](crate::Queue::settle). Made by the methods of
/// [`QueueMessage`](crate::QueueMessage).
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "nobody is told until it is given to `Queue::settle`"]
pub struct Settle {
    token: MessageToken,
    what: What,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum What {
    Outcome(MessageOutcome),
    Extend(Duration),
}

impl Settle {
    pub(crate) fn new(token: MessageToken, outcome: MessageOutcome) -> Self {
        Self { token, what: What::Outcome(outcome) }
    }

    pub(crate) fn extend(token: MessageToken, lease: Duration) -> Self {
        Self { token, what: What::Extend(lease) }
    }

    pub(crate) fn is_extension(&self) -> bool {
        matches!(self.what, What::Extend(_))
    }

    /// Whether telling it twice comes to the same as telling it once.
    pub(crate) fn may_repeat(&self) -> bool {
        matches!(self.what, What::Extend(_) | What::Outcome(MessageOutcome::Ack))
    }

    pub(crate) fn into_wire(self) -> v1::Outcome {
        use v1::outcome::Kind;
        let kind = match self.what {
            What::Outcome(MessageOutcome::Ack) => Kind::Ack(v1::Ack {}),
            What::Outcome(MessageOutcome::Release) => Kind::Release(v1::Release {}),
            What::Outcome(MessageOutcome::Fail { reason, retry_after }) => {
                Kind::Fail(v1::Fail { reason: cut(reason), retry_after_ms: retry_after.map(millis) })
            }
            What::Outcome(MessageOutcome::Reject { reason }) => Kind::Reject(v1::Reject { reason: cut(reason) }),
            What::Extend(lease) => Kind::Extend(v1::Extend { lease_ms: millis(lease) }),
        };
        v1::Outcome { token: self.token.0, kind: Some(kind) }
    }
}

/// What the server made of an outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Settled {
    /// It is done.
    Acked,
    /// It was done before.
    AlreadyDone,
    /// It is back in the queue.
    Released,
    /// It is tried again.
    WillRetry {
        /// How many attempts have failed.
        attempts: u32,
        /// How long it rests.
        after: Duration,
    },
    /// It is not tried again unless it is redriven.
    Dead,
    /// It stays with this program.
    Extended {
        /// How long, from now on.
        lease: Duration,
    },
}

impl Settled {
    pub(crate) fn from_wire(settled: v1::Settled) -> Result<Self, ServerError> {
        if let Some(error) = settled.error {
            return Err(ServerError::from_wire(error));
        }
        Ok(match settled.state() {
            v1::SettledState::Acked => Self::Acked,
            v1::SettledState::AlreadyDone => Self::AlreadyDone,
            v1::SettledState::Released => Self::Released,
            v1::SettledState::WillRetry => {
                Self::WillRetry { attempts: settled.attempts, after: Duration::from_millis(settled.retry_after_ms) }
            }
            v1::SettledState::Dead => Self::Dead,
            v1::SettledState::Extended => Self::Extended { lease: Duration::from_millis(settled.lease_ms) },
            v1::SettledState::Unspecified => return Err(unanswered()),
        })
    }
}

/// The server said nothing about a message, or what this version does not know.
pub(crate) fn unanswered() -> ServerError {
    let message = "the server's answer does not say what became of the message".to_owned();
    ServerError::from_wire(v1::Error { code: ErrorCode::Internal.number(), message, ..v1::Error::default() })
}

fn reason_text(reason: &impl fmt::Display) -> String {
    // The alternate form of errors that carry their causes tells those too.
    cut(format!("{reason:#}"))
}

/// What the server would keep of a reason anyway.
fn cut(mut reason: String) -> String {
    let end = reason.floor_char_boundary(REASON_BYTES_MAX);
    reason.truncate(end);
    reason
}

pub(crate) fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    #[test]
    fn what_a_handler_returns_becomes_an_outcome() {
        assert_eq!(().into_outcome(), MessageOutcome::Ack);
        assert_eq!(Ok::<_, String>(()).into_outcome(), MessageOutcome::Ack);
        let failed = MessageOutcome::Fail { reason: "no paper".to_owned(), retry_after: None };
        assert_eq!(Err::<(), _>("no paper").into_outcome(), failed);
        let rich = Ok::<_, String>(MessageOutcome::reject("not a number"));
        assert_eq!(rich.into_outcome(), MessageOutcome::Reject { reason: "not a number".to_owned() });
    }

    #[test]
    fn a_reason_is_cut_where_a_letter_ends() {
        let MessageOutcome::Fail { reason, .. } = MessageOutcome::fail("ä".repeat(300) + "x") else { panic!() };
        assert_eq!(reason.len(), 512);
        let MessageOutcome::Fail { reason, .. } = MessageOutcome::fail("x".to_owned() + &"ä".repeat(300)) else {
            panic!()
        };
        assert_eq!(reason.len(), 511);
    }

    #[test]
    fn every_outcome_reaches_the_wire() {
        use v1::outcome::Kind;
        let token = || MessageToken(Bytes::from_static(b"t"));
        let wire = |outcome| Settle::new(token(), outcome).into_wire().kind;
        assert_eq!(wire(MessageOutcome::Ack), Some(Kind::Ack(v1::Ack {})));
        assert_eq!(wire(MessageOutcome::Release), Some(Kind::Release(v1::Release {})));
        let fail = v1::Fail { reason: "r".to_owned(), retry_after_ms: Some(1_500) };
        assert_eq!(wire(MessageOutcome::fail_for("r", Duration::from_millis(1_500))), Some(Kind::Fail(fail)));
        assert_eq!(wire(MessageOutcome::reject("r")), Some(Kind::Reject(v1::Reject { reason: "r".to_owned() })));
        let extend = Settle::extend(token(), Duration::from_secs(2));
        assert!(extend.is_extension() && extend.may_repeat());
        assert_eq!(extend.into_wire().kind, Some(Kind::Extend(v1::Extend { lease_ms: 2_000 })));
    }

    #[test]
    fn a_state_of_a_newer_server_is_no_ack() {
        let error = Settled::from_wire(v1::Settled { state: 99, ..v1::Settled::default() }).unwrap_err();
        assert_eq!(error.code, ErrorCode::Internal);
        let error = v1::Error { code: ErrorCode::LeaseLost.number(), ..v1::Error::default() };
        let refused = Settled::from_wire(v1::Settled { error: Some(error), ..v1::Settled::default() }).unwrap_err();
        assert_eq!(refused.code, ErrorCode::LeaseLost);
    }
}
