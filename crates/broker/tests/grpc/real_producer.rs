//! Our own client's producer against a real broker: after a definite refusal what follows is stored, in order, once.
//!
//! The producer closes the gap in its sequences by itself: it takes the next epoch of its id and counts from 0 again.
//! Whether that is right is for the broker's table of producers to say, which no scripted server has.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use highwater_broker::node::NodeOptions;
use highwater_broker::server::Server;
use highwater_client::{Client, ErrorCode, Outcome, ProduceError, Producer, Record};
use highwater_proto::v1;
use highwater_storage::disk::sim::SimDisk;
use tokio::time::timeout;

use crate::harness::{Fixture, TOPIC, at_start, config, endpoint, read_from, values};

const SOON: Duration = Duration::from_secs(20);
/// Larger than the topic takes.
const TOO_LARGE: usize = 20_000;

async fn fixture() -> Fixture {
    let fixture = Fixture::empty(&[]).await;
    create(&fixture).await;
    fixture
}

async fn create(fixture: &Fixture) {
    let config = [("max.message.bytes".to_owned(), "10000".to_owned())].into();
    let request = v1::CreateTopicRequest { name: TOPIC.to_owned(), partitions: 1, config, ..Default::default() };
    fixture.admin().create_topic(request).await.unwrap();
}

async fn producer(fixture: &Fixture) -> Producer {
    let client = Client::connect(&fixture.server.address().to_string()).await.unwrap();
    // Many small batches, so that several are in flight around what is refused.
    client.producer().batch_bytes(200).build()
}

/// Sends records pipelined: their numbers, or too large where `is_too_large`. Returns what became of each.
async fn send(
    producer: &Producer,
    numbers: Range<u32>,
    is_too_large: impl Fn(u32) -> bool,
) -> Vec<(u32, Result<u64, ProduceError>)> {
    let mut deliveries = Vec::new();
    for number in numbers {
        let mut value = format!("{number:06}").into_bytes();
        if is_too_large(number) {
            value.resize(TOO_LARGE, b'x');
        }
        deliveries.push((number, producer.send(TOPIC, Record::new(value)).await.unwrap()));
    }
    let mut results = Vec::new();
    for (number, delivery) in deliveries {
        let result = timeout(SOON, delivery).await.unwrap();
        results.push((number, result.map(|metadata| metadata.offset.unwrap().get())));
    }
    results
}

/// Everything stored, as numbers.
async fn stored(fixture: &Fixture) -> Vec<u32> {
    let read = fixture.reader().read(read_from(at_start())).await.unwrap().into_inner();
    values(&read.batches).iter().map(|value| std::str::from_utf8(value).unwrap().parse().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_batch_that_is_too_large_the_rest_is_stored_in_order_and_once() {
    // The first of all, now and then, one after the other, and the last.
    let patterns: [fn(u32) -> bool; 4] = [|n| n == 0, |n| n % 50 == 7, |n| (100..104).contains(&n), |n| n == 299];
    for is_too_large in patterns {
        let fixture = fixture().await;
        let producer = producer(&fixture).await;
        let results = send(&producer, 0..300, is_too_large).await;
        let mut offset = 0;
        for (number, result) in results {
            match result {
                Ok(at) => {
                    assert!(!is_too_large(number));
                    assert_eq!(at, offset, "record {number}");
                    offset += 1;
                }
                Err(error) => {
                    assert!(is_too_large(number), "record {number}: {error}");
                    assert_eq!(error.outcome(), Outcome::NotDone, "{error}");
                    assert!(error.to_string().contains(ErrorCode::BatchTooLarge.name()), "{error}");
                }
            }
        }
        let expected: Vec<u32> = (0..300).filter(|number| !is_too_large(*number)).collect();
        assert_eq!(stored(&fixture).await, expected);
        // And so it goes on.
        let more = send(&producer, 300..400, |_| false).await;
        assert!(more.into_iter().all(|(_, result)| result.is_ok()));
        assert_eq!(stored(&fixture).await, expected.into_iter().chain(300..400).collect::<Vec<_>>());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_topic_was_deleted_and_made_again_the_same_producer_goes_on() {
    let fixture = fixture().await;
    let producer = producer(&fixture).await;
    assert!(send(&producer, 0..100, |_| false).await.into_iter().all(|(_, result)| result.is_ok()));
    let delete =
        async || fixture.admin().delete_topic(v1::DeleteTopicRequest { name: TOPIC.to_owned() }).await.unwrap();
    for round in 1..4_u32 {
        let (begin, end) = (round * 1_000, round * 1_000 + 100);
        delete().await;
        let refused = send(&producer, begin..end, |_| false).await;
        for (number, result) in refused {
            let error = result.unwrap_err();
            assert_eq!(error.outcome(), Outcome::NotDone, "record {number}: {error}");
        }
        create(&fixture).await;
        let results = send(&producer, begin + 500..end + 500, |number| number == begin + 550).await;
        let failed: Vec<u32> =
            results.iter().filter(|(_, result)| result.is_err()).map(|(number, _)| *number).collect();
        assert_eq!(failed, [begin + 550]);
        let expected: Vec<u32> = (begin + 500..end + 500).filter(|number| *number != begin + 550).collect();
        assert_eq!(stored(&fixture).await, expected);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_full_disk_the_same_producer_goes_on() {
    let disk = SimDisk::new(1);
    let data = tempfile::tempdir().unwrap();
    let on_disk = |options| NodeOptions { disk: Arc::new(disk.clone()), ..options };
    let server = Server::start_with(config(&data, &[]), on_disk).await.unwrap();
    let channel = endpoint(&server).connect().await.unwrap();
    let fixture = Fixture { server, channel, data };
    create(&fixture).await;
    let client = Client::connect(&fixture.server.address().to_string()).await.unwrap();
    let producer = client.producer().batch_bytes(200).delivery_timeout(Duration::from_secs(5)).build();
    let mut expected: Vec<u32> = Vec::new();
    for round in 0..2_u32 {
        // In the first round it is full before the producer has stored anything.
        disk.set_capacity(Some(1 << 20));
        fixture.until_disk_is_full(true).await;
        let begin = round * 1_000;
        for (number, result) in send(&producer, begin..begin + 100, |_| false).await {
            let error = result.unwrap_err();
            assert_eq!(error.outcome(), Outcome::NotDone, "record {number}: {error}");
        }
        disk.set_capacity(None);
        fixture.until_disk_is_full(false).await;
        let results = send(&producer, begin + 500..begin + 600, |_| false).await;
        assert!(results.iter().all(|(_, result)| result.is_ok()), "{results:?}");
        expected.extend(begin + 500..begin + 600);
        assert_eq!(stored(&fixture).await, expected);
    }
    fixture.server.shutdown().await.unwrap();
}
