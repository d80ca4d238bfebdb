//! The settings of a queue group, and their form on the wire.

use std::time::Duration;

use highwater_proto::v1;

use crate::queue::millis;

/// How long a message rests after a failed attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum QueueBackoff {
    /// Not at all.
    None,
    /// Always as long.
    Fixed {
        /// How long.
        pause: Duration,
    },
    /// Longer by a step each time.
    Linear {
        /// The first rest, and by how much the others are longer.
        step: Duration,
        /// No rest is longer.
        cap: Duration,
    },
    /// Twice as long each time.
    Exponential {
        /// The first rest.
        first: Duration,
        /// No rest is longer.
        cap: Duration,
    },
}

/// Which messages may be with workers at the same time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum QueueOrder {
    /// All of them.
    None,
    /// One of each key; keys side by side.
    Key,
    /// One of each partition.
    Partition,
}

/// What becomes of a message whose time to live is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum OnExpiry {
    /// It is dead and can be looked at.
    Dead,
    /// It is done.
    Drop,
}

/// When a group that mostly fails pauses by itself: an outage should not fill the dead letters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum QueueBreaker {
    /// Never.
    Off,
    /// When nearly everything fails.
    On {
        /// The share of failures at which the group pauses, in per cent.
        failures_percent: u32,
        /// With fewer outcomes nothing is concluded.
        outcomes_min: u32,
        /// Over how long outcomes are counted.
        window: Duration,
        /// How long after the pause one message is tried; its ack resumes the group.
        probe_after: Duration,
    },
}

/// Settings of a queue group. In a change, `None` leaves a setting as it is, or at its default for a group that is made;
/// what the server tells has all of them.
///
/// ```
/// use std::time::Duration;
/// use highwater_client::{QueueOrder, QueueSettings};
/// let settings = QueueSettings::new().lease(Duration::from_secs(60)).order(QueueOrder::Key);
/// assert_eq!(settings.attempts_max, None);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct QueueSettings {
    /// How long a worker has for a message. Default 30 seconds.
    pub lease: Option<Duration>,
    /// The longest lease with all that it is extended by. Default 12 hours.
    pub lease_total_max: Option<Duration>,
    /// After so many failed attempts a message is dead. Default 5.
    pub attempts_max: Option<u32>,
    /// How long a message rests after a failed attempt. Default exponential from 1 to 60 seconds.
    pub backoff: Option<QueueBackoff>,
    /// Which messages may be with workers at the same time. Default all.
    pub order: Option<QueueOrder>,
    /// The most messages with workers at a time, a partition. Default 100,000.
    pub in_flight_max: Option<u32>,
    /// The same of one worker. Default 10,000.
    pub worker_in_flight_max: Option<u32>,
    /// Each so many messages the oldest goes first, whatever its priority; 0 is never. Default 10.
    pub oldest_every: Option<u32>,
    /// Among so many messages priorities and tenants are compared. Default 10,000.
    pub look_ahead: Option<u32>,
    /// The window of a partition: messages that are looked at and not done. Default 1,000,000.
    pub entries_max: Option<u32>,
    /// With so many dead in a partition nothing more is handed out there. Default 100,000.
    pub dead_max: Option<u32>,
    /// What becomes of a message whose time to live is over. Default dead.
    pub on_expiry: Option<OnExpiry>,
    /// When the group pauses by itself. Default when 90 % of at least 100 outcomes in 30 seconds are failures, with a probe
    /// after 10 seconds.
    pub breaker: Option<QueueBreaker>,
}

impl QueueSettings {
    /// Nothing is given.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// How long a worker has for a message.
    #[must_use]
    pub fn lease(mut self, lease: Duration) -> Self {
        self.lease = Some(lease);
        self
    }

    /// After so many failed attempts a message is dead.
    #[must_use]
    pub fn attempts_max(mut self, attempts: u32) -> Self {
        self.attempts_max = Some(attempts);
        self
    }

    /// How long a message rests after a failed attempt.
    #[must_use]
    pub fn backoff(mut self, backoff: QueueBackoff) -> Self {
        self.backoff = Some(backoff);
        self
    }

    /// Which messages may be with workers at the same time.
    #[must_use]
    pub fn order(mut self, order: QueueOrder) -> Self {
        self.order = Some(order);
        self
    }

    /// What becomes of a message whose time to live is over.
    #[must_use]
    pub fn on_expiry(mut self, on_expiry: OnExpiry) -> Self {
        self.on_expiry = Some(on_expiry);
        self
    }

    /// When the group pauses by itself.
    #[must_use]
    pub fn breaker(mut self, breaker: QueueBreaker) -> Self {
        self.breaker = Some(breaker);
        self
    }

    pub(super) fn into_wire(self) -> v1::QueueSettings {
        v1::QueueSettings {
            lease_ms: self.lease.map(millis),
            lease_total_ms_max: self.lease_total_max.map(millis),
            attempts_max: self.attempts_max,
            backoff: self.backoff.map(QueueBackoff::to_wire),
            order: self.order.map_or(v1::QueueOrder::Unspecified, QueueOrder::to_wire).into(),
            in_flight_max: self.in_flight_max,
            worker_in_flight_max: self.worker_in_flight_max,
            oldest_every: self.oldest_every,
            look_ahead: self.look_ahead,
            entries_max: self.entries_max,
            dead_max: self.dead_max,
            on_expiry: self.on_expiry.map_or(v1::OnExpiry::Unspecified, OnExpiry::to_wire).into(),
            breaker: self.breaker.map(QueueBreaker::to_wire),
        }
    }

