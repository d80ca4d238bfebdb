//! Batches for partitions that another node leads, from clients that know nothing of leaders.
//!
//! Owns: one stream to each leader for each client's stream, so that the batches of a partition stay in their order.
//!
//! Never: sends a batch a second time that may be stored. When a stream to a leader breaks, what was on it is answered
//! as unknown; what had not left yet, as not done.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use highwater_proto::v1;
use highwater_proto::v1::produce_response::Result as Answer;
use highwater_proto::v1::produce_service_client::ProduceServiceClient;
use highwater_types::{ErrorCode, LeaderEpoch, NodeId, Offset, Timestamp, TopicPartition, limits};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use tonic::transport::Channel;

use super::Checked;
use crate::admission::BytePermit;
use crate::front::failure::Failure;
use crate::front::grpc::context::Context;
use crate::front::grpc::convert::{acks_of, wire_acks_of};
use crate::front::grpc::error::failure_of_error;
use crate::front::grpc::proxy::{Search, failure_of_status, is_search, is_search_there, passed_on};
use crate::partition::{AppendAck, AppendTicket};

/// How long a leader may take for one batch.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long it may take to open a stream.
const OPEN_PATIENCE: Duration = Duration::from_secs(5);
/// Batches on their way to one leader's stream.
const BATCHES_WAITING_MAX: usize = 16;

/// The outcome of a batch that is queued here, or on its way to the leader.
#[derive(Debug)]
pub(super) enum Pending {
    Here(AppendTicket),
    There(oneshot::Receiver<Result<AppendAck, Failure>>),
}

impl Future for Pending {
    type Output = Result<AppendAck, Failure>;

    fn poll(mut self: Pin<&mut Self>, context: &mut TaskContext<'_>) -> Poll<Self::Output> {
        match &mut *self {
            Self::Here(ticket) => Pin::new(ticket).poll(context).map_err(Failure::from),
            Self::There(answer) => {
                Pin::new(answer).poll(context).map(|answer| answer.unwrap_or_else(|_| Err(Failure::shutting_down())))
            }
        }
    }
}

/// Appends one batch wherever its partition is led, looking for the leader for a while.
pub(super) async fn append_anywhere(
    context: &Arc<Context>,
    checked: Checked,
    permit: BytePermit,
) -> Result<AppendAck, Failure> {
    let mut search = Search::start();
    let (bytes, mut permit) = (permit.bytes(), Some(permit));
    loop {
        let held = match permit.take() {
            Some(permit) => permit,
            None => context.data_messages.budget.acquire(bytes).await?,
        };
        let failure = match checked.clone().append_here(context, held).await {
            Ok(ack) => return Ok(ack),
            Err(failure) if is_search(&failure) => context.placed(checked.id, failure),
            Err(failure) => return Err(failure),
        };
        let failure = match (failure.leader, &failure.leader_address) {
            (Some(leader), Some(address)) => {
                let _held = context.data_messages.budget.acquire(bytes).await?;
                let result = append_there(context, &checked, leader, address).await;
                context.learn_of(checked.id, leader, &result);
                match result {
                    Ok(ack) => return Ok(ack),
                    Err(failure) if is_search_there(&failure) => failure,
                    Err(failure) => return Err(failure),
                }
            }
            _ => failure,
        };
        search.pause(failure).await?;
    }
}

async fn append_there(
    context: &Context,
    checked: &Checked,
    leader: NodeId,
    address: &str,
) -> Result<AppendAck, Failure> {
    let request = passed_on(request_of(checked, 0));
    let send = async |channel| client(channel).produce(request).await;
    match context.proxy.call(leader, address, PATIENCE, send).await?.result {
        Some(Answer::Ack(ack)) => Ok(ack_of(&ack)),
        Some(Answer::Error(error)) => Err(failure_of_error(error)),
        None => Err(Failure::new(ErrorCode::Internal, format!("node {leader} answered without a result"))),
    }
}

/// Where the batches of one client's stream go. Clones are the same.
#[derive(Clone, Debug)]
pub(super) struct Forwarder {
    context: Arc<Context>,
    leaders: Arc<Mutex<BTreeMap<NodeId, mpsc::Sender<Job>>>>,
}

