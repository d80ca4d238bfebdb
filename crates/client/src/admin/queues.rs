//! Queue groups as an operator sees them: their settings and counts, single messages, and where a message is.
//!
//! Owns: the unary calls about queues, but for dead messages, which stand in `dead`. Any node takes them and asks the nodes
//! that lead the partitions.
//!
//! Never: takes a message. Invariant: what changes something is sent again only while it was certainly not done, unless
//! doing it twice is the same.

mod dead;
mod locate;
mod model;
mod settings;
mod status;

use highwater_proto::v1;
use highwater_types::{Offset, PartitionId, Timestamp, TopicName};

use super::{Admin, check};
use crate::queue::service;
use crate::request::{Repeat, RequestError, request};

pub use dead::{DeadFilter, DeadMessage, DeadPage, DeadPages, MovedDead};
pub use locate::{LocateBy, LocatedMessage};
pub use model::{
    PausedBy, PeekQueue, PeekedMessage, QueueDescription, QueueListing, QueuePartition, QueuePause, QueueStart,
};
pub use settings::{OnExpiry, QueueBackoff, QueueBreaker, QueueOrder, QueueSettings};
pub use status::{Death, DeathCause, MessageState, MessageStatus, QueueAttempt};

impl Admin {
    /// Makes a queue group of a topic, or changes the settings of one: those that are given. Returns all of them, and
    /// whether the group was made.
    ///
    /// # Errors
    /// When there is no such topic, a setting is out of its bounds, or the request fails.
    ///
    /// ```no_run
    /// # async fn example(admin: highwater_client::Admin) -> Result<(), highwater_client::RequestError> {
    /// use std::time::Duration;
    /// use highwater_client::{QueueBackoff, QueueSettings, QueueStart};
    ///
    /// let settings = QueueSettings::new()
    ///     .attempts_max(3)
    ///     .backoff(QueueBackoff::Fixed { pause: Duration::from_secs(10) });
    /// let (_now, is_new) = admin.set_queue("orders", "billing", settings, QueueStart::Kept).await?;
    /// assert!(is_new);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn set_queue(
        &self,
        topic: &str,
        group: &str,
        settings: QueueSettings,
        start: QueueStart,
    ) -> Result<(QueueSettings, bool), RequestError> {
        check(topic)?;
        let message = v1::SetQueueRequest {
            topic: topic.to_owned(),
            group: group.to_owned(),
            settings: Some(settings.into_wire()),
            from_end: start == QueueStart::End,
            ..v1::SetQueueRequest::default()
        };
        let answer = request(&self.client.shared, Repeat::OnlyIfNotDone, |channel| {
            let message = message.clone();
            async move { service(channel).set_queue(message).await }
        })
        .await?;
        let missing = RequestError::Incomplete { request: "set_queue", missing: "the settings" };
        Ok((answer.settings.map(QueueSettings::from_wire).ok_or(missing)?, answer.is_new))
    }

    /// Forgets a queue group and what became of its messages; dead ones are dead no more. The messages stay in the topic.
    /// There is no way back.
    ///
    /// # Errors
    /// When there is no such topic or group, or the request fails.
    pub async fn delete_queue(&self, topic: &str, group: &str) -> Result<(), RequestError> {
        check(topic)?;
        let message = v1::DeleteQueueRequest {
            topic: topic.to_owned(),
            group: group.to_owned(),
            ..v1::DeleteQueueRequest::default()
        };
        request(&self.client.shared, Repeat::OnlyIfNotDone, |channel| {
            let message = message.clone();
            async move { service(channel).delete_queue(message).await }
        })
        .await?;
        Ok(())
    }

    /// The queue groups of a topic; with `None`, of all topics.
    ///
    /// # Errors
    /// When there is no such topic, or the request fails.
    pub async fn list_queues(&self, topic: Option<&str>) -> Result<Vec<QueueListing>, RequestError> {
        topic.map_or(Ok(()), check)?;
        let message =
            v1::ListQueuesRequest { topic: topic.unwrap_or_default().to_owned(), ..v1::ListQueuesRequest::default() };
        let answer = request(&self.client.shared, Repeat::Harmless, |channel| {
            let message = message.clone();
            async move { service(channel).list_queues(message).await }
        })
        .await?;
        Ok(answer.queues.into_iter().map(QueueListing::from_wire).collect())
    }

    /// The settings of a queue group, and how many of its messages are where, a partition at a time.
    ///
    /// # Errors
    /// When there is no such topic or group, or the request fails.
    ///
    /// ```no_run
    /// # async fn example(admin: highwater_client::Admin) -> Result<(), highwater_client::RequestError> {
    /// let billing = admin.describe_queue("orders", "billing").await?;
    /// let dead: u64 = billing.partitions.iter().map(|partition| partition.dead).sum();
    /// println!("{dead} orders are dead");
    /// # Ok(())
    /// # }
    /// ```
    pub async fn describe_queue(&self, topic: &str, group: &str) -> Result<QueueDescription, RequestError> {
        check(topic)?;
        let message = v1::DescribeQueueRequest {
            topic: topic.to_owned(),
            group: group.to_owned(),
            ..v1::DescribeQueueRequest::default()
        };
        let answer = request(&self.client.shared, Repeat::Harmless, |channel| {
            let message = message.clone();
            async move { service(channel).describe_queue(message).await }
        })
        .await?;
        Ok(QueueDescription::from_wire(answer))
    }

    /// Messages that are not done, without taking them.
    ///
    /// # Errors
    /// When there is no such topic, group or partition, or the request fails.
    pub async fn peek_queue(
        &self,
        topic: &str,
        group: &str,
        peek: PeekQueue,
    ) -> Result<Vec<PeekedMessage>, RequestError> {
        let name = topic_name(topic)?;
        let message = peek.into_wire(topic, group);
        let answer = request(&self.client.shared, Repeat::Harmless, |channel| {
            let message = message.clone();
            async move { service(channel).peek_queue(message).await }
        })
        .await?;
        let missing = RequestError::Incomplete { request: "peek_queue", missing: "an offset or a status" };
        let messages = answer.messages.into_iter();
        messages.map(|message| PeekedMessage::from_wire(&name, message).ok_or(missing.clone())).collect()
    }

    /// Hands out no more messages of a group until [`Admin::resume_queue`]. What workers have they may settle.
    ///
    /// # Errors
    /// When there is no such topic or group, or the request fails.
    pub async fn pause_queue(&self, topic: &str, group: &str, reason: &str) -> Result<(), RequestError> {
        check(topic)?;
        let message = v1::PauseQueueRequest {
            topic: topic.to_owned(),
            group: group.to_owned(),
            reason: reason.to_owned(),
            ..v1::PauseQueueRequest::default()
        };
        request(&self.client.shared, Repeat::Harmless, |channel| {
            let message = message.clone();
            async move { service(channel).pause_queue(message).await }
        })
        .await?;
        Ok(())
    }

    /// Hands out messages of a group again, whoever paused it.
    ///
    /// # Errors
    /// When there is no such topic or group, or the request fails.
    pub async fn resume_queue(&self, topic: &str, group: &str) -> Result<(), RequestError> {
        check(topic)?;
        let message = v1::ResumeQueueRequest {
            topic: topic.to_owned(),
            group: group.to_owned(),
            ..v1::ResumeQueueRequest::default()
        };
        request(&self.client.shared, Repeat::Harmless, |channel| {
            let message = message.clone();
            async move { service(channel).resume_queue(message).await }
        })
        .await?;
        Ok(())
    }

    /// Gives a message that nobody has another time to be delivered; it may have had none. A time that is over makes it
    /// deliverable now.
    ///
    /// # Errors
    /// With [`MessageLeased`](crate::ErrorCode::MessageLeased) while a worker has it, with
    /// [`MessageSettled`](crate::ErrorCode::MessageSettled) when it is done or dead; when there is no such message or group,
    /// or the request fails.
    pub async fn reschedule(
        &self,
        topic: &str,
        group: &str,
        partition: PartitionId,
        offset: Offset,
        at: impl Into<Timestamp>,
    ) -> Result<(), RequestError> {
        check(topic)?;
        let message = v1::RescheduleRequest {
            topic: topic.to_owned(),
            group: group.to_owned(),
            partition: partition.get(),
            offset: offset.to_wire(),
            deliver_at_ms: at.into().as_ms(),
        };
        request(&self.client.shared, Repeat::Harmless, |channel| {
            let message = message.clone();
            async move { service(channel).reschedule(message).await }
        })
        .await?;
        Ok(())
    }

    /// Calls a message off that nobody has: the group is done with it. It stays in the topic.
    ///
    /// # Errors
    /// As [`Admin::reschedule`].
    pub async fn cancel(
        &self,
        topic: &str,
        group: &str,
        partition: PartitionId,
        offset: Offset,
    ) -> Result<(), RequestError> {
        check(topic)?;
        let message = v1::CancelRequest {
            topic: topic.to_owned(),
            group: group.to_owned(),
            partition: partition.get(),
            offset: offset.to_wire(),
        };
        request(&self.client.shared, Repeat::OnlyIfNotDone, |channel| {
            let message = message.clone();
            async move { service(channel).cancel(message).await }
        })
        .await?;
        Ok(())
    }
}

/// The name, or what is wrong with it, without asking a server.
fn topic_name(name: &str) -> Result<TopicName, RequestError> {
    TopicName::new(name).map_err(|reason| RequestError::InvalidTopicName { name: name.to_owned(), reason })
}
