//! What an operator chooses about a queue group. Durable: it is part of the image.
//!
//! Owns: the settings, their defaults, their bounds, and what a back-off comes to.

use super::limits;

/// How long a message rests after a failed attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backoff {
    /// Not at all.
    None,
    /// Always as long.
    Fixed {
        /// How long, in milliseconds.
        pause_ms: u64,
    },
    /// Longer by a step each time.
    Linear {
        /// The step, in milliseconds.
        step_ms: u64,
        /// The longest, in milliseconds.
        cap_ms: u64,
    },
    /// Twice as long each time.
    Exponential {
        /// The first, in milliseconds.
        first_ms: u64,
        /// The longest, in milliseconds.
        cap_ms: u64,
    },
}

impl Backoff {
    /// How long a message rests after its failure number `failures`, counted from 1.
    #[must_use]
    pub fn after_ms(self, failures: u32) -> u64 {
        let before = failures.saturating_sub(1);
        let ms = match self {
            Self::None => 0,
            Self::Fixed { pause_ms } => pause_ms,
            Self::Linear { step_ms, cap_ms } => step_ms.saturating_mul(u64::from(failures)).min(cap_ms),
            Self::Exponential { first_ms, cap_ms } => {
                first_ms.saturating_mul(1_u64.checked_shl(before).unwrap_or(u64::MAX)).min(cap_ms)
            }
        };
        ms.min(limits::BACKOFF_MS_MAX)
    }
}

/// Which messages may be with workers at the same time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// All.
    None,
    /// One of each key; keys go side by side. A message that rests after a failure holds its key; one that is delayed
    /// does not, and takes its place when it is due.
    Key,
    /// One.
    Partition,
}

/// What becomes of a message whose time to live is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnExpiry {
    /// It is dead and can be looked at.
    Dead,
    /// It is done.
    Drop,
}

/// When a group that mostly fails stops: an outage should not fill the dead letters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BreakerConfig {
    /// The share of failures among outcomes at which the group pauses, in per cent.
    pub failures_percent: u8,
    /// With fewer outcomes than this nothing is concluded.
    pub outcomes_min: u32,
    /// Over how long outcomes are counted, in milliseconds.
    pub window_ms: u64,
    /// How long after the pause one message is tried, in milliseconds. Its ack resumes the group.
    pub probe_after_ms: u64,
}

/// What an operator chooses about a queue group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueConfig {
    /// How long a worker has for a message, in milliseconds.
    pub lease_ms: u64,
    /// The longest lease with all that it is extended by, in milliseconds.
    pub lease_total_ms_max: u64,
    /// After so many failed attempts a message is dead.
    pub attempts_max: u32,
    /// How long it rests in between.
    pub backoff: Backoff,
    /// Which messages may be with workers at the same time.
    pub order: Order,
    /// The most messages with workers at the same time.
    pub in_flight_max: usize,
    /// The most with one worker.
    pub worker_in_flight_max: usize,
    /// Each so many messages the oldest goes first, whatever its priority and tenant; 0 is never.
    pub oldest_every: u32,
    /// How many deliverable messages are looked at ahead: priorities and tenants are compared among these.
    pub look_ahead: usize,
    /// The most entries of the window: see [`limits::ENTRIES_MAX`].
    pub entries_max: usize,
    /// With so many dead messages the group hands out nothing until some are redriven or dropped.
    pub dead_max: usize,
    /// What becomes of a message whose time to live is over.
    pub on_expiry: OnExpiry,
    /// When the group stops by itself; `None` is never.
    pub breaker: Option<BreakerConfig>,
}

impl Default for QueueConfig {
    fn default() -> Self {
        Self {
            lease_ms: 30_000,
            lease_total_ms_max: limits::LEASE_MS_MAX,
            attempts_max: 5,
            backoff: Backoff::Exponential { first_ms: 1_000, cap_ms: 60_000 },
            order: Order::None,
            in_flight_max: 100_000,
            worker_in_flight_max: 10_000,
            oldest_every: 10,
            look_ahead: 10_000,
            entries_max: 1_000_000,
            dead_max: 100_000,
            on_expiry: OnExpiry::Dead,
            breaker: Some(BreakerConfig {
                failures_percent: 90,
                outcomes_min: 100,
                window_ms: 30_000,
                probe_after_ms: 10_000,
            }),
        }
    }
}

