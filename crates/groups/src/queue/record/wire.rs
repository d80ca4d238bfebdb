//! Queue records as bytes: one byte of format, then Protocol Buffers.
//!
//! ```text
//!   format u8 = 1 │ Entry { repeated Record }      Record is a oneof: the field's number is the record's kind
//! ```
//!
//! A field's number is never used again. A change that older versions must not overlook raises the format. Offsets stand
//! in columns of gaps and lengths, so an ack of a thousand neighbours is three bytes.

pub(crate) mod parts;

use bytes::Bytes;
use highwater_types::Timestamp;
use prost::Message;

use super::{Change, DecodeError, QueueRecord};
use crate::stream::ids::GroupId;
use crate::stream::record::parts::malformed;
use crate::stream::record::{frame, unframe};
use parts::{Attempt, Config, Pause, columns, death_cause, death_code, drop_cause, drop_code, offset, ranges};

#[derive(Clone, PartialEq, Message)]
struct Entry {
    #[prost(message, repeated, tag = "1")]
    records: Vec<Record>,
}

#[derive(Clone, PartialEq, Message)]
struct Record {
    #[prost(string, tag = "1")]
    group: String,
    #[prost(oneof = "Kind", tags = "2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12")]
    kind: Option<Kind>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum Kind {
    #[prost(message, tag = "2")]
    Configured(Configured),
    #[prost(message, tag = "3")]
    Acked(Ranges),
    #[prost(message, tag = "4")]
    Dropped(Dropped),
    #[prost(message, tag = "5")]
    Failed(Failed),
    #[prost(message, tag = "6")]
    Died(Died),
    #[prost(message, tag = "7")]
    Rescheduled(Rescheduled),
    #[prost(message, tag = "8")]
    Redriven(Redriven),
    #[prost(message, tag = "9")]
    Paused(Paused),
    #[prost(message, tag = "10")]
    Trimmed(Trimmed),
    #[prost(message, tag = "11")]
    Deleted(Deleted),
    #[prost(message, tag = "12")]
    Kept(parts::Kept),
}

#[derive(Clone, PartialEq, Message)]
struct Configured {
    #[prost(message, optional, tag = "1")]
    config: Option<Config>,
    #[prost(uint64, tag = "2")]
    start: u64,
}

#[derive(Clone, PartialEq, Message)]
struct Ranges {
    #[prost(uint64, repeated, tag = "1")]
    ranges: Vec<u64>,
}

#[derive(Clone, PartialEq, Message)]
struct Dropped {
    #[prost(uint32, tag = "1")]
    cause: u32,
    #[prost(uint64, repeated, tag = "2")]
    ranges: Vec<u64>,
}

#[derive(Clone, PartialEq, Message)]
struct Failed {
    #[prost(uint64, tag = "1")]
    offset: u64,
    #[prost(uint32, tag = "2")]
    attempts: u32,
    #[prost(sint64, tag = "3")]
    retry_at_ms: i64,
    #[prost(message, optional, tag = "4")]
    attempt: Option<Attempt>,
}

#[derive(Clone, PartialEq, Message)]
struct Died {
    #[prost(uint64, tag = "1")]
    offset: u64,
    #[prost(uint32, tag = "2")]
    attempts: u32,
    #[prost(uint32, tag = "3")]
    cause: u32,
    #[prost(sint64, tag = "4")]
    at_ms: i64,
    #[prost(message, optional, tag = "5")]
    attempt: Option<Attempt>,
}

#[derive(Clone, PartialEq, Message)]
struct Rescheduled {
    #[prost(uint64, tag = "1")]
    offset: u64,
    #[prost(sint64, tag = "2")]
    deliver_at_ms: i64,
}

#[derive(Clone, PartialEq, Message)]
struct Redriven {
    #[prost(uint64, repeated, tag = "1")]
    ranges: Vec<u64>,
    #[prost(sint64, tag = "2")]
    at_ms: i64,
}

#[derive(Clone, PartialEq, Message)]
struct Paused {
    #[prost(message, optional, tag = "1")]
    pause: Option<Pause>,
}

#[derive(Clone, PartialEq, Message)]
struct Trimmed {
    #[prost(uint64, tag = "1")]
    start: u64,
}

#[derive(Clone, PartialEq, Message)]
struct Deleted {}

pub(super) fn encode(records: &[QueueRecord]) -> Bytes {
    let record = |record: &QueueRecord| Record { group: record.group.to_string(), kind: Some((&record.change).into()) };
    frame(&Entry { records: records.iter().map(record).collect() })
}

pub(super) fn decode(payload: &[u8]) -> Result<Vec<QueueRecord>, DecodeError> {
    let entry: Entry = unframe(payload)?;
    let record = |record: Record| {
        let kind = record.kind.ok_or(DecodeError::UnknownRecord)?;
        Ok(QueueRecord { group: GroupId::new(&record.group).map_err(malformed)?, change: kind.try_into()? })
    };
    entry.records.into_iter().map(record).collect()
}

impl From<&Change> for Kind {
    fn from(change: &Change) -> Self {
        match change {
            Change::Configured { config, start } => {
                Self::Configured(Configured { config: Some(config.into()), start: start.get() })
            }
            Change::Acked { ranges } => Self::Acked(Ranges { ranges: columns(ranges) }),
            Change::Dropped { cause, ranges } => {
                Self::Dropped(Dropped { cause: drop_code(*cause), ranges: columns(ranges) })
            }
            Change::Failed { offset, attempts, retry_at, attempt } => Self::Failed(Failed {
                offset: offset.get(),
                attempts: *attempts,
                retry_at_ms: retry_at.as_ms(),
                attempt: Some(attempt.into()),
            }),
            Change::Died { offset, attempts, cause, at, attempt } => Self::Died(Died {
                offset: offset.get(),
                attempts: *attempts,
                cause: death_code(*cause),
                at_ms: at.as_ms(),
                attempt: attempt.as_ref().map(Into::into),
            }),
            Change::Rescheduled { offset, deliver_at } => {
                Self::Rescheduled(Rescheduled { offset: offset.get(), deliver_at_ms: deliver_at.as_ms() })
            }
            Change::Redriven { ranges, at } => Self::Redriven(Redriven { ranges: columns(ranges), at_ms: at.as_ms() }),
            Change::Paused { pause } => Self::Paused(Paused { pause: pause.as_ref().map(Into::into) }),
            Change::Kept { offset, record } => Self::Kept(parts::Kept { offset: offset.get(), record: record.clone() }),
            Change::Trimmed { start } => Self::Trimmed(Trimmed { start: start.get() }),
            Change::Deleted => Self::Deleted(Deleted {}),
        }
    }
}

impl TryFrom<Kind> for Change {
    type Error = DecodeError;

