//! How far groups are behind: in records, and in time by the timestamp of the first record that was not read.

use std::time::Duration;

use futures_util::stream::{self, StreamExt};
use highwater_groups::stream::{GroupId, GroupsImage};
use highwater_proto::v1;
use highwater_types::{ErrorCode, Offset, OffsetRange, TopicName, TopicPartition};

use tokio::time::timeout;

use super::Groups;

/// How long one look may take.
const LOOK_PATIENCE: Duration = Duration::from_secs(1);
/// How many partitions are looked at, at a time.
const LOOKS_AT_ONCE: usize = 16;

/// How far one group is behind in one partition.
#[derive(Clone, Debug)]
pub(crate) struct GroupLag {
    /// The group.
    pub(crate) group: GroupId,
    /// The topic.
    pub(crate) topic: TopicName,
    /// The partition.
    pub(crate) at: TopicPartition,
    /// The next record that it reads.
    pub(crate) committed: Offset,
    /// Records that are there and were not read.
    pub(crate) records: u64,
    /// How long ago the first of them was stored, in milliseconds; `None` when that was not told.
    pub(crate) ms: Option<u64>,
}

/// How far a reader is behind in one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Lag {
    /// What the partition holds.
    pub(super) holds: OffsetRange,
    pub(super) records: u64,
    pub(super) ms: Option<u64>,
}

impl Groups {
    /// How far a reader is behind whose next record is at `next`, or who has read nothing; nothing when the partition's
    /// leader does not answer.
    pub(super) async fn lag_of(&self, at: TopicPartition, next: Option<Offset>) -> Option<Lag> {
        // Without a leader one would look for seconds, for each partition.
        timeout(LOOK_PATIENCE, self.look(at, next)).await.ok()?
    }

    async fn look(&self, at: TopicPartition, next: Option<Offset>) -> Option<Lag> {
        let topic = self.context.router.image().topic_by_id(at.topic)?.name.clone();
        let request = |offset: Offset| v1::ReadRequest {
            topic: topic.to_string(),
            partition: at.partition.get(),
            from: Some(v1::Position { at: Some(v1::position::At::Offset(offset.to_wire())) }),
            form: v1::Form::Records.into(),
            bytes_max: 1,
            ..v1::ReadRequest::default()
        };
        let from = next.unwrap_or(Offset::ZERO);
        let read = match self.read.fetch(&request(from)).await {
            Err(failure) if failure.code == ErrorCode::OffsetOutOfRange => {
                let valid = failure.valid?;
                if from >= valid.end {
                    return Some(Lag { holds: valid, records: 0, ms: Some(0) });
                }
                self.read.fetch(&request(valid.start)).await
            }
            read => read,
        };
        let response = read.ok()?.response;
        let holds =
            OffsetRange::new(Offset::from_wire(response.log_start)?, Offset::from_wire(response.high_watermark)?);
        let from = from.max(holds.start);
        let records = holds.end.get().saturating_sub(from.get());
        let stored = response.records.first().and_then(|record| record.timestamp_ms);
        let now = self.context.clock.now().as_ms();
        let ms = match records {
            0 => Some(0),
            _ => stored.map(|stored| u64::try_from(now.saturating_sub(stored)).unwrap_or(0)),
        };
        Some(Lag { holds, records, ms })
    }

    /// The groups that this node coordinates, with how many members each has.
    pub(crate) fn coordinated(&self) -> Vec<(GroupId, usize)> {
        let images = self.led_images();
        images.iter().flat_map(|image| image.groups().map(|(id, group)| (id.clone(), group.members.len()))).collect()
    }

    /// How far these groups are behind; at most so many partitions of them, and how many there are.
    pub(crate) async fn lags(&self, partitions_max: usize) -> (usize, Vec<GroupLag>) {
        let mut committed = Vec::new();
        let mut count = 0;
        for image in self.led_images() {
            for (group, known) in image.groups() {
                count += known.offsets.len();
                let left = partitions_max - committed.len();
                committed
                    .extend(known.offsets.iter().take(left).map(|(at, offset)| (group.clone(), at, offset.offset)));
            }
        }
        let looks = committed.into_iter().map(|(group, at, committed)| self.group_lag(group, at, committed));
        let lags = stream::iter(looks).buffered(LOOKS_AT_ONCE).filter_map(async |lag| lag).collect().await;
        (count, lags)
    }

    async fn group_lag(&self, group: GroupId, at: TopicPartition, committed: Offset) -> Option<GroupLag> {
        let topic = self.context.router.image().topic_by_id(at.topic)?.name.clone();
        let Lag { records, ms, .. } = self.lag_of(at, Some(committed)).await?;
        Some(GroupLag { group, topic, at, committed, records, ms })
    }

    /// The groups of the coordinators that this node leads.
    fn led_images(&self) -> Vec<GroupsImage> {
        let coordinators = self.context.router.open_coordinators();
        let led = coordinators.iter().filter(|(_, handle)| handle.leadership().borrow().serves_writes);
        led.map(|(_, handle)| handle.image()).collect()
    }
}
