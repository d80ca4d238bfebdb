//! Dead messages: looking at them, giving them another budget, and giving them up.
//!
//! A dead message stays where it is in its topic; only its group knows that it is dead.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use highwater_proto::v1;
use highwater_types::{Offset, OffsetRange, PartitionId, TopicName};

use super::status::{DeathCause, MessageStatus};
use super::{Admin, service, topic_name};
use crate::queue::millis;
use crate::reader::ReadRecord;
use crate::request::{Repeat, RequestError, request};

/// Which dead messages: those that all that is given holds for.
///
/// ```
/// use std::time::Duration;
/// use highwater_client::DeadFilter;
/// let timeouts_of_today = DeadFilter::new().reason("timed out").dead_for_at_most(Duration::from_secs(86_400));
/// # let _ = timeouts_of_today;
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use = "says which dead messages; a call with it does something"]
pub struct DeadFilter {
    partition: Option<PartitionId>,
    start: Option<Offset>,
    end: Option<Offset>,
    reason: String,
    key: Option<Bytes>,
    dead_for_min: Option<Duration>,
    dead_for_max: Option<Duration>,
    cause: Option<DeathCause>,
}

/// A dead message.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeadMessage {
    /// The partition.
    pub partition: PartitionId,
    /// The offset.
    pub offset: Offset,
    /// Why it is dead, and the journal of its attempts.
    pub status: MessageStatus,
    /// The record; `None` when it was not asked for, or is not kept.
    pub record: Option<ReadRecord>,
}

/// Some dead messages.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeadPage {
    /// In the order of their offsets, a partition after the other.
    pub messages: Vec<DeadMessage>,
    /// Whether there are more.
    pub has_more: bool,
}

/// What was done to dead messages by one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct MovedDead {
    /// How many.
    pub messages: u64,
    /// Whether there are more that the filter holds for.
    pub has_more: bool,
}

impl DeadFilter {
    /// All dead messages.
    pub fn new() -> Self {
        Self::default()
    }

    /// Of this partition.
    pub fn partition(mut self, partition: PartitionId) -> Self {
        self.partition = Some(partition);
        self
    }

    /// With offsets of this range.
    pub fn offsets(mut self, range: OffsetRange) -> Self {
        (self.start, self.end) = (Some(range.start), Some(range.end));
        self
    }

    /// From this offset on.
    pub fn from(mut self, start: Offset) -> Self {
        self.start = Some(start);
        self
    }

    /// Whose last attempt failed for a reason that contains this.
    pub fn reason(mut self, text: impl Into<String>) -> Self {
        self.reason = text.into();
        self
    }

    /// With this key.
    pub fn key(mut self, key: impl Into<Bytes>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// That have been dead for at least so long.
    pub fn dead_for_at_least(mut self, span: Duration) -> Self {
        self.dead_for_min = Some(span);
        self
    }

    /// That have been dead for at most so long.
    pub fn dead_for_at_most(mut self, span: Duration) -> Self {
        self.dead_for_max = Some(span);
        self
    }

    /// That died of this.
    pub fn cause(mut self, cause: DeathCause) -> Self {
        self.cause = Some(cause);
        self
    }

    fn to_wire(&self) -> v1::DeadFilter {
        v1::DeadFilter {
            partition: self.partition.map(PartitionId::get),
            start: self.start.map(Offset::to_wire),
            end: self.end.map(Offset::to_wire),
            reason: self.reason.clone(),
            key: self.key.clone(),
            dead_for_ms_min: self.dead_for_min.map(millis),
            dead_for_ms_max: self.dead_for_max.map(millis),
            cause: self.cause.map_or(v1::DeathCause::Unspecified, DeathCause::to_wire).into(),
        }
    }
}

impl DeadMessage {
    fn from_wire(topic: &TopicName, message: v1::DeadMessage) -> Option<Self> {
        let partition = PartitionId::new(message.partition);
        Some(Self {
            partition,
            offset: Offset::from_wire(message.offset)?,
            status: MessageStatus::from_wire(message.status?),
            record: message.record.and_then(|record| ReadRecord::from_wire(topic, partition, record)),
        })
    }
}

/// Dead messages, some at a time: a partition after the other, however many there are. Made by [`Admin::dead_messages`].
#[derive(Debug)]
pub struct DeadPages {
    admin: Admin,
    topic: String,
    group: String,
    filter: DeadFilter,
    /// Where each partition begins.
    first: Option<Offset>,
    messages_max: u32,
    with_records: bool,
    partitions: VecDeque<PartitionId>,
}

impl DeadPages {
    /// The next messages, never none; `None` when there are no more.
    ///
    /// # Errors
    /// When the request fails. Asking again goes on where it failed.
    pub async fn next_page(&mut self) -> Result<Option<Vec<DeadMessage>>, RequestError> {
        while let Some(partition) = self.partitions.front().copied() {
            let filter = self.filter.clone().partition(partition);
            let (max, records) = (self.messages_max, self.with_records);
            let page = self.admin.list_dead(&self.topic, &self.group, &filter, max, records).await?;
            let last = page.messages.last().map(|message| message.offset);
            if let Some(last) = last.filter(|_| page.has_more) {
                self.filter.start = Some(last.saturating_add(1));
            } else {
                self.partitions.pop_front();
                self.filter.start = self.first;
            }
            if !page.messages.is_empty() {
                return Ok(Some(page.messages));
            }
        }
        Ok(None)
    }
}

impl Admin {
    /// Dead messages of a group, at most so many (0: 100), with the journal of their attempts. For all of them:
    /// [`Admin::dead_messages`].
    ///
    /// # Errors
    /// When there is no such topic or group, or the request fails.
    pub async fn list_dead(
        &self,
        topic: &str,
        group: &str,
        filter: &DeadFilter,
        messages_max: u32,
        with_records: bool,
    ) -> Result<DeadPage, RequestError> {
        let name = topic_name(topic)?;
        let message = v1::ListDeadRequest {
            topic: topic.to_owned(),
            group: group.to_owned(),
            filter: Some(filter.to_wire()),
            messages_max,
            with_records,
        };
        let answer = request(&self.client.shared, Repeat::Harmless, |channel| {
            let message = message.clone();
            async move { service(channel).list_dead(message).await }
        })
        .await?;
        let missing = RequestError::Incomplete { request: "list_dead", missing: "an offset or a status" };
        let messages = answer.messages.into_iter().map(|dead| DeadMessage::from_wire(&name, dead));
        let messages = messages.collect::<Option<_>>().ok_or(missing)?;
        Ok(DeadPage { messages, has_more: answer.has_more })
    }

