//! The queue service: a test plays the streams of workers, and counts what a queue has left.

use std::time::Duration;

use bytes::Bytes;
use highwater_client::ErrorCode;
use highwater_proto::v1;
use highwater_proto::v1::queue_service_server::QueueService;
use highwater_proto::v1::work_request::Kind as Asked;
use highwater_proto::v1::work_response::Kind as Told;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::{Server, Service, error, status};

/// Longer than anything takes that is to happen.
const PATIENCE: Duration = Duration::from_secs(20);

/// A stream of a worker, as the server has it. It ends when this is dropped.
pub struct Work {
    pub open: v1::WorkOpen,
    /// Credit that was given in all.
    pub credit: u32,
    pub is_draining: bool,
    requests: mpsc::Receiver<Asked>,
    responses: mpsc::Sender<Result<v1::WorkResponse, Status>>,
}

impl Server {
    /// The next stream that a worker opens, opened.
    pub async fn next_work(&mut self) -> Work {
        let next = self.works.recv();
        let work = tokio::time::timeout(PATIENCE, next).await.expect("a worker opens a stream").unwrap();
        let worker = if work.open.worker.is_empty() { "w-7".to_owned() } else { work.open.worker.clone() };
        work.send(Told::Opened(v1::WorkOpened { worker, partitions: 1, lease_ms: 30_000 })).await;
        work
    }

    /// What is left in the queue of everybody.
    pub fn queue_has(&self, partition: v1::QueuePartition) {
        self.state.lock().unwrap().queue_left = Some(partition);
    }
}

/// A message of partition 0 with the offset as its token and value.
pub fn message(offset: i64, lease_ms: u64) -> v1::QueueMessage {
    let text = Bytes::from(offset.to_string());
    let record = v1::Record { offset, timestamp_ms: Some(5), value: Some(text.clone()), ..Default::default() };
    v1::QueueMessage { topic: "t".to_owned(), partition: 0, record: Some(record), attempt: 1, token: text, lease_ms }
}

/// What an outcome says, in short: `ack 5`, `fail 5: no`.
pub fn said(outcome: &v1::Outcome) -> String {
    use v1::outcome::Kind;
    let token = String::from_utf8_lossy(&outcome.token);
    match outcome.kind.as_ref().unwrap() {
        Kind::Ack(_) => format!("ack {token}"),
        Kind::Release(_) => format!("release {token}"),
        Kind::Fail(fail) => match fail.retry_after_ms {
            Some(ms) => format!("fail {token}: {} ({ms})", fail.reason),
            None => format!("fail {token}: {}", fail.reason),
        },
        Kind::Reject(reject) => format!("reject {token}: {}", reject.reason),
        Kind::Extend(extend) => format!("extend {token}: {}", extend.lease_ms),
    }
}

pub fn settled(state: v1::SettledState) -> v1::Settled {
    v1::Settled { state: state.into(), lease_ms: 30_000, ..Default::default() }
}

pub fn refused(code: ErrorCode) -> v1::Settled {
    v1::Settled { error: Some(error(code, "as told")), ..Default::default() }
}

impl Work {
    pub async fn send(&self, kind: Told) {
        self.responses.send(Ok(v1::WorkResponse { kind: Some(kind) })).await.expect("the worker listens");
    }

    /// Messages with these offsets.
    pub async fn messages(&self, offsets: std::ops::Range<i64>) {
        let messages = offsets.map(|offset| message(offset, 30_000)).collect();
        self.send(Told::Messages(v1::WorkMessages { messages })).await;
    }

    /// What the worker asks for next, whatever it is; `None` when it ended the stream.
    pub async fn next(&mut self) -> Option<Asked> {
        let next = tokio::time::timeout(PATIENCE, self.requests.recv()).await.expect("the worker sends something");
        match &next {
            Some(Asked::Credit(credit)) => self.credit += credit.messages,
            Some(Asked::Drain(_)) => self.is_draining = true,
            _ => {}
        }
        next
    }

    /// The next outcomes that are told together.
    pub async fn batch(&mut self) -> v1::SettleBatch {
        loop {
            match self.next().await.expect("the stream lives") {
                Asked::Settle(batch) => return batch,
                Asked::Credit(_) | Asked::Drain(_) => {}
                Asked::Open(_) => panic!("it is open"),
            }
        }
    }

    /// So many outcomes, however they are put together, each answered with what `answer` makes of it; in order of their
    /// texts.
    pub async fn outcomes(&mut self, count: usize, answer: impl Fn(&v1::Outcome) -> v1::Settled) -> Vec<String> {
        let mut all = Vec::new();
        while all.len() < count {
            let batch = self.batch().await;
            all.extend(batch.outcomes.iter().map(said));
            let results = batch.outcomes.iter().map(&answer).collect();
            self.send(Told::Settled(v1::SettledBatch { request: batch.request, results })).await;
        }
        all.sort();
        all
    }

    /// The same, all of them taken as they are told.
    pub async fn settle(&mut self, count: usize) -> Vec<String> {
        self.outcomes(count, fitting).await
    }

    /// Waits until so much credit was given in all, the first included.
    pub async fn credit_until(&mut self, credit: u32) {
        while self.open.credit + self.credit < credit {
            assert!(matches!(self.next().await, Some(Asked::Credit(_))), "only credit comes");
        }
        assert_eq!(self.open.credit + self.credit, credit);
    }

