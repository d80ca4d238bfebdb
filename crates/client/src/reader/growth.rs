//! Partitions that a topic gets while a reader reads all of it.
//!
//! Owns: the look-out for them, as a future that the reader polls; a reader has no task. They are read from their first
//! record on, wherever the reader began: all that is in them came after it was opened.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt};
use highwater_types::{Offset, PartitionId, TopicName};

use super::error::ReadError;
use super::resolve;
use crate::client::Client;
use crate::growth;
use crate::position::Position;

/// The partitions that are new, and where each begins.
type New = Vec<(PartitionId, Offset)>;

/// Looks out for new partitions of one topic.
pub(super) struct Growth {
    client: Client,
    topic: TopicName,
    every: Duration,
    /// How many partitions the topic is known to have.
    known: usize,
    looking: BoxFuture<'static, New>,
}

impl Growth {
    pub(super) fn new(client: &Client, topic: &TopicName, known: usize) -> Self {
        let (client, topic, every) = (client.clone(), topic.clone(), client.shared.topics_refresh);
        let looking = look(client.clone(), topic.clone(), every, known).boxed();
        Self { client, topic, every, known, looking }
    }

    /// The next partitions that are new.
    pub(super) fn poll(&mut self, context: &mut Context<'_>) -> Poll<New> {
        let new = std::task::ready!(Pin::new(&mut self.looking).poll(context));
        self.known += new.len();
        self.looking = look(self.client.clone(), self.topic.clone(), self.every, self.known).boxed();
        Poll::Ready(new)
    }
}

async fn look(client: Client, topic: TopicName, every: Duration, known: usize) -> New {
    loop {
        growth::pause(every).await;
        match found(&client, &topic, known).await {
            Ok(new) if new.is_empty() => {}
            Ok(new) => return new,
            Err(error) => tracing::debug!(%topic, %error, "a topic's partitions could not be asked for"),
        }
    }
}

async fn found(client: &Client, topic: &TopicName, known: usize) -> Result<New, ReadError> {
    let failed = |source| ReadError::Topic { topic: topic.as_str().to_owned(), source };
    let count = growth::partition_count(client, topic.as_str()).await.map_err(failed)?;
    let number = |number| PartitionId::new(u32::try_from(number).unwrap_or(u32::MAX));
    let new: Vec<_> = (known..count).map(|new| (number(new), Position::Start)).collect();
    let offsets = resolve(client, topic, &new).await?;
    Ok(new.into_iter().zip(offsets).map(|((partition, _), offset)| (partition, offset)).collect())
}
