//! The worker against a server that a test plays: credit, outcomes, leases, its end, and what breaks.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, missing_docs)]

mod scripted;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use highwater_client::{
    Client, ErrorCode, MessageOutcome, QueueMessage, WorkError, WorkerBuilder, WorkerHandle, WorkerStats,
};
use highwater_proto::v1;
use highwater_proto::v1::work_response::Kind as Told;
use scripted::queue::{fitting, message, refused, settled};
use scripted::{Server, Work, eventually};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

type Running = JoinHandle<Result<WorkerStats, WorkError>>;

async fn start() -> (Server, Client) {
    let server = Server::start(1).await;
    let client = server.client().request_timeout(Duration::from_secs(10)).connect().await.unwrap();
    (server, client)
}

fn text(message: &QueueMessage) -> String {
    String::from_utf8(message.value().to_vec()).unwrap()
}

/// A worker whose handlers wait for a permit each before they are done.
async fn gated(server: &mut Server, builder: WorkerBuilder) -> (Work, Running, WorkerHandle, Arc<Semaphore>) {
    let gate = Arc::new(Semaphore::new(0));
    let worker = builder.build();
    let handle = worker.handle();
    let pass = Arc::clone(&gate);
    let running = tokio::spawn(worker.run(move |_| {
        let pass = Arc::clone(&pass);
        async move { pass.acquire_owned().await.map(|permit| permit.forget()) }
    }));
    (server.next_work().await, running, handle, gate)
}

#[tokio::test]
async fn what_a_handler_returns_becomes_of_its_message() {
    let (mut server, client) = start().await;
    let seen = Arc::new(AtomicUsize::new(0));
    let see = Arc::clone(&seen);
    let observed = client.worker("t", "g").on_settled(move |settled| {
        assert!(settled.result.is_ok() && settled.offset.get() < 6);
        see.fetch_add(1, Ordering::Relaxed);
    });
    let worker = observed.name("me").concurrency(8).build();
    let handle = worker.handle();
    let running = tokio::spawn(worker.run(|message| async move {
        match text(&message).as_str() {
            "0" => Ok(MessageOutcome::Ack),
            "1" => Ok(MessageOutcome::Release),
            "2" => Ok(MessageOutcome::fail_for("later", Duration::from_secs(7))),
            "3" => Ok(MessageOutcome::reject("never")),
            "4" => panic!("number {}", text(&message)),
            other => Err(format!("what is {other}?")),
        }
    }));
    let mut work = server.next_work().await;
    let open = &work.open;
    assert_eq!((open.topic.as_str(), open.group.as_str(), open.worker.as_str(), open.credit), ("t", "g", "me", 8));
    work.messages(0..6).await;
    let told = work.settle(6).await;
    let expected = [
        "ack 0",
        "fail 2: later (7000)",
        "fail 4: the handler panicked: number 4",
        "fail 5: what is 5?",
        "reject 3: never",
        "release 1",
    ];
    assert_eq!(told, expected);
    eventually("all is heard of", || seen.load(Ordering::Relaxed) == 6).await;
    let stats = handle.stats();
    assert_eq!((stats.received, stats.acked, stats.released, stats.dead, stats.panicked), (6, 1, 1, 1, 1));
    handle.stop();
    work.draining().await;
    drop(work);
    assert_eq!(running.await.unwrap().unwrap(), stats);
}

#[tokio::test]
async fn credit_is_the_concurrency_and_comes_back_when_handlers_end() {
    let (mut server, client) = start().await;
    let (mut work, _running, handle, gate) = gated(&mut server, client.worker("t", "g").concurrency(2)).await;
    assert_eq!((work.open.credit, work.open.worker.as_str()), (2, ""));
    work.messages(0..2).await;
    gate.add_permits(1);
    work.settle(1).await;
    work.credit_until(3).await;
    work.messages(2..3).await;
    gate.add_permits(2);
    work.settle(2).await;
    work.credit_until(5).await;
    eventually("all is counted", || handle.stats().acked == 3).await;
}

