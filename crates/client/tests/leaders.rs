//! The client among several servers, of which one leads: redirects, servers that die, and those that were never named.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, missing_docs)]

mod scripted;

use std::time::Duration;

use highwater_client::{Client, ErrorCode, Producer, Record};
use scripted::{ProduceFault, Server, eventually};

async fn send_numbers(producer: &Producer, numbers: std::ops::Range<u32>) -> Vec<u64> {
    let mut deliveries = Vec::new();
    for number in numbers {
        deliveries.push(producer.send("t", Record::new(number.to_string())).await.unwrap());
    }
    let mut offsets = Vec::new();
    for delivery in deliveries {
        offsets.push(delivery.await.unwrap().offset.unwrap().get());
    }
    offsets
}

fn numbers(range: std::ops::Range<u32>) -> Vec<String> {
    range.map(|number| number.to_string()).collect()
}

#[tokio::test]
async fn a_redirect_is_followed_and_everything_arrives_once_and_in_order() {
    let leader = Server::start(1).await;
    let follower = leader.another().await;
    let client = follower.connect().await;
    let producer = client.producer().batch_bytes(1_000).build();
    assert!(send_numbers(&producer, 0..2_000).await.into_iter().eq(0..2_000));
    assert_eq!(leader.values(0), numbers(0..2_000));
    let mut reader = client.reader().topic("t").stop_at_end().open().await.unwrap();
    let mut values = Vec::new();
    while let Some(record) = reader.next_record().await {
        values.push(String::from_utf8(record.unwrap().value.unwrap().to_vec()).unwrap());
    }
    assert_eq!(values, numbers(0..2_000));
}

#[tokio::test]
async fn leadership_that_moves_with_five_batches_under_way_neither_loses_nor_repeats_nor_reorders() {
    let first = Server::start(1).await;
    let second = first.another().await;
    let client = Client::builder()
        .server(first.address.to_string())
        .server(second.address.to_string())
        .request_timeout(Duration::from_secs(5))
        .connect()
        .await
        .unwrap();
    let producer = client.producer().batch_bytes(500).build();
    for round in 0..10_u32 {
        let new = if round.is_multiple_of(2) { &second } else { &first };
        // Of what is under way some was stored before leadership went, some is refused, some is not known.
        new.fail_next([ProduceFault::None, ProduceFault::Refuse(ErrorCode::OutcomeUnknown), ProduceFault::CutAfter]);
        let sending = {
            let producer = producer.clone();
            tokio::spawn(async move { send_numbers(&producer, round * 500..(round + 1) * 500).await })
        };
        tokio::time::sleep(Duration::from_millis(5)).await;
        new.lead();
        let offsets = sending.await.unwrap();
        assert!(offsets.into_iter().eq(u64::from(round) * 500..u64::from(round + 1) * 500), "round {round}");
    }
    assert_eq!(first.values(0), numbers(0..5_000), "both servers show one log");
}

#[tokio::test]
async fn the_only_server_that_was_named_may_die() {
    let mut named = Server::start(1).await;
    let other = named.another().await;
    let client = named.client().request_timeout(Duration::from_secs(10)).connect().await.unwrap();
    let producer = client.producer().build();
    assert_eq!(send_numbers(&producer, 0..1).await, [0]);
    let asked = || named.state.lock().unwrap().cluster_described > 0;
    eventually("the client asks for the nodes of the cluster", asked).await;
    named.stop();
    other.lead();
    assert_eq!(send_numbers(&producer, 1..3).await, [1, 2]);
    assert_eq!(client.admin().list_topics().await.unwrap().len(), 0, "requests find it too");
}

#[tokio::test]
async fn a_follower_is_read_only_by_those_who_say_so() {
    let leader = Server::start(1).await;
    let _follower = leader.another().await;
    let client = leader.connect().await;
    send_numbers(&client.producer().build(), 0..10).await;
    let open = |may_follow| client.reader().topic("t").from_follower(may_follow).stop_at_end().open();
    for may_follow in [false, true] {
        let before = leader.state.lock().unwrap().followed_reads;
        let mut reader = open(may_follow).await.unwrap();
        let mut count = 0;
        while let Some(record) = reader.next_record().await {
            record.unwrap();
            count += 1;
        }
        assert_eq!(count, 10);
        let followed = leader.state.lock().unwrap().followed_reads - before;
        assert_eq!(followed > 0, may_follow, "{followed} reads of the follower");
    }
}