    fn try_from(kind: Kind) -> Result<Self, DecodeError> {
        let missing = |what: &str| malformed(format!("{what} is missing"));
        Ok(match kind {
            Kind::Configured(configured) => Self::Configured {
                config: configured.config.ok_or_else(|| missing("the settings"))?.try_into()?,
                start: offset(configured.start)?,
            },
            Kind::Acked(acked) => Self::Acked { ranges: ranges(&acked.ranges)? },
            Kind::Dropped(dropped) => {
                Self::Dropped { cause: drop_cause(dropped.cause)?, ranges: ranges(&dropped.ranges)? }
            }
            Kind::Failed(failed) => Self::Failed {
                offset: offset(failed.offset)?,
                attempts: failed.attempts,
                retry_at: Timestamp::from_ms(failed.retry_at_ms),
                attempt: failed.attempt.ok_or_else(|| missing("the attempt"))?.try_into()?,
            },
            Kind::Died(died) => Self::Died {
                offset: offset(died.offset)?,
                attempts: died.attempts,
                cause: death_cause(died.cause)?,
                at: Timestamp::from_ms(died.at_ms),
                attempt: died.attempt.map(TryInto::try_into).transpose()?,
            },
            Kind::Rescheduled(rescheduled) => Self::Rescheduled {
                offset: offset(rescheduled.offset)?,
                deliver_at: Timestamp::from_ms(rescheduled.deliver_at_ms),
            },
            Kind::Redriven(redriven) => {
                Self::Redriven { ranges: ranges(&redriven.ranges)?, at: Timestamp::from_ms(redriven.at_ms) }
            }
            Kind::Paused(paused) => Self::Paused { pause: paused.pause.map(TryInto::try_into).transpose()? },
            Kind::Kept(kept) => Self::Kept { offset: offset(kept.offset)?, record: kept.record },
            Kind::Trimmed(trimmed) => Self::Trimmed { start: offset(trimmed.start)? },
            Kind::Deleted(Deleted {}) => Self::Deleted,
        })
    }
}