#[tokio::test]
async fn acks_gather_while_others_are_on_their_way() {
    let (mut server, client) = start().await;
    let running = tokio::spawn(client.worker("t", "g").concurrency(2_000).run(|_| async {}));
    let mut work = server.next_work().await;
    work.messages(0..500).await;
    let mut told = Vec::new();
    let mut waiting = Vec::new();
    while told.iter().sum::<usize>() < 500 {
        let batch = work.batch().await;
        told.push(batch.outcomes.len());
        waiting.push(batch);
        // The first few are answered only when no more come without an answer.
        if waiting.len() == 4 {
            for batch in waiting.drain(..) {
                let results = batch.outcomes.iter().map(fitting).collect();
                work.send(Told::Settled(v1::SettledBatch { request: batch.request, results })).await;
            }
        }
    }
    assert!(told.len() < 250, "{told:?}");
    running.abort();
}

#[tokio::test]
async fn a_lease_is_extended_for_as_long_as_the_handler_runs() {
    let (mut server, client) = start().await;
    let (mut work, running, _handle, gate) = gated(&mut server, client.worker("t", "g").concurrency(1)).await;
    work.send(Told::Messages(v1::WorkMessages { messages: vec![message(0, 100)] })).await;
    for _ in 0..3 {
        let extended = |_: &v1::Outcome| v1::Settled { lease_ms: 100, ..settled(v1::SettledState::Extended) };
        assert_eq!(work.outcomes(1, extended).await, ["extend 0: 100"]);
    }
    gate.add_permits(1);
    loop {
        let told = work.settle(1).await;
        if told == ["ack 0"] {
            break;
        }
        assert_eq!(told, ["extend 0: 100"], "one may have been on its way");
    }
    running.abort();
}

#[tokio::test]
async fn who_does_not_extend_leases_does_not() {
    let (mut server, client) = start().await;
    let builder = client.worker("t", "g").concurrency(1).extend_leases(false);
    let (mut work, running, _handle, gate) = gated(&mut server, builder).await;
    work.send(Told::Messages(v1::WorkMessages { messages: vec![message(0, 20)] })).await;
    tokio::time::sleep(Duration::from_millis(60)).await;
    gate.add_permits(1);
    assert_eq!(work.outcomes(1, |_| refused(ErrorCode::LeaseLost)).await, ["ack 0"]);
    running.abort();
}

#[tokio::test]
async fn a_lost_lease_is_counted_and_the_work_goes_on() {
    let (mut server, client) = start().await;
    let worker = client.worker("t", "g").build();
    let handle = worker.handle();
    let running = tokio::spawn(worker.run(|_| async {}));
    let mut work = server.next_work().await;
    work.messages(0..1).await;
    work.outcomes(1, |_| refused(ErrorCode::LeaseLost)).await;
    eventually("it is counted", || handle.stats().lost == 1).await;
    work.messages(1..2).await;
    assert_eq!(work.outcomes(1, |_| refused(ErrorCode::LeaderUnavailable)).await, ["ack 1"]);
    assert_eq!(work.settle(1).await, ["ack 1"], "again, for this passes");
    eventually("it is counted", || handle.stats().acked == 1).await;
    running.abort();
}

#[tokio::test]
async fn who_stops_lets_handlers_end_and_gives_back_what_still_comes() {
    let (mut server, client) = start().await;
    let (mut work, running, handle, gate) = gated(&mut server, client.worker("t", "g").concurrency(4)).await;
    work.messages(0..2).await;
    eventually("both are worked on", || handle.stats().received == 2).await;
    handle.stop();
    work.draining().await;
    work.messages(2..3).await;
    assert_eq!(work.settle(1).await, ["release 2"]);
    gate.add_permits(2);
    assert_eq!(work.settle(2).await, ["ack 0", "ack 1"]);
    drop(work);
    let stats = running.await.unwrap().unwrap();
    assert_eq!((stats.received, stats.acked, stats.released, stats.lost), (2, 2, 1, 0));
}

#[tokio::test]
async fn handlers_that_do_not_end_are_ended_and_their_messages_released() {
    let (mut server, client) = start().await;
    let builder = client.worker("t", "g").drain_timeout(Duration::from_millis(50));
    let (mut work, running, handle, _gate) = gated(&mut server, builder).await;
    work.messages(0..2).await;
    eventually("both are worked on", || handle.stats().received == 2).await;
    handle.stop();
    assert_eq!(work.settle(2).await, ["release 0", "release 1"]);
    drop(work);
    let stats = running.await.unwrap().unwrap();
    assert_eq!((stats.acked, stats.released, stats.lost), (0, 2, 0));
}

