//! Records are deleted: nobody reads them any more, by either front, after a restart, or from another leader.

use std::time::{Duration, Instant};

use highwater_proto::v1;
use highwater_proto::v1::read_service_client::ReadServiceClient;
use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic};
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{
    BrokerId, CreateTopicsRequest, DeleteRecordsRequest, FetchRequest, ListOffsetsRequest, MetadataRequest,
    ProduceRequest, TopicName,
};

use super::batches::batch;
use super::harness::{Client, Fixture, PATIENCE, text};

fn name(topic: &str) -> TopicName {
    TopicName(text(topic))
}

fn create(client: &mut Client, topic: &str, replicas: i16) {
    let topic = CreatableTopic::default().with_name(name(topic)).with_num_partitions(1);
    let request = CreateTopicsRequest::default().with_topics(vec![topic.with_replication_factor(replicas)]);
    assert_eq!(client.call(7, &request).topics[0].error_code, 0);
}

/// Produces records at 1000, 1001 and so on; the code.
fn produce(client: &mut Client, topic: &str, partition: i32, values: &[&[u8]]) -> i16 {
    let data = PartitionProduceData::default().with_index(partition).with_records(Some(batch(values)));
    let topic = TopicProduceData::default().with_name(name(topic)).with_partition_data(vec![data]);
    let request = ProduceRequest::default().with_acks(-1).with_timeout_ms(5_000).with_topic_data(vec![topic]);
    client.call(9, &request).responses[0].partition_responses[0].error_code
}

/// Deletes below an offset; the code, and where the partition begins.
fn delete(client: &mut Client, version: i16, topic: &str, partition: i32, offset: i64) -> (i16, i64) {
    let asked = DeleteRecordsPartition::default().with_partition_index(partition).with_offset(offset);
    let topic = DeleteRecordsTopic::default().with_name(name(topic)).with_partitions(vec![asked]);
    let request = DeleteRecordsRequest::default().with_topics(vec![topic]).with_timeout_ms(10_000);
    let answer = client.call(version, &request);
    let told = &answer.topics[0].partitions[0];
    assert_eq!(told.partition_index, partition);
    (told.error_code, told.low_watermark)
}

/// What a fetch from an offset is answered: the code, where the log begins, and the first offset of what comes.
fn fetch(client: &mut Client, topic: &str, offset: i64) -> (i16, i64, Option<i64>) {
    let wanted = FetchPartition::default().with_partition(0).with_partition_max_bytes(1 << 20);
    let wanted = wanted.with_fetch_offset(offset).with_current_leader_epoch(-1);
    let topic = FetchTopic::default().with_topic(name(topic)).with_partitions(vec![wanted]);
    let request = FetchRequest::default().with_replica_id(BrokerId(-1)).with_max_bytes(1 << 20);
    let answer = client.call(12, &request.with_session_epoch(-1).with_topics(vec![topic]));
    let found = &answer.responses[0].partitions[0];
    let first = found.records.as_ref().and_then(|records| records.first_chunk().copied().map(i64::from_be_bytes));
    (found.error_code, found.log_start_offset, first)
}

/// The offset of a time, or of an end.
fn find(client: &mut Client, topic: &str, timestamp: i64) -> i64 {
    let asked = ListOffsetsPartition::default().with_partition_index(0).with_timestamp(timestamp);
    let topic = ListOffsetsTopic::default().with_name(name(topic));
    let topic = topic.with_partitions(vec![asked.with_current_leader_epoch(-1)]);
    let request = ListOffsetsRequest::default().with_replica_id(BrokerId(-1)).with_topics(vec![topic]);
    let found = client.call(7, &request);
    assert_eq!(found.topics[0].partitions[0].error_code, 0);
    found.topics[0].partitions[0].offset
}