    /// All dead messages of a group that a filter holds for, some at a time.
    ///
    /// # Errors
    /// When there is no such topic or group, or the request fails.
    ///
    /// ```no_run
    /// # async fn example(admin: highwater_client::Admin) -> Result<(), highwater_client::RequestError> {
    /// use highwater_client::DeadFilter;
    /// let mut pages = admin.dead_messages("orders", "billing", DeadFilter::new(), 100, false).await?;
    /// while let Some(messages) = pages.next_page().await? {
    ///     for dead in messages {
    ///         println!("{}-{}: {} attempts", dead.partition, dead.offset, dead.status.journal.len());
    ///     }
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn dead_messages(
        &self,
        topic: &str,
        group: &str,
        filter: DeadFilter,
        messages_max: u32,
        with_records: bool,
    ) -> Result<DeadPages, RequestError> {
        let partitions = match filter.partition {
            Some(partition) => VecDeque::from([partition]),
            None => {
                let described = self.describe_queue(topic, group).await?;
                described.partitions.iter().map(|partition| partition.partition).collect()
            }
        };
        let (topic, group) = (topic.to_owned(), group.to_owned());
        let first = filter.start;
        Ok(DeadPages { admin: self.clone(), topic, group, filter, first, messages_max, with_records, partitions })
    }

    /// Gives dead messages a new budget of attempts, at most so many (`None`: as many as one step takes), and tells how many
    /// these were; they keep their journal. With `validate_only` nothing is changed.
    ///
    /// # Errors
    /// When there is no such topic or group, or the request fails. Those that were done before it failed stay so; asking
    /// again does the rest.
    pub async fn redrive(
        &self,
        topic: &str,
        group: &str,
        filter: &DeadFilter,
        messages_max: Option<u32>,
        validate_only: bool,
    ) -> Result<MovedDead, RequestError> {
        let message = move_dead(topic, group, filter, messages_max, validate_only)?;
        let answer = request(&self.client.shared, repeat(validate_only), |channel| {
            let message = message.clone();
            async move { service(channel).redrive(message).await }
        })
        .await?;
        Ok(MovedDead { messages: answer.messages, has_more: answer.has_more })
    }

    /// Gives up dead messages for good: the group is done with them. Otherwise as [`Admin::redrive`].
    ///
    /// # Errors
    /// As [`Admin::redrive`].
    pub async fn drop_dead(
        &self,
        topic: &str,
        group: &str,
        filter: &DeadFilter,
        messages_max: Option<u32>,
        validate_only: bool,
    ) -> Result<MovedDead, RequestError> {
        let message = move_dead(topic, group, filter, messages_max, validate_only)?;
        let answer = request(&self.client.shared, repeat(validate_only), |channel| {
            let message = message.clone();
            async move { service(channel).drop_dead(message).await }
        })
        .await?;
        Ok(MovedDead { messages: answer.messages, has_more: answer.has_more })
    }
}

/// Twice as many as asked for would be wrong.
fn repeat(validate_only: bool) -> Repeat {
    if validate_only { Repeat::Harmless } else { Repeat::OnlyIfNotDone }
}

fn move_dead(
    topic: &str,
    group: &str,
    filter: &DeadFilter,
    messages_max: Option<u32>,
    validate_only: bool,
) -> Result<v1::MoveDeadRequest, RequestError> {
    topic_name(topic)?;
    Ok(v1::MoveDeadRequest {
        topic: topic.to_owned(),
        group: group.to_owned(),
        filter: Some(filter.to_wire()),
        messages_max: messages_max.unwrap_or_default(),
        validate_only,
    })
}
