//! The parts that queue records and the image are made of: settings, attempts, pauses, and columns of ranges.

use bytes::Bytes;
use highwater_types::{Offset, OffsetRange, Timestamp};
use prost::Message;

use crate::queue::config::{Backoff, BreakerConfig, OnExpiry, Order, QueueConfig};
use crate::queue::entry::{self, DeathCause, DropCause};
use crate::queue::ids::{Reason, WorkerId};
use crate::queue::record::{self, DecodeError, PausedBy};
use crate::stream::record::parts::malformed;

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Config {
    #[prost(uint64, tag = "1")]
    lease_ms: u64,
    #[prost(uint64, tag = "2")]
    lease_total_ms_max: u64,
    #[prost(uint32, tag = "3")]
    attempts_max: u32,
    /// 0 none, 1 fixed, 2 linear, 3 exponential.
    #[prost(uint32, tag = "4")]
    backoff: u32,
    #[prost(uint64, tag = "5")]
    backoff_ms: u64,
    #[prost(uint64, tag = "6")]
    backoff_cap_ms: u64,
    /// 0 none, 1 key, 2 partition.
    #[prost(uint32, tag = "7")]
    order: u32,
    #[prost(uint64, tag = "8")]
    in_flight_max: u64,
    #[prost(uint64, tag = "9")]
    worker_in_flight_max: u64,
    #[prost(uint32, tag = "10")]
    oldest_every: u32,
    #[prost(uint64, tag = "11")]
    look_ahead: u64,
    #[prost(uint64, tag = "12")]
    entries_max: u64,
    #[prost(uint64, tag = "13")]
    dead_max: u64,
    #[prost(bool, tag = "14")]
    drops_expired: bool,
    #[prost(message, optional, tag = "15")]
    breaker: Option<Breaker>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Breaker {
    #[prost(uint32, tag = "1")]
    failures_percent: u32,
    #[prost(uint32, tag = "2")]
    outcomes_min: u32,
    #[prost(uint64, tag = "3")]
    window_ms: u64,
    #[prost(uint64, tag = "4")]
    probe_after_ms: u64,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Attempt {
    #[prost(uint32, tag = "1")]
    number: u32,
    #[prost(string, tag = "2")]
    worker: String,
    #[prost(sint64, tag = "3")]
    started_at_ms: i64,
    #[prost(uint64, tag = "4")]
    duration_ms: u64,
    #[prost(string, tag = "5")]
    reason: String,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Kept {
    #[prost(uint64, tag = "1")]
    pub(crate) offset: u64,
    #[prost(bytes = "bytes", tag = "2")]
    pub(crate) record: Bytes,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Pause {
    #[prost(bool, tag = "1")]
    by_breaker: bool,
    #[prost(sint64, tag = "2")]
    at_ms: i64,
    #[prost(string, tag = "3")]
    reason: String,
}

/// For each range how far it starts behind the one before, and its length. Ranges that are not in order wrap around.
pub(crate) fn columns(ranges: &[OffsetRange]) -> Vec<u64> {
    let mut at = 0_u64;
    let mut numbers = Vec::with_capacity(ranges.len() * 2);
    for range in ranges {
        numbers.extend([range.start.get().wrapping_sub(at), range.len()]);
        at = range.end.get();
    }
    numbers
}

pub(crate) fn ranges(numbers: &[u64]) -> Result<Vec<OffsetRange>, DecodeError> {
    let (pairs, rest) = numbers.as_chunks::<2>();
    if !rest.is_empty() {
        return Err(malformed("a range has no length"));
    }
    let mut at = 0_u64;
    let range = |[gap, length]: &[u64; 2]| {
        let start = offset(at.wrapping_add(*gap))?;
        let end = start.checked_add(*length).ok_or_else(|| malformed("a range ends behind all offsets"))?;
        at = end.get();
        Ok(OffsetRange { start, end })
    };
    pairs.iter().map(range).collect()
}

pub(crate) fn offset(number: u64) -> Result<Offset, DecodeError> {
    Offset::new(number).ok_or_else(|| malformed(format!("there is no offset {number}")))
}

pub(crate) const fn death_code(cause: DeathCause) -> u32 {
    match cause {
        DeathCause::AttemptsSpent => 1,
        DeathCause::Rejected => 2,
        DeathCause::Expired => 3,
    }
}

pub(crate) fn death_cause(code: u32) -> Result<DeathCause, DecodeError> {
    match code {
        1 => Ok(DeathCause::AttemptsSpent),
        2 => Ok(DeathCause::Rejected),
        3 => Ok(DeathCause::Expired),
        _ => Err(malformed(format!("there is no cause of death {code}"))),
    }
}

pub(crate) const fn drop_code(cause: DropCause) -> u32 {
    match cause {
        DropCause::Expired => 1,
        DropCause::Cancelled => 2,
        DropCause::Discarded => 3,
        DropCause::Absent => 4,
    }
}

pub(crate) fn drop_cause(code: u32) -> Result<DropCause, DecodeError> {
    match code {
        1 => Ok(DropCause::Expired),
        2 => Ok(DropCause::Cancelled),
        3 => Ok(DropCause::Discarded),
        4 => Ok(DropCause::Absent),
        _ => Err(malformed(format!("there is no cause {code} to drop a message"))),
    }
}

impl From<&entry::Attempt> for Attempt {
    fn from(attempt: &entry::Attempt) -> Self {
        Self {
            number: attempt.number,
            worker: attempt.worker.to_string(),
            started_at_ms: attempt.started_at.as_ms(),
            duration_ms: attempt.duration_ms,
            reason: attempt.reason.to_string(),
        }
    }
}

impl TryFrom<Attempt> for entry::Attempt {
    type Error = DecodeError;

    fn try_from(attempt: Attempt) -> Result<Self, DecodeError> {
        Ok(Self {
            number: attempt.number,
            worker: WorkerId::new(&attempt.worker).map_err(malformed)?,
            started_at: Timestamp::from_ms(attempt.started_at_ms),
            duration_ms: attempt.duration_ms,
            reason: Reason::new(&attempt.reason),
        })
    }
}

impl From<&record::Pause> for Pause {
    fn from(pause: &record::Pause) -> Self {
        Self { by_breaker: pause.by == PausedBy::Breaker, at_ms: pause.at.as_ms(), reason: pause.reason.to_string() }
    }
}

impl TryFrom<Pause> for record::Pause {
    type Error = DecodeError;

    fn try_from(pause: Pause) -> Result<Self, DecodeError> {
        Ok(Self {
            by: if pause.by_breaker { PausedBy::Breaker } else { PausedBy::Operator },
            at: Timestamp::from_ms(pause.at_ms),
            reason: Reason::new(&pause.reason),
        })
    }
}

impl From<&QueueConfig> for Config {
    fn from(config: &QueueConfig) -> Self {
        let wide = |value: usize| u64::try_from(value).unwrap_or(u64::MAX);
        let (backoff, backoff_ms, backoff_cap_ms) = match config.backoff {
            Backoff::None => (0, 0, 0),
            Backoff::Fixed { pause_ms } => (1, pause_ms, 0),
            Backoff::Linear { step_ms, cap_ms } => (2, step_ms, cap_ms),
            Backoff::Exponential { first_ms, cap_ms } => (3, first_ms, cap_ms),
        };
        Self {
            lease_ms: config.lease_ms,
            lease_total_ms_max: config.lease_total_ms_max,
            attempts_max: config.attempts_max,
            backoff,
            backoff_ms,
            backoff_cap_ms,
            order: match config.order {
                Order::None => 0,
                Order::Key => 1,
                Order::Partition => 2,
            },
            in_flight_max: wide(config.in_flight_max),
            worker_in_flight_max: wide(config.worker_in_flight_max),
            oldest_every: config.oldest_every,
            look_ahead: wide(config.look_ahead),
            entries_max: wide(config.entries_max),
            dead_max: wide(config.dead_max),
            drops_expired: config.on_expiry == OnExpiry::Drop,
            breaker: config.breaker.map(|breaker| Breaker {
                failures_percent: breaker.failures_percent.into(),
                outcomes_min: breaker.outcomes_min,
                window_ms: breaker.window_ms,
                probe_after_ms: breaker.probe_after_ms,
            }),
        }
    }
}

impl TryFrom<Config> for QueueConfig {
    type Error = DecodeError;

    fn try_from(config: Config) -> Result<Self, DecodeError> {
        let narrow = |value: u64| usize::try_from(value).map_err(malformed);
        let breaker = |breaker: Breaker| {
            Ok(BreakerConfig {
                failures_percent: u8::try_from(breaker.failures_percent).map_err(malformed)?,
                outcomes_min: breaker.outcomes_min,
                window_ms: breaker.window_ms,
                probe_after_ms: breaker.probe_after_ms,
            })
        };
        let (ms, cap_ms) = (config.backoff_ms, config.backoff_cap_ms);
        let read = Self {
            lease_ms: config.lease_ms,
            lease_total_ms_max: config.lease_total_ms_max,
            attempts_max: config.attempts_max,
            backoff: match config.backoff {
                0 => Backoff::None,
                1 => Backoff::Fixed { pause_ms: ms },
                2 => Backoff::Linear { step_ms: ms, cap_ms },
                3 => Backoff::Exponential { first_ms: ms, cap_ms },
                other => return Err(malformed(format!("there is no back-off {other}"))),
            },
            order: match config.order {
                0 => Order::None,
                1 => Order::Key,
                2 => Order::Partition,
                other => return Err(malformed(format!("there is no order {other}"))),
            },
            in_flight_max: narrow(config.in_flight_max)?,
            worker_in_flight_max: narrow(config.worker_in_flight_max)?,
            oldest_every: config.oldest_every,
            look_ahead: narrow(config.look_ahead)?,
            entries_max: narrow(config.entries_max)?,
            dead_max: narrow(config.dead_max)?,
            on_expiry: if config.drops_expired { OnExpiry::Drop } else { OnExpiry::Dead },
            breaker: config.breaker.map(breaker).transpose()?,
        };
        // What a later version allows beyond these bounds comes with a later format.
        read.check().map_err(malformed)?;
        Ok(read)
    }
}
