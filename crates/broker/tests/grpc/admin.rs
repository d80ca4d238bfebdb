//! Topics, the cluster, and what tools ask first: reflection and health.

use std::collections::HashMap;

use highwater_proto::v1::{self, ErrorCode};
use prost::Message;
use prost_types::FileDescriptorSet;
use tonic::Code;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;

use crate::batches::batch;
use crate::harness::{Fixture, TOPIC, code};
use crate::raw;

fn create(name: &str) -> v1::CreateTopicRequest {
    v1::CreateTopicRequest { name: name.to_owned(), ..Default::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_lives_from_its_creation_to_its_end() {
    let fixture = Fixture::empty(&[("topic.default_partitions", "3")]).await;
    let config = HashMap::from([("retention.ms".to_owned(), "1h".to_owned())]);
    let request = v1::CreateTopicRequest { config, ..create(TOPIC) };
    let checked = v1::CreateTopicRequest { validate_only: true, ..request.clone() };
    assert_eq!(fixture.admin().create_topic(checked).await.unwrap().into_inner().topic.unwrap().partitions.len(), 3);
    assert!(fixture.admin().list_topics(v1::ListTopicsRequest {}).await.unwrap().into_inner().topics.is_empty());
    let created = fixture.admin().create_topic(request.clone()).await.unwrap().into_inner().topic.unwrap();
    assert_eq!((created.partitions.len(), created.replicas, created.partitions[0].leader), (3, 1, Some(1)));
    assert_eq!(code(&fixture.admin().create_topic(request).await.unwrap_err()), ErrorCode::TopicExists);
    let size_before = created.partitions[0].size_bytes.unwrap();
    fixture.produce(batch(&[&[7; 5_000], b"x"])).await.unwrap();
    let name = || v1::DescribeTopicRequest { name: TOPIC.to_owned() };
    let described = fixture.admin().describe_topic(name()).await.unwrap().into_inner();
    let partition = &described.topic.as_ref().unwrap().partitions[0];
    assert_eq!((partition.log_start, partition.high_watermark), (Some(0), Some(2)));
    assert!(partition.size_bytes.unwrap() >= size_before + 5_000);
    let retention = described.config.iter().find(|value| value.name == "retention.ms").unwrap();
    assert_eq!((retention.value.as_str(), retention.is_default), ("3600000", false));
    assert!(described.config.iter().any(|value| value.is_default && !value.description.is_empty()));
    let alter = v1::AlterTopicRequest {
        name: TOPIC.to_owned(),
        unset: vec!["retention.ms".to_owned()],
        partitions: Some(5),
        ..Default::default()
    };
    let altered = fixture.admin().alter_topic(alter).await.unwrap().into_inner().topic.unwrap();
    assert_eq!((altered.partitions.len(), altered.partitions[4].leader), (5, Some(1)), "the new ones serve at once");
    fixture.admin().delete_topic(v1::DeleteTopicRequest { name: TOPIC.to_owned() }).await.unwrap();
    assert_eq!(code(&fixture.admin().describe_topic(name()).await.unwrap_err()), ErrorCode::UnknownTopic);
    assert_eq!(code(&fixture.produce(batch(&[b"x"])).await.unwrap_err()), ErrorCode::UnknownTopic);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_wish_is_refused_by_name() {
    let fixture = Fixture::with(&[]).await;
    let config = |name: &str, value: &str| HashMap::from([(name.to_owned(), value.to_owned())]);
    let cases = [
        (create("a b"), ErrorCode::InvalidTopicName, "' '"),
        (create(""), ErrorCode::InvalidTopicName, "empty"),
        (v1::CreateTopicRequest { partitions: 10_001, ..create("t") }, ErrorCode::InvalidRequest, "10001"),
        (v1::CreateTopicRequest { replicas: 3, ..create("t") }, ErrorCode::InvalidReplication, "3"),
        (
            v1::CreateTopicRequest { config: config("retention", "1"), ..create("t") },
            ErrorCode::InvalidConfig,
            "retention.ms",
        ),
        (
            v1::CreateTopicRequest { config: config("retention.ms", "soon"), ..create("t") },
            ErrorCode::InvalidConfig,
            "soon",
        ),
    ];
    for (request, expected, named) in cases {
        let status = fixture.admin().create_topic(request).await.unwrap_err();
        assert_eq!((code(&status), status.code()), (expected, Code::InvalidArgument), "{status}");
        assert!(status.message().contains(named), "{status}");
    }
    let fewer = v1::AlterTopicRequest { name: TOPIC.to_owned(), partitions: Some(1), ..Default::default() };
    assert_eq!(code(&fixture.admin().alter_topic(fewer).await.unwrap_err()), ErrorCode::InvalidRequest);
    let nothing = v1::DeleteTopicRequest { name: "nowhere".to_owned() };
    assert_eq!(code(&fixture.admin().delete_topic(nothing).await.unwrap_err()), ErrorCode::UnknownTopic);
    assert_eq!(fixture.admin().list_topics(v1::ListTopicsRequest {}).await.unwrap().into_inner().topics.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_cluster_and_the_node_say_what_they_are() {
    let fixture = Fixture::new().await;
    let cluster = fixture.admin().describe_cluster(v1::DescribeClusterRequest {}).await.unwrap().into_inner();
    assert_eq!((cluster.nodes.len(), cluster.controller), (1, Some(cluster.nodes[0].id)));
    assert_eq!(cluster.nodes[0].address, fixture.server.address().to_string());
    assert_eq!(cluster.cluster_id.len(), 36);
    let usage = fixture.admin().node_usage(v1::NodeUsageRequest::default()).await.unwrap().into_inner();
    assert_eq!(usage.node, cluster.nodes[0].id);
    assert!(usage.rss_peak_bytes >= usage.rss_bytes && usage.rss_bytes > 0 && usage.data_free_bytes > 0, "{usage:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn reflection_and_health_answer() {
    let fixture = Fixture::empty(&[]).await;
    let list = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let mut client = ServerReflectionClient::new(fixture.channel.clone());
    let mut stream = client.server_reflection_info(tokio_stream::once(list)).await.unwrap().into_inner();
    let Some(MessageResponse::ListServicesResponse(list)) = stream.message().await.unwrap().unwrap().message_response
    else {
        panic!("no list of services");
    };
    let names: Vec<_> = list.service.into_iter().map(|service| service.name).collect();
    for name in ["ProduceService", "ReadService", "AdminService"].map(|name| format!("highwater.v1.{name}")) {
        assert!(names.contains(&name), "{name} is missing in {names:?}");
        let check = HealthCheckRequest { service: name };
        let health = HealthClient::new(fixture.channel.clone()).check(check).await.unwrap().into_inner();
        assert_eq!(health.status(), ServingStatus::Serving);
    }
    let whole = HealthClient::new(fixture.channel.clone()).check(HealthCheckRequest::default()).await.unwrap();
    assert_eq!(whole.into_inner().status(), ServingStatus::Serving);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_method_of_the_api_is_served() {
    let fixture = Fixture::empty(&[]).await;
    let files = FileDescriptorSet::decode(highwater_proto::FILE_DESCRIPTOR_SET).unwrap().file;
    let ours = files.iter().filter(|file| file.package() == "highwater.v1");
    let mut count = 0;
    for service in ours.flat_map(|file| &file.service) {
        for method in &service.method {
            let path = format!("/highwater.v1.{}/{}", service.name(), method.name());
            let (sender, response) = raw::call(&fixture.channel, &path);
            sender.send(raw::framed(&[])).await.unwrap();
            drop(sender);
            let status = raw::ended(response.await).await;
            assert_ne!(status.code(), Code::Unimplemented, "{path}: {status}");
            count += 1;
        }
    }
    assert!(count >= 13, "{count}");
    let (_sender, response) = raw::call(&fixture.channel, "/highwater.v1.ReadService/Unread");
    assert_eq!(raw::ended(response.await).await.code(), Code::Unimplemented);
}
