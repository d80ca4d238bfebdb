//! What the calls about queue groups take and give, and their conversion from and to the wire.
//!
//! Never: guesses. What the server did not tell is `None`.

use std::time::Duration;

use highwater_proto::v1;
use highwater_types::{Offset, PartitionId, Timestamp, TopicName};

use super::settings::QueueSettings;
use super::status::MessageStatus;
use crate::reader::ReadRecord;

/// Which messages a group that is made begins with. One that exists goes on where it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum QueueStart {
    /// With what is kept, from the oldest on. The default.
    #[default]
    Kept,
    /// With what comes from now on.
    End,
}

/// A queue group in a list.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub struct QueueListing {
    /// The topic.
    pub topic: String,
    /// The group.
    pub group: String,
}

/// A queue group with its settings and counts.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct QueueDescription {
    /// The topic.
    pub topic: String,
    /// The group.
    pub group: String,
    /// Its settings, all of them.
    pub settings: QueueSettings,
    /// Its counts, a partition at a time.
    pub partitions: Vec<QueuePartition>,
}

/// Who stopped a group from handing out messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PausedBy {
    /// Somebody, with [`Admin::pause_queue`](crate::Admin::pause_queue).
    Operator,
    /// The group itself: nearly everything failed, which looks like an outage.
    Breaker,
}

/// That a group hands out nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct QueuePause {
    /// Who stopped it.
    pub by: Option<PausedBy>,
    /// Since when.
    pub at: Timestamp,
    /// Why.
    pub reason: String,
}

/// A queue group in one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct QueuePartition {
    /// The partition.
    pub partition: PartitionId,
    /// Messages that are not done, dead or with a worker: the next five together.
    pub waiting: u64,
    /// Messages that the next worker gets.
    pub ready: u64,
    /// Messages that wait for another one of their key, or of the partition.
    pub blocked: u64,
    /// Messages that are not due yet.
    pub delayed: u64,
    /// Messages that have failed and are tried again.
    pub resting: u64,
    /// Messages that nobody has looked at yet.
    pub unseen: u64,
    /// Messages with workers.
    pub leased: u64,
    /// Dead messages.
    pub dead: u64,
    /// Messages that were acked since the group began.
    pub acked: u64,
    /// Messages that were dropped: called off, expired, or given up when they were dead.
    pub dropped: u64,
    /// Messages that retention took before they were done.
    pub trimmed: u64,
    /// Workers that have messages.
    pub workers: u32,
    /// Whether the window is full: nothing more is looked at until some of it is done.
    pub is_full: bool,
    /// `None`: it is not paused.
    pub pause: Option<QueuePause>,
    /// The oldest message that is neither done nor dead.
    pub oldest: Option<Offset>,
    /// How long ago that one was stored.
    pub oldest_age: Option<Duration>,
    /// Ranges of done messages that are remembered.
    pub done_ranges: u32,
    /// The first offset that is not committed.
    pub log_end: Option<Offset>,
}

/// Which messages to look at.
///
/// ```
/// use highwater_client::{Offset, PartitionId, PeekQueue};
/// let peek = PeekQueue::new().partition(PartitionId::new(2)).from(Offset::ZERO).max(10).records(true);
/// # let _ = peek;
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[must_use = "describes a look; `Admin::peek_queue` does it"]
pub struct PeekQueue {
    partition: Option<PartitionId>,
    from: Option<Offset>,
    messages_max: u32,
    with_records: bool,
}

/// A message that is not done.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PeekedMessage {
    /// The partition.
    pub partition: PartitionId,
    /// The offset.
    pub offset: Offset,
    /// 0 to 9, 9 first.
    pub priority: u32,
    /// Where it is.
    pub status: MessageStatus,
    /// The record; `None` when it was not asked for, or is not kept.
    pub record: Option<ReadRecord>,
}

impl PeekQueue {
    /// The first 100 messages that are not done, of all partitions, without their records.
    pub fn new() -> Self {
        Self::default()
    }

    /// Only of this partition.
    pub fn partition(mut self, partition: PartitionId) -> Self {
        self.partition = Some(partition);
        self
    }