/// Why settings are refused. Nothing is silently made to fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{setting} is from {min} to {max}, not {value}")]
pub struct ConfigError {
    /// Which.
    pub setting: &'static str,
    /// What it was to be.
    pub value: u64,
    /// The least.
    pub min: u64,
    /// The most.
    pub max: u64,
}

impl QueueConfig {
    /// Checks every bound.
    ///
    /// # Errors
    /// The first setting that is out of its bounds.
    pub fn check(&self) -> Result<(), ConfigError> {
        let (first_ms, cap_ms) = match self.backoff {
            Backoff::None => (0, 0),
            Backoff::Fixed { pause_ms } => (pause_ms, pause_ms),
            Backoff::Linear { step_ms: first_ms, cap_ms } | Backoff::Exponential { first_ms, cap_ms } => {
                (first_ms, cap_ms)
            }
        };
        let breaker = self.breaker.unwrap_or(BreakerConfig {
            failures_percent: 1,
            outcomes_min: 1,
            window_ms: 1_000,
            probe_after_ms: 0,
        });
        let wide = |value: usize| u64::try_from(value).unwrap_or(u64::MAX);
        let day_ms = 24 * 60 * 60 * 1_000;
        for (setting, value, min, max) in [
            ("the lease in milliseconds", self.lease_ms, 1, limits::LEASE_MS_MAX),
            ("the longest lease in milliseconds", self.lease_total_ms_max, self.lease_ms, limits::LEASE_MS_MAX),
            ("the attempt limit", self.attempts_max.into(), 1, limits::ATTEMPTS_MAX.into()),
            ("the first back-off in milliseconds", first_ms, 0, limits::BACKOFF_MS_MAX),
            ("the longest back-off in milliseconds", cap_ms, first_ms, limits::BACKOFF_MS_MAX),
            ("the cap in flight", wide(self.in_flight_max), 1, wide(limits::ENTRIES_MAX)),
            ("the cap in flight of a worker", wide(self.worker_in_flight_max), 1, wide(limits::ENTRIES_MAX)),
            ("the look-ahead", wide(self.look_ahead), 1, wide(limits::ENTRIES_MAX)),
            ("the cap of entries", wide(self.entries_max), 1, wide(limits::ENTRIES_MAX)),
            ("the cap of dead messages", wide(self.dead_max), 1, wide(limits::DEAD_MAX)),
            ("the breaker's share of failures in per cent", breaker.failures_percent.into(), 1, 100),
            ("the breaker's least outcomes", breaker.outcomes_min.into(), 1, 1_000_000),
            ("the breaker's window in milliseconds", breaker.window_ms, 1_000, day_ms),
            ("the breaker's pause before a probe in milliseconds", breaker.probe_after_ms, 0, day_ms),
        ] {
            if value < min || value > max {
                return Err(ConfigError { setting, value, min, max });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backoff_grows_to_its_cap() {
        let after = |backoff: Backoff| [1, 2, 3, 4, 100].map(|failures| backoff.after_ms(failures));
        assert_eq!(after(Backoff::None), [0; 5]);
        assert_eq!(after(Backoff::Fixed { pause_ms: 7 }), [7; 5]);
        assert_eq!(after(Backoff::Linear { step_ms: 10, cap_ms: 35 }), [10, 20, 30, 35, 35]);
        assert_eq!(after(Backoff::Exponential { first_ms: 10, cap_ms: 75 }), [10, 20, 40, 75, 75]);
        assert_eq!(Backoff::Exponential { first_ms: 0, cap_ms: 75 }.after_ms(70), 0);
    }

    #[test]
    fn the_defaults_are_in_their_bounds() {
        assert_eq!(QueueConfig::default().check(), Ok(()));
        let error = QueueConfig { attempts_max: 0, ..QueueConfig::default() }.check().unwrap_err();
        assert_eq!(error.to_string(), "the attempt limit is from 1 to 1000, not 0");
    }
}