    /// Waits until the worker says that it stops.
    pub async fn draining(&mut self) {
        while !self.is_draining {
            assert!(self.next().await.is_some(), "the worker says so before it ends the stream");
        }
    }

    /// Ends the stream with an error.
    pub async fn refuse(self, code: ErrorCode) {
        self.responses.send(Err(status(&error(code, "as told")))).await.expect("the worker listens");
    }
}

/// What a server makes of an outcome when all is well.
pub fn fitting(outcome: &v1::Outcome) -> v1::Settled {
    use v1::outcome::Kind;
    settled(match outcome.kind.as_ref().unwrap() {
        Kind::Ack(_) => v1::SettledState::Acked,
        Kind::Release(_) => v1::SettledState::Released,
        Kind::Fail(_) => v1::SettledState::WillRetry,
        Kind::Reject(_) => v1::SettledState::Dead,
        Kind::Extend(_) => v1::SettledState::Extended,
    })
}

type Answer<T> = Result<Response<T>, Status>;

fn unimplemented<T>() -> Answer<T> {
    Err(Status::unimplemented("not in this server"))
}

#[tonic::async_trait]
impl QueueService for Service {
    type WorkStream = ReceiverStream<Result<v1::WorkResponse, Status>>;

    async fn work(&self, request: Request<Streaming<v1::WorkRequest>>) -> Answer<Self::WorkStream> {
        let mut asked = request.into_inner();
        let Some(v1::WorkRequest { kind: Some(Asked::Open(open)) }) = asked.message().await? else {
            return Err(status(&error(ErrorCode::InvalidRequest, "open comes first")));
        };
        if open.topic != "t" {
            return Err(status(&error(ErrorCode::UnknownTopic, "there is no such topic")));
        }
        let works = self.state.lock().unwrap().works.clone().expect("a server has one");
        let (forward, requests) = mpsc::channel(1024);
        let (responses, receiver) = mpsc::channel(64);
        tokio::spawn(async move {
            while let Ok(Some(v1::WorkRequest { kind: Some(kind) })) = asked.message().await {
                if forward.send(kind).await.is_err() {
                    return;
                }
            }
        });
        let work = Work { open, credit: 0, is_draining: false, requests, responses };
        assert!(works.try_send(work).is_ok(), "the test looks after its workers");
        Ok(Response::new(ReceiverStream::new(receiver)))
    }

    async fn describe_queue(&self, request: Request<v1::DescribeQueueRequest>) -> Answer<v1::DescribeQueueResponse> {
        let request = request.into_inner();
        let mut state = self.state.lock().unwrap();
        state.queue_described += 1;
        let left = state.queue_left.clone();
        let left = left.ok_or_else(|| status(&error(ErrorCode::UnknownGroup, "there is no such group")))?;
        Ok(Response::new(v1::DescribeQueueResponse {
            topic: request.topic,
            group: request.group,
            settings: None,
            partitions: vec![left],
        }))
    }

    async fn receive(&self, _: Request<v1::ReceiveRequest>) -> Answer<v1::ReceiveResponse> {
        unimplemented()
    }

    async fn settle(&self, _: Request<v1::SettleRequest>) -> Answer<v1::SettleResponse> {
        unimplemented()
    }

    async fn set_queue(&self, _: Request<v1::SetQueueRequest>) -> Answer<v1::SetQueueResponse> {
        unimplemented()
    }

    async fn delete_queue(&self, _: Request<v1::DeleteQueueRequest>) -> Answer<v1::DeleteQueueResponse> {
        unimplemented()
    }

    async fn list_queues(&self, _: Request<v1::ListQueuesRequest>) -> Answer<v1::ListQueuesResponse> {
        unimplemented()
    }

    async fn peek_queue(&self, _: Request<v1::PeekQueueRequest>) -> Answer<v1::PeekQueueResponse> {
        unimplemented()
    }

    async fn pause_queue(&self, _: Request<v1::PauseQueueRequest>) -> Answer<v1::PauseQueueResponse> {
        unimplemented()
    }

    async fn resume_queue(&self, _: Request<v1::ResumeQueueRequest>) -> Answer<v1::ResumeQueueResponse> {
        unimplemented()
    }

    async fn reschedule(&self, _: Request<v1::RescheduleRequest>) -> Answer<v1::RescheduleResponse> {
        unimplemented()
    }

    async fn cancel(&self, _: Request<v1::CancelRequest>) -> Answer<v1::CancelResponse> {
        unimplemented()
    }

    async fn list_dead(&self, _: Request<v1::ListDeadRequest>) -> Answer<v1::ListDeadResponse> {
        unimplemented()
    }

    async fn redrive(&self, _: Request<v1::MoveDeadRequest>) -> Answer<v1::MoveDeadResponse> {
        unimplemented()
    }

    async fn drop_dead(&self, _: Request<v1::MoveDeadRequest>) -> Answer<v1::MoveDeadResponse> {
        unimplemented()
    }

    async fn locate(&self, _: Request<v1::LocateRequest>) -> Answer<v1::LocateResponse> {
        unimplemented()
    }
}
