//! Records: what a queue's decisions are persisted as, in the log of the partition itself.
//!
//! Owns: the kinds of records and their text form; `wire` owns their bytes.
//!
//! Invariants:
//! - A record carries absolute values: replayed again, alone or with all that follows it, it leads to the same image.
//! - Leases, acquires and workers that come and go are never recorded.
//! - A record says nothing about offsets of other queues: each group of the partition has its own.

pub(crate) mod wire;

use std::fmt;

use bytes::Bytes;
use highwater_types::{Offset, OffsetRange, Timestamp};

use super::config::QueueConfig;
use super::entry::{Attempt, DeathCause, DropCause};
use super::ids::Reason;
use crate::stream::ids::GroupId;

pub use crate::stream::record::DecodeError;

/// What changed for one group of one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueRecord {
    /// The group.
    pub group: GroupId,
    /// What changed.
    pub change: Change,
}

/// What changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// The group has these settings; when it is new, it begins at `start`.
    Configured {
        /// The settings.
        config: QueueConfig,
        /// The first message of a new group.
        start: Offset,
    },
    /// Messages are done.
    Acked {
        /// Which.
        ranges: Vec<OffsetRange>,
    },
    /// Messages are done although nobody acked them.
    Dropped {
        /// Why.
        cause: DropCause,
        /// Which.
        ranges: Vec<OffsetRange>,
    },
    /// An attempt failed, and others will follow.
    Failed {
        /// The message.
        offset: Offset,
        /// How many have failed now in this budget.
        attempts: u32,
        /// When the next may be.
        retry_at: Timestamp,
        /// The attempt.
        attempt: Attempt,
    },
    /// A message is dead.
    Died {
        /// The message.
        offset: Offset,
        /// How many attempts have failed now in this budget.
        attempts: u32,
        /// Why.
        cause: DeathCause,
        /// When.
        at: Timestamp,
        /// The attempt that did it, if one did.
        attempt: Option<Attempt>,
    },
    /// A message has another time.
    Rescheduled {
        /// The message.
        offset: Offset,
        /// When.
        deliver_at: Timestamp,
    },
    /// Dead messages are tried again, with a new budget and their old journal.
    Redriven {
        /// Which.
        ranges: Vec<OffsetRange>,
        /// When.
        at: Timestamp,
    },
    /// The group hands out nothing; `None` is that it does again.
    Paused {
        /// Why not.
        pause: Option<Pause>,
    },
    /// Retention is about to take a dead message's record out of the log, so the image keeps it.
    Kept {
        /// The message.
        offset: Offset,
        /// Its record, in the form of whoever reads it.
        record: Bytes,
    },
    /// The log begins here now, and what was before and is not kept is gone.
    Trimmed {
        /// The first offset that is left.
        start: Offset,
    },
    /// The group exists no more.
    Deleted,
}

/// Why a group hands out nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pause {
    /// Who paused it.
    pub by: PausedBy,
    /// Since when.
    pub at: Timestamp,
    /// Why, in words.
    pub reason: Reason,
}

/// Who paused a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PausedBy {
    /// Somebody did.
    Operator,
    /// The breaker did, because most attempts failed. It tries one message now and then.
    Breaker,
}

/// Records as one payload for the log. Records of several decisions may share a payload, in their order.
#[must_use]
pub fn encode(records: &[QueueRecord]) -> Bytes {
    wire::encode(records)
}

/// The records in one payload of the log.
///
/// # Errors
/// [`DecodeError`] when this version does not understand all of it.
pub fn decode(payload: &[u8]) -> Result<Vec<QueueRecord>, DecodeError> {
    wire::decode(payload)
}

