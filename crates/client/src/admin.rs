//! Topics, offsets, groups, queues, and what the cluster is. Each call is one request.
//!
//! Never holds state: an answer is what the server said at that moment.

mod cluster;
mod groups;
mod model;
mod queues;

use highwater_proto::v1;
use highwater_proto::v1::admin_service_client::AdminServiceClient;
use highwater_types::{Offset, PartitionId, Timestamp, TopicName};

use crate::client::Client;
use crate::position::Position;
use crate::read_service;
use crate::request::{Repeat, RequestError, request};

pub use cluster::{Cluster, Node, NodeState, NodeUsage, PlannedMove, Problem, Severity};
pub use groups::{
    GroupDescription, GroupGeneration, GroupListing, GroupMember, GroupOffset, GroupState, RefusedOffset, SeekChange,
    SeekGroup, SeekTo,
};
pub use model::{
    ConfigValue, NewTopic, Partition, PartitionOffset, ReplicaRole, ReplicaStatus, Topic, TopicChange, TopicDescription,
};
pub use queues::{
    DeadFilter, DeadMessage, DeadPage, DeadPages, Death, DeathCause, LocateBy, LocatedMessage, MessageState,
    MessageStatus, MovedDead, OnExpiry, PausedBy, PeekQueue, PeekedMessage, QueueAttempt, QueueBackoff, QueueBreaker,
    QueueDescription, QueueListing, QueueOrder, QueuePartition, QueuePause, QueueSettings, QueueStart,
};

/// Topics, offsets, groups, queues, and what the cluster is. Made by [`Client::admin`]; cheap to clone.
///
/// A request that only reads is tried again until the client's request timeout is over. One that changes something is
/// tried again only while it is certain that it was not done; see [`RequestError::outcome`].
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use highwater_client::{Client, NewTopic};
///
/// let admin = Client::connect("127.0.0.1:7400").await?.admin();
/// let topic = admin.create_topic(NewTopic::new("orders").partitions(3)).await?;
/// assert_eq!(topic.partitions.len(), 3);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Admin {
    client: Client,
}

impl Admin {
    pub(crate) fn new(client: Client) -> Self {
        Self { client }
    }

    /// Creates a topic and returns it as it is now.
    ///
    /// # Errors
    /// When the topic exists, its name or a setting is invalid, the cluster has too few nodes, or the request fails.
    pub async fn create_topic(&self, topic: NewTopic) -> Result<Topic, RequestError> {
        check(&topic.name)?;
        let message = topic.into_wire();
        let answer = request(&self.client.shared, Repeat::OnlyIfNotDone, |channel| {
            let message = message.clone();
            async move { AdminServiceClient::new(channel).create_topic(message).await }
        })
        .await?;
        answer.topic.map(Topic::from_wire).ok_or(missing_topic("create_topic"))
    }

    /// Deletes a topic with all its records. There is no way back.
    ///
    /// # Errors
    /// When there is no such topic, or the request fails.
    pub async fn delete_topic(&self, name: &str) -> Result<(), RequestError> {
        check(name)?;
        request(&self.client.shared, Repeat::OnlyIfNotDone, |channel| {
            let message = v1::DeleteTopicRequest { name: name.to_owned() };
            async move { AdminServiceClient::new(channel).delete_topic(message).await }
        })
        .await?;
        Ok(())
    }

    /// Changes settings of a topic, or adds partitions to it, and returns it as it is now.
    ///
    /// # Errors
    /// When there is no such topic, a setting is invalid, there would be fewer partitions, or the request fails.
    ///
    /// ```no_run
    /// # async fn example(admin: highwater_client::Admin) -> Result<(), highwater_client::RequestError> {
    /// use highwater_client::TopicChange;
    /// admin.alter_topic("orders", TopicChange::new().set("retention.ms", "86400000").partitions(6)).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn alter_topic(&self, name: &str, change: TopicChange) -> Result<Topic, RequestError> {
        check(name)?;
        let message = change.into_wire(name);
        let answer = request(&self.client.shared, Repeat::OnlyIfNotDone, |channel| {
            let message = message.clone();
            async move { AdminServiceClient::new(channel).alter_topic(message).await }
        })
        .await?;
        answer.topic.map(Topic::from_wire).ok_or(missing_topic("alter_topic"))
    }

    /// All topics.
    ///
    /// # Errors
    /// When the request fails.
    pub async fn list_topics(&self) -> Result<Vec<Topic>, RequestError> {
        let answer = request(&self.client.shared, Repeat::Harmless, |channel| async move {
            AdminServiceClient::new(channel).list_topics(v1::ListTopicsRequest {}).await
        })
        .await?;
        Ok(answer.topics.into_iter().map(Topic::from_wire).collect())
    }

    /// A topic with its partitions, their leaders and offsets, and its settings.
    ///
    /// # Errors
    /// When there is no such topic, or the request fails.
    pub async fn describe_topic(&self, name: &str) -> Result<TopicDescription, RequestError> {
        check(name)?;
        let answer = request(&self.client.shared, Repeat::Harmless, |channel| {
            let message = v1::DescribeTopicRequest { name: name.to_owned() };
            async move { AdminServiceClient::new(channel).describe_topic(message).await }
        })
        .await?;
        TopicDescription::from_wire(answer).ok_or(missing_topic("describe_topic"))
    }

    /// Turns positions into offsets: where reading from each of them would start.
    ///
    /// The answers come in the order of the questions.
    ///
    /// # Errors
    /// When there is no such topic or partition, or the request fails.
    ///
    /// ```no_run
    /// # async fn example(admin: highwater_client::Admin) -> Result<(), highwater_client::RequestError> {
    /// use highwater_client::{PartitionId, Position, Timestamp};
    /// let at = Position::Timestamp(Timestamp::from_ms(1_700_000_000_000));
    /// let found = admin.lookup_offsets("orders", &[(PartitionId::new(0), at)]).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn lookup_offsets(
        &self,
        topic: &str,
        positions: &[(PartitionId, Position)],
    ) -> Result<Vec<PartitionOffset>, RequestError> {
        check(topic)?;
        let offsets = read_service::lookup(&self.client.shared, topic, positions).await?;
        let wrong = RequestError::Incomplete { request: "lookup_offsets", missing: "a partition that was asked for" };
        if offsets.len() != positions.len() {
            return Err(wrong);
        }
        offsets.into_iter().map(|offset| PartitionOffset::from_wire(&offset).ok_or(wrong.clone())).collect()
    }
}

/// Says what is wrong with a name without asking a server.
fn check(name: &str) -> Result<(), RequestError> {
    match TopicName::new(name) {
        Ok(_) => Ok(()),
        Err(reason) => Err(RequestError::InvalidTopicName { name: name.to_owned(), reason }),
    }
}

fn missing_topic(request: &'static str) -> RequestError {
    RequestError::Incomplete { request, missing: "the topic" }
}

impl PartitionOffset {
    fn from_wire(wire: &v1::PartitionOffset) -> Option<Self> {
        Some(Self {
            partition: PartitionId::new(wire.partition),
            offset: Offset::from_wire(wire.offset)?,
            timestamp: wire.timestamp_ms.map(Timestamp::from_ms),
            log_start: Offset::from_wire(wire.log_start)?,
            high_watermark: Offset::from_wire(wire.high_watermark)?,
        })
    }
}
