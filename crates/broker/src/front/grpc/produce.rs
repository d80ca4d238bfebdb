//! `highwater.v1.ProduceService`: batches in, acknowledgements out.
//!
//! Owns: the pipelining of a produce stream. Requests are taken in one after the other, each after its bytes were
//! admitted; many are on their way at once; answers leave in the order of each partition's requests.
//!
//! Never: spawns a task a batch, or queues without bound. While the client does not read its answers, or no bytes are
//! free, or the partition's queue is full, nothing more is read from it.
//!
//! Invariants: a batch that fails does not end the stream. What cannot be read as a request does, after everything
//! before it was answered. A client that vanishes takes its half-received message with it, and nothing else.

mod forward;
mod lanes;
mod plain;

use std::pin::Pin;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures_util::FutureExt;
use futures_util::stream::{Stream, StreamExt};
use highwater_metadata::TimestampType;
use highwater_proto::v1;
use highwater_types::batch::ValidBatch;
use highwater_types::{PartitionId, TopicName, TopicPartition};
use prost::Message as _;
use tokio::time::timeout;
use tokio_util::sync::WaitForCancellationFutureOwned;
use tonic::body::Body;
use tonic::codegen::http;

use self::forward::{Forwarder, Pending};
use self::lanes::{Answered, Lane, Lanes, Taken};
use super::context::Context;
use super::convert::{ack_of, acks_of};
use super::error::error_of;
use super::proxy;
use super::wire::{self, Answers, Gone, Message};
use crate::admission::BytePermit;
use crate::front::failure::Failure;
use crate::partition::{Acks, AppendAck, AppendError, AppendTicket};

/// The most requests of one stream that wait for their answers. Their bytes are bounded by admission; this bounds the
/// rest of what they cost.
const STREAM_REQUESTS_MAX: usize = 4_096;
/// Answers that are ready together leave together, up to about this size.
const ANSWERS_BYTES_MAX: usize = 16 * 1024;

/// The service. Clones are the same.
#[derive(Clone, Debug)]
pub(super) struct Produce {
    // Behind one count, because a clone of this goes with each request.
    context: Arc<Context>,
    chooser: Arc<plain::Chooser>,
}

impl Produce {
    pub(super) fn new(context: Arc<Context>) -> Self {
        Self { context, chooser: Arc::default() }
    }

    /// Answers one call, by the path of its method.
    pub(super) async fn call(self, request: http::Request<Body>) -> http::Response<Body> {
        match request.uri().path() {
            "/highwater.v1.ProduceService/ProduceStream" => self.stream(request),
            "/highwater.v1.ProduceService/Produce" => wire::single(self.single(request).await),
            "/highwater.v1.ProduceService/InitProducer" => wire::single(self.init_producer(request.into_body()).await),
            path => wire::unknown_method(path),
        }
    }

    fn stream(self, request: http::Request<Body>) -> http::Response<Body> {
        let context = Arc::clone(&self.context);
        let forwarder = proxy::may_pass_on(request.headers()).then(|| Forwarder::new(Arc::clone(&context)));
        let requests = wire::messages(request.into_body(), context.data_messages.clone());
        let shutdown = Box::pin(context.shutdown.requested());
        let tasks = context.shutdown.clone();
        let taken = Box::pin(requests.then(move |message| self.clone().take(forwarder.clone(), message)));
        let session = Session { context, taken, lanes: Lanes::new(), is_open: true, end: None, shutdown };
        wire::answered_by(&tasks, |answers| session.run(answers))
    }

    async fn single(&self, request: http::Request<Body>) -> Result<Vec<Bytes>, Failure> {
        let may_pass_on = proxy::may_pass_on(request.headers());
        let message = wire::one_message(request.into_body(), self.context.data_messages.clone()).await?;
        let request = decode(message.bytes)?;
        let correlation = request.correlation;
        let (lane, checked) = self.check(request);
        let checked = checked?;
        let ack = if may_pass_on {
            forward::append_anywhere(&self.context, checked, message.permit).await?
        } else {
            checked.append_here(&self.context, message.permit).await.map_err(|failure| self.context.located(failure))?
        };
        Ok(wire::pieces_of_message(&response(Answered { lane, correlation, outcome: Ok(ack) })))
    }

