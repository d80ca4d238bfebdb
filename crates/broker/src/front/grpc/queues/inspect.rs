//! Inspection: which groups there are, how they are doing, and what lies ahead of them.

use bytes::Bytes;
use highwater_groups::queue::{Pause, PausedBy, QueueConfig};
use highwater_proto::v1;
use highwater_types::{ErrorCode, Offset, PartitionId, TopicName, TopicPartition};
use tonic::body::Body;
use tonic::codegen::http;

use super::calls::{Asked, Here, by_partition, group_of};
use super::deliver::{read, read_by_offset};
use super::operate::offset_of;
use super::status::status;
use super::{Queues, pieces, settings};
use crate::front::failure::Failure;

/// The most messages of one look, and how many without a wish.
pub(super) const LOOK_MAX: u32 = 10_000;
pub(super) const LOOK_DEFAULT: u32 = 100;
/// With their records fewer fit an answer.
pub(super) const LOOK_WITH_RECORDS_MAX: u32 = 500;

impl Queues {
    /// The groups of a topic, as its first partition has them, or of all topics.
    pub(super) async fn list(&self, request: http::Request<Body>) -> Result<Vec<Bytes>, Failure> {
        let (request, may_pass_on) = self.read_call::<v1::ListQueuesRequest>(request).await?;
        let image = self.context.router.image();
        let topics: Vec<TopicName> = match request.topic.as_str() {
            "" => image.topics().filter(|topic| !topic.is_internal()).map(|topic| topic.name.clone()).collect(),
            name => vec![TopicName::new(name)?],
        };
        let mut queues = Vec::new();
        for topic in topics {
            let id = TopicPartition {
                topic: self.context.router.topic(&topic)?.id,
                partition: PartitionId::new(request.partition.unwrap_or(0)),
            };
            let part = v1::ListQueuesRequest { topic: topic.to_string(), partition: Some(id.partition.get()) };
            match self.at(id, &part, may_pass_on).await {
                Ok(answer) => queues.extend(answer.queues),
                // Deleted meanwhile.
                Err(failure) if request.topic.is_empty() && failure.code == ErrorCode::UnknownTopic => {}
                Err(failure) => return Err(failure),
            }
        }
        Ok(pieces(&v1::ListQueuesResponse { queues }))
    }
}

impl Asked for v1::ListQueuesRequest {
    type Answer = v1::ListQueuesResponse;

    by_partition!(list_queues);

    async fn here(&self, here: Here<'_>) -> Result<Self::Answer, Failure> {
        let image = here.handle.queues().image();
        let listing = |group: &highwater_groups::queue::GroupId| v1::QueueListing {
            topic: self.topic.clone(),
            group: group.to_string(),
        };
        Ok(v1::ListQueuesResponse { queues: image.queues().map(|(group, _)| listing(group)).collect() })
    }

    fn joined(&self, answers: Vec<Self::Answer>) -> Self::Answer {
        answers.into_iter().next().unwrap_or_default()
    }
}

impl Asked for v1::DescribeQueueRequest {
    type Answer = v1::DescribeQueueResponse;

    by_partition!(describe_queue);

