//! Queues for operators and for programs without a stream: what is asked reaches the server whole, what it tells comes back,
//! and nothing is done twice.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, missing_docs)]

mod scripted;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use highwater_client::{
    Client, DeadFilter, DeathCause, ErrorCode, LocateBy, MessageState, Offset, OffsetRange, Outcome, PartitionId,
    PausedBy, PeekQueue, QueueOrder, QueueSettings, QueueStart, RequestError, Settled, Timestamp,
};
use highwater_proto::v1;
use highwater_proto::v1::queue_service_server::{QueueService, QueueServiceServer};
use scripted::queue::{fitting, message, refused, said};
use scripted::{error, status};
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status, Streaming};

/// It refuses what it is told to, remembers what it was asked, and answers with something of that kind.
#[derive(Clone, Default)]
struct Desk {
    failures: Arc<Mutex<VecDeque<Status>>>,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Desk {
    async fn start(&self) -> Client {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = tonic::transport::Server::builder().add_service(QueueServiceServer::new(self.clone()));
        tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
        Client::connect(&address.to_string()).await.unwrap()
    }

    fn fail_next(&self, failure: Status) {
        self.failures.lock().unwrap().push_back(failure);
    }

    /// What was asked since the last look.
    fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.asked.lock().unwrap())
    }

    fn answer<Q: std::fmt::Debug, T>(&self, request: &Request<Q>, answer: T) -> Result<Response<T>, Status> {
        self.asked.lock().unwrap().push(format!("{:?}", request.get_ref()));
        self.failures.lock().unwrap().pop_front().map_or(Ok(Response::new(answer)), Err)
    }
}

fn cut() -> Status {
    Status::unavailable("cut")
}

fn offset(offset: u64) -> Offset {
    Offset::new(offset).unwrap()
}

const P2: PartitionId = PartitionId::new(2);

#[tokio::test]
async fn messages_are_received_and_settled_by_hand() {
    let desk = Desk::default();
    let queue = desk.start().await.queue("t", "g").name("me");
    let messages = queue.receive(5, Duration::from_secs(90)).await.unwrap();
    assert_eq!((messages.len(), messages[0].value(), messages[0].key()), (2, &b"0"[..], None));
    assert_eq!(
        (messages[1].record.offset, messages[1].attempt, messages[1].lease),
        (offset(1), 1, Duration::from_secs(9))
    );
    assert!(desk.asked()[0].contains("messages_max: 5, wait_ms_max: 30000"));
    let settles = [messages[0].ack(), messages[1].fail("no paper")];
    let told = queue.settle(settles.clone()).await.unwrap();
    assert_eq!(told[0], Ok(Settled::Acked));
    assert_eq!(told[1], Ok(Settled::WillRetry { attempts: 0, after: Duration::ZERO }));
    let told = queue.settle([messages[0].extend(Duration::from_secs(7)), messages[1].release()]).await.unwrap();
    assert_eq!(told[0], Ok(Settled::Extended { lease: Duration::from_secs(30) }));
    assert_eq!(told[1].clone().unwrap_err().code, ErrorCode::LeaseLost, "somebody else's by now");
    assert_eq!(queue.settle([]).await, Ok(Vec::new()));
    assert_eq!(desk.asked().len(), 2, "nothing to tell is not told");

    desk.fail_next(cut());
    queue.settle([messages[0].ack()]).await.unwrap();
    assert_eq!(desk.asked().len(), 2, "an ack may be told twice");
    desk.fail_next(cut());
    assert_eq!(queue.settle(settles).await.unwrap_err().outcome(), Outcome::Unknown, "a failure not");
}

