//! The producer against a server that fails as it is told: order, once, bounds, time.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, missing_docs)]

mod scripted;

use std::time::Duration;

use highwater_client::{
    Acks, Compression, ErrorCode, Outcome, PartitionId, ProduceError, Producer, Record, SendError, Timestamp,
};
use scripted::{Log, ProduceFault, Server, eventually};

/// Sends so many numbered records and returns what became of each.
async fn send_numbers(producer: &Producer, numbers: std::ops::Range<u32>) -> Vec<Result<u64, ProduceError>> {
    let mut deliveries = Vec::new();
    for number in numbers {
        deliveries.push(producer.send("t", Record::new(number.to_string())).await.unwrap());
    }
    let mut results = Vec::new();
    for delivery in deliveries {
        results.push(delivery.await.map(|metadata| metadata.offset.unwrap().get()));
    }
    results
}

fn numbers(range: std::ops::Range<u32>) -> Vec<String> {
    range.map(|number| number.to_string()).collect()
}

#[tokio::test]
async fn records_arrive_in_order_with_their_offsets_in_batches_that_grow_under_load() {
    let server = Server::start(1).await;
    let producer = server.connect().await.producer().build();
    let offsets = send_numbers(&producer, 0..5_000).await;
    assert!(offsets.into_iter().map(Result::unwrap).eq(0..5_000));
    assert_eq!(server.values(0), numbers(0..5_000));
    let batches = server.batch_sizes(0);
    assert!(batches.len() < 1_000, "{} batches", batches.len());
}

#[tokio::test]
async fn every_way_to_lose_an_answer_still_stores_each_record_once_and_in_order() {
    let server = Server::start(1).await;
    let client = server.client().request_timeout(Duration::from_millis(300)).connect().await.unwrap();
    let producer = client.producer().batch_bytes(2_000).build();
    let refuse = |code| ProduceFault::Refuse(code);
    server.fail_next([
        ProduceFault::CutAfter,
        ProduceFault::None,
        ProduceFault::CutBefore,
        refuse(ErrorCode::Overloaded),
        ProduceFault::None,
        refuse(ErrorCode::OutcomeUnknown),
        ProduceFault::None,
        ProduceFault::None,
        ProduceFault::WrongCorrelation,
        ProduceFault::None,
        refuse(ErrorCode::NotLeader),
        ProduceFault::Stall,
        ProduceFault::None,
        refuse(ErrorCode::DiskFull),
        ProduceFault::CutAfter,
        ProduceFault::CutAfter,
    ]);
    let offsets = send_numbers(&producer, 0..2_000).await;
    assert!(offsets.into_iter().map(Result::unwrap).eq(0..2_000));
    assert_eq!(server.values(0), numbers(0..2_000));
    let state = server.state.lock().unwrap();
    assert!(state.produce_faults.is_empty(), "all faults happened");
    assert!(state.streams_opened > 5, "{} streams", state.streams_opened);
    assert!(state.in_flight_max <= 5, "{} batches in flight", state.in_flight_max);
}

#[tokio::test]
async fn a_server_that_comes_back_on_the_same_port_gets_the_rest() {
    let mut server = Server::start(1).await;
    let producer = server.connect().await.producer().build();
    let sender = {
        let producer = producer.clone();
        tokio::spawn(async move { send_numbers(&producer, 0..20_000).await })
    };
    eventually("some records are stored", || !server.batch_sizes(0).is_empty()).await;
    server.fail_next([ProduceFault::CutAfter]);
    server.stop();
    server.resume().await;
    let offsets = sender.await.unwrap();
    assert!(offsets.into_iter().map(Result::unwrap).eq(0..20_000));
    assert_eq!(server.values(0), numbers(0..20_000));
}

#[tokio::test]
async fn a_definite_refusal_is_told_as_such_and_what_follows_is_stored() {
    let server = Server::start(1).await;
    let producer = server.connect().await.producer().batch_bytes(100).build();
    server.fail_next([ProduceFault::None, ProduceFault::Refuse(ErrorCode::BatchTooLarge)]);
    let results = send_numbers(&producer, 0..100).await;
    let failed: Vec<_> = results.iter().filter_map(|result| result.as_ref().err()).collect();
    assert!(!failed.is_empty());
    for error in failed {
        assert_eq!((error.code(), error.outcome()), (Some(ErrorCode::BatchTooLarge), Outcome::NotDone), "{error}");
        assert!(!error.is_retryable());
    }
    let expected: Vec<String> =
        (0..100_u32).filter(|number| results[*number as usize].is_ok()).map(|number| number.to_string()).collect();
    assert_eq!(server.values(0), expected);
}

