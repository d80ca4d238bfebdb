//! A worker, as plain as can be: it says what it is told to, and waits for what it expects.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use highwater_proto::v1::outcome::Kind;
use highwater_proto::v1::queue_service_client::QueueServiceClient;
use highwater_proto::v1::work_request::Kind as Ask;
use highwater_proto::v1::work_response::Kind as Said;
use highwater_proto::v1::{self};
use highwater_types::Timestamp;
use highwater_types::batch::{BatchBuilder, Compression};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Status, Streaming};

use crate::harness::{Fixture, TOPIC};

pub(super) const GROUP: &str = "mail";

const SOON: Duration = Duration::from_secs(20);

/// So long nothing comes where nothing is to come.
pub(super) const QUIET: Duration = Duration::from_millis(200);

/// A worker's stream.
pub(super) struct Worker {
    requests: mpsc::Sender<v1::WorkRequest>,
    responses: Streaming<v1::WorkResponse>,
    /// What came while something else was waited for.
    early: VecDeque<v1::QueueMessage>,
    settled: Vec<v1::SettledBatch>,
    last_request: u64,
}

/// A worker of the group on the topic.
pub(super) fn open(worker: &str, credit: u32) -> v1::WorkOpen {
    v1::WorkOpen {
        topic: TOPIC.to_owned(),
        group: GROUP.to_owned(),
        worker: worker.to_owned(),
        credit,
        ..Default::default()
    }
}

pub(super) fn ack(message: &v1::QueueMessage) -> v1::Outcome {
    outcome(message, Kind::Ack(v1::Ack {}))
}

/// A failure without a rest.
pub(super) fn fail(message: &v1::QueueMessage, reason: &str) -> v1::Outcome {
    outcome(message, Kind::Fail(v1::Fail { reason: reason.to_owned(), retry_after_ms: Some(0) }))
}

pub(super) fn outcome(message: &v1::QueueMessage, kind: Kind) -> v1::Outcome {
    v1::Outcome { token: message.token.clone(), kind: Some(kind) }
}

pub(super) fn value(message: &v1::QueueMessage) -> Vec<u8> {
    message.record.as_ref().unwrap().value.clone().unwrap().to_vec()
}

/// One record with a key and headers.
pub(super) fn keyed(key: &str, value: &str, headers: &[(&str, &str)]) -> Bytes {
    let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, Some(value.as_bytes()))).collect();
    let mut builder = BatchBuilder::new(Compression::None);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis();
    let key = Some(key.as_bytes()).filter(|key| !key.is_empty());
    builder.append(Timestamp::from_ms(now as i64), key, Some(value.as_bytes()), &headers).unwrap();
    builder.finish().unwrap()
}

impl Fixture {
    pub(super) fn queues(&self) -> QueueServiceClient<Channel> {
        QueueServiceClient::new(self.channel.clone()).max_decoding_message_size(32 << 20)
    }

    pub(super) async fn set_queue(&self, settings: v1::QueueSettings) -> v1::SetQueueResponse {
        let request = v1::SetQueueRequest {
            topic: TOPIC.to_owned(),
            group: GROUP.to_owned(),
            settings: Some(settings),
            ..Default::default()
        };
        self.queues().set_queue(request).await.unwrap().into_inner()
    }

    pub(super) async fn work(&self, open: v1::WorkOpen) -> Worker {
        let mut worker = self.try_work(open).await.unwrap();
        worker.opened().await;
        worker
    }

    pub(super) async fn try_work(&self, open: v1::WorkOpen) -> Result<Worker, Status> {
        let (requests, outgoing) = mpsc::channel(64);
        requests.send(v1::WorkRequest { kind: Some(Ask::Open(open)) }).await.unwrap();
        let responses = self.queues().work(ReceiverStream::new(outgoing)).await?.into_inner();
        Ok(Worker { requests, responses, early: VecDeque::new(), settled: Vec::new(), last_request: 0 })
    }