    /// From this offset on; with a partition.
    pub fn from(mut self, offset: Offset) -> Self {
        self.from = Some(offset);
        self
    }

    /// At most so many. Default 100.
    pub fn max(mut self, messages: u32) -> Self {
        self.messages_max = messages;
        self
    }

    /// Whether the records come too. Default false.
    pub fn records(mut self, records: bool) -> Self {
        self.with_records = records;
        self
    }

    pub(super) fn into_wire(self, topic: &str, group: &str) -> v1::PeekQueueRequest {
        v1::PeekQueueRequest {
            topic: topic.to_owned(),
            group: group.to_owned(),
            partition: self.partition.map(PartitionId::get),
            from: self.from.map(Offset::to_wire),
            messages_max: self.messages_max,
            with_records: self.with_records,
        }
    }
}

impl PeekedMessage {
    pub(super) fn from_wire(topic: &TopicName, message: v1::PeekedMessage) -> Option<Self> {
        let partition = PartitionId::new(message.partition);
        Some(Self {
            partition,
            offset: Offset::from_wire(message.offset)?,
            priority: message.priority,
            status: MessageStatus::from_wire(message.status?),
            record: message.record.and_then(|record| ReadRecord::from_wire(topic, partition, record)),
        })
    }
}

impl QueueListing {
    pub(super) fn from_wire(listing: v1::QueueListing) -> Self {
        Self { topic: listing.topic, group: listing.group }
    }
}

impl QueueDescription {
    /// Whether nothing is left to do for anybody but what is not due yet, or dead.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.partitions.iter().all(|partition| {
            [partition.ready, partition.blocked, partition.resting, partition.unseen, partition.leased] == [0; 5]
        })
    }

    pub(super) fn from_wire(found: v1::DescribeQueueResponse) -> Self {
        Self {
            topic: found.topic,
            group: found.group,
            settings: found.settings.map(QueueSettings::from_wire).unwrap_or_default(),
            partitions: found.partitions.into_iter().map(QueuePartition::from_wire).collect(),
        }
    }
}

impl QueuePartition {
    fn from_wire(found: v1::QueuePartition) -> Self {
        Self {
            partition: PartitionId::new(found.partition),
            waiting: found.waiting,
            ready: found.ready,
            blocked: found.blocked,
            delayed: found.delayed,
            resting: found.resting,
            unseen: found.unseen,
            leased: found.leased,
            dead: found.dead,
            acked: found.acked,
            dropped: found.dropped,
            trimmed: found.trimmed,
            workers: found.workers,
            is_full: found.is_full,
            pause: found.pause.map(QueuePause::from_wire),
            oldest: found.oldest_offset.and_then(Offset::from_wire),
            oldest_age: found.oldest_age_ms.map(Duration::from_millis),
            done_ranges: found.done_ranges,
            log_end: Offset::from_wire(found.log_end),
        }
    }
}

impl QueuePause {
    fn from_wire(pause: v1::QueuePause) -> Self {
        let by = match pause.by() {
            v1::PausedBy::Unspecified => None,
            v1::PausedBy::Operator => Some(PausedBy::Operator),
            v1::PausedBy::Breaker => Some(PausedBy::Breaker),
        };
        Self { by, at: Timestamp::from_ms(pause.at_ms), reason: pause.reason }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queue_is_idle_when_only_dates_and_the_dead_are_left() {
        let idle = |partition: v1::QueuePartition| {
            let partitions = vec![v1::QueuePartition::default(), partition];
            QueueDescription::from_wire(v1::DescribeQueueResponse { partitions, ..Default::default() }).is_idle()
        };
        let none = v1::QueuePartition::default();
        assert!(idle(none.clone()));
        assert!(idle(v1::QueuePartition { waiting: 3, delayed: 3, dead: 2, acked: 9, ..none.clone() }));
        assert!(!idle(v1::QueuePartition { waiting: 1, resting: 1, ..none.clone() }));
        assert!(!idle(v1::QueuePartition { leased: 1, ..none.clone() }));
        assert!(!idle(v1::QueuePartition { waiting: 1, unseen: 1, ..none }));
    }
}
