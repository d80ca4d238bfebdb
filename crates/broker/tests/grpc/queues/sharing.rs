//! Work that is shared: each message is with one worker at a time, and is done once.

use std::collections::BTreeSet;

use highwater_proto::v1::outcome::Kind;
use highwater_proto::v1::work_request::Kind as Ask;
use highwater_proto::v1::{self, ErrorCode};

use super::client::{GROUP, ack, keyed, open, outcome, value};
use crate::batches::batch;
use crate::harness::{Fixture, TOPIC, at_start, code, produce, read_from};
use highwater_broker::server::Server;

/// Twenty records of a byte each, in both partitions.
async fn filled() -> Fixture {
    let fixture = Fixture::new().await;
    for number in 0..20_u8 {
        let request = produce(1, u32::from(number % 2), batch(&[&[number]]));
        fixture.producer().produce(request).await.unwrap();
    }
    fixture
}

#[tokio::test(flavor = "multi_thread")]
async fn every_message_goes_to_one_worker_and_streams_see_them_all() {
    let fixture = filled().await;
    let mut workers = [fixture.work(open("one", 6)).await, fixture.work(open("two", 6)).await];
    let mut seen = BTreeSet::new();
    while seen.len() < 20 {
        for worker in &mut workers {
            if seen.len() == 20 {
                break;
            }
            let message = worker.message().await;
            assert_eq!(message.attempt, 1);
            assert!(seen.insert(value(&message)), "{message:?} came twice");
            let settled = worker.settle_one(ack(&message)).await;
            assert_eq!(settled.state(), v1::SettledState::Acked);
            worker.credit(1).await;
        }
    }
    for worker in &mut workers {
        worker.is_quiet().await;
    }
    let stats = fixture.stats().await;
    assert_eq!((stats.acked, stats.waiting, stats.leased, stats.dead), (20, 0, 0, 0));
    let read = fixture.reader().read(read_from(at_start())).await.unwrap().into_inner();
    assert_eq!(read.next_offset, 10, "a stream reads what workers are done with");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_more_messages_come_than_there_is_credit_for() {
    let fixture = filled().await;
    let mut worker = fixture.work(open("one", 3)).await;
    let messages = worker.messages(3).await;
    worker.is_quiet().await;
    worker.settle(messages.iter().map(ack).collect()).await;
    worker.is_quiet().await;
    worker.credit(2).await;
    worker.messages(2).await;
    worker.is_quiet().await;
    assert_eq!(fixture.stats().await.leased, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_come_as_they_are_produced() {
    let fixture = Fixture::new().await;
    let mut worker = fixture.work(open("one", 10)).await;
    for number in 0..5_u8 {
        fixture.produce(batch(&[&[number]])).await.unwrap();
        let message = worker.message().await;
        assert_eq!(value(&message), [number]);
        worker.settle_one(ack(&message)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_worker_has_goes_to_others_when_its_stream_ends() {
    let fixture = filled().await;
    let mut first = fixture.work(open("one", 20)).await;
    let had: BTreeSet<_> = first.messages(20).await.iter().map(value).collect();
    drop(first);
    let mut second = fixture.work(open("two", 20)).await;
    let got = second.messages(20).await;
    assert_eq!(got.iter().map(value).collect::<BTreeSet<_>>(), had);
    assert!(got.iter().all(|message| message.attempt == 2), "a worker that is gone has failed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_drains_ends_when_all_is_settled() {
    let fixture = filled().await;
    let mut worker = fixture.work(open("one", 2)).await;
    let messages = worker.messages(2).await;
    worker.ask(Ask::Drain(v1::WorkDrain {})).await;
    worker.credit(5).await;
    worker.is_quiet().await;
    worker.settle(messages.iter().map(ack).collect()).await;
    worker.ended().await.unwrap();
    assert_eq!(fixture.stats().await.acked, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn by_key_one_message_of_a_key_is_with_workers() {
    let fixture = Fixture::new().await;
    let order = v1::QueueSettings { order: v1::QueueOrder::Key.into(), ..Default::default() };
    fixture.set_queue(order).await;
    for (key, text) in [("a", "1"), ("a", "2"), ("b", "3"), ("a", "4")] {
        fixture.produce(keyed(key, text, &[])).await.unwrap();
    }
    let mut worker = fixture.work(open("one", 10)).await;
    let first = worker.messages(2).await;
    assert_eq!(first.iter().map(value).collect::<Vec<_>>(), [b"1", b"3"]);
    worker.is_quiet().await;
    worker.settle_one(ack(&first[0])).await;
    let second = worker.message().await;
    assert_eq!(value(&second), b"2");
    worker.is_quiet().await;
    worker.settle_one(ack(&second)).await;
    assert_eq!(value(&worker.message().await), b"4");
}

#[tokio::test(flavor = "multi_thread")]
async fn higher_priorities_go_first() {
    let fixture = Fixture::new().await;
    for (priority, text) in [("1", "low"), ("9", "high"), ("5", "middle")] {
        fixture.produce(keyed("", text, &[("priority", priority)])).await.unwrap();
    }
    let mut worker = fixture.work(open("one", 0)).await;
    // Looked at before any is handed out.
    while fixture.stats().await.ready < 3 {
        tokio::task::yield_now().await;
    }
    worker.credit(3).await;
    let values: Vec<_> = worker.messages(3).await.iter().map(value).collect();
    assert_eq!(values, [b"high".to_vec(), b"middle".to_vec(), b"low".to_vec()]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_can_be_taken_and_settled_without_a_stream() {
    let fixture = filled().await;
    let receive = v1::ReceiveRequest {
        topic: TOPIC.to_owned(),
        group: GROUP.to_owned(),
        worker: "poller".to_owned(),
        messages_max: 30,
        wait_ms_max: 10_000,
        ..Default::default()
    };
    let mut got = Vec::new();
    while got.len() < 20 {
        let answer = fixture.queues().receive(receive.clone()).await.unwrap().into_inner();
        assert!(!answer.messages.is_empty(), "{} came", got.len());
        got.extend(answer.messages);
    }
    let outcomes = got.iter().map(ack).collect();
    let settle =
        v1::SettleRequest { topic: TOPIC.to_owned(), group: GROUP.to_owned(), worker: "poller".to_owned(), outcomes };
    let settled = fixture.queues().settle(settle.clone()).await.unwrap().into_inner();
    assert!(settled.results.iter().all(|result| result.state() == v1::SettledState::Acked), "{settled:?}");
    let again = fixture.queues().settle(settle).await.unwrap().into_inner();
    assert!(again.results.iter().all(|result| result.state() == v1::SettledState::AlreadyDone), "{again:?}");
    let empty = v1::ReceiveRequest { wait_ms_max: 50, ..receive };
    assert_eq!(fixture.queues().receive(empty).await.unwrap().into_inner().messages, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_restart_what_was_acked_is_done_and_what_was_leased_comes_again() {
    let fixture = filled().await;
    let mut worker = fixture.work(open("one", 20)).await;
    let messages = worker.messages(20).await;
    let (done, held) = messages.split_at(8);
    worker.settle(done.iter().map(ack).collect()).await;
    let Fixture { server, data, .. } = fixture;
    server.shutdown().await.unwrap();
    let server = Server::start(crate::harness::config(&data, &[])).await.unwrap();
    let channel = crate::harness::endpoint(&server).connect().await.unwrap();
    let fixture = Fixture { server, channel, data };
    let mut worker = fixture.work(open("two", 30)).await;
    let again: BTreeSet<_> = worker.messages(12).await.iter().map(value).collect();
    assert_eq!(again, held.iter().map(value).collect());
    worker.is_quiet().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_makes_no_sense_is_refused_with_a_reason() {
    let fixture = filled().await;
    for (bad, expected) in [
        (v1::WorkOpen { group: String::new(), ..open("one", 1) }, ErrorCode::InvalidRequest),
        (v1::WorkOpen { topic: "nowhere".to_owned(), ..open("one", 1) }, ErrorCode::UnknownTopic),
        (v1::WorkOpen { worker: "w".repeat(1_000), ..open("one", 1) }, ErrorCode::InvalidRequest),
        (v1::WorkOpen { partition: Some(9), ..open("one", 1) }, ErrorCode::UnknownPartition),
        (v1::WorkOpen { topic: "__groups".to_owned(), ..open("one", 1) }, ErrorCode::UnknownTopic),
    ] {
        let ended = match fixture.try_work(bad.clone()).await {
            Ok(mut worker) => worker.ended().await.expect_err("it is refused"),
            Err(status) => status,
        };
        assert_eq!(code(&ended), expected, "{bad:?}: {ended}");
    }
    let mut worker = fixture.work(open("one", 1)).await;
    let message = worker.message().await;
    let nonsense = v1::Outcome { token: vec![1, 2, 3].into(), ..ack(&message) };
    let nothing = v1::Outcome { kind: None, ..ack(&message) };
    let too_long = outcome(&message, Kind::Extend(v1::Extend { lease_ms: u64::MAX }));
    let results = worker.settle(vec![nonsense, nothing, too_long]).await;
    let codes: Vec<_> = results.iter().map(|result| result.error.as_ref().map(v1::Error::code)).collect();
    assert_eq!(codes, [Some(ErrorCode::InvalidRequest); 3]);
    worker.settle_one(ack(&message)).await;
    let unknown = v1::DescribeQueueRequest { topic: TOPIC.to_owned(), group: "none".to_owned(), ..Default::default() };
    assert_eq!(code(&fixture.queues().describe_queue(unknown).await.unwrap_err()), ErrorCode::UnknownGroup);
}

#[tokio::test(flavor = "multi_thread")]
async fn large_messages_come_in_answers_that_a_client_can_take() {
    let fixture = Fixture::new().await;
    for number in 0..40_u8 {
        fixture.produce(batch(&[&vec![number; 900_000]])).await.unwrap();
    }
    let mut worker = fixture.work(open("one", 1_000)).await;
    let messages = worker.messages(40).await;
    let first: BTreeSet<u8> = messages.iter().map(|message| value(message)[0]).collect();
    assert_eq!(first.len(), 40);
    assert!(messages.iter().all(|message| message.attempt == 1), "what found no room is not counted");
    worker.settle(messages.iter().map(ack).collect()).await;
    assert_eq!(fixture.stats().await.acked, 40);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_waits_for_its_own_messages_whatever_else_is_settled() {
    let fixture = filled().await;
    let mut before = fixture.work(open("one", 3)).await;
    let stale = before.messages(3).await;
    drop(before);
    fixture.until_nothing_is_leased().await;
    let mut worker = fixture.work(open("one", 3)).await;
    let messages = worker.messages(3).await;
    // Of the stream that broke: these are over, and say nothing about what is in hand.
    worker.settle(stale.iter().map(ack).collect()).await;
    worker.ask(Ask::Drain(v1::WorkDrain {})).await;
    worker.is_quiet().await;
    for message in &messages {
        worker.settle_one(ack(message)).await;
    }
    worker.ended().await.unwrap();
    assert_eq!(fixture.stats().await.acked, 3);
}