#[tokio::test]
async fn memory_bounds_what_is_taken_and_gives_way_again() {
    let server = Server::start(1).await;
    let producer = server.connect().await.producer().memory_bytes(100_000).build();
    server.hold(true);
    let mut deliveries = Vec::new();
    let value = vec![b'x'; 1_000];
    while let Ok(delivery) =
        tokio::time::timeout(Duration::from_millis(300), producer.send("t", Record::new(value.clone()))).await
    {
        deliveries.push(delivery.unwrap());
    }
    assert!((80..=100).contains(&deliveries.len()), "{} records of 1,000 bytes in 100,000", deliveries.len());
    server.hold(false);
    for delivery in deliveries {
        delivery.await.unwrap();
    }
    producer.send_and_wait("t", Record::new(value)).await.unwrap();
    let too_large = producer.send("t", Record::new(vec![0; 100_000])).await.unwrap_err();
    assert!(matches!(too_large, SendError::LargerThanMemory { memory_bytes: 100_000, .. }), "{too_large}");
}

#[tokio::test]
async fn a_record_that_cannot_be_delivered_in_time_says_whether_it_may_be_stored() {
    let mut server = Server::start(1).await;
    let client = server.connect().await;
    let producer = client.producer().delivery_timeout(Duration::from_millis(400)).build();
    producer.send_and_wait("t", Record::new("before")).await.unwrap();

    server.fail_next([ProduceFault::Stall]);
    let error = producer.send("t", Record::new("stalled")).await.unwrap().await.unwrap_err();
    assert!(matches!(error, ProduceError::TimedOut { .. }), "{error}");
    assert_eq!((error.outcome(), error.is_retryable()), (Outcome::Unknown, true));

    server.fail_next((0..100).map(|_| ProduceFault::Refuse(ErrorCode::Overloaded)));
    let error = producer.send("t", Record::new("refused")).await.unwrap().await.unwrap_err();
    assert_eq!(error.outcome(), Outcome::NotDone, "{error}");
    server.state.lock().unwrap().produce_faults.clear();
    producer.send_and_wait("t", Record::new("between")).await.unwrap();

    server.stop();
    server.fail_next([ProduceFault::CutBefore]);
    let _ = producer.send("t", Record::new("cut")).await.unwrap().await;
    let error = producer.send("t", Record::new("unreachable")).await.unwrap().await.unwrap_err();
    assert_eq!(error.outcome(), Outcome::NotDone, "{error}");
    assert!(error.to_string().contains("refused"), "{error}");

    server.state.lock().unwrap().produce_faults.clear();
    server.resume().await;
    producer.send_and_wait("t", Record::new("after")).await.unwrap();
    assert_eq!(server.values(0), ["before", "stalled", "between", "after"]);
}

#[tokio::test]
async fn lingering_gathers_and_flush_does_not_wait_for_it() {
    let server = Server::start(1).await;
    let producer = server.connect().await.producer().linger(Duration::from_secs(60)).build();
    for number in 0..10 {
        drop(producer.send("t", Record::new(number.to_string())).await.unwrap());
    }
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(server.batch_sizes(0), []);
    producer.flush().await.unwrap();
    assert_eq!(server.batch_sizes(0), [10]);

    let producer = server.connect().await.producer().linger(Duration::from_millis(50)).build();
    let delivery = producer.send("t", Record::new("alone")).await.unwrap();
    drop(producer.send("t", Record::new("not alone")).await.unwrap());
    delivery.await.unwrap();
    assert_eq!(server.batch_sizes(0), [10, 2]);
}

#[tokio::test]
async fn flush_tells_of_the_first_failure_once() {
    let server = Server::start(2).await;
    let producer = server.connect().await.producer().build();
    server.fail_next([ProduceFault::Refuse(ErrorCode::InvalidBatch)]);
    drop(producer.send("t", Record::new("bad")).await.unwrap());
    let error = producer.flush().await.unwrap_err();
    assert_eq!(error.code(), Some(ErrorCode::InvalidBatch));
    producer.flush().await.unwrap();
}

#[tokio::test]
async fn close_sends_what_was_taken_and_takes_no_more() {
    let server = Server::start(1).await;
    let producer = server.connect().await.producer().linger(Duration::from_secs(60)).build();
    drop(producer.send("t", Record::new("last")).await.unwrap());
    producer.close().await.unwrap();
    assert_eq!(server.values(0), ["last"]);
    assert!(matches!(producer.send("t", Record::new("late")).await, Err(SendError::Closed)));
    assert!(matches!(producer.send("other", Record::new("late")).await, Err(SendError::Closed)));
}

#[tokio::test]
async fn dropping_the_producer_sends_what_was_taken() {
    let server = Server::start(1).await;
    let producer = server.connect().await.producer().linger(Duration::from_secs(60)).build();
    let delivery = producer.send("t", Record::new("left behind")).await.unwrap();
    drop(producer);
    delivery.await.unwrap();
    assert_eq!(server.values(0), ["left behind"]);
}

