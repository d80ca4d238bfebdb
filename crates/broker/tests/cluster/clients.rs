//! Clients of a cluster: thin ones, which talk to any node, and ours, which finds leaders.
#![allow(clippy::cast_possible_wrap, clippy::cast_possible_truncation)]

use std::time::Duration;

use bytes::Bytes;
use highwater_client::{Client, Record};
use highwater_proto::v1;
use highwater_proto::v1::admin_service_client::AdminServiceClient;
use highwater_proto::v1::position::{At, Start};
use highwater_proto::v1::produce_request::Payload;
use highwater_proto::v1::produce_response::Result as Answer;
use highwater_proto::v1::produce_service_client::ProduceServiceClient;
use highwater_proto::v1::read_service_client::ReadServiceClient;
use highwater_proto::v1::read_stream_request::Kind;
use tokio_stream::StreamExt;
use tonic::transport::Channel;

use super::harness::{Cluster, PATIENCE, Wire, run};

async fn channel(cluster: &Cluster, number: usize) -> Channel {
    let address = format!("http://{}", cluster.server(number).address());
    Channel::from_shared(address).unwrap().connect().await.unwrap()
}

fn request(correlation: u64, topic: &str, partition: u32, value: String) -> v1::ProduceRequest {
    let record = v1::Record { value: Some(Bytes::from(value)), ..Default::default() };
    v1::ProduceRequest {
        correlation,
        topic: topic.to_owned(),
        partition: Some(partition),
        acks: v1::Acks::Quorum.into(),
        payload: Some(Payload::Records(v1::PlainRecords { records: vec![record] })),
    }
}

fn start() -> Option<v1::Position> {
    Some(v1::Position { at: Some(At::Start(Start {})) })
}

fn value(record: &v1::Record) -> String {
    String::from_utf8(record.value.as_ref().unwrap().to_vec()).unwrap()
}

/// Reads a partition from its start through a stream, until there are so many records.
async fn read_stream(channel: Channel, topic: &str, partition: u32, count: usize) -> Vec<String> {
    let open = v1::ReadOpen {
        topic: topic.to_owned(),
        partition,
        from: start(),
        form: v1::Form::Records.into(),
        credit_bytes: 1 << 20,
        ..Default::default()
    };
    // It stays open for credit, which is never needed.
    let requests = tokio_stream::once(v1::ReadStreamRequest { kind: Some(Kind::Open(open)) });
    let requests = requests.chain(tokio_stream::pending());
    let mut responses = ReadServiceClient::new(channel).read_stream(requests).await.unwrap().into_inner();
    let mut values = Vec::new();
    while values.len() < count {
        let response = tokio::time::timeout(PATIENCE, responses.message()).await.expect("it comes in time");
        values.extend(response.unwrap().unwrap().records.iter().map(value));
    }
    values
}

#[test]
fn a_thin_client_may_talk_to_any_node() {
    run(async {
        let mut cluster = Cluster::start(3, Wire::Memory).await;
        // One replica each: two of three nodes do not hold a partition; three: two of them follow.
        for (topic, replicas) in [("alone", 1), ("copied", 3)] {
            cluster.create_topic(topic, 3, replicas).await;
            for number in 1..=3_usize {
                let channel = channel(&cluster, number).await;
                let mut producer = ProduceServiceClient::new(channel.clone());
                for partition in 0..3 {
                    let sent = request(7, topic, partition, format!("{number}"));
                    let answer = producer.produce(sent).await.unwrap().into_inner();
                    let Some(Answer::Ack(ack)) = answer.result else { panic!("{answer:?}") };
                    let offset = (number - 1) as i64;
                    assert_eq!((answer.correlation, ack.partition, ack.base_offset), (7, partition, offset));
                }
                let positions = (0..3).map(|partition| v1::PartitionPosition { partition, position: start() });
                let lookup = v1::LookupOffsetsRequest { topic: topic.to_owned(), positions: positions.collect() };
                let mut reader = ReadServiceClient::new(channel.clone());
                let found = reader.lookup_offsets(lookup).await.unwrap().into_inner().offsets;
                let marks: Vec<_> = found.iter().map(|found| (found.partition, found.high_watermark)).collect();
                assert_eq!(marks, [(0, number as i64), (1, number as i64), (2, number as i64)]);
                for partition in 0..3 {
                    let read = v1::ReadRequest {
                        topic: topic.to_owned(),
                        partition,
                        from: start(),
                        form: v1::Form::Records.into(),
                        ..Default::default()
                    };
                    let got = reader.read(read).await.unwrap().into_inner();
                    assert_eq!(got.records.len(), number, "partition {partition} of {topic} through node {number}");
                    assert_eq!(read_stream(channel.clone(), topic, partition, number).await.len(), number);
                }
            }
        }
        cluster.stop_all().await;
    });
}

