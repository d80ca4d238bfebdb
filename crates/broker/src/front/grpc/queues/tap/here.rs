//! A tap of a partition that this node leads.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt};
use highwater_groups::queue::{AckToken, Acquired, Lease, Outcome, Reason};
use highwater_proto::v1;
use highwater_types::Offset;
use tokio::sync::oneshot;

use super::held::Held;
use super::{FromTap, Over, Place, Tap, ToTap, Ways, places};
use crate::admission::BytePermit;
use crate::front::failure::Failure;
use crate::front::grpc::queues::deliver::{bytes_of, deliver};
use crate::front::grpc::queues::outcomes::{Placed, outcome_of, settle};
use crate::partition::PartitionHandle;
use crate::queues::QueueError;

/// How long giving back may take when a session ends. What takes longer is given back by the end of its lease.
const GIVE_BACK_PATIENCE: Duration = Duration::from_secs(5);

/// How many messages are given back at a time.
const GIVE_BACK_MAX: usize = 10_000;

/// The messages of one answer have about so many bytes; one that is larger goes alone.
const ANSWER_BYTES: usize = 4 << 20;

/// The most messages that are leased at a time.
const LEASES_MAX: usize = 1_000;

/// What a grant came to.
struct Got {
    messages: Vec<v1::QueueMessage>,
    tokens: Vec<AckToken>,
    permit: Option<BytePermit>,
}

type Results = Vec<(Place, v1::Settled)>;
type Settling = FuturesUnordered<BoxFuture<'static, (u64, Results)>>;

impl Tap {
    /// Serves the session from the queue here, for as long as this node leads.
    pub(super) async fn serve_here(&self, handle: &PartitionHandle, ways: &mut Ways) -> Over {
        let mut leadership = handle.leaderships();
        let term = leadership.borrow_and_update().term;
        let mut settling = Settling::new();
        let mut woken: Option<oneshot::Receiver<()>> = None;
        let mut leases_max = LEASES_MAX;
        let shutdown = self.context.shutdown.requested();
        tokio::pin!(shutdown);
        ways.say(self.partition, FromTap::Available).await;
        let over = loop {
            tokio::select! {
                biased;
                Some((request, results)) = settling.next(), if !settling.is_empty() => {
                    let settled = ways.settled(request, results.into_iter());
                    ways.say(self.partition, settled).await;
                }
                () = &mut shutdown => break Over::Ended,
                changed = leadership.changed() => {
                    let led = *leadership.borrow_and_update();
                    if changed.is_err() || !led.serves_writes || led.term != term {
                        break Over::Lost(QueueError::NotLeader { leader: led.other_leader() }.into());
                    }
                }
                asked = ways.asked.recv() => match asked {
                    None => break Over::Ended,
                    Some(ToTap::Settle(request, outcomes)) => settling.push(self.settle(handle, request, outcomes)),
                    Some(ToTap::Grant(granted)) => match self.get(handle, granted, &mut leases_max).await {
                        Ok(Got { messages, tokens, permit }) => {
                            let is_all = messages.len() >= usize::try_from(granted).unwrap_or(usize::MAX);
                            tokens.into_iter().for_each(|token| ways.held.insert(token));
                            let held = ways.held.count();
                            ways.say(self.partition, FromTap::Messages { granted, messages, permit, held }).await;
                            if !is_all {
                                woken = handle.queues().available(&self.group, &self.worker).await.ok();
                            }
                        }
                        Err(failure) => {
                            ways.say(self.partition, ways.nothing(granted)).await;
                            break Over::Lost(failure);
                        }
                    },
                },
                () = woken_up(&mut woken) => {
                    woken = None;
                    ways.say(self.partition, FromTap::Available).await;
                }
            }
        };
        while let Some((request, results)) = settling.next().await {
            let settled = ways.settled(request, results.into_iter());
            ways.say(self.partition, settled).await;
        }
        // Leases end with the leader that gave them.
        if matches!(over, Over::Ended) && !self.keeps_messages {
            let given_back = self.give_back(handle, &ways.held);
            let _late = tokio::time::timeout(GIVE_BACK_PATIENCE, given_back).await;
        }
        over
    }

