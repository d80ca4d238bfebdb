//! A tap of a partition that this node leads.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt};
use highwater_groups::queue::{AckToken, Acquired, Lease, Outcome, Reason};
use highwater_proto::v1;
use highwater_types::Offset;
use tokio::sync::oneshot;

use super::{FromTap, Over, Tap, ToTap, Ways};
use crate::admission::BytePermit;
use crate::front::failure::Failure;
use crate::front::grpc::queues::deliver::{bytes_of, deliver};
use crate::front::grpc::queues::outcomes::{Placed, is_over, outcome_of, settle};
use crate::partition::PartitionHandle;
use crate::queues::QueueError;

/// How long giving back may take when a session ends. What takes longer is given back by the end of its lease.
const GIVE_BACK_PATIENCE: Duration = Duration::from_secs(5);

/// The messages of one answer have about so many bytes; one that is larger goes alone.
const ANSWER_BYTES: usize = 4 << 20;

/// The most messages that are leased at a time.
const LEASES_MAX: usize = 1_000;

/// What a grant came to.
struct Got {
    messages: Vec<v1::QueueMessage>,
    tokens: Vec<(Offset, AckToken)>,
    permit: Option<BytePermit>,
}

/// What came of a settle: by the place in the request.
type Results = Vec<(usize, Offset, v1::Settled)>;
type Settling = FuturesUnordered<BoxFuture<'static, (u64, Results)>>;

impl Tap {
    /// Serves the session from the queue here, for as long as this node leads.
    pub(super) async fn serve_here(&self, handle: &PartitionHandle, ways: &mut Ways) -> Over {
        let mut leadership = handle.leaderships();
        let term = leadership.borrow_and_update().term;
        let mut with_worker: BTreeMap<Offset, AckToken> = BTreeMap::new();
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
                    ways.say(self.partition, settled(request, results, &mut with_worker)).await;
                }
                () = &mut shutdown => break Over::Ended,
                changed = leadership.changed() => {
                    let led = *leadership.borrow_and_update();
                    if changed.is_err() || !led.serves_writes || led.term != term {
                        // Leases end with the leader that gave them.
                        with_worker.clear();
                        break Over::Lost(QueueError::NotLeader { leader: led.other_leader() }.into());
                    }
                }
                asked = ways.asked.recv() => match asked {
                    None => break Over::Ended,
                    Some(ToTap::Settle(request, outcomes)) => settling.push(self.settle(handle, request, outcomes)),
                    Some(ToTap::Grant(granted)) => match self.get(handle, granted, &mut leases_max).await {
                        Ok(Got { messages, tokens, permit }) => {
                            let is_all = messages.len() >= usize::try_from(granted).unwrap_or(usize::MAX);
                            with_worker.extend(tokens);
                            ways.say(self.partition, FromTap::Messages { granted, messages, permit }).await;
                            if !is_all {
                                woken = handle.queues().available(&self.group, &self.worker).await.ok();
                            }
                        }
                        Err(failure) => {
                            ways.say(self.partition, nothing(granted)).await;
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
            ways.say(self.partition, settled(request, results, &mut with_worker)).await;
        }
        if !self.keeps_messages {
            self.give_back(handle, with_worker).await;
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
                let kept: Vec<_> = kept.filter_map(|offset| Some((offset, tokens.remove(&offset)?))).collect();
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
        let places: Vec<_> = outcomes.iter().map(|placed| (placed.index, placed.token.offset)).collect();
        let outcomes = outcomes.iter().map(|placed| (placed.token, outcome_of(&placed.outcome))).collect();
        Box::pin(async move {
            let results = settle(&queues, &group, &worker, outcomes).await;
            let results = places.into_iter().zip(results).map(|((index, offset), result)| (index, offset, result));
            (request, results.collect())
        })
    }

    /// What a worker that is gone had goes to others; when it is the node that goes, that is nobody's fault.
    async fn give_back(&self, handle: &PartitionHandle, with_worker: BTreeMap<Offset, AckToken>) {
        if with_worker.is_empty() {
            return;
        }
        let outcome = match self.context.shutdown.is_requested() {
            true => Outcome::Release,
            false => Outcome::Lost { reason: Reason::new("the worker's connection ended") },
        };
        let outcomes = with_worker.into_values().map(|token| (token, outcome.clone())).collect();
        let given_back = settle(handle.queues(), &self.group, &self.worker, outcomes);
        let _late = tokio::time::timeout(GIVE_BACK_PATIENCE, given_back).await;
    }

    async fn release(&self, handle: &PartitionHandle, tokens: Vec<AckToken>) {
        if !tokens.is_empty() {
            let outcomes = tokens.into_iter().map(|token| (token, Outcome::Release)).collect();
            let _results = settle(handle.queues(), &self.group, &self.worker, outcomes).await;
        }
    }
}

/// The answer to a settle; what is over is with the worker no more.
fn settled(request: u64, results: Results, with_worker: &mut BTreeMap<Offset, AckToken>) -> FromTap {
    for (_, offset, result) in &results {
        if is_over(result) {
            with_worker.remove(offset);
        }
    }
    FromTap::Settled(request, results.into_iter().map(|(index, _, result)| (index, result)).collect())
}

pub(super) const fn nothing(granted: u32) -> FromTap {
    FromTap::Messages { granted, messages: Vec::new(), permit: None }
}

async fn woken_up(woken: &mut Option<oneshot::Receiver<()>>) {
    match woken {
        // Also when the term is over: whoever asks hears it.
        Some(woken) => drop(woken.await),
        None => std::future::pending().await,
    }
}
