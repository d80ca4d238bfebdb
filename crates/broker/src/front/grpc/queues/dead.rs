//! Dead messages: told with their journals, tried again, or given up.

use bytes::Bytes;
use highwater_groups::queue::ranges::from_sorted;
use highwater_groups::queue::{Answer, Command, Context, Entry, GroupId, Standing};
use highwater_proto::v1;
use highwater_types::{Offset, OffsetRange};
use tonic::body::Body;
use tonic::codegen::http;
use tonic::{Response, Status};

use super::calls::{Asked, Client, Here, group_of};
use super::deliver::read_by_offset;
use super::inspect::look_max;
use super::outcomes::mismatched;
use super::status::{cause_to_wire, status_of};
use super::{Queues, pieces};
use crate::front::failure::Failure;
use crate::front::grpc::proxy::passed_on;

/// The most messages that one call moves in a partition.
const MOVE_MAX: usize = 10_000;
/// So many records are read at a time to compare their keys.
const KEYS_AT_ONCE: usize = 500;

impl Queues {
    /// Moves dead messages of partition after partition, until there are enough.
    pub(super) async fn move_dead(&self, request: http::Request<Body>, drops: bool) -> Result<Vec<Bytes>, Failure> {
        let (request, may_pass_on) = self.read_call::<v1::MoveDeadRequest>(request).await?;
        let topic = self.context.router.topic(&highwater_types::TopicName::new(&request.topic)?)?;
        let asked = request.filter.as_ref().and_then(|filter| filter.partition);
        let partitions = asked.map_or(0..topic.partition_count(), |asked| asked..asked.saturating_add(1));
        let mut moved = v1::MoveDeadResponse::default();
        for partition in partitions {
            let mut part = Moving { request: request.clone(), drops }.of_partition(partition);
            if request.messages_max > 0 {
                let done = u32::try_from(moved.messages).unwrap_or(u32::MAX);
                part.request.messages_max = request.messages_max.saturating_sub(done);
                if part.request.messages_max == 0 {
                    moved.has_more = true;
                    break;
                }
            }
            let answer = self.ask_each(&part, may_pass_on).await?;
            moved.messages += answer.messages;
            moved.has_more |= answer.has_more;
        }
        Ok(pieces(&moved))
    }
}

/// What can be told of a message without its record.
struct Wanted {
    range: OffsetRange,
    filter: v1::DeadFilter,
}

impl Wanted {
    fn of(filter: Option<&v1::DeadFilter>) -> Result<Self, Failure> {
        let filter = filter.cloned().unwrap_or_default();
        let offset = |offset: Option<i64>, default| offset.map_or(Ok(default), super::operate::offset_of);
        let range = OffsetRange::new(offset(filter.start, Offset::ZERO)?, offset(filter.end, Offset::MAX)?);
        Ok(Self { range, filter })
    }

    fn holds_for(&self, entry: &Entry, context: &Context) -> bool {
        let Standing::Dead { cause, at } = entry.standing else { return false };
        let dead_for_ms = u64::try_from(context.wall.as_ms().saturating_sub(at.as_ms())).unwrap_or(0);
        let last = entry.journal.last().map_or("", |attempt| attempt.reason.as_str());
        let filter = &self.filter;
        let is_cause = filter.cause() == v1::DeathCause::Unspecified || filter.cause() == cause_to_wire(cause);
        is_cause
            && last.contains(&filter.reason)
            && filter.dead_for_ms_min.is_none_or(|min| dead_for_ms >= min)
            && filter.dead_for_ms_max.is_none_or(|max| dead_for_ms <= max)
    }
}

impl Here<'_> {
    /// The dead that a filter holds for, and their status; at most so many, and whether there are more.
    async fn dead(
        &self,
        group: &GroupId,
        filter: Option<&v1::DeadFilter>,
        max: usize,
    ) -> Result<(Vec<(Offset, v1::MessageStatus)>, bool), Failure> {
        let (key, mut wanted) = (filter.and_then(|filter| filter.key.clone()), Wanted::of(filter)?);
        let mut found: Vec<(Offset, v1::MessageStatus)> = Vec::new();
        loop {
            // With a key the records have to be looked at, a part at a time.
            let part = if key.is_some() { KEYS_AT_ONCE } else { max.saturating_add(1) };
            let (range, filter) = (wanted.range, wanted.filter.clone());
            let looked = self.handle.queues().look(group, move |desk, queue, context| {
                let wanted = Wanted { range, filter };
                let dead = queue.dead(range).filter(|(_, entry)| wanted.holds_for(entry, context));
                let told = dead.map(|(offset, _)| (offset, status_of(desk, queue, offset, context)));
                told.take(part).collect::<Vec<_>>()
            });
            let some = looked.await?;
            let Some(key) = &key else {
                found = some;
                break;
            };
            let is_last = some.len() < part;
            if let Some((last, _)) = some.last() {
                wanted.range = OffsetRange::new(last.saturating_add(1), wanted.range.end);
            }
            let offsets: Vec<Offset> = some.iter().map(|(offset, _)| *offset).collect();
            let records = read_by_offset(&self.handle, &offsets).await?;
            let has_key = |offset: &Offset| records.get(offset).is_some_and(|record| record.key.as_ref() == Some(key));
            found.extend(some.into_iter().filter(|(offset, _)| has_key(offset)));
            if is_last || found.len() > max {
                break;
            }
        }
        let has_more = found.len() > max;
        found.truncate(max);
        Ok((found, has_more))
    }
}