    /// All partitions of the group, added up.
    pub(super) async fn stats(&self) -> v1::QueuePartition {
        let request =
            v1::DescribeQueueRequest { topic: TOPIC.to_owned(), group: GROUP.to_owned(), ..Default::default() };
        let described = self.queues().describe_queue(request).await.unwrap().into_inner();
        assert_eq!(described.partitions.len(), 2);
        let mut sum = v1::QueuePartition::default();
        for partition in described.partitions {
            sum.waiting += partition.waiting;
            sum.ready += partition.ready;
            sum.blocked += partition.blocked;
            sum.delayed += partition.delayed;
            sum.leased += partition.leased;
            sum.dead += partition.dead;
            sum.acked += partition.acked;
            sum.dropped += partition.dropped;
            sum.pause = sum.pause.or(partition.pause);
        }
        sum
    }

    /// Waits until the server has noticed that no worker has anything any more.
    pub(super) async fn until_nothing_is_leased(&self) {
        let released = async {
            while self.stats().await.leased > 0 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(SOON, released).await.expect("who is gone gives back what it had");
    }

    pub(super) async fn dead(&self, filter: v1::DeadFilter) -> Vec<v1::DeadMessage> {
        let request = v1::ListDeadRequest {
            topic: TOPIC.to_owned(),
            group: GROUP.to_owned(),
            filter: Some(filter),
            with_records: true,
            ..Default::default()
        };
        self.queues().list_dead(request).await.unwrap().into_inner().messages
    }
}

/// Dead messages that are to be moved.
pub(super) fn moving(filter: v1::DeadFilter) -> v1::MoveDeadRequest {
    v1::MoveDeadRequest { topic: TOPIC.to_owned(), group: GROUP.to_owned(), filter: Some(filter), ..Default::default() }
}

impl Worker {
    async fn opened(&mut self) {
        match self.next().await {
            Ok(Some(Said::Opened(_))) => {}
            other => panic!("a stream begins with `opened`, not {other:?}"),
        }
    }

    async fn next(&mut self) -> Result<Option<Said>, Status> {
        let response = timeout(SOON, self.responses.message()).await.expect("something comes")?;
        Ok(response.map(|response| response.kind.expect("a kind")))
    }

    async fn take_one(&mut self) {
        match self.next().await.unwrap() {
            Some(Said::Messages(messages)) => self.early.extend(messages.messages),
            Some(Said::Settled(settled)) => self.settled.push(settled),
            other => panic!("not expected: {other:?}"),
        }
    }

    /// Waits for a message.
    pub(super) async fn message(&mut self) -> v1::QueueMessage {
        while self.early.is_empty() {
            self.take_one().await;
        }
        self.early.pop_front().unwrap()
    }

    pub(super) async fn messages(&mut self, count: usize) -> Vec<v1::QueueMessage> {
        let mut messages = Vec::new();
        while messages.len() < count {
            messages.push(self.message().await);
        }
        messages
    }

    /// No message comes.
    pub(super) async fn is_quiet(&mut self) {
        assert!(self.early.is_empty(), "{:?}", self.early);
        let more = timeout(QUIET, self.responses.message()).await;
        assert!(more.is_err(), "{more:?}");
    }

    pub(super) async fn credit(&self, messages: u32) {
        self.ask(Ask::Credit(v1::MessageCredit { messages })).await;
    }

    pub(super) async fn ask(&self, kind: Ask) {
        self.requests.send(v1::WorkRequest { kind: Some(kind) }).await.unwrap();
    }

    /// Settles, and waits for what comes of it.
    pub(super) async fn settle(&mut self, outcomes: Vec<v1::Outcome>) -> Vec<v1::Settled> {
        self.last_request += 1;
        let request = self.last_request;
        self.ask(Ask::Settle(v1::SettleBatch { request, outcomes })).await;
        loop {
            if let Some(place) = self.settled.iter().position(|settled| settled.request == request) {
                return self.settled.remove(place).results;
            }
            self.take_one().await;
        }
    }

    /// Settles one message, which is not refused.
    pub(super) async fn settle_one(&mut self, outcome: v1::Outcome) -> v1::Settled {
        let results = self.settle(vec![outcome]).await;
        assert_eq!(results.len(), 1);
        assert_eq!(results[0].error, None);
        results.into_iter().next().unwrap()
    }

    /// Waits for the end of the stream.
    pub(super) async fn ended(&mut self) -> Result<(), Status> {
        while self.next().await?.is_some() {}
        Ok(())
    }
}