/// Asks in one version; there is a topic `orders`, and something in its partition 1.
pub(crate) fn ask(client: &mut Client, version: i16) {
    assert_eq!(produce(client, "orders", 1, &[b"more", b"and more"]), 0);
    let (code, begins) = delete(client, version, "orders", 1, -1);
    assert_eq!((code, begins > 1), (0, true), "version {version}");
    assert_eq!(delete(client, version, "orders", 1, begins + 1), (1, -1));
    assert_eq!(delete(client, version, "orders", 9, 0), (3, -1));
    assert_eq!(produce(client, "orders", 1, &[b"later"]), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_deleted_is_not_read_any_more_not_even_after_a_restart() {
    let fixture = Fixture::new().await;
    let run = |mut client: Client| {
        create(&mut client, "t", 1);
        for values in [&[&b"0"[..], b"1", b"2"][..], &[b"3"], &[b"4", b"5"]] {
            assert_eq!(produce(&mut client, "t", 0, values), 0);
        }
        assert_eq!(delete(&mut client, 2, "t", 0, 0), (0, 0), "nothing is below 0");
        // Into the middle of a batch.
        assert_eq!(delete(&mut client, 2, "t", 0, 2), (0, 2));
        assert_eq!(fetch(&mut client, "t", 1), (1, -1, None));
        assert_eq!(fetch(&mut client, "t", 2), (0, 2, Some(0)), "a batch is given whole");
        assert_eq!((find(&mut client, "t", -2), find(&mut client, "t", 0), find(&mut client, "t", 1_001)), (2, 2, 2));
        assert_eq!(find(&mut client, "t", -1), 6);
        assert_eq!(delete(&mut client, 2, "t", 0, 1), (0, 2), "it never goes back");
        for beyond in [7, i64::MAX, -2, i64::MIN] {
            assert_eq!(delete(&mut client, 2, "t", 0, beyond), (1, -1), "{beyond}");
        }
        assert_eq!(delete(&mut client, 2, "absent", 0, 0), (3, -1));
        assert_eq!(delete(&mut client, 2, "__groups", 0, 0), (17, -1));
        assert_eq!(delete(&mut client, 2, "t", 0, 4), (0, 4));
        assert_eq!(fetch(&mut client, "t", 4), (0, 4, Some(4)));
    };
    fixture.client(run).await;
    let fixture = fixture.again().await;
    let url = format!("http://{}", fixture.server.address());
    let request = v1::ReadRequest {
        topic: "t".to_owned(),
        from: Some(v1::Position { at: Some(v1::position::At::Start(v1::position::Start {})) }),
        form: v1::Form::Records.into(),
        ..Default::default()
    };
    let read = ReadServiceClient::connect(url).await.unwrap().read(request).await.unwrap().into_inner();
    let values: Vec<_> = read.records.iter().map(|record| record.value.clone().unwrap()).collect();
    assert_eq!((values, read.log_start), (vec!["4".into(), "5".into()], 4));
    let run = |mut client: Client| {
        assert_eq!(fetch(&mut client, "t", 3), (1, -1, None));
        assert_eq!((find(&mut client, "t", -2), find(&mut client, "t", -1)), (4, 6));
        // All of it; then it goes on.
        assert_eq!(delete(&mut client, 0, "t", 0, -1), (0, 6));
        assert_eq!((find(&mut client, "t", 0), fetch(&mut client, "t", 6)), (-1, (0, 6, None)));
        assert_eq!(produce(&mut client, "t", 0, &[b"6"]), 0);
        assert_eq!(fetch(&mut client, "t", 6), (0, 6, Some(6)));
        assert_eq!((fetch(&mut client, "t", 5), find(&mut client, "t", 0)), ((1, -1, None), 6));
    };
    fixture.client(run).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_deleted_stays_deleted_under_another_leader() {
    let mut nodes = Vec::from(Fixture::three().await);
    let leader = |client: &mut Client| {
        let asked = MetadataRequestTopic::default().with_name(Some(name("t")));
        let answer = client.call(12, &MetadataRequest::default().with_topics(Some(vec![asked])));
        answer.topics[0].partitions[0].leader_id.0
    };
    let lead = move |client: &mut Client, not: i32| {
        let begun = Instant::now();
        loop {
            match leader(client) {
                node if node > 0 && node != not => return node,
                _ => assert!(begun.elapsed() < PATIENCE, "nobody leads"),
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    };
    let of = |nodes: &[Fixture], node: i32| {
        let is_it = |one: &Fixture| one.server.node().identity().node.get() == u64::try_from(node).unwrap();
        nodes.iter().position(is_it).unwrap()
    };
    let first = nodes[0]
        .client(move |mut client| {
            create(&mut client, "t", 3);
            lead(&mut client, -1)
        })
        .await;
    let place = of(&nodes, first);
    nodes[place]
        .client(|mut client| {
            let begun = Instant::now();
            loop {
                match produce(&mut client, "t", 0, &[b"0", b"1", b"2"]) {
                    0 => break,
                    // It may hear of its leadership later than others.
                    code => assert!([5, 6].contains(&code) && begun.elapsed() < PATIENCE, "{code}"),
                }
            }
            assert_eq!(delete(&mut client, 2, "t", 0, 2), (0, 2));
        })
        .await;
    let other = usize::from(place == 0);
    assert_eq!(nodes[other].client(|mut client| delete(&mut client, 2, "t", 0, 3)).await, (6, -1), "it does not lead");
    nodes.remove(place).server.shutdown().await.unwrap();
    let second = nodes[0].client(move |mut client| lead(&mut client, first)).await;
    nodes[of(&nodes, second)]
        .client(|mut client| {
            assert_eq!(fetch(&mut client, "t", 1), (1, -1, None));
            assert_eq!((fetch(&mut client, "t", 2), find(&mut client, "t", -2)), ((0, 2, Some(0)), 2));
            assert_eq!(delete(&mut client, 2, "t", 0, -1), (0, 3), "and it deletes itself");
        })
        .await;
}