#[derive(Debug)]
struct Job {
    checked: Checked,
    permit: BytePermit,
    answer: oneshot::Sender<Result<AppendAck, Failure>>,
}

impl Forwarder {
    pub(super) fn new(context: Arc<Context>) -> Self {
        Self { context, leaders: Arc::default() }
    }

    /// Queues a batch here, or sends it on its way to its leader.
    pub(super) async fn append(&self, checked: Checked, permit: BytePermit) -> Result<Pending, Failure> {
        let Some((leader, address)) = self.elsewhere(&checked).await? else {
            return checked.queue(&self.context, permit).await.map(Pending::Here);
        };
        let (answer, pending) = oneshot::channel();
        let job = Job { checked, permit, answer };
        let sender = self.stream_to(leader, address);
        match sender.send(job).await {
            Ok(()) => Ok(Pending::There(pending)),
            Err(mpsc::error::SendError(job)) => {
                // It broke before: nothing of this batch has left. The next one opens a stream anew.
                self.leaders.lock().unwrap_or_else(PoisonError::into_inner).remove(&leader);
                self.context.proxy.learn(job.checked.id, None);
                Err(Failure::new(ErrorCode::LeaderUnavailable, format!("node {leader} went away; try again")))
            }
        }
    }

    /// The node that leads the partition, unless it is this one or nobody knows one.
    async fn elsewhere(&self, checked: &Checked) -> Result<Option<(NodeId, String)>, Failure> {
        let (router, id) = (&self.context.router, checked.id);
        let leader = match router.open_partition(id) {
            Some(handle) => handle.leadership().leader.filter(|leader| *leader != router.node()),
            None => match self.context.proxy.learnt(id) {
                Some(leader) => Some(leader),
                None => match self.context.partition(&checked.topic, id.partition) {
                    Ok(_) => None,
                    Err(failure) if is_search(&failure) => self.context.find_leader(&checked.topic, id, failure).await,
                    Err(failure) => return Err(failure),
                },
            },
        };
        let address = |leader| Some((leader, router.image().node(leader)?.address.clone()));
        Ok(leader.and_then(address))
    }

    fn stream_to(&self, leader: NodeId, address: String) -> mpsc::Sender<Job> {
        let mut leaders = self.leaders.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(sender) = leaders.get(&leader).filter(|sender| !sender.is_closed()) {
            return sender.clone();
        }
        let (sender, jobs) = mpsc::channel(BATCHES_WAITING_MAX);
        leaders.insert(leader, sender.clone());
        let stream = Stream { context: Arc::clone(&self.context), leader, address, waiting: BTreeMap::new() };
        self.context.shutdown.spawn(stream.run(jobs));
        sender
    }
}

/// A stream to one leader. It ends when its client's stream has, or when it breaks.
struct Stream {
    context: Arc<Context>,
    leader: NodeId,
    address: String,
    /// What was sent and is not answered, by its number.
    waiting: BTreeMap<u64, Sent>,
}

struct Sent {
    id: TopicPartition,
    permit: BytePermit,
    answer: oneshot::Sender<Result<AppendAck, Failure>>,
}

impl Stream {
    async fn run(mut self, mut jobs: mpsc::Receiver<Job>) {
        let (requests, outgoing) = mpsc::channel(BATCHES_WAITING_MAX);
        let failure = match self.open(outgoing).await {
            Ok(mut answers) => self.pump(&mut jobs, &requests, &mut answers).await,
            Err(failure) => Some(Failure { code: ErrorCode::LeaderUnavailable, ..failure }),
        };
        let Some(failure) = failure else { return };
        tracing::debug!(leader = %self.leader, %failure, "a stream of batches that are passed on broke");
        let sent = Failure { code: ErrorCode::OutcomeUnknown, ..failure.clone() };
        for Sent { id, answer, .. } in std::mem::take(&mut self.waiting).into_values() {
            self.context.proxy.learn(id, None);
            let _gone = answer.send(Err(sent.clone()));
        }
        jobs.close();
        while let Some(job) = jobs.recv().await {
            self.context.proxy.learn(job.checked.id, None);
            let _gone = job.answer.send(Err(Failure { code: ErrorCode::LeaderUnavailable, ..failure.clone() }));
        }
    }

