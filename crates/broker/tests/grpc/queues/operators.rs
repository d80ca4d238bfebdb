//! Groups as operators see them: made, set, looked at, paused, deleted; and where a message is.

use highwater_proto::v1::outcome::Kind;
use highwater_proto::v1::{self, ErrorCode};

use super::client::{GROUP, ack, keyed, open, outcome, value};
use crate::batches::batch;
use crate::harness::{Fixture, TOPIC, code};

#[tokio::test(flavor = "multi_thread")]
async fn settings_are_kept_and_only_those_that_are_given_change() {
    let fixture = Fixture::new().await;
    let made = fixture.set_queue(v1::QueueSettings { attempts_max: Some(3), ..Default::default() }).await;
    assert!(made.is_new);
    assert_eq!(made.settings.unwrap().lease_ms, Some(30_000));
    let set = fixture.set_queue(v1::QueueSettings { lease_ms: Some(5_000), ..Default::default() }).await;
    assert!(!set.is_new);
    let settings = set.settings.unwrap();
    assert_eq!((settings.attempts_max, settings.lease_ms), (Some(3), Some(5_000)));
    let bad = v1::SetQueueRequest {
        topic: TOPIC.to_owned(),
        group: GROUP.to_owned(),
        settings: Some(v1::QueueSettings { attempts_max: Some(0), ..Default::default() }),
        ..Default::default()
    };
    let refused = fixture.queues().set_queue(bad).await.unwrap_err();
    assert_eq!(code(&refused), ErrorCode::InvalidConfig);
    assert_eq!(refused.message(), "the attempt limit is from 1 to 1000, not 0");
    let listed = fixture.queues().list_queues(v1::ListQueuesRequest::default()).await.unwrap().into_inner().queues;
    assert_eq!(listed, [v1::QueueListing { topic: TOPIC.to_owned(), group: GROUP.to_owned() }]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_may_begin_with_what_comes() {
    let fixture = Fixture::new().await;
    fixture.produce(batch(&[b"old"])).await.unwrap();
    let request =
        v1::SetQueueRequest { topic: TOPIC.to_owned(), group: GROUP.to_owned(), from_end: true, ..Default::default() };
    fixture.queues().set_queue(request).await.unwrap();
    fixture.produce(batch(&[b"new"])).await.unwrap();
    let mut worker = fixture.work(open("one", 5)).await;
    assert_eq!(value(&worker.message().await), b"new");
    worker.is_quiet().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_group_hands_out_nothing_until_it_is_resumed() {
    let fixture = Fixture::new().await;
    fixture.set_queue(v1::QueueSettings::default()).await;
    let request = v1::PauseQueueRequest {
        topic: TOPIC.to_owned(),
        group: GROUP.to_owned(),
        reason: "the printer is being moved".to_owned(),
        ..Default::default()
    };
    fixture.queues().pause_queue(request).await.unwrap();
    fixture.produce(batch(&[b"x"])).await.unwrap();
    let mut worker = fixture.work(open("one", 5)).await;
    worker.is_quiet().await;
    assert_eq!(fixture.stats().await.pause.unwrap().reason, "the printer is being moved");
    let request = v1::ResumeQueueRequest { topic: TOPIC.to_owned(), group: GROUP.to_owned(), ..Default::default() };
    fixture.queues().resume_queue(request).await.unwrap();
    assert_eq!(value(&worker.message().await), b"x");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_look_ahead_takes_nothing() {
    let fixture = Fixture::new().await;
    for text in ["a", "b", "c"] {
        fixture.produce(keyed("", text, &[])).await.unwrap();
    }
    let mut worker = fixture.work(open("one", 1)).await;
    let message = worker.message().await;
    let request = v1::PeekQueueRequest {
        topic: TOPIC.to_owned(),
        group: GROUP.to_owned(),
        with_records: true,
        ..Default::default()
    };
    let peeked = fixture.queues().peek_queue(request).await.unwrap().into_inner().messages;
    let states: Vec<_> = peeked.iter().map(|peeked| peeked.status.as_ref().unwrap().state()).collect();
    assert_eq!(states, [v1::MessageState::Leased, v1::MessageState::Ready, v1::MessageState::Ready]);
    assert_eq!(peeked[0].status.as_ref().unwrap().worker, "one");
    assert_eq!(peeked[2].record.as_ref().unwrap().value.as_deref(), Some(&b"c"[..]));
    worker.settle_one(ack(&message)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_is_found_by_place_key_and_id_with_what_it_is_to_each_group() {
    let fixture = Fixture::new().await;
    fixture.produce(keyed("order-1", "a", &[("message-id", "m-1")])).await.unwrap();
    fixture.produce(keyed("order-2", "b", &[("message-id", "m-2")])).await.unwrap();
    let mut worker = fixture.work(open("one", 2)).await;
    let messages = worker.messages(2).await;
    worker.settle_one(ack(&messages[0])).await;
    let locate = async |request: v1::LocateRequest| {
        let request = v1::LocateRequest { topic: TOPIC.to_owned(), ..request };
        fixture.queues().locate(request).await.unwrap().into_inner().messages
    };
    let by_place = locate(v1::LocateRequest { partition: Some(0), offset: Some(0), ..Default::default() }).await;
    let by_key = locate(v1::LocateRequest { key: Some("order-2".into()), ..Default::default() }).await;
    let by_id = locate(v1::LocateRequest { message_id: "m-2".to_owned(), ..Default::default() }).await;
    let state = |found: &[v1::LocatedMessage]| {
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(found[0].groups[0].group, GROUP);
        found[0].groups[0].status.as_ref().unwrap().state()
    };
    assert_eq!(state(&by_place), v1::MessageState::Done);
    assert_eq!(state(&by_key), v1::MessageState::Leased);
    assert_eq!(state(&by_id), v1::MessageState::Leased);
    assert_eq!(by_key[0].record, by_id[0].record);
    let nothing = fixture.queues().locate(v1::LocateRequest { topic: TOPIC.to_owned(), ..Default::default() }).await;
    assert_eq!(code(&nothing.unwrap_err()), ErrorCode::InvalidRequest);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_group_is_forgotten_and_a_new_one_begins_anew() {
    let fixture = Fixture::new().await;
    fixture.produce(batch(&[b"x"])).await.unwrap();
    let mut worker = fixture.work(open("one", 1)).await;
    let message = worker.message().await;
    worker.settle_one(ack(&message)).await;
    let request = v1::DeleteQueueRequest { topic: TOPIC.to_owned(), group: GROUP.to_owned(), ..Default::default() };
    fixture.queues().delete_queue(request.clone()).await.unwrap();
    let refused = fixture.queues().delete_queue(request).await.unwrap_err();
    assert_eq!(code(&refused), ErrorCode::UnknownGroup);
    worker.credit(1).await;
    let ended = worker.ended().await.unwrap_err();
    assert_eq!(code(&ended), ErrorCode::UnknownGroup);
    let mut worker = fixture.work(open("one", 1)).await;
    assert_eq!(value(&worker.message().await), b"x");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_of_metrics_tells_what_waits_and_what_was_done() {
    let fixture = Fixture::new().await;
    for number in 0..3_u8 {
        fixture.produce(batch(&[&[number]])).await.unwrap();
    }
    let mut worker = fixture.work(open("one", 3)).await;
    let messages = worker.messages(3).await;
    worker.settle_one(ack(&messages[0])).await;
    let reject = Kind::Reject(v1::Reject { reason: "no address".to_owned() });
    worker.settle_one(outcome(&messages[1], reject)).await;
    let page = crate::http::page(&fixture).await;
    let value = |name: &str| {
        let name = format!("highwater_queue_{name}{{topic=\"{TOPIC}\",partition=\"0\",group=\"{GROUP}\"}}");
        *page.get(&name).unwrap_or_else(|| panic!("{name} is not among {page:?}"))
    };
    let values = ["messages_open", "messages_dead", "paused", "messages_acked_total"].map(value);
    assert_eq!(values.map(f64::to_bits), [1.0, 1.0, 0.0, 1.0].map(f64::to_bits));
}