impl Asked for v1::ListDeadRequest {
    type Answer = v1::ListDeadResponse;

    fn topic(&self) -> &str {
        &self.topic
    }

    fn partition(&self) -> Option<u32> {
        self.filter.as_ref().and_then(|filter| filter.partition)
    }

    fn of_partition(&self, partition: u32) -> Self {
        let filter = self.filter.clone().unwrap_or_default();
        Self { filter: Some(v1::DeadFilter { partition: Some(partition), ..filter }), ..self.clone() }
    }

    async fn here(&self, here: Here<'_>) -> Result<Self::Answer, Failure> {
        let group = group_of(&self.group)?;
        let max = look_max(self.messages_max, self.with_records);
        let (dead, has_more) = here.dead(&group, self.filter.as_ref(), max).await?;
        let offsets: Vec<Offset> = dead.iter().map(|(offset, _)| *offset).collect();
        let mut records = match self.with_records {
            true => read_by_offset(&here.handle, &offsets).await?,
            false => Default::default(),
        };
        let messages = dead.into_iter().map(|(offset, status)| v1::DeadMessage {
            partition: here.partition.get(),
            offset: offset.to_wire(),
            status: Some(status),
            record: records.remove(&offset),
        });
        Ok(v1::ListDeadResponse { messages: messages.collect(), has_more })
    }

    async fn there(self, mut client: Client) -> Result<Response<Self::Answer>, Status> {
        client.list_dead(passed_on(self)).await
    }

    fn joined(&self, answers: Vec<Self::Answer>) -> Self::Answer {
        let max = look_max(self.messages_max, self.with_records);
        let has_more = answers.iter().any(|answer| answer.has_more);
        let mut messages: Vec<_> = answers.into_iter().flat_map(|answer| answer.messages).collect();
        let has_more = has_more || messages.len() > max;
        messages.truncate(max);
        v1::ListDeadResponse { messages, has_more }
    }
}

/// Dead messages of one partition on their way back, or out.
#[derive(Clone)]
struct Moving {
    request: v1::MoveDeadRequest,
    drops: bool,
}

impl Asked for Moving {
    type Answer = v1::MoveDeadResponse;

    fn topic(&self) -> &str {
        &self.request.topic
    }

    fn partition(&self) -> Option<u32> {
        self.request.filter.as_ref().and_then(|filter| filter.partition)
    }

    fn of_partition(&self, partition: u32) -> Self {
        let filter = self.request.filter.clone().unwrap_or_default();
        let filter = Some(v1::DeadFilter { partition: Some(partition), ..filter });
        Self { request: v1::MoveDeadRequest { filter, ..self.request.clone() }, drops: self.drops }
    }

    async fn here(&self, here: Here<'_>) -> Result<Self::Answer, Failure> {
        let group = group_of(&self.request.group)?;
        let max = match self.request.messages_max {
            0 => MOVE_MAX,
            max => usize::try_from(max).unwrap_or(MOVE_MAX).min(MOVE_MAX),
        };
        let (dead, has_more) = here.dead(&group, self.request.filter.as_ref(), max).await?;
        let messages = u64::try_from(dead.len()).unwrap_or(u64::MAX);
        if self.request.validate_only || dead.is_empty() {
            return Ok(v1::MoveDeadResponse { messages, has_more });
        }
        let ranges = from_sorted(dead.into_iter().map(|(offset, _)| offset));
        let command = if self.drops { Command::DropDead { ranges } } else { Command::Redrive { ranges } };
        match here.handle.queues().ask(&group, command).await? {
            Answer::Dead(moved) => {
                let moved = moved?;
                let messages = u64::try_from(moved.messages).unwrap_or(u64::MAX);
                Ok(v1::MoveDeadResponse { messages, has_more: has_more || moved.has_more })
            }
            other => Err(mismatched(&other)),
        }
    }

    async fn there(self, mut client: Client) -> Result<Response<Self::Answer>, Status> {
        match self.drops {
            true => client.drop_dead(passed_on(self.request)).await,
            false => client.redrive(passed_on(self.request)).await,
        }
    }

    fn joined(&self, answers: Vec<Self::Answer>) -> Self::Answer {
        v1::MoveDeadResponse {
            messages: answers.iter().map(|answer| answer.messages).sum(),
            has_more: answers.iter().any(|answer| answer.has_more),
        }
    }
}
