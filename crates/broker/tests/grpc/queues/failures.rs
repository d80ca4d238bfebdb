//! Failures: attempts, rests, stale tokens, dead letters and what operators do with them.

use std::time::Duration;

use highwater_proto::v1::outcome::Kind;
use highwater_proto::v1::{self, ErrorCode};

use super::client::{ack, fail, keyed, moving, open, outcome, value};
use crate::batches::batch;
use crate::harness::Fixture;

async fn one_message() -> Fixture {
    let fixture = Fixture::new().await;
    fixture.produce(keyed("customer-7", "invoice", &[])).await.unwrap();
    fixture
}

#[tokio::test(flavor = "multi_thread")]
async fn after_five_failures_a_message_is_dead_with_its_story_and_can_be_tried_anew() {
    let fixture = one_message().await;
    let mut worker = fixture.work(open("printer", 10)).await;
    for attempt in 1..=5_u32 {
        let message = worker.message().await;
        assert_eq!(message.attempt, attempt);
        let settled = worker.settle_one(fail(&message, &format!("out of paper, tray {attempt}"))).await;
        let expected = if attempt < 5 { v1::SettledState::WillRetry } else { v1::SettledState::Dead };
        assert_eq!(settled.state(), expected);
    }
    worker.is_quiet().await;
    assert_eq!(fixture.stats().await.dead, 1);
    let dead = fixture.dead(v1::DeadFilter::default()).await;
    let status = dead[0].status.as_ref().unwrap();
    assert_eq!(status.death.unwrap().cause(), v1::DeathCause::Attempts);
    let story: Vec<_> = status.journal.iter().map(|attempt| (attempt.worker.as_str(), &attempt.reason[..])).collect();
    assert_eq!(story.len(), 5);
    assert_eq!(story[4], ("printer", "out of paper, tray 5"));
    assert_eq!(dead[0].record.as_ref().unwrap().value.as_deref(), Some(&b"invoice"[..]), "it stays where it is");

    let moved = fixture.queues().redrive(moving(v1::DeadFilter::default())).await.unwrap().into_inner();
    assert_eq!((moved.messages, moved.has_more), (1, false));
    let message = worker.message().await;
    assert_eq!(message.attempt, 1, "a fresh budget");
    worker.settle_one(outcome(&message, Kind::Reject(v1::Reject { reason: "no such customer".to_owned() }))).await;
    let dead = fixture.dead(v1::DeadFilter::default()).await;
    let status = dead[0].status.as_ref().unwrap();
    assert_eq!(status.journal.len(), 6, "and its old story");
    assert_eq!(status.death.unwrap().cause(), v1::DeathCause::Rejected);

    let moved = fixture.queues().drop_dead(moving(v1::DeadFilter::default())).await.unwrap().into_inner();
    assert_eq!(moved.messages, 1);
    let stats = fixture.stats().await;
    assert_eq!((stats.dead, stats.dropped, stats.waiting), (0, 1, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_messages_are_chosen_by_reason_key_offset_and_cause() {
    let fixture = Fixture::new().await;
    for (key, text) in [("a", "0"), ("b", "1"), ("a", "2")] {
        fixture.produce(keyed(key, text, &[])).await.unwrap();
    }
    let mut worker = fixture.work(open("one", 10)).await;
    for message in worker.messages(3).await {
        let reason = format!("could not send {}", String::from_utf8(value(&message)).unwrap());
        worker.settle_one(outcome(&message, Kind::Reject(v1::Reject { reason }))).await;
    }
    let offsets = async |filter: v1::DeadFilter| -> Vec<i64> {
        fixture.dead(filter).await.iter().map(|dead| dead.offset).collect()
    };
    assert_eq!(offsets(v1::DeadFilter::default()).await, [0, 1, 2]);
    assert_eq!(offsets(v1::DeadFilter { reason: "send 1".to_owned(), ..Default::default() }).await, [1]);
    assert_eq!(offsets(v1::DeadFilter { key: Some("a".into()), ..Default::default() }).await, [0, 2]);
    assert_eq!(offsets(v1::DeadFilter { start: Some(1), end: Some(2), ..Default::default() }).await, [1]);
    assert_eq!(offsets(v1::DeadFilter { dead_for_ms_min: Some(3_600_000), ..Default::default() }).await, [0_i64; 0]);
    let expired = v1::DeadFilter { cause: v1::DeathCause::Expired.into(), ..Default::default() };
    assert_eq!(offsets(expired).await, [0_i64; 0]);
    let dry = v1::MoveDeadRequest { validate_only: true, ..moving(v1::DeadFilter::default()) };
    assert_eq!(fixture.queues().redrive(dry).await.unwrap().into_inner().messages, 3);
    assert_eq!(fixture.stats().await.dead, 3, "nothing was changed");
    let one = v1::MoveDeadRequest { messages_max: 1, ..moving(v1::DeadFilter::default()) };
    let moved = fixture.queues().redrive(one).await.unwrap().into_inner();
    assert_eq!((moved.messages, moved.has_more), (1, true));
    assert_eq!(value(&worker.message().await), b"0");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_whose_lease_is_over_does_nothing() {
    let fixture = one_message().await;
    let mut worker = fixture.work(open("one", 10)).await;
    let first = worker.message().await;
    let released = worker.settle_one(outcome(&first, Kind::Release(v1::Release {}))).await;
    assert_eq!(released.state(), v1::SettledState::Released);
    let second = worker.message().await;
    assert_eq!(second.attempt, 1, "a release is not counted");
    let stale = worker.settle(vec![ack(&first)]).await;
    assert_eq!(stale[0].error.as_ref().unwrap().code(), ErrorCode::LeaseLost);
    worker.settle_one(ack(&second)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_that_is_not_extended_ends_and_the_next_worker_has_the_message() {
    let fixture = one_message().await;
    fixture.set_queue(v1::QueueSettings { lease_ms: Some(400), ..Default::default() }).await;
    let mut slow = fixture.work(open("slow", 1)).await;
    let held = slow.message().await;
    let extended = slow.settle_one(outcome(&held, Kind::Extend(v1::Extend { lease_ms: 1_500 }))).await;
    assert_eq!((extended.state(), extended.lease_ms), (v1::SettledState::Extended, 1_500));
    let mut other = fixture.work(open("other", 1)).await;
    let began = std::time::Instant::now();
    let message = other.message().await;
    assert!(began.elapsed() >= Duration::from_millis(1_000), "it was extended: {:?}", began.elapsed());
    assert_eq!(message.attempt, 2);
    let late = slow.settle(vec![ack(&held)]).await;
    assert_eq!(late[0].error.as_ref().unwrap().code(), ErrorCode::LeaseLost);
    other.settle_one(ack(&message)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn delayed_messages_come_when_they_are_due_and_can_be_moved_and_called_off() {
    let fixture = Fixture::new().await;
    fixture.produce(keyed("", "soon", &[("delay", "700ms")])).await.unwrap();
    fixture.produce(keyed("", "later", &[("delay", "1h")])).await.unwrap();
    fixture.produce(keyed("", "never", &[("delay", "1h")])).await.unwrap();
    fixture.produce(keyed("", "now", &[])).await.unwrap();
    let began = std::time::Instant::now();
    let mut worker = fixture.work(open("one", 10)).await;
    assert_eq!(value(&worker.message().await), b"now");
    assert_eq!(fixture.stats().await.delayed, 3);
    assert_eq!(value(&worker.message().await), b"soon");
    assert!(began.elapsed() >= Duration::from_millis(500), "{:?}", began.elapsed());
    let request = v1::RescheduleRequest {
        topic: crate::harness::TOPIC.to_owned(),
        group: super::client::GROUP.to_owned(),
        partition: 0,
        offset: 1,
        deliver_at_ms: 0,
    };
    fixture.queues().reschedule(request).await.unwrap();
    assert_eq!(value(&worker.message().await), b"later");
    let request = v1::CancelRequest {
        topic: crate::harness::TOPIC.to_owned(),
        group: super::client::GROUP.to_owned(),
        partition: 0,
        offset: 2,
    };
    fixture.queues().cancel(request.clone()).await.unwrap();
    assert_eq!(fixture.stats().await.delayed, 0);
    let again = fixture.queues().cancel(request).await.unwrap_err();
    assert_eq!(crate::harness::code(&again), ErrorCode::MessageSettled);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_whose_time_to_live_is_over_is_dead() {
    let fixture = Fixture::new().await;
    fixture.produce(keyed("", "stale", &[("ttl", "1")])).await.unwrap();
    fixture.produce(batch(&[b"fresh"])).await.unwrap();
    let mut worker = fixture.work(open("one", 10)).await;
    assert_eq!(value(&worker.message().await), b"fresh");
    while fixture.stats().await.dead == 0 {
        tokio::task::yield_now().await;
    }
    let dead = fixture.dead(v1::DeadFilter::default()).await;
    assert_eq!(dead[0].status.as_ref().unwrap().death.unwrap().cause(), v1::DeathCause::Expired);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_that_only_fails_pauses_and_goes_on_after_a_probe() {
    let fixture = Fixture::new().await;
    let breaker = v1::QueueBreaker {
        failures_percent: 50,
        outcomes_min: 4,
        window_ms: 60_000,
        probe_after_ms: 300,
        ..Default::default()
    };
    fixture.set_queue(v1::QueueSettings { breaker: Some(breaker), ..Default::default() }).await;
    for number in 0..8_u8 {
        fixture.produce(batch(&[&[number]])).await.unwrap();
    }
    let mut worker = fixture.work(open("one", 4)).await;
    let messages = worker.messages(4).await;
    for message in &messages {
        worker
            .settle_one(outcome(message, Kind::Fail(v1::Fail { reason: "down".to_owned(), ..Default::default() })))
            .await;
    }
    let pause = fixture.stats().await.pause.expect("the group pauses");
    assert_eq!(pause.by(), v1::PausedBy::Breaker);
    worker.credit(8).await;
    let probe = worker.message().await;
    worker.is_quiet().await;
    worker.settle_one(ack(&probe)).await;
    worker.messages(3).await;
    assert_eq!(fixture.stats().await.pause, None);
}
