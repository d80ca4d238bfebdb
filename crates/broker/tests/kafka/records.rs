//! Records in and out, over both fronts.

use std::time::{Duration, Instant};

use bytes::Bytes;
use highwater_proto::v1;
use highwater_proto::v1::produce_service_client::ProduceServiceClient;
use highwater_proto::v1::read_service_client::ReadServiceClient;
use highwater_types::batch::{Compression, records};
use kafka_protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{
    BrokerId, CreateTopicsRequest, FetchRequest, FetchResponse, InitProducerIdRequest, ListOffsetsRequest,
    ProduceRequest, TopicName,
};

use super::batches::{batch, batch_with, sequenced};
use super::harness::{Client, Fixture, text};

const TOPIC: &str = "orders";

fn name() -> TopicName {
    TopicName(text(TOPIC))
}

fn create(client: &mut Client, partitions: i32) {
    let topic = CreatableTopic::default().with_name(name()).with_num_partitions(partitions).with_replication_factor(1);
    let created = client.call(7, &CreateTopicsRequest::default().with_topics(vec![topic]).with_timeout_ms(5_000));
    assert_eq!(created.topics[0].error_code, 0, "{created:?}");
}

fn produce_request(acks: i16, batches: &[(i32, Bytes)]) -> ProduceRequest {
    let data = batches.iter().map(|(partition, batch)| {
        PartitionProduceData::default().with_index(*partition).with_records(Some(batch.clone()))
    });
    let topic = TopicProduceData::default().with_name(name()).with_partition_data(data.collect());
    ProduceRequest::default().with_acks(acks).with_timeout_ms(5_000).with_topic_data(vec![topic])
}

/// Produces one batch; its error code and base offset.
fn produce(client: &mut Client, partition: i32, batch: Bytes) -> (i16, i64) {
    let answer = client.call(9, &produce_request(-1, &[(partition, batch)]));
    let of_partition = &answer.responses[0].partition_responses[0];
    assert_eq!(of_partition.index, partition);
    (of_partition.error_code, of_partition.base_offset)
}

fn fetch_request(wait_ms: i32, bytes_max: i32, partitions: &[(i32, i64)]) -> FetchRequest {
    let wanted = partitions.iter().map(|(partition, offset)| {
        let wanted = FetchPartition::default().with_partition(*partition).with_fetch_offset(*offset);
        wanted.with_partition_max_bytes(bytes_max).with_current_leader_epoch(-1)
    });
    let topic = FetchTopic::default().with_topic(name()).with_partitions(wanted.collect());
    FetchRequest::default()
        .with_replica_id(BrokerId(-1))
        .with_max_wait_ms(wait_ms)
        .with_min_bytes(1)
        .with_max_bytes(bytes_max)
        .with_session_epoch(-1)
        .with_topics(vec![topic])
}

