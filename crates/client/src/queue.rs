//! Work queues: each message of a topic is with one worker of a group at a time, until it is acked or dead.
//!
//! Owns: what a message is, what may become of it, and taking messages by hand, a request at a time. A
//! [`Worker`](crate::Worker) does that by itself over one stream.
//!
//! Never: decides anything. What a token is still worth, the server knows.

mod message;
mod outcome;

use std::time::Duration;

use highwater_proto::v1;
use highwater_proto::v1::queue_service_client::QueueServiceClient;
use highwater_types::{TopicName, limits};
use tonic::transport::Channel;

use crate::client::Client;
use crate::clock;
use crate::error::ServerError;
use crate::request::{Repeat, RequestError, request, request_within};

pub use message::{MessageToken, QueueMessage};
pub use outcome::{IntoOutcome, MessageOutcome, Settle, Settled};
pub(crate) use outcome::{millis, unanswered};

/// The longest that the server waits for a message.
const WAIT_MAX: Duration = Duration::from_secs(30);

/// Messages of a queue group, taken and settled by hand. Made by [`Client::queue`]; cheap to clone.
///
/// For programs that want a few messages now and then. Whoever wants all of them uses a [`Worker`](crate::Worker), which has
/// a stream instead of requests, extends leases and gathers acks.
///
/// What was received is this program's until its lease is over; then it goes to another worker, as a failed attempt.
///
/// ```no_run
/// # async fn example(client: highwater_client::Client) -> Result<(), Box<dyn std::error::Error>> {
/// use std::time::Duration;
///
/// let queue = client.queue("orders", "billing");
/// let messages = queue.receive(10, Duration::from_secs(20)).await?;
/// let mut settles = Vec::new();
/// for message in &messages {
///     settles.push(if message.value().is_empty() { message.reject("it is empty") } else { message.ack() });
/// }
/// for settled in queue.settle(settles).await? {
///     println!("{:?}", settled?);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Queue {
    client: Client,
    topic: String,
    group: String,
    worker: String,
}

impl Queue {
    pub(crate) fn new(client: Client, topic: String, group: String) -> Self {
        // Two programs of one name could settle each other's messages.
        Self { client, topic, group, worker: format!("pull-{:016x}", clock::chance()) }
    }

    /// What this program is called in journals and listings. It also says whose messages are settled, so no two programs of
    /// a group should have the same. Default: a name by chance.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.worker = name.into();
        self
    }

    /// Up to so many messages, waiting for the first of them for so long, 30 seconds at most. None when none came.
    ///
    /// An answer that is lost on its way keeps its messages until their lease is over.
    ///
    /// # Errors
    /// When there is no such topic or group, or the request fails.
    pub async fn receive(&self, messages_max: u32, wait: Duration) -> Result<Vec<QueueMessage>, RequestError> {
        let topic = self.topic_name()?;
        let wait = wait.min(WAIT_MAX);
        let message = v1::ReceiveRequest {
            topic: self.topic.clone(),
            group: self.group.clone(),
            worker: self.worker.clone(),
            messages_max,
            wait_ms_max: u32::try_from(wait.as_millis()).unwrap_or(u32::MAX),
            ..v1::ReceiveRequest::default()
        };
        let shared = &self.client.shared;
        let answer = request_within(shared, shared.request_timeout + wait, Repeat::Harmless, |channel| {
            let message = message.clone();
            async move { service(channel).receive(message).await }
        })
        .await?;
        let missing = RequestError::Incomplete { request: "receive", missing: "a record" };
        let messages = answer.messages.into_iter();
        messages.map(|message| QueueMessage::from_wire(&topic, message).ok_or(missing.clone())).collect()
    }

    /// Says what became of messages, in one request, and returns what the server made of it, in the same order.
    ///
    /// A single one may be refused, for instance with [`LeaseLost`](crate::ErrorCode::LeaseLost): then somebody else has the
    /// message by now, or had it.
    ///
    /// # Errors
    /// When the request as a whole fails. What became of the messages is then not known; acks may be sent again.
    pub async fn settle(
        &self,
        settles: impl IntoIterator<Item = Settle>,
    ) -> Result<Vec<Result<Settled, ServerError>>, RequestError> {
        let settles: Vec<Settle> = settles.into_iter().collect();
        self.topic_name()?;
        if settles.is_empty() {
            return Ok(Vec::new());
        }
        // An ack of what is acked is answered so; a failure that is told twice is refused the second time.
        let is_harmless = settles.iter().all(Settle::may_repeat);
        let repeat = if is_harmless { Repeat::Harmless } else { Repeat::OnlyIfNotDone };
        let count = settles.len();
        let message = v1::SettleRequest {
            topic: self.topic.clone(),
            group: self.group.clone(),
            worker: self.worker.clone(),
            outcomes: settles.into_iter().map(Settle::into_wire).collect(),
        };
        let answer = request(&self.client.shared, repeat, |channel| {
            let message = message.clone();
            async move { service(channel).settle(message).await }
        })
        .await?;
        if answer.results.len() != count {
            return Err(RequestError::Incomplete { request: "settle", missing: "a result" });
        }
        Ok(answer.results.into_iter().map(Settled::from_wire).collect())
    }

    fn topic_name(&self) -> Result<TopicName, RequestError> {
        TopicName::new(&self.topic)
            .map_err(|reason| RequestError::InvalidTopicName { name: self.topic.clone(), reason })
    }
}

/// The service, which may send messages as large as any record.
pub(crate) fn service(channel: Channel) -> QueueServiceClient<Channel> {
    QueueServiceClient::new(channel)
        .max_decoding_message_size(limits::MESSAGE_BYTES_MAX)
        .max_encoding_message_size(limits::MESSAGE_BYTES_MAX)
}
