//! Sending records with a bound on how many are unacknowledged, and timing each acknowledgement.
//!
//! Owns: the row of deliveries that are under way, oldest first. No task and no channel a record: what is measured is
//! the server, not this tool.

use std::collections::VecDeque;
use std::time::Instant;

use futures_util::FutureExt as _;
use highwater_client::{Delivery, Producer, Record, SendAndWaitError};
use highwater_types::TopicName;

use super::report::Latencies;
use crate::clock;

/// Between two looks at what came in meanwhile, in records.
const LOOK_EVERY: u64 = 32;

/// Records under way.
pub(super) struct Load<'a> {
    producer: &'a Producer,
    topic: &'a TopicName,
    in_flight_max: usize,
    waiting: VecDeque<(Instant, Delivery)>,
    sent: u64,
    latencies: &'a mut Latencies,
}

impl<'a> Load<'a> {
    pub(super) fn new(
        producer: &'a Producer,
        topic: &'a TopicName,
        in_flight_max: usize,
        latencies: &'a mut Latencies,
    ) -> Self {
        Self { producer, topic, in_flight_max, waiting: VecDeque::with_capacity(in_flight_max), sent: 0, latencies }
    }

    /// Sends a record; its latency counts from `since`, or from now. Waits while too many are under way.
    pub(super) async fn send(&mut self, record: Record, since: Option<Instant>) -> Result<(), SendAndWaitError> {
        if self.waiting.len() >= self.in_flight_max {
            self.settle_some().await?;
        } else if self.sent.is_multiple_of(LOOK_EVERY) {
            self.settle_ready()?;
        }
        let since = since.unwrap_or_else(clock::now);
        let delivery = self.producer.send(self.topic.as_str(), record).await?;
        self.waiting.push_back((since, delivery));
        self.sent += 1;
        Ok(())
    }

    /// How many were sent.
    pub(super) fn sent(&self) -> u64 {
        self.sent
    }

    /// Waits for the oldest, and takes with it whatever else is there.
    async fn settle_some(&mut self) -> Result<(), SendAndWaitError> {
        if let Some((since, delivery)) = self.waiting.pop_front() {
            delivery.await?;
            self.latencies.record(clock::now() - since);
        }
        self.settle_ready()
    }

    /// Takes whatever is there.
    pub(super) fn settle_ready(&mut self) -> Result<(), SendAndWaitError> {
        let mut now = None;
        while let Some((since, delivery)) = self.waiting.front_mut()
            && let Some(result) = delivery.now_or_never()
        {
            result?;
            // They were settled together, so one look at the clock does for all.
            let now = *now.get_or_insert_with(clock::now);
            self.latencies.record(now - *since);
            self.waiting.pop_front();
        }
        Ok(())
    }

    /// Waits for all that are under way.
    pub(super) async fn finish(mut self) -> Result<(), SendAndWaitError> {
        while !self.waiting.is_empty() {
            self.settle_some().await?;
        }
        Ok(())
    }
}