    /// Gets messages, with their tokens: as many as are granted and make an answer. `leases_max` follows how large they are,
    /// so that few are leased only to be given back.
    async fn get(&self, handle: &PartitionHandle, granted: u32, leases_max: &mut usize) -> Result<Got, Failure> {
        let max = usize::try_from(granted).unwrap_or(usize::MAX).min(*leases_max);
        let Acquired { leases, .. } = handle.queues().acquire(&self.group, self.worker.clone(), max).await?;
        if leases.is_empty() {
            return Ok(Got { messages: Vec::new(), tokens: Vec::new(), permit: None });
        }
        let lease_ms = handle.queues().config(&self.group).map_or(0, |config| config.lease_ms);
        let mut tokens: BTreeMap<Offset, AckToken> = leases.iter().map(|lease| (lease.offset, lease.token)).collect();
        match self.admitted(handle, leases, lease_ms, leases_max).await {
            Ok((messages, permit)) => {
                let offset = |message: &v1::QueueMessage| Offset::from_wire(message.record.as_ref()?.offset);
                let kept = messages.iter().filter_map(offset);
                let kept: Vec<_> = kept.filter_map(|offset| tokens.remove(&offset)).collect();
                // What found no room in the answer, or is not kept any more.
                self.release(handle, tokens.into_values().collect()).await;
                Ok(Got { messages, tokens: kept, permit: Some(permit) })
            }
            Err(failure) => {
                self.release(handle, tokens.into_values().collect()).await;
                Err(failure)
            }
        }
    }

    /// The records of leases, as many as make an answer, with the permit for their memory.
    async fn admitted(
        &self,
        handle: &PartitionHandle,
        leases: Vec<Lease>,
        lease_ms: u64,
        leases_max: &mut usize,
    ) -> Result<(Vec<v1::QueueMessage>, BytePermit), Failure> {
        let mut messages = deliver(handle, &self.topic, self.partition, leases, lease_ms).await?;
        let (mut count, mut bytes) = (0, 0);
        for more in messages.iter().map(bytes_of) {
            if count > 0 && bytes + more > ANSWER_BYTES {
                break;
            }
            (count, bytes) = (count + 1, bytes + more);
        }
        messages.truncate(count);
        *leases_max = (ANSWER_BYTES / (bytes / messages.len().max(1)).max(1)).clamp(1, LEASES_MAX);
        let permit = self.context.decoded.acquire(bytes).await?;
        Ok((messages, permit))
    }

    fn settle(
        &self,
        handle: &PartitionHandle,
        request: u64,
        outcomes: Vec<Placed>,
    ) -> BoxFuture<'static, (u64, Results)> {
        let (queues, group, worker) = (handle.queues().clone(), self.group.clone(), self.worker.clone());
        let places = places(&outcomes);
        let outcomes = outcomes.iter().map(|placed| (placed.token, outcome_of(&placed.outcome))).collect();
        Box::pin(async move {
            let results = settle(&queues, &group, &worker, outcomes).await;
            (request, places.into_iter().zip(results).collect())
        })
    }

    /// What a worker that is gone had goes to others; when it is the node that goes, that is nobody's fault.
    async fn give_back(&self, handle: &PartitionHandle, held: &Held) {
        let outcome = match self.context.shutdown.is_requested() {
            true => Outcome::Release,
            false => Outcome::Lost { reason: Reason::new("the worker's connection ended") },
        };
        let mut tokens = held.tokens().peekable();
        while tokens.peek().is_some() {
            let some = tokens.by_ref().take(GIVE_BACK_MAX).map(|token| (token, outcome.clone()));
            let _results = settle(handle.queues(), &self.group, &self.worker, some.collect()).await;
        }
    }

    async fn release(&self, handle: &PartitionHandle, tokens: Vec<AckToken>) {
        if !tokens.is_empty() {
            let outcomes = tokens.into_iter().map(|token| (token, Outcome::Release)).collect();
            let _results = settle(handle.queues(), &self.group, &self.worker, outcomes).await;
        }
    }
}

async fn woken_up(woken: &mut Option<oneshot::Receiver<()>>) {
    match woken {
        // Also when the term is over: whoever asks hears it.
        Some(woken) => drop(woken.await),
        None => std::future::pending().await,
    }
}