    async fn init_producer(&self, body: Body) -> Result<Vec<Bytes>, Failure> {
        let _request: v1::InitProducerRequest = self.context.control_request(body).await?;
        let allocated = self.context.controller.allocate_producer_id().await;
        let (id, epoch) = allocated.map_err(|error| self.context.located(error.into()))?;
        let response = v1::InitProducerResponse { producer_id: id.get(), producer_epoch: epoch.get().into() };
        Ok(wire::pieces_of_message(&response))
    }

    /// Takes in one request of a stream: it is checked, and queued at its partition, or on its way to the leader.
    async fn take(
        self,
        forwarder: Option<Forwarder>,
        message: Result<Message, Failure>,
    ) -> Result<(Lane, Taken<Pending>), Failure> {
        let message = message?;
        let request = decode(message.bytes)?;
        let correlation = request.correlation;
        let (lane, checked) = self.check(request);
        let ticket = match (checked, forwarder) {
            (Ok(checked), Some(forwarder)) => forwarder.append(checked, message.permit).await,
            (Ok(checked), None) => checked.queue(&self.context, message.permit).await.map(Pending::Here),
            (Err(failure), _) => Err(failure),
        };
        Ok((lane, Taken { correlation, ticket }))
    }

    /// Checks all of a request that can be known on any node; tells the lane that it is answered in, too.
    fn check(&self, request: v1::ProduceRequest) -> (Lane, Result<Checked, Failure>) {
        let acks = acks_of(request.acks());
        let v1::ProduceRequest { topic, partition, payload, .. } = request;
        let checked = self.batch_of(&topic, partition, payload);
        let unknown = PartitionId::new(partition.unwrap_or_default());
        let lane_partition = checked.as_ref().map_or(unknown, |(id, ..)| id.partition);
        let lane = Lane { topic: topic.clone(), partition: lane_partition };
        (lane, checked.map(|(id, timestamp_type, batch)| Checked { topic, id, timestamp_type, batch, acks }))
    }

    fn batch_of(
        &self,
        topic: &str,
        partition: Option<u32>,
        payload: Option<v1::produce_request::Payload>,
    ) -> Result<(TopicPartition, TimestampType, ValidBatch), Failure> {
        let topic = self.context.router.topic(&TopicName::new(topic)?)?;
        let (partition, bytes) = match payload {
            Some(v1::produce_request::Payload::Batch(bytes)) => {
                let partition = partition.ok_or_else(|| Failure::invalid("a batch needs the partition it is for"))?;
                (PartitionId::new(partition), bytes)
            }
            Some(v1::produce_request::Payload::Records(plain)) => {
                let partition = match partition {
                    Some(partition) => PartitionId::new(partition),
                    None => self.chooser.choose(&plain.records, topic.partition_count())?,
                };
                (partition, plain::batch_of(&plain.records, self.context.clock.now())?)
            }
            None => return Err(Failure::invalid("the request holds neither a batch nor records")),
        };
        let batch = ValidBatch::check(bytes, topic.settings.message_bytes_max())?;
        Ok((TopicPartition { topic: topic.id, partition }, topic.settings.timestamp_type(), batch))
    }
}

/// A request whose batch may be stored, if the partition takes it.
#[derive(Clone, Debug)]
struct Checked {
    topic: String,
    id: TopicPartition,
    timestamp_type: TimestampType,
    batch: ValidBatch,
    acks: Acks,
}

impl Checked {
    /// Queues the batch at the partition on this node; waits while its queue is full.
    async fn queue(self, context: &Context, permit: BytePermit) -> Result<AppendTicket, Failure> {
        context.router.disk_gate().check()?;
        let handle = context.partition(&self.topic, self.id.partition)?;
        let led = handle.leadership();
        if self.acks == Acks::None && !led.serves_writes {
            // Nobody would hear that it was refused.
            return Err(AppendError::NotLeader { leader: led.leader }.into());
        }
        let batch = match self.timestamp_type {
            TimestampType::CreateTime => self.batch,
            TimestampType::LogAppendTime => self.batch.stamped(context.clock.now()),
        };
        Ok(handle.append(batch, self.acks, permit).await?)
    }