#[test]
fn the_batches_of_a_thin_clients_stream_keep_their_order_on_the_way_through_a_node() {
    run(async {
        let mut cluster = Cluster::start(3, Wire::Memory).await;
        cluster.create_topic("orders", 3, 1).await;
        let (topic, count) = ("orders", 300_u64);
        let channel = channel(&cluster, 1).await;
        let requests = (0..count).map(|number| request(number, topic, (number % 3) as u32, number.to_string()));
        let requests = tokio_stream::iter(requests.collect::<Vec<_>>());
        let mut answers =
            ProduceServiceClient::new(channel.clone()).produce_stream(requests).await.unwrap().into_inner();
        let mut acked = 0;
        while let Some(answer) = tokio::time::timeout(PATIENCE, answers.message()).await.unwrap().unwrap() {
            assert!(matches!(answer.result, Some(Answer::Ack(_))), "{answer:?}");
            acked += 1;
        }
        assert_eq!(acked, count);
        for partition in 0..3 {
            let values = read_stream(channel.clone(), topic, partition, 100).await;
            assert!(values.into_iter().eq((0..100).map(|n| (n * 3 + u64::from(partition)).to_string())));
        }
        cluster.stop_all().await;
    });
}

#[test]
fn any_node_describes_what_all_nodes_hold() {
    run(async {
        let mut cluster = Cluster::start(3, Wire::Memory).await;
        let topic = cluster.create_topic("orders", 3, 3).await;
        for number in 1..=3 {
            let mut admin = AdminServiceClient::new(channel(&cluster, number).await);
            let nodes = admin.describe_cluster(v1::DescribeClusterRequest {}).await.unwrap().into_inner().nodes;
            assert_eq!(nodes.len(), 3);
            assert!(nodes.iter().all(|node| node.version.is_some() && node.replicas == 3), "{nodes:?}");
            assert_eq!(nodes.iter().filter_map(|node| node.leaders).sum::<u32>(), 3, "{nodes:?}");
            let usage = v1::NodeUsageRequest { node: Some(3) };
            assert_eq!(admin.node_usage(usage).await.unwrap().into_inner().node, 3);
            let describe = v1::DescribeTopicRequest { name: "orders".to_owned() };
            let described = admin.describe_topic(describe).await.unwrap().into_inner().topic.unwrap();
            for partition in described.partitions {
                assert_eq!(partition.replica_status.len(), 3);
                let in_sync = partition.replica_status.iter().filter(|status| status.in_sync == Some(true));
                assert_eq!(in_sync.count(), 3, "{partition:?}");
                assert!(partition.leader.is_some() && partition.log_start.is_some());
            }
        }
        let leader = cluster.leader(&topic, 0).await;
        let silent = (1..=3).find(|number| *number != leader).unwrap();
        cluster.kill(silent).await;
        let mut admin = AdminServiceClient::new(channel(&cluster, leader).await);
        let mut is_told = false;
        for _ in 0..200 {
            let describe = v1::DescribeTopicRequest { name: "orders".to_owned() };
            let described = admin.describe_topic(describe).await.unwrap().into_inner().topic.unwrap();
            let first = &described.partitions[0];
            let status = first.replica_status.iter().find(|status| status.node == silent as u64).unwrap();
            is_told = status.size_bytes.is_none() && status.in_sync == Some(false);
            if is_told {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        assert!(is_told, "a node that does not answer is told as one");
        cluster.stop_all().await;
    });
}

#[test]
fn our_producer_goes_on_when_leaders_are_killed_and_every_record_is_there_once_in_order() {
    run(async {
        let mut cluster = Cluster::start(3, Wire::Memory).await;
        let topic = cluster.create_topic("orders", 1, 3).await;
        // One server is named: the others are learnt.
        let client = Client::connect(&cluster.server(1).address().to_string()).await.unwrap();
        let producer = client.producer().batch_bytes(2_000).build();
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let sending = tokio::spawn(async move {
            let mut stopped = stopped;
            let mut count = 0_u64;
            let mut deliveries = Vec::new();
            while stopped.try_recv().is_err() {
                deliveries.push(producer.send("orders", Record::new(count.to_string())).await.unwrap());
                count += 1;
                if count.is_multiple_of(50) {
                    tokio::time::sleep(Duration::from_millis(2)).await;
                }
            }
            let mut offsets = Vec::new();
            for delivery in deliveries {
                offsets.push(delivery.await.expect("everything is stored in the end").offset.unwrap().get());
            }
            offsets
        });
        for _ in 0..3 {
            tokio::time::sleep(Duration::from_millis(300)).await;
            let leader = cluster.leader(&topic, 0).await;
            cluster.kill(leader).await;
            cluster.leader(&topic, 0).await;
            tokio::time::sleep(Duration::from_millis(300)).await;
            cluster.start_one(leader).await.unwrap();
        }
        stop.send(()).unwrap();
        let offsets = tokio::time::timeout(4 * PATIENCE, sending).await.unwrap().unwrap();
        assert!(offsets.iter().copied().eq(0..offsets.len() as u64), "each once, in order");
        let mut reader = client.reader().topic("orders").stop_at_end().open().await.unwrap();
        let mut count = 0_u64;
        while let Some(record) = reader.next_record().await {
            let record = record.unwrap();
            assert_eq!(record.value.unwrap(), count.to_string());
            count += 1;
        }
        assert_eq!(count, offsets.len() as u64);
        cluster.stop_all().await;
    });
}