    async fn here(&self, here: Here<'_>) -> Result<Self::Answer, Failure> {
        let group = group_of(&self.group)?;
        let partition = here.partition.get();
        let looked = here.handle.queues().look(&group, move |desk, queue, context| {
            let stats = desk.stats(queue, context);
            let wide = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
            let waiting =
                wide(stats.ready + stats.blocked + stats.delayed + stats.resting).saturating_add(stats.unseen);
            let oldest = queue.first_open();
            let told = v1::QueuePartition {
                partition,
                waiting,
                ready: wide(stats.ready),
                blocked: wide(stats.blocked),
                delayed: wide(stats.delayed),
                resting: wide(stats.resting),
                leased: wide(stats.leased + stats.settling),
                dead: wide(stats.dead),
                unseen: stats.unseen,
                acked: stats.acked,
                dropped: stats.dropped,
                trimmed: stats.trimmed,
                workers: u32::try_from(stats.workers).unwrap_or(u32::MAX),
                is_full: stats.is_full,
                pause: queue.pause().map(pause),
                oldest_offset: (oldest < context.log_end).then(|| oldest.to_wire()),
                oldest_age_ms: None,
                done_ranges: u32::try_from(stats.done_ranges).unwrap_or(u32::MAX),
                log_end: context.log_end.to_wire(),
            };
            (told, *queue.config())
        });
        let (mut told, config): (v1::QueuePartition, QueueConfig) = looked.await?;
        if let Some(oldest) = told.oldest_offset.and_then(Offset::from_wire) {
            let found = read(&here.handle, &[oldest]).await?;
            let stored = found.first().and_then(|record| record.timestamp_ms);
            let now = here.queues.context.clock.now().as_ms();
            told.oldest_age_ms = stored.map(|stored| u64::try_from(now.saturating_sub(stored)).unwrap_or(0));
        }
        Ok(v1::DescribeQueueResponse {
            topic: self.topic.clone(),
            group: self.group.clone(),
            settings: Some(settings::to_wire(&config)),
            partitions: vec![told],
        })
    }

    fn joined(&self, answers: Vec<Self::Answer>) -> Self::Answer {
        let mut answers = answers.into_iter();
        let mut whole = answers.next().unwrap_or_default();
        whole.partitions.extend(answers.flat_map(|answer| answer.partitions));
        whole
    }
}

fn pause(pause: &Pause) -> v1::QueuePause {
    let by = match pause.by {
        PausedBy::Operator => v1::PausedBy::Operator,
        PausedBy::Breaker => v1::PausedBy::Breaker,
    };
    v1::QueuePause { by: by.into(), at_ms: pause.at.as_ms(), reason: pause.reason.to_string() }
}

/// How many messages a look may tell of.
pub(super) fn look_max(asked: u32, with_records: bool) -> usize {
    let most = if with_records { LOOK_WITH_RECORDS_MAX } else { LOOK_MAX };
    let max = if asked == 0 { LOOK_DEFAULT } else { asked }.min(most);
    usize::try_from(max).unwrap_or(usize::MAX)
}

impl Asked for v1::PeekQueueRequest {
    type Answer = v1::PeekQueueResponse;

    by_partition!(peek_queue);

    async fn here(&self, here: Here<'_>) -> Result<Self::Answer, Failure> {
        let group = group_of(&self.group)?;
        let from = self.from.map_or(Ok(Offset::ZERO), offset_of)?;
        let (max, partition) = (look_max(self.messages_max, self.with_records), here.partition.get());
        let looked = here.handle.queues().look(&group, move |desk, queue, context| {
            let peeked = desk.peek(from, max, context).into_iter();
            let told = peeked.map(|(offset, priority, state)| v1::PeekedMessage {
                partition,
                offset: offset.to_wire(),
                priority: priority.get().into(),
                status: Some(status(&state, queue.entry(offset))),
                record: None,
            });
            told.collect::<Vec<_>>()
        });
        let mut messages = looked.await?;
        if self.with_records {
            let offsets: Vec<Offset> = messages.iter().filter_map(|peeked| Offset::from_wire(peeked.offset)).collect();
            let mut records = read_by_offset(&here.handle, &offsets).await?;
            for peeked in &mut messages {
                peeked.record = Offset::from_wire(peeked.offset).and_then(|offset| records.remove(&offset));
            }
        }
        Ok(v1::PeekQueueResponse { messages })
    }

    fn joined(&self, answers: Vec<Self::Answer>) -> Self::Answer {
        let max = look_max(self.messages_max, self.with_records);
        let all = answers.into_iter().flat_map(|answer| answer.messages);
        v1::PeekQueueResponse { messages: all.take(max).collect() }
    }
}