    pub(super) fn from_wire(settings: v1::QueueSettings) -> Self {
        Self {
            lease: settings.lease_ms.map(Duration::from_millis),
            lease_total_max: settings.lease_total_ms_max.map(Duration::from_millis),
            attempts_max: settings.attempts_max,
            order: QueueOrder::from_wire(settings.order()),
            in_flight_max: settings.in_flight_max,
            worker_in_flight_max: settings.worker_in_flight_max,
            oldest_every: settings.oldest_every,
            look_ahead: settings.look_ahead,
            entries_max: settings.entries_max,
            dead_max: settings.dead_max,
            on_expiry: OnExpiry::from_wire(settings.on_expiry()),
            backoff: settings.backoff.and_then(QueueBackoff::from_wire),
            breaker: settings.breaker.map(QueueBreaker::from_wire),
        }
    }
}

impl QueueBackoff {
    fn to_wire(self) -> v1::QueueBackoff {
        use v1::queue_backoff::Kind;
        let kind = match self {
            Self::None => Kind::None(v1::BackoffNone {}),
            Self::Fixed { pause } => Kind::Fixed(v1::BackoffFixed { pause_ms: millis(pause) }),
            Self::Linear { step, cap } => {
                Kind::Linear(v1::BackoffLinear { step_ms: millis(step), cap_ms: millis(cap) })
            }
            Self::Exponential { first, cap } => {
                Kind::Exponential(v1::BackoffExponential { first_ms: millis(first), cap_ms: millis(cap) })
            }
        };
        v1::QueueBackoff { kind: Some(kind) }
    }

    fn from_wire(backoff: v1::QueueBackoff) -> Option<Self> {
        use v1::queue_backoff::Kind;
        let ms = Duration::from_millis;
        Some(match backoff.kind? {
            Kind::None(_) => Self::None,
            Kind::Fixed(fixed) => Self::Fixed { pause: ms(fixed.pause_ms) },
            Kind::Linear(linear) => Self::Linear { step: ms(linear.step_ms), cap: ms(linear.cap_ms) },
            Kind::Exponential(grows) => Self::Exponential { first: ms(grows.first_ms), cap: ms(grows.cap_ms) },
        })
    }
}

impl QueueOrder {
    fn to_wire(self) -> v1::QueueOrder {
        match self {
            Self::None => v1::QueueOrder::None,
            Self::Key => v1::QueueOrder::Key,
            Self::Partition => v1::QueueOrder::Partition,
        }
    }

    fn from_wire(order: v1::QueueOrder) -> Option<Self> {
        match order {
            v1::QueueOrder::Unspecified => None,
            v1::QueueOrder::None => Some(Self::None),
            v1::QueueOrder::Key => Some(Self::Key),
            v1::QueueOrder::Partition => Some(Self::Partition),
        }
    }
}

impl OnExpiry {
    fn to_wire(self) -> v1::OnExpiry {
        match self {
            Self::Dead => v1::OnExpiry::Dead,
            Self::Drop => v1::OnExpiry::Drop,
        }
    }

    fn from_wire(on_expiry: v1::OnExpiry) -> Option<Self> {
        match on_expiry {
            v1::OnExpiry::Unspecified => None,
            v1::OnExpiry::Dead => Some(Self::Dead),
            v1::OnExpiry::Drop => Some(Self::Drop),
        }
    }
}

impl QueueBreaker {
    fn to_wire(self) -> v1::QueueBreaker {
        match self {
            Self::Off => v1::QueueBreaker { is_off: true, ..v1::QueueBreaker::default() },
            Self::On { failures_percent, outcomes_min, window, probe_after } => v1::QueueBreaker {
                is_off: false,
                failures_percent,
                outcomes_min,
                window_ms: millis(window),
                probe_after_ms: millis(probe_after),
            },
        }
    }

    fn from_wire(breaker: v1::QueueBreaker) -> Self {
        if breaker.is_off {
            return Self::Off;
        }
        Self::On {
            failures_percent: breaker.failures_percent,
            outcomes_min: breaker.outcomes_min,
            window: Duration::from_millis(breaker.window_ms),
            probe_after: Duration::from_millis(breaker.probe_after_ms),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_the_same_on_both_sides() {
        let secs = Duration::from_secs;
        let backoffs = [
            QueueBackoff::None,
            QueueBackoff::Fixed { pause: secs(1) },
            QueueBackoff::Linear { step: secs(1), cap: secs(9) },
            QueueBackoff::Exponential { first: secs(2), cap: secs(60) },
        ];
        let on = QueueBreaker::On { failures_percent: 50, outcomes_min: 7, window: secs(8), probe_after: secs(9) };
        let mut settings = QueueSettings::new().lease(secs(5)).attempts_max(3).on_expiry(OnExpiry::Drop);
        for (backoff, breaker) in backoffs.into_iter().zip([QueueBreaker::Off, on, on, on]) {
            settings = settings.backoff(backoff).breaker(breaker).order(QueueOrder::Key);
            assert_eq!(QueueSettings::from_wire(settings.into_wire()), settings);
        }
        let empty = QueueSettings::new();
        assert_eq!(QueueSettings::from_wire(empty.into_wire()), empty, "what is not given stays so");
    }
}
