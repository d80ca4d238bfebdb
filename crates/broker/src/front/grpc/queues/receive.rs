//! Messages and their outcomes without a stream, for clients that have none.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use highwater_proto::v1;
use highwater_types::{PartitionId, TopicName, TopicPartition};
use tokio::sync::mpsc;
use tokio::time::timeout_at;
use tonic::body::Body;
use tonic::codegen::http;
use tonic::{Response, Status};

use super::calls::{Asked, Client, Here, group_of};
use super::outcomes::{by_partition, outcome_of, placed, refused, settle};
use super::tap::{FromTap, Tap, ToTap};
use super::{Queues, pieces};
use crate::front::failure::Failure;
use crate::front::grpc::proxy::passed_on;

/// How long a client may wait for messages in one call.
const WAIT_MAX: Duration = Duration::from_secs(30);
/// The most messages of one answer.
const MESSAGES_MAX: u32 = 1_000;
/// What taps say before they wait.
const SAID_MAX: usize = 16;
/// With something in hand, others are waited for only so long: they may be looking for their leader.
const OTHERS_PATIENCE: Duration = Duration::from_millis(20);

impl Queues {
    /// A few messages: as many as are there, or the first that come.
    pub(super) async fn receive(&self, request: http::Request<Body>) -> Result<Vec<Bytes>, Failure> {
        let (request, may_pass_on) = self.read_call::<v1::ReceiveRequest>(request).await?;
        let group = group_of(&request.group)?;
        let worker = self.worker_of(&request.worker)?;
        self.prepare(&request.topic, &group, request.partition, may_pass_on).await?;
        let tap = self.tap(&request.topic, &group, worker, true, may_pass_on)?;
        let count = self.context.router.topic(&TopicName::new(&request.topic)?)?.partition_count();
        let partitions = request.partition.map_or(0..count, |partition| partition..partition.saturating_add(1));
        let max = request.messages_max.clamp(1, MESSAGES_MAX);
        let wait = Duration::from_millis(request.wait_ms_max.into()).min(WAIT_MAX);
        let gathered = tokio::select! {
            gathered = gather(&tap, partitions, max, wait) => gathered?,
            () = self.context.shutdown.requested() => return Err(Failure::shutting_down()),
        };
        Ok(pieces(&v1::ReceiveResponse { messages: gathered }))
    }

    /// Settles messages, whichever way they came.
    pub(super) async fn settle(&self, request: http::Request<Body>) -> Result<Vec<Bytes>, Failure> {
        let (mut request, may_pass_on) = self.read_call::<v1::SettleRequest>(request).await?;
        let topic = self.context.router.topic(&TopicName::new(&request.topic)?)?;
        let (by_partition, mut results) = by_partition(std::mem::take(&mut request.outcomes));
        for (partition, placed) in by_partition {
            let (indexes, outcomes): (Vec<usize>, Vec<_>) =
                placed.into_iter().map(|placed| (placed.index, placed.outcome)).unzip();
            let part = OfPartition { partition, request: v1::SettleRequest { outcomes, ..request.clone() } };
            let id = TopicPartition { topic: topic.id, partition };
            let answers = match self.at(id, &part, may_pass_on).await {
                Ok(answer) => answer.results,
                Err(failure) => vec![refused(&failure); indexes.len()],
            };
            for (index, answer) in indexes.into_iter().zip(answers) {
                if let Some(result) = results.get_mut(index) {
                    *result = answer;
                }
            }
        }
        Ok(pieces(&v1::SettleResponse { results }))
    }
}

/// Asks partitions one after another as they say that they have something, until there is enough or the time is over.
async fn gather(
    tap: &Tap,
    partitions: std::ops::Range<u32>,
    max: u32,
    wait: Duration,
) -> Result<Vec<v1::QueueMessage>, Failure> {
    let (says, mut said) = mpsc::channel(SAID_MAX);
    let taps: BTreeMap<PartitionId, mpsc::Sender<ToTap>> = partitions
        .map(PartitionId::new)
        .map(|partition| (partition, Tap { partition, ..tap.clone() }.start(says.clone())))
        .collect();
    let mut deadline = tap.context.clock.instant() + wait;
    let mut available: VecDeque<PartitionId> = VecDeque::new();
    let mut gathered: Vec<v1::QueueMessage> = Vec::new();
    let (mut is_granted, mut unheard) = (false, taps.len());
    loop {
        let left = max.saturating_sub(u32::try_from(gathered.len()).unwrap_or(u32::MAX));
        if left == 0 {
            return Ok(gathered);
        }
        if let Some(partition) = available.pop_front_if(|_| !is_granted) {
            is_granted = taps.get(&partition).is_some_and(|tap| tap.try_send(ToTap::Grant(left)).is_ok());
            continue;
        }
        // With something in hand nobody is waited for who has nothing.
        if !gathered.is_empty() && !is_granted && unheard == 0 {
            return Ok(gathered);
        }
        let next = match is_granted {
            // What was granted is leased, so it is waited for.
            true => said.recv().await,
            false => match timeout_at(deadline, said.recv()).await {
                Ok(next) => next,
                Err(_) => return Ok(gathered),
            },
        };
        match next {
            None => return Ok(gathered),
            Some((partition, FromTap::Available)) => {
                unheard = unheard.saturating_sub(1);
                available.push_back(partition);
            }
            Some((partition, FromTap::Messages { granted, messages, .. })) => {
                is_granted = false;
                if messages.len() == usize::try_from(granted).unwrap_or(usize::MAX) {
                    available.push_back(partition);
                }
                if !messages.is_empty() {
                    deadline = deadline.min(tap.context.clock.instant() + OTHERS_PATIENCE);
                }
                gathered.extend(messages);
            }
            Some((_, FromTap::Ended(failure))) if gathered.is_empty() => return Err(failure),
            Some((_, FromTap::Ended(_) | FromTap::Settled(_))) => {}
        }
    }
}

/// The outcomes of one partition.
#[derive(Clone)]
struct OfPartition {
    partition: PartitionId,
    request: v1::SettleRequest,
}

impl Asked for OfPartition {
    type Answer = v1::SettleResponse;

    fn topic(&self) -> &str {
        &self.request.topic
    }

    fn partition(&self) -> Option<u32> {
        Some(self.partition.get())
    }

    fn of_partition(&self, partition: u32) -> Self {
        Self { partition: PartitionId::new(partition), ..self.clone() }
    }

    async fn here(&self, here: Here<'_>) -> Result<Self::Answer, Failure> {
        let (group, worker) = (group_of(&self.request.group)?, here.queues.worker_of(&self.request.worker)?);
        let outcomes = self.request.outcomes.iter().enumerate().filter_map(|(index, outcome)| {
            let placed = placed(index, outcome.clone()).ok()?;
            Some((placed.token, outcome_of(&placed.outcome)))
        });
        let results = settle(here.handle.queues(), &group, &worker, outcomes.collect()).await;
        Ok(v1::SettleResponse { results })
    }

    async fn there(self, mut client: Client) -> Result<Response<Self::Answer>, Status> {
        client.settle(passed_on(self.request)).await
    }

    fn joined(&self, answers: Vec<Self::Answer>) -> Self::Answer {
        answers.into_iter().next().unwrap_or_default()
    }
}