#[tokio::test]
async fn groups_are_made_changed_listed_and_deleted() {
    let desk = Desk::default();
    let admin = desk.start().await.admin();
    let settings = QueueSettings::new().attempts_max(3).order(QueueOrder::Key);
    let (now, is_new) = admin.set_queue("t", "g", settings, QueueStart::End).await.unwrap();
    assert_eq!((now.attempts_max, now.order, is_new), (Some(3), Some(QueueOrder::Key), true));
    assert!(desk.asked()[0].contains("from_end: true"));
    let listed = admin.list_queues(None).await.unwrap();
    assert_eq!((listed[0].topic.as_str(), listed[0].group.as_str()), ("t", "g"));
    let described = admin.describe_queue("t", "g").await.unwrap();
    let partition = &described.partitions[0];
    let pause = partition.pause.as_ref().unwrap();
    assert_eq!((pause.by, pause.at, pause.reason.as_str()), (Some(PausedBy::Breaker), Timestamp::from_ms(5), "9 of 9"));
    assert_eq!((partition.oldest, partition.oldest_age), (Some(offset(4)), Some(Duration::from_millis(1_500))));
    admin.pause_queue("t", "g", "lunch").await.unwrap();
    admin.resume_queue("t", "g").await.unwrap();
    desk.asked();

    desk.fail_next(status(&error(ErrorCode::UnknownGroup, "topic 't' has no queue group 'x'")));
    let failed = admin.delete_queue("t", "x").await.unwrap_err();
    assert_eq!((failed.code(), failed.outcome()), (Some(ErrorCode::UnknownGroup), Outcome::NotDone));
    desk.fail_next(cut());
    assert_eq!(admin.delete_queue("t", "g").await.unwrap_err().outcome(), Outcome::Unknown);
    assert_eq!(desk.asked().len(), 2, "not a second time");
    assert!(matches!(admin.list_queues(Some("a/b")).await, Err(RequestError::InvalidTopicName { .. })));
}