#[tokio::test]
async fn a_worker_whose_stream_breaks_goes_on_and_tells_its_outcomes_again() {
    let (mut server, client) = start().await;
    let (mut work, running, handle, gate) = gated(&mut server, client.worker("t", "g").concurrency(3)).await;
    work.messages(0..2).await;
    gate.add_permits(1);
    let unanswered = work.batch().await;
    assert_eq!(unanswered.outcomes.len(), 1);
    drop(work);

    let mut work = server.next_work().await;
    assert_eq!((work.open.worker.as_str(), work.open.credit), ("w-7", 2), "one handler still runs");
    let done_before = |_: &v1::Outcome| settled(v1::SettledState::AlreadyDone);
    let told = work.outcomes(1, done_before).await;
    assert!(told == ["ack 0"] || told == ["ack 1"], "{told:?}");
    gate.add_permits(1);
    work.outcomes(1, |_| refused(ErrorCode::LeaseLost)).await;
    eventually("both are counted", || handle.stats().lost == 1).await;
    let stats = handle.stats();
    assert_eq!((stats.acked, stats.reconnects), (1, 1));
    running.abort();
}

#[tokio::test]
async fn a_server_that_is_gone_is_left_for_another_one() {
    let (mut server, client) = start().await;
    let running = tokio::spawn(client.worker("t", "g").run(|_| async {}));
    let work = server.next_work().await;
    server.stop();
    drop(work);
    server.resume().await;
    let mut work = server.next_work().await;
    work.messages(0..1).await;
    assert_eq!(work.settle(1).await, ["ack 0"]);
    running.abort();
}

#[tokio::test]
async fn what_does_not_pass_ends_the_worker() {
    let (mut server, client) = start().await;
    let failed = client.worker("nowhere", "g").run(|_| async {}).await.unwrap_err();
    assert_eq!((failed.code(), failed.is_retryable()), (Some(ErrorCode::UnknownTopic), false));
    assert!(failed.to_string().contains("nowhere") && failed.to_string().contains("no such topic"), "{failed}");
    let failed = client.worker("a/b", "g").run(|_| async {}).await.unwrap_err();
    assert!(matches!(failed, WorkError::InvalidTopicName { .. }), "{failed}");
    let failed = client.worker("t", "g").concurrency(0).run(|_| async {}).await.unwrap_err();
    assert!(matches!(failed, WorkError::Settings { .. }), "{failed}");

    let running = tokio::spawn(client.worker("t", "g").run(|_| async {}));
    server.next_work().await.refuse(ErrorCode::Overloaded).await;
    server.next_work().await.refuse(ErrorCode::UnknownGroup).await;
    assert_eq!(running.await.unwrap().unwrap_err().code(), Some(ErrorCode::UnknownGroup));

    server.stop();
    let given_up = client.worker("t", "g").retry_timeout(Some(Duration::from_millis(50))).run(|_| async {}).await;
    assert!(matches!(given_up, Err(WorkError::Unavailable { .. })), "{given_up:?}");
}

#[tokio::test]
async fn a_worker_ends_when_the_queue_is_empty_for_everybody() {
    let (mut server, client) = start().await;
    server.queue_has(v1::QueuePartition { waiting: 1, resting: 1, ..Default::default() });
    let handled = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&handled);
    let running = tokio::spawn(client.worker("t", "g").exit_when_empty(true).run(move |_| {
        count.fetch_add(1, Ordering::Relaxed);
        async {}
    }));
    let mut work = server.next_work().await;
    let described = || server.state.lock().unwrap().queue_described;
    eventually("it asks, and waits for what rests", || described() >= 2).await;
    work.messages(0..1).await;
    work.settle(1).await;
    server.queue_has(v1::QueuePartition { waiting: 5, delayed: 5, dead: 2, ..Default::default() });
    work.draining().await;
    drop(work);
    running.await.unwrap().unwrap();
    assert_eq!(handled.load(Ordering::Relaxed), 1);

    server.state.lock().unwrap().queue_left = None;
    let running = tokio::spawn(client.worker("t", "g").exit_when_empty(true).run(|_| async {}));
    let _work = server.next_work().await;
    let failed = running.await.unwrap().unwrap_err();
    assert_eq!((failed.code(), failed.is_retryable()), (Some(ErrorCode::UnknownGroup), false));
}