/// The same in fewer records: acks of one group that stand beside each other become one. What a batch of a few
/// milliseconds is made of.
#[must_use]
pub fn merge(records: Vec<QueueRecord>) -> Vec<QueueRecord> {
    let mut merged: Vec<QueueRecord> = Vec::with_capacity(records.len());
    for record in records {
        match (merged.last_mut(), record) {
            (
                Some(QueueRecord { group, change: Change::Acked { ranges } }),
                QueueRecord { group: next, change: Change::Acked { ranges: more } },
            ) if *group == next => {
                ranges.extend(more);
            }
            (_, record) => merged.push(record),
        }
    }
    for record in &mut merged {
        if let Change::Acked { ranges } = &mut record.change {
            join(ranges);
        }
    }
    merged
}

/// Sorts ranges and makes neighbours one.
fn join(ranges: &mut Vec<OffsetRange>) {
    ranges.sort_unstable_by_key(|range| range.start);
    ranges.dedup_by(|next, last| {
        let touches = next.start <= last.end;
        if touches {
            last.end = last.end.max(next.end);
        }
        touches
    });
}

impl fmt::Display for QueueRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { group, change } = self;
        match change {
            Change::Configured { config, start } => {
                write!(f, "configured group={group} start={start} attempts_max={}", config.attempts_max)
            }
            Change::Acked { ranges } => write!(f, "acked group={group}{}", Ranges(ranges)),
            Change::Dropped { cause, ranges } => write!(f, "dropped group={group} cause={cause:?}{}", Ranges(ranges)),
            Change::Failed { offset, attempts, retry_at, attempt } => {
                write!(f, "failed group={group} offset={offset} attempts={attempts} retry_at={retry_at} {attempt}")
            }
            Change::Died { offset, attempts, cause, at, attempt } => {
                write!(f, "died group={group} offset={offset} attempts={attempts} cause={cause:?} at={at}")?;
                attempt.as_ref().map_or(Ok(()), |attempt| write!(f, " {attempt}"))
            }
            Change::Rescheduled { offset, deliver_at } => {
                write!(f, "rescheduled group={group} offset={offset} deliver_at={deliver_at}")
            }
            Change::Redriven { ranges, at } => write!(f, "redriven group={group} at={at}{}", Ranges(ranges)),
            Change::Paused { pause: Some(pause) } => {
                write!(f, "paused group={group} by={:?} at={} reason={:?}", pause.by, pause.at, pause.reason.as_str())
            }
            Change::Paused { pause: None } => write!(f, "resumed group={group}"),
            Change::Kept { offset, record } => {
                write!(f, "kept group={group} offset={offset} bytes={}", record.len())
            }
            Change::Trimmed { start } => write!(f, "trimmed group={group} start={start}"),
            Change::Deleted => write!(f, "deleted group={group}"),
        }
    }
}

impl fmt::Display for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { number, worker, started_at, duration_ms, reason } = self;
        write!(f, "#{number}:{worker}@{started_at}+{duration_ms}:{:?}", reason.as_str())
    }
}

/// Ranges, each behind a blank.
struct Ranges<'a>(&'a [OffsetRange]);

impl fmt::Display for Ranges<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|range| write!(f, " {range}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn acked(group: &str, start: u64, end: u64) -> QueueRecord {
        let range = OffsetRange::new(Offset::new(start).unwrap(), Offset::new(end).unwrap());
        QueueRecord { group: GroupId::new(group).unwrap(), change: Change::Acked { ranges: vec![range] } }
    }

    #[test]
    fn acks_beside_each_other_become_one() {
        let records = [(5, 6), (3, 4), (4, 5), (9, 10)].map(|(start, end)| acked("g", start, end));
        let deleted = QueueRecord { group: GroupId::new("g").unwrap(), change: Change::Deleted };
        let mut all = records.to_vec();
        all.extend([deleted, acked("g", 10, 11), acked("h", 11, 12)]);
        let texts: Vec<_> = merge(all).iter().map(ToString::to_string).collect();
        let wanted = ["acked group=g 3..6 9..10", "deleted group=g", "acked group=g 10..11", "acked group=h 11..12"];
        assert_eq!(texts, wanted);
    }
}