    async fn open(
        &self,
        outgoing: mpsc::Receiver<v1::ProduceRequest>,
    ) -> Result<Streaming<v1::ProduceResponse>, Failure> {
        let channel = self.context.proxy.channel(&self.address)?;
        let mut client = client(channel);
        let opening = client.produce_stream(passed_on(ReceiverStream::new(outgoing)));
        match timeout(OPEN_PATIENCE, opening).await {
            Ok(Ok(opened)) => Ok(opened.into_inner()),
            Ok(Err(status)) => Err(failure_of_status(self.leader, &self.address, &status)),
            Err(_) => Err(Failure::new(ErrorCode::LeaderUnavailable, format!("node {} did not answer", self.leader))),
        }
    }

    /// Sends and answers until the client's stream ends, or this one breaks, which it tells.
    async fn pump(
        &mut self,
        jobs: &mut mpsc::Receiver<Job>,
        requests: &mpsc::Sender<v1::ProduceRequest>,
        answers: &mut Streaming<v1::ProduceResponse>,
    ) -> Option<Failure> {
        let mut next = None;
        let mut number = 0;
        let mut is_open = true;
        while is_open || next.is_some() || !self.waiting.is_empty() {
            tokio::select! {
                job = jobs.recv(), if is_open && next.is_none() => match job {
                    Some(job) => next = Some(job),
                    None => is_open = false,
                },
                // A closed channel means that the stream broke: its answers say why.
                Ok(room) = requests.reserve(), if next.is_some() => if let Some(job) = next.take() {
                    number += 1;
                    room.send(request_of(&job.checked, number));
                    let Job { checked, permit, answer } = job;
                    self.waiting.insert(number, Sent { id: checked.id, permit, answer });
                },
                answer = answers.message() => match answer {
                    Ok(Some(response)) => self.on_answer(response),
                    Ok(None) => return Some(self.broken("it ended the stream")),
                    Err(status) => return Some(self.broken(status.message())),
                },
            }
        }
        None
    }

    fn on_answer(&mut self, response: v1::ProduceResponse) {
        let Some(Sent { id, permit, answer }) = self.waiting.remove(&response.correlation) else { return };
        drop(permit);
        let result = match response.result {
            Some(Answer::Ack(ack)) => Ok(ack_of(&ack)),
            Some(Answer::Error(error)) => Err(failure_of_error(error)),
            None => Err(Failure::new(ErrorCode::OutcomeUnknown, "the leader answered without a result")),
        };
        self.context.learn_of(id, self.leader, &result);
        // The client may be gone.
        let _gone = answer.send(result.map_err(to_be_tried_again));
    }

    fn broken(&self, reason: &str) -> Failure {
        let (leader, address) = (self.leader, &self.address);
        Failure::new(ErrorCode::LeaderUnavailable, format!("node {leader} ({address}) broke off: {reason}"))
    }
}

/// A client that knows nothing of leaders shall try again here.
fn to_be_tried_again(failure: Failure) -> Failure {
    if !is_search_there(&failure) {
        return failure;
    }
    Failure { code: ErrorCode::LeaderUnavailable, leader: None, leader_address: None, ..failure }
}

fn client(channel: Channel) -> ProduceServiceClient<Channel> {
    ProduceServiceClient::new(channel)
        .max_decoding_message_size(limits::MESSAGE_BYTES_MAX)
        .max_encoding_message_size(limits::MESSAGE_BYTES_MAX)
}

fn request_of(checked: &Checked, correlation: u64) -> v1::ProduceRequest {
    v1::ProduceRequest {
        correlation,
        topic: checked.topic.clone(),
        partition: Some(checked.id.partition.get()),
        acks: wire_acks_of(checked.acks).into(),
        payload: Some(v1::produce_request::Payload::Batch(checked.batch.bytes().clone())),
    }
}

fn ack_of(ack: &v1::ProduceAck) -> AppendAck {
    AppendAck {
        base_offset: Offset::from_wire(ack.base_offset),
        timestamp: Timestamp::from_ms(ack.timestamp_ms),
        record_count: ack.record_count,
        duplicate: ack.duplicate,
        acks: acks_of(ack.durability()),
        leader_epoch: LeaderEpoch::new(ack.leader_epoch),
    }
}