/// The records of each partition of an answer.
fn values(response: &FetchResponse) -> Vec<Vec<Bytes>> {
    let of = |mut stored: Bytes| {
        let mut values = Vec::new();
        while !stored.is_empty() {
            let length = 12 + u32::from_be_bytes(stored[8..12].try_into().unwrap()) as usize;
            let one = stored.split_to(length);
            values.extend(records(one).unwrap().map(|record| record.unwrap().value.unwrap()));
        }
        values
    };
    let partitions = response.responses.iter().flat_map(|topic| &topic.partitions);
    partitions.map(|partition| of(partition.records.clone().expect("empty is not null"))).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_produced_is_fetched_byte_for_byte_in_every_compression() {
    let fixture = Fixture::new().await;
    let run = |mut client: Client| {
        create(&mut client, 1);
        let codecs = [Compression::None, Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd];
        for (codec, at) in codecs.into_iter().zip((0..).step_by(2)) {
            let sent = batch_with(&[b"one", b"two"], codec, None);
            assert_eq!(produce(&mut client, 0, sent.clone()), (0, at));
            let fetched = client.call(11, &fetch_request(0, 1 << 20, &[(0, at)]));
            let partition = &fetched.responses[0].partitions[0];
            assert_eq!((partition.high_watermark, partition.last_stable_offset), (at + 2, at + 2));
            let stored = partition.records.clone().unwrap();
            // The broker puts in where it is and in which epoch, and nothing else.
            assert_eq!((&stored[8..12], &stored[16..]), (&sent[8..12], &sent[16..]), "{codec:?}");
            assert_eq!(stored[..8], at.to_be_bytes());
        }
    };
    fixture.client(run).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fetch_waits_for_any_of_its_partitions() {
    let fixture = Fixture::new().await;
    let address = fixture.address();
    let run = move |mut client: Client| {
        create(&mut client, 20);
        let wanted: Vec<(i32, i64)> = (0..20).map(|partition| (partition, 0)).collect();
        let started = Instant::now();
        let empty = client.call(12, &fetch_request(300, 1 << 20, &wanted));
        assert!(started.elapsed() >= Duration::from_millis(250) && values(&empty).concat().is_empty());
        client.send(12, 3, &fetch_request(20_000, 1 << 20, &wanted));
        // A parked fetch holds up its own connection and no other.
        assert_eq!(produce(&mut Client::connect(address), 17, batch(&[b"late"])), (0, 0));
        let started = Instant::now();
        let found = client.receive::<FetchRequest>(12, 3);
        assert!(started.elapsed() < Duration::from_secs(10));
        assert_eq!(values(&found)[17], ["late"]);
    };
    fixture.client(run).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_does_not_read_holds_up_itself_and_gets_its_answers_in_order() {
    let fixture = Fixture::new().await;
    let address = fixture.address();
    let run = move |mut slow: Client| {
        create(&mut slow, 2);
        let large = vec![7; 600_000];
        for at in 0..3 {
            assert_eq!(produce(&mut slow, 0, batch(&[&large])), (0, at));
        }
        // Far more than sockets hold, and than a connection may have under way.
        for correlation in 0..100 {
            slow.send(12, correlation, &fetch_request(0, 1 << 20, &[(0, i64::from(correlation % 3))]));
        }
        let mut other = Client::connect(address);
        for at in 0..20 {
            assert_eq!(produce(&mut other, 1, batch(&[b"quick"])), (0, at));
            assert_eq!(values(&other.call(12, &fetch_request(0, 1 << 20, &[(1, at)])))[0], ["quick"]);
        }
        for correlation in 0..100 {
            let found = slow.receive::<FetchRequest>(12, correlation);
            assert_eq!(values(&found)[0][0], large, "{correlation}");
        }
    };
    fixture.client(run).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_partition_comes_to_its_turn_within_the_bytes_of_an_answer() {
    let fixture = Fixture::new().await;
    let run = |mut client: Client| {
        create(&mut client, 3);
        let large = vec![b'x'; 4_000];
        for partition in 0..3 {
            assert_eq!(produce(&mut client, partition, batch(&[&large])), (0, 0));
        }
        let wanted = [(0, 0), (1, 0), (2, 0)];
        let mut served = [false; 3];
        for _ in 0..3 {
            // Smaller than a batch: one whole batch comes, of another partition each time.
            let found = values(&client.call(12, &fetch_request(0, 100, &wanted)));
            let with: Vec<usize> = (0..3).filter(|index| !found[*index].is_empty()).collect();
            assert_eq!(with.len(), 1);
            served[with[0]] = true;
        }
        // Other connections take turns, too, so not each of three has to be another one's; but no one alone is served.
        assert!(served.iter().filter(|served| **served).count() >= 2, "{served:?}");
        let all = values(&client.call(12, &fetch_request(0, 1 << 20, &wanted)));
        assert!(all.iter().all(|values| values.len() == 1));
        let out = client.call(12, &fetch_request(0, 1 << 20, &[(0, 9)]));
        assert_eq!(out.responses[0].partitions[0].error_code, 1, "out of range");
        let none = client.call(12, &fetch_request(0, 1 << 20, &[(9, 0)]));
        assert_eq!(none.responses[0].partitions[0].error_code, 3, "no such partition");
    };
    fixture.client(run).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn idempotent_batches_are_stored_once_and_in_order() {
    let fixture = Fixture::new().await;
    let run = |mut client: Client| {
        create(&mut client, 1);
        let given = client.call(4, &InitProducerIdRequest::default().with_transactional_id(None));
        assert_eq!((given.error_code, given.producer_epoch), (0, 0));
        let id = given.producer_id.0;
        // Sent without waiting: the answers come in order.
        for sequence in 0..5 {
            client.send(9, sequence, &produce_request(-1, &[(0, sequenced(id, 0, sequence))]));
        }
        for sequence in 0..5 {
            let answer = client.receive::<ProduceRequest>(9, sequence);
            let of_partition = &answer.responses[0].partition_responses[0];
            assert_eq!((of_partition.error_code, of_partition.base_offset), (0, sequence.into()));
        }
        assert_eq!(produce(&mut client, 0, sequenced(id, 0, 2)), (0, 2), "the same again has its first offset");
        assert_eq!(produce(&mut client, 0, sequenced(id, 0, 6)).0, 45, "a gap");
        assert_eq!(produce(&mut client, 0, sequenced(id, 1, 0)), (0, 5), "a new epoch begins at 0");
        assert_eq!(produce(&mut client, 0, sequenced(id, 0, 5)).0, 47, "the old one is fenced");
        let refused = client.call(4, &InitProducerIdRequest::default().with_transactional_id(Some(text("t").into())));
        assert_eq!(refused.error_code, 53);
    };
    fixture.client(run).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn acks_say_what_is_answered() {
    let fixture = Fixture::new().await;
    let run = |mut client: Client| {
        create(&mut client, 2);
        client.send(9, 1, &produce_request(0, &[(0, batch(&[b"zero"]))]));
        let one = client.call(9, &produce_request(1, &[(0, batch(&[b"one"])), (1, batch(&[b"other"]))]));
        let of_partitions = &one.responses[0].partition_responses;
        assert_eq!((of_partitions[0].error_code, of_partitions[0].base_offset), (0, 1), "zero was not answered");
        assert_eq!((of_partitions[1].error_code, of_partitions[1].base_offset), (0, 0));
        let two = client.call(9, &produce_request(2, &[(0, batch(&[b"two"]))]));
        assert_eq!(two.responses[0].partition_responses[0].error_code, 21);
        // Nobody would hear of it otherwise.
        client.send(9, 1, &produce_request(0, &[(7, batch(&[b"nowhere"]))]));
        assert!(client.answer().is_none());
    };
    fixture.client(run).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_have_the_time_of_the_node_where_the_topic_says_so() {
    let fixture = Fixture::new().await;
    let run = |mut client: Client| {
        let setting = CreatableTopicConfig::default().with_name(text("message.timestamp.type"));
        let setting = setting.with_value(Some(text("LogAppendTime")));
        let topic = CreatableTopic::default().with_name(name()).with_num_partitions(1).with_replication_factor(1);
        let topic = topic.with_configs(vec![setting]);
        let created = client.call(7, &CreateTopicsRequest::default().with_topics(vec![topic]).with_timeout_ms(5_000));
        assert_eq!(created.topics[0].error_code, 0, "{created:?}");
        let told = |client: &mut Client, batch: Bytes| {
            let answer = client.call(9, &produce_request(-1, &[(0, batch)]));
            let stored = &answer.responses[0].partition_responses[0];
            assert_eq!(stored.error_code, 0);
            stored.log_append_time_ms
        };
        // The producer's time is the first seconds of 1970.
        let first = told(&mut client, batch(&[b"one", b"two"]));
        let second = told(&mut client, batch_with(&[b"three"], Compression::Zstd, None));
        assert!(first > 1_700_000_000_000 && second >= first, "{first} {second}");
        let fetched = client.call(11, &fetch_request(0, 1 << 20, &[(0, 0)]));
        assert_eq!(values(&fetched)[0], ["one", "two", "three"]);
        let stored = fetched.responses[0].partitions[0].records.clone().unwrap();
        let length = 12 + u32::from_be_bytes(stored[8..12].try_into().unwrap()) as usize;
        let of_first: Vec<_> =
            records(stored.slice(..length)).unwrap().map(|one| one.unwrap().timestamp.as_ms()).collect();
        assert_eq!(of_first, [first, first]);
        // It is what offsets are found by, too.
        let mut find = |timestamp| {
            let partition = ListOffsetsPartition::default().with_partition_index(0).with_timestamp(timestamp);
            let partition = partition.with_current_leader_epoch(-1);
            let topic = ListOffsetsTopic::default().with_name(name()).with_partitions(vec![partition]);
            let request = ListOffsetsRequest::default().with_replica_id(BrokerId(-1)).with_topics(vec![topic]);
            let found = client.call(7, &request).topics[0].partitions[0].clone();
            (found.offset, found.timestamp)
        };
        assert_eq!((find(first), find(second + 1)), ((0, first), (-1, -1)));
    };
    fixture.client(run).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn offsets_are_found_by_time_and_at_both_ends() {
    let fixture = Fixture::new().await;
    let run = |mut client: Client| {
        create(&mut client, 1);
        produce(&mut client, 0, batch(&[b"at 1000", b"at 1001", b"at 1002"]));
        produce(&mut client, 0, batch(&[b"at 1000 again"]));
        let mut find = |timestamp| {
            let asked = ListOffsetsPartition::default()
                .with_partition_index(0)
                .with_timestamp(timestamp)
                .with_current_leader_epoch(-1);
            let topic = ListOffsetsTopic::default().with_name(name()).with_partitions(vec![asked]);
            let request = ListOffsetsRequest::default().with_replica_id(BrokerId(-1)).with_topics(vec![topic]);
            let answer = client.call(10, &request);
            let found = &answer.topics[0].partitions[0];
            assert_eq!(found.error_code, 0);
            (found.offset, found.timestamp)
        };
        assert_eq!((find(-2), find(-1), find(-4), find(-5)), ((0, -1), (4, -1), (0, -1), (-1, -1)));
        assert_eq!((find(0), find(1_001), find(1_003)), ((0, 1_000), (1, 1_001), (-1, -1)));
        assert_eq!(find(-3), (2, 1_002), "the newest");
    };
    fixture.client(run).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_fronts_serve_the_same_records() {
    let fixture = Fixture::new().await;
    fixture
        .client(|mut client| {
            create(&mut client, 1);
            assert_eq!(produce(&mut client, 0, batch(&[b"by Kafka"])), (0, 0));
        })
        .await;
    let url = format!("http://{}", fixture.server.address());
    let request = v1::ReadRequest {
        topic: TOPIC.to_owned(),
        from: Some(v1::Position { at: Some(v1::position::At::Offset(0)) }),
        form: v1::Form::Records.into(),
        ..Default::default()
    };
    let read = ReadServiceClient::connect(url.clone()).await.unwrap().read(request).await.unwrap().into_inner();
    assert_eq!(
        (&read.records[0].value.clone().unwrap()[..], read.records[0].timestamp_ms),
        (&b"by Kafka"[..], Some(1_000))
    );
    let header = v1::Header { name: "h".to_owned(), value: Some(Bytes::from_static(b"1")) };
    let record = v1::Record {
        key: Some(Bytes::from_static(b"k")),
        value: Some(Bytes::from_static(b"by gRPC")),
        timestamp_ms: Some(5),
        headers: vec![header],
        ..Default::default()
    };
    let payload = v1::produce_request::Payload::Records(v1::PlainRecords { records: vec![record] });
    let request = v1::ProduceRequest {
        topic: TOPIC.to_owned(),
        acks: v1::Acks::Quorum.into(),
        payload: Some(payload),
        ..Default::default()
    };
    ProduceServiceClient::connect(url).await.unwrap().produce(request).await.unwrap();
    fixture
        .client(|mut client| {
            let fetched = client.call(12, &fetch_request(0, 1 << 20, &[(0, 1)]));
            let stored = fetched.responses[0].partitions[0].records.clone().unwrap();
            let record = records(stored).unwrap().next().unwrap().unwrap();
            assert_eq!((record.key.unwrap(), record.value.unwrap()), ("k".into(), "by gRPC".into()));
            assert_eq!((record.timestamp.as_ms(), record.headers.len()), (5, 1));
        })
        .await;
}