#[tokio::test]
async fn keys_choose_their_partition_as_the_java_client_does_and_the_rest_is_spread() {
    let server = Server::start(4).await;
    let producer = server.connect().await.producer().build();
    // murmur2("21") & 0x7fffffff = 1,173,551,340; murmur2("foobar") & 0x7fffffff = 1,357,151,166.
    let placed = producer.send_and_wait("t", Record::new("a").key("21")).await.unwrap();
    assert_eq!(placed.partition, PartitionId::new(0));
    let placed = producer.send_and_wait("t", Record::new("b").key("foobar")).await.unwrap();
    assert_eq!(placed.partition, PartitionId::new(2));
    let placed = producer.send_and_wait("t", Record::new("c").partition(PartitionId::new(3))).await.unwrap();
    assert_eq!(placed.partition, PartitionId::new(3));
    let error = producer.send("t", Record::new("d").partition(PartitionId::new(4))).await.unwrap_err();
    assert_eq!(error.to_string(), "topic t has partitions 0 to 3, not 4");
    for number in 0..400 {
        producer.send_and_wait("t", Record::new(number.to_string())).await.unwrap();
    }
    for partition in 0..4 {
        let count = server.values(partition).len();
        assert!((80..=120).contains(&count), "{count} records in partition {partition}");
    }
}

#[tokio::test]
async fn what_a_record_has_beside_its_value_arrives_under_every_codec() {
    let server = Server::start(1).await;
    for compression in Compression::ALL {
        let client = server.connect().await;
        let producer = client.producer().compression(compression).build();
        let record = Record::new("v").key("k").header("h", "1").header("h", "2").timestamp(Timestamp::from_ms(5));
        let placed = producer.send_and_wait("t", record).await.unwrap();
        assert_eq!(placed.timestamp, Timestamp::from_ms(5));
        let mut reader = client.reader().topic("t").from(placed.offset.unwrap()).open().await.unwrap();
        let read = reader.next_record().await.unwrap().unwrap();
        assert_eq!((read.key.as_deref(), read.value.as_deref()), (Some(&b"k"[..]), Some(&b"v"[..])));
        assert_eq!((read.timestamp, read.header("h")), (Timestamp::from_ms(5), Some(&b"1"[..])));
        assert_eq!(read.headers.len(), 2);
    }
}

#[tokio::test]
async fn weaker_acks_are_asked_for_and_without_acks_there_is_no_offset() {
    let server = Server::start(1).await;
    let client = server.connect().await;
    let placed = client.producer().acks(Acks::None).build().send_and_wait("t", Record::new("a")).await.unwrap();
    assert_eq!(placed.offset, None);
    client.producer().acks(Acks::Leader).build().send_and_wait("t", Record::new("b")).await.unwrap();
    client.producer().build().send_and_wait("t", Record::new("c")).await.unwrap();
    let state = server.state.lock().unwrap();
    assert_eq!(
        state.acks_seen.iter().map(|acks| acks.as_str_name()).collect::<Vec<_>>(),
        ["ACKS_NONE", "ACKS_LEADER", "ACKS_QUORUM"]
    );
    assert!(state.logs[0].batches[0].0.producer.is_none(), "no idempotence without acks");
    assert!(state.logs[0].batches[2].0.producer.is_some());
}

#[tokio::test]
async fn an_unknown_topic_is_told_before_anything_is_taken() {
    let server = Server::start(1).await;
    let producer = server.connect().await.producer().build();
    let error = producer.send("nothing", Record::new("x")).await.unwrap_err();
    assert_eq!(error.to_string(), "topic nothing: there is no topic nothing (UNKNOWN_TOPIC)");
    let error = producer.send("no/name", Record::new("x")).await.unwrap_err();
    assert!(error.to_string().contains("holds only"), "{error}");
}

#[tokio::test]
async fn a_partition_that_is_new_is_found_when_it_is_asked_for_and_by_itself() {
    let server = Server::start(1).await;
    // So rarely that only the first record to the new partition can have it looked for.
    let rarely = server.client().topics_refresh(Duration::from_secs(3_600)).connect().await.unwrap();
    let producer = rarely.producer().build();
    let to = |partition| Record::new("r").partition(PartitionId::new(partition));
    producer.send_and_wait("t", to(0)).await.unwrap();
    let unknown = producer.send("t", to(1)).await.unwrap_err();
    assert!(matches!(unknown, SendError::UnknownPartition { count: 1, .. }), "{unknown}");
    server.state.lock().unwrap().logs.push(Log::default());
    producer.send_and_wait("t", to(1)).await.unwrap();

    // Records that name no partition go there too, once a look from time to time has found it.
    let often = server.client().topics_refresh(Duration::from_millis(40)).connect().await.unwrap();
    let producer = often.producer().build();
    producer.send_and_wait("t", Record::new("r")).await.unwrap();
    server.state.lock().unwrap().logs.push(Log::default());
    let until_found = async {
        while producer.send_and_wait("t", Record::new("r")).await.unwrap().partition != PartitionId::new(2) {}
    };
    tokio::time::timeout(Duration::from_secs(20), until_found).await.expect("the new partition gets its share");
}
