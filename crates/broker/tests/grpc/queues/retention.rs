//! What retention does to queues, and queues to retention.

use highwater_proto::v1::outcome::Kind;
use highwater_proto::v1::{self};

use super::client::{GROUP, ack, keyed, moving, open, outcome, value};
use crate::batches::batch;
use crate::harness::{Fixture, TOPIC};

/// A topic with small segments and these settings.
async fn topic(settings: &[(&str, &str)]) -> Fixture {
    let all: Vec<_> = settings.iter().copied().chain([("segment.bytes", "1MiB")]).collect();
    Fixture::with_topic(&all).await
}

fn rejected(message: &v1::QueueMessage) -> v1::Outcome {
    outcome(message, Kind::Reject(v1::Reject { reason: "no such customer".to_owned() }))
}

#[tokio::test(flavor = "multi_thread")]
async fn segments_go_when_the_named_groups_are_done_with_them_and_not_before() {
    let fixture = topic(&[("retention.queues", "ack:mail,invoice"), ("retention.ms", "-1")]).await;
    fixture.fill(3).await;
    for group in [GROUP, "invoice"] {
        assert_eq!(fixture.log_start().await, 0, "one of the two is not done");
        let mut worker = fixture.work(v1::WorkOpen { group: group.to_owned(), ..open("one", 30) }).await;
        let messages = worker.messages(30).await;
        worker.settle(messages.iter().map(ack).collect()).await;
    }
    fixture.until_the_log_begins_later().await;
    fixture.produce(batch(&[b"after"])).await.unwrap();
    let mut worker = fixture.work(open("two", 1)).await;
    assert_eq!(value(&worker.message().await), b"after");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_message_outlives_the_log_and_can_be_tried_again() {
    let fixture = topic(&[("retention.bytes", "1MiB")]).await;
    fixture.produce(keyed("customer-7", "invoice", &[("colour", "blue")])).await.unwrap();
    fixture.produce(keyed("customer-8", "nobody looks at it", &[])).await.unwrap();
    let mut worker = fixture.work(open("printer", 1)).await;
    let message = worker.message().await;
    worker.settle_one(rejected(&message)).await;
    fixture.fill(6).await;
    fixture.until_the_log_begins_later().await;

    let dead = fixture.dead(v1::DeadFilter::default()).await;
    assert_eq!(dead.len(), 1);
    assert_eq!(dead[0].record, message.record, "key, value, headers, time and place");
    assert_eq!(dead[0].status.as_ref().unwrap().journal.len(), 1);
    let by_key = v1::DeadFilter { key: Some("customer-7".into()), ..Default::default() };
    assert_eq!(fixture.queues().redrive(moving(by_key)).await.unwrap().into_inner().messages, 1);

    let mut worker = fixture.work(open("another printer", 1_000)).await;
    let again = loop {
        let next = worker.message().await;
        assert_ne!(value(&next), b"nobody looks at it", "what was not dead went with the log");
        if next.record == message.record {
            break next;
        }
    };
    worker.settle_one(ack(&again)).await;
    assert_eq!(fixture.stats().await.dead, 0);
    let locate =
        v1::LocateRequest { topic: TOPIC.to_owned(), partition: Some(0), offset: Some(0), ..Default::default() };
    assert_eq!(fixture.queues().locate(locate).await.unwrap().into_inner().messages, [], "done, it is not kept");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_message_does_not_hold_up_retention_by_acks() {
    let fixture = topic(&[("retention.queues", "interest"), ("retention.ms", "-1")]).await;
    fixture.produce(keyed("customer-7", "invoice", &[])).await.unwrap();
    fixture.fill(3).await;
    let mut worker = fixture.work(open("printer", 31)).await;
    let messages = worker.messages(31).await;
    let outcomes = messages.iter().map(|message| match value(message).as_slice() {
        b"invoice" => rejected(message),
        _ => ack(message),
    });
    worker.settle(outcomes.collect()).await;
    fixture.until_the_log_begins_later().await;
    let dead = fixture.dead(v1::DeadFilter::default()).await;
    assert_eq!(dead[0].record.as_ref().unwrap().value.as_deref(), Some(&b"invoice"[..]));
    assert_eq!(fixture.stats().await.acked, 30);
}
