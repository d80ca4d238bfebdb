//! Where a message is for one group, and what it went through.

use std::time::Duration;

use highwater_proto::v1;
use highwater_types::Timestamp;

/// Where a message is for one group.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum MessageState {
    /// Acked, dropped, or gone with the start of the log.
    Done,
    /// Not tried again unless it is redriven.
    Dead(Death),
    /// Waiting, and nobody has looked at it yet.
    Unseen,
    /// The next worker gets it.
    Ready,
    /// Another message holds its key.
    WaitsForKey,
    /// Not due yet.
    Delayed {
        /// When it is.
        until: Timestamp,
    },
    /// It failed, and is tried again.
    Resting {
        /// How much longer it rests.
        left: Duration,
    },
    /// With a worker.
    Leased {
        /// Its name.
        worker: String,
        /// How long it has had it.
        held: Duration,
        /// How much longer the lease lasts.
        left: Duration,
    },
    /// It is being settled at this moment.
    Settling,
    /// A state that this version does not know.
    Unknown,
}

/// Where a message is for one group, and what it went through.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct MessageStatus {
    /// Where it is.
    pub state: MessageState,
    /// Failed attempts of its budget.
    pub attempts: u32,
    /// Failed attempts, oldest first; the newest 16.
    pub journal: Vec<QueueAttempt>,
}

/// Why a message died.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DeathCause {
    /// It failed as often as the group allows.
    Attempts,
    /// A worker rejected it.
    Rejected,
    /// Its time to live was over.
    Expired,
}

/// That a message is dead.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Death {
    /// Why.
    pub cause: Option<DeathCause>,
    /// Since when.
    pub at: Timestamp,
}

/// A failed attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct QueueAttempt {
    /// Counts from 1, over every redrive.
    pub number: u32,
    /// Who had it.
    pub worker: String,
    /// When it began.
    pub at: Timestamp,
    /// How long it took.
    pub duration: Duration,
    /// What was said about the failure.
    pub reason: String,
}

impl MessageStatus {
    pub(super) fn from_wire(status: v1::MessageStatus) -> Self {
        let left = Duration::from_millis(status.left_ms);
        let state = match status.state() {
            v1::MessageState::Unspecified => MessageState::Unknown,
            v1::MessageState::Done => MessageState::Done,
            v1::MessageState::Dead => MessageState::Dead(Death::from_wire(status.death.unwrap_or_default())),
            v1::MessageState::Unseen => MessageState::Unseen,
            v1::MessageState::Ready => MessageState::Ready,
            v1::MessageState::WaitsForKey => MessageState::WaitsForKey,
            v1::MessageState::Delayed => MessageState::Delayed { until: Timestamp::from_ms(status.deliver_at_ms) },
            v1::MessageState::Resting => MessageState::Resting { left },
            v1::MessageState::Leased => {
                MessageState::Leased { worker: status.worker, held: Duration::from_millis(status.held_ms), left }
            }
            v1::MessageState::Settling => MessageState::Settling,
        };
        let journal = status.journal.into_iter().map(QueueAttempt::from_wire).collect();
        Self { state, attempts: status.attempts, journal }
    }
}

impl DeathCause {
    pub(super) fn to_wire(self) -> v1::DeathCause {
        match self {
            Self::Attempts => v1::DeathCause::Attempts,
            Self::Rejected => v1::DeathCause::Rejected,
            Self::Expired => v1::DeathCause::Expired,
        }
    }

    fn from_wire(cause: v1::DeathCause) -> Option<Self> {
        match cause {
            v1::DeathCause::Unspecified => None,
            v1::DeathCause::Attempts => Some(Self::Attempts),
            v1::DeathCause::Rejected => Some(Self::Rejected),
            v1::DeathCause::Expired => Some(Self::Expired),
        }
    }
}

impl Death {
    fn from_wire(death: v1::Death) -> Self {
        Self { cause: DeathCause::from_wire(death.cause()), at: Timestamp::from_ms(death.at_ms) }
    }
}

impl QueueAttempt {
    fn from_wire(attempt: v1::QueueAttempt) -> Self {
        Self {
            number: attempt.number,
            worker: attempt.worker,
            at: Timestamp::from_ms(attempt.at_ms),
            duration: Duration::from_millis(attempt.duration_ms),
            reason: attempt.reason,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_carries_what_belongs_to_it() {
        let wire = v1::MessageStatus {
            worker: "w".to_owned(),
            held_ms: 1,
            left_ms: 2,
            deliver_at_ms: 3,
            death: Some(v1::Death { cause: v1::DeathCause::Rejected.into(), at_ms: 4 }),
            ..v1::MessageStatus::default()
        };
        let state = |state: v1::MessageState| {
            MessageStatus::from_wire(v1::MessageStatus { state: state.into(), ..wire.clone() }).state
        };
        let (held, left) = (Duration::from_millis(1), Duration::from_millis(2));
        assert_eq!(state(v1::MessageState::Leased), MessageState::Leased { worker: "w".to_owned(), held, left });
        assert_eq!(state(v1::MessageState::Resting), MessageState::Resting { left });
        assert_eq!(state(v1::MessageState::Delayed), MessageState::Delayed { until: Timestamp::from_ms(3) });
        let death = Death { cause: Some(DeathCause::Rejected), at: Timestamp::from_ms(4) };
        assert_eq!(state(v1::MessageState::Dead), MessageState::Dead(death));
        assert_eq!(
            MessageStatus::from_wire(v1::MessageStatus { state: 99, ..wire.clone() }).state,
            MessageState::Unknown
        );
    }
}