    /// The same, and waits for the answer.
    async fn append_here(self, context: &Context, permit: BytePermit) -> Result<AppendAck, Failure> {
        Ok(self.queue(context, permit).await?.await?)
    }
}

/// One produce stream.
struct Session<S> {
    context: Arc<Context>,
    /// Requests, taken in one by one.
    taken: Pin<Box<S>>,
    lanes: Lanes<Pending>,
    /// Whether more requests may come.
    is_open: bool,
    /// How the stream ends, unless well, once everything was answered.
    end: Option<Failure>,
    shutdown: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl<S> Session<S>
where
    S: Stream<Item = Result<(Lane, Taken<Pending>), Failure>>,
{
    /// Answers until the end. Gives up on a client that does not read its answers: what it has half sent is admitted,
    /// and held for as long as this goes on.
    async fn run(mut self, answers: Answers) -> Result<(), Failure> {
        let patience = self.context.data_messages.patience;
        loop {
            let next = tokio::select! {
                next = self.answers() => next,
                () = answers.gone() => return Ok(()),
            };
            let Some(next) = next else { return Ok(()) };
            match timeout(patience, answers.send(vec![next?])).await {
                Ok(Ok(())) => {}
                Ok(Err(Gone)) => return Ok(()),
                Err(_) => {
                    let message = format!("the client did not read its answers for {} ms", patience.as_millis());
                    return Err(Failure::invalid(message));
                }
            }
        }
    }

    /// The next answers, encoded; `None` at the end.
    async fn answers(&mut self) -> Option<Result<Bytes, Failure>> {
        loop {
            let may_take = self.is_open && self.lanes.len() < STREAM_REQUESTS_MAX;
            tokio::select! {
                // Answers first: they make room.
                biased;
                Some(answered) = self.lanes.next() => return Some(Ok(self.gathered(answered))),
                taken = self.taken.next(), if may_take => match taken {
                    Some(Ok((lane, taken))) => self.lanes.push(lane, taken),
                    Some(Err(failure)) => self.close(Some(failure)),
                    None => self.close(None),
                },
                () = &mut self.shutdown, if self.is_open => self.close(Some(Failure::shutting_down())),
                else => return self.end.take().map(Err),
            }
        }
    }

    fn close(&mut self, end: Option<Failure>) {
        self.is_open = false;
        self.end = end;
    }

    /// One answer and what else is ready, in one piece.
    fn gathered(&mut self, first: Answered<AppendAck>) -> Bytes {
        let mut buffer = BytesMut::new();
        self.put(first, &mut buffer);
        while buffer.len() < ANSWERS_BYTES_MAX
            && let Some(Some(answered)) = self.lanes.next().now_or_never()
        {
            self.put(answered, &mut buffer);
        }
        buffer.freeze()
    }

    fn put(&self, mut answered: Answered<AppendAck>, buffer: &mut BytesMut) {
        answered.outcome = answered.outcome.map_err(|failure| self.context.located(failure));
        wire::put_message(&response(answered), buffer);
    }
}

fn decode(bytes: Bytes) -> Result<v1::ProduceRequest, Failure> {
    plain::check(&bytes)?;
    v1::ProduceRequest::decode(bytes).map_err(|error| Failure::invalid(format!("not a produce request: {error}")))
}

fn response(answered: Answered<AppendAck>) -> v1::ProduceResponse {
    let result = match answered.outcome {
        Ok(ack) => v1::produce_response::Result::Ack(ack_of(answered.lane.partition, &ack)),
        Err(failure) => v1::produce_response::Result::Error(error_of(&failure)),
    };
    v1::ProduceResponse { correlation: answered.correlation, result: Some(result) }
}
