//! Noticing that a topic has got more partitions.
//!
//! Owns: how often is looked. Never: decides what becomes of the new partitions; a producer and a reader do.

use std::time::Duration;

use crate::client::Client;
use crate::clock;
use crate::request::RequestError;
use crate::retry::spread;

/// Waits between two looks: between half of `longest` and all of it, so that clients do not look in step.
pub(crate) async fn pause(longest: Duration) {
    tokio::time::sleep(spread(longest, clock::chance())).await;
}

/// How many partitions the topic has.
pub(crate) async fn partition_count(client: &Client, topic: &str) -> Result<usize, RequestError> {
    let description = client.admin().describe_topic(topic).await?;
    match description.topic.partitions.len() {
        0 => Err(RequestError::Incomplete { request: "describe_topic", missing: "the partitions" }),
        count => Ok(count),
    }
}