#[tokio::test]
async fn single_messages_are_looked_at_moved_and_found() {
    let desk = Desk::default();
    let admin = desk.start().await.admin();
    let peek = PeekQueue::new().partition(P2).from(offset(7)).max(5).records(true);
    let peeked = admin.peek_queue("t", "g", peek).await.unwrap();
    assert_eq!((peeked[0].partition, peeked[0].offset, peeked[0].priority), (P2, offset(7), 4));
    assert!(matches!(&peeked[0].status.state, MessageState::Leased { worker, .. } if worker == "w"));
    assert_eq!(peeked[0].record.as_ref().unwrap().timestamp, Timestamp::from_ms(5));
    admin.reschedule("t", "g", P2, offset(7), Timestamp::from_ms(99)).await.unwrap();
    assert!(desk.asked()[1].contains("partition: 2, offset: 7, deliver_at_ms: 99"));
    desk.fail_next(status(&error(ErrorCode::MessageLeased, "worker 'w' has it")));
    desk.fail_next(status(&error(ErrorCode::MessageSettled, "it is done")));
    let failed = admin.cancel("t", "g", P2, offset(7)).await.unwrap_err();
    assert_eq!(failed.code(), Some(ErrorCode::MessageSettled), "a lease passes, what is done does not");
    for by in [LocateBy::Offset(P2, offset(7)), LocateBy::Key("k".into()), LocateBy::MessageId("m".to_owned())] {
        let found = admin.locate("t", by, 3, 0).await.unwrap();
        assert_eq!((found[0].record.partition, found[0].record.offset), (P2, offset(7)));
        assert_eq!(found[0].groups["g"].state, MessageState::Ready);
    }
    let asked = desk.asked();
    assert!(asked[2].contains("partition: Some(2), offset: Some(7)"), "{}", asked[2]);
    assert!(asked[3].contains(r#"key: Some(b"k")"#) && asked[4].contains(r#"message_id: "m""#));
}

#[tokio::test]
async fn the_dead_are_read_a_partition_after_the_other() {
    let desk = Desk::default();
    let admin = desk.start().await.admin();
    let filter = DeadFilter::new().reason("timed out").offsets(OffsetRange::new(offset(2), offset(90)));
    let mut pages = admin.dead_messages("t", "g", filter, 2, true).await.unwrap();
    let mut found = Vec::new();
    while let Some(page) = pages.next_page().await.unwrap() {
        found.push(page.iter().map(|dead| (dead.partition.get(), dead.offset.get())).collect::<Vec<_>>());
    }
    assert_eq!(found, [vec![(0, 2), (0, 3)], vec![(0, 4)], vec![(1, 2), (1, 3)], vec![(1, 4)]]);
    let listed = admin.list_dead("t", "g", &DeadFilter::new(), 0, false).await.unwrap();
    let status = &listed.messages[0].status;
    assert!(matches!(&status.state, MessageState::Dead(death) if death.cause == Some(DeathCause::Attempts)));
    assert_eq!((status.journal[0].number, status.journal[0].reason.as_str()), (1, "no"));
}

#[tokio::test]
async fn the_dead_are_redriven_or_dropped_once() {
    let desk = Desk::default();
    let admin = desk.start().await.admin();
    let filter = DeadFilter::new().key("k").dead_for_at_least(Duration::from_secs(1)).cause(DeathCause::Rejected);
    desk.fail_next(cut());
    let moved = admin.redrive("t", "g", &filter, Some(10), true).await.unwrap();
    assert_eq!((moved.messages, moved.has_more), (10, true));
    let asked = desk.asked();
    assert_eq!(asked.len(), 2, "what only counts is asked again");
    assert!(asked[0].contains("dead_for_ms_min: Some(1000)") && asked[0].contains("cause: Rejected"), "{}", asked[0]);
    for _ in 0..2 {
        desk.fail_next(cut());
    }
    assert_eq!(admin.redrive("t", "g", &filter, None, false).await.unwrap_err().outcome(), Outcome::Unknown);
    assert_eq!(admin.drop_dead("t", "g", &filter, None, false).await.unwrap_err().outcome(), Outcome::Unknown);
    assert_eq!(desk.asked().len(), 2, "what moves is not");
    assert_eq!(admin.drop_dead("t", "g", &filter, Some(3), false).await.unwrap().messages, 3);
}

fn dead(partition: u32, offset: i64) -> v1::DeadMessage {
    let attempt = v1::QueueAttempt { number: 1, reason: "no".to_owned(), ..Default::default() };
    let status = v1::MessageStatus {
        state: v1::MessageState::Dead.into(),
        death: Some(v1::Death { cause: v1::DeathCause::Attempts.into(), at_ms: 1 }),
        journal: vec![attempt],
        ..Default::default()
    };
    v1::DeadMessage { partition, offset, status: Some(status), record: None }
}

type Answer<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl QueueService for Desk {
    type WorkStream = tokio_stream::Empty<Result<v1::WorkResponse, Status>>;

    async fn work(&self, _: Request<Streaming<v1::WorkRequest>>) -> Answer<Self::WorkStream> {
        Err(Status::unimplemented("not in this server"))
    }

    async fn receive(&self, request: Request<v1::ReceiveRequest>) -> Answer<v1::ReceiveResponse> {
        self.answer(&request, v1::ReceiveResponse { messages: vec![message(0, 9_000), message(1, 9_000)] })
    }

    async fn settle(&self, request: Request<v1::SettleRequest>) -> Answer<v1::SettleResponse> {
        assert_eq!(request.get_ref().worker, "me");
        let lost = |outcome: &v1::Outcome| said(outcome).starts_with("release");
        let result =
            |outcome: &v1::Outcome| if lost(outcome) { refused(ErrorCode::LeaseLost) } else { fitting(outcome) };
        let results = request.get_ref().outcomes.iter().map(result).collect();
        self.answer(&request, v1::SettleResponse { results })
    }

    async fn set_queue(&self, request: Request<v1::SetQueueRequest>) -> Answer<v1::SetQueueResponse> {
        let settings = request.get_ref().settings;
        self.answer(&request, v1::SetQueueResponse { settings, is_new: true })
    }

    async fn delete_queue(&self, request: Request<v1::DeleteQueueRequest>) -> Answer<v1::DeleteQueueResponse> {
        self.answer(&request, v1::DeleteQueueResponse {})
    }

    async fn list_queues(&self, request: Request<v1::ListQueuesRequest>) -> Answer<v1::ListQueuesResponse> {
        let queues = vec![v1::QueueListing { topic: "t".to_owned(), group: "g".to_owned() }];
        self.answer(&request, v1::ListQueuesResponse { queues })
    }

    async fn describe_queue(&self, request: Request<v1::DescribeQueueRequest>) -> Answer<v1::DescribeQueueResponse> {
        let partition = |partition| v1::QueuePartition {
            partition,
            oldest_offset: Some(4),
            oldest_age_ms: Some(1_500),
            pause: Some(v1::QueuePause { by: v1::PausedBy::Breaker.into(), at_ms: 5, reason: "9 of 9".to_owned() }),
            ..Default::default()
        };
        let partitions = (0..2).map(partition).collect();
        self.answer(&request, v1::DescribeQueueResponse { partitions, ..Default::default() })
    }

    async fn peek_queue(&self, request: Request<v1::PeekQueueRequest>) -> Answer<v1::PeekQueueResponse> {
        let offset = request.get_ref().from.unwrap_or(7);
        let status =
            v1::MessageStatus { state: v1::MessageState::Leased.into(), worker: "w".to_owned(), ..Default::default() };
        let record = message(offset, 0).record;
        let peeked = v1::PeekedMessage { partition: 2, offset, priority: 4, status: Some(status), record };
        self.answer(&request, v1::PeekQueueResponse { messages: vec![peeked] })
    }

    async fn pause_queue(&self, request: Request<v1::PauseQueueRequest>) -> Answer<v1::PauseQueueResponse> {
        assert_eq!(request.get_ref().reason, "lunch");
        self.answer(&request, v1::PauseQueueResponse {})
    }

    async fn resume_queue(&self, request: Request<v1::ResumeQueueRequest>) -> Answer<v1::ResumeQueueResponse> {
        self.answer(&request, v1::ResumeQueueResponse {})
    }

    async fn reschedule(&self, request: Request<v1::RescheduleRequest>) -> Answer<v1::RescheduleResponse> {
        self.answer(&request, v1::RescheduleResponse {})
    }

    async fn cancel(&self, request: Request<v1::CancelRequest>) -> Answer<v1::CancelResponse> {
        self.answer(&request, v1::CancelResponse {})
    }

    async fn list_dead(&self, request: Request<v1::ListDeadRequest>) -> Answer<v1::ListDeadResponse> {
        let filter = request.get_ref().filter.clone().unwrap();
        let partition = filter.partition.unwrap_or_default();
        let all = filter.start.unwrap_or_default()..5;
        let max = request.get_ref().messages_max.max(1);
        let messages: Vec<_> = all.clone().take(max as usize).map(|offset| dead(partition, offset)).collect();
        let has_more = all.count() > messages.len();
        self.answer(&request, v1::ListDeadResponse { messages, has_more })
    }

    async fn redrive(&self, request: Request<v1::MoveDeadRequest>) -> Answer<v1::MoveDeadResponse> {
        let messages = request.get_ref().messages_max.into();
        self.answer(&request, v1::MoveDeadResponse { messages, has_more: true })
    }

    async fn drop_dead(&self, request: Request<v1::MoveDeadRequest>) -> Answer<v1::MoveDeadResponse> {
        let messages = request.get_ref().messages_max.into();
        self.answer(&request, v1::MoveDeadResponse { messages, has_more: false })
    }

    async fn locate(&self, request: Request<v1::LocateRequest>) -> Answer<v1::LocateResponse> {
        let status = v1::MessageStatus { state: v1::MessageState::Ready.into(), ..Default::default() };
        let groups = vec![v1::LocatedStatus { group: "g".to_owned(), status: Some(status) }];
        let found = v1::LocatedMessage { partition: 2, record: message(7, 0).record, groups };
        self.answer(&request, v1::LocateResponse { messages: vec![found] })
    }
}
