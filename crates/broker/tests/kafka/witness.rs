//! Every version of every API that is advertised, asked and read by generated code.

use highwater_broker::front::kafka::api::Api;
use kafka_protocol::messages::create_partitions_request::CreatePartitionsTopic;
use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::delete_topics_request::DeleteTopicState;
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::offset_for_leader_epoch_request::{OffsetForLeaderPartition, OffsetForLeaderTopic};
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{
    ApiVersionsRequest, BrokerId, CreatePartitionsRequest, CreateTopicsRequest, DeleteTopicsRequest,
    DescribeClusterRequest, DescribeConfigsRequest, FetchRequest, InitProducerIdRequest, ListOffsetsRequest,
    MetadataRequest, OffsetForLeaderEpochRequest, ProduceRequest, TopicName,
};
use uuid::Uuid;

use super::batches::batch;
use super::harness::{Client, Fixture, text};
use super::{configs, deletions, groups, looks, replicas};

fn name() -> TopicName {
    TopicName(text("orders"))
}

/// Asks one API in one version.
#[allow(clippy::too_many_lines, reason = "one arm an API")]
fn ask(client: &mut Client, api: Api, version: i16, id: Uuid) {
    match api {
        Api::ApiVersions => {
            let request = ApiVersionsRequest::default()
                .with_client_software_name(text("witness"))
                .with_client_software_version(text("1"));
            let answer = client.call(version, &request);
            assert_eq!((answer.error_code, answer.api_keys.len()), (0, Api::ALL.len()));
        }
        Api::Metadata => {
            let named = MetadataRequestTopic::default().with_name(Some(name()));
            let answer = client.call(version, &MetadataRequest::default().with_topics(Some(vec![named])));
            let topic = &answer.topics[0];
            assert_eq!((topic.error_code, topic.partitions.len(), answer.brokers.len()), (0, 2, 1));
            assert_eq!(topic.partitions[1].leader_id, BrokerId(1));
            assert!(version < 10 || topic.topic_id == id);
            let all = client.call(version, &MetadataRequest::default().with_topics(Some(vec![])));
            assert!(all.topics.len() <= 1);
        }
        Api::Produce => {
            let data = PartitionProduceData::default().with_index(1).with_records(Some(batch(&[b"one"])));
            let topic = TopicProduceData::default().with_name(name()).with_partition_data(vec![data]);
            let request = ProduceRequest::default().with_acks(-1).with_timeout_ms(5_000).with_topic_data(vec![topic]);
            let answer = client.call(version, &request);
            assert_eq!(answer.responses[0].partition_responses[0].error_code, 0);
        }
        Api::Fetch => {
            let wanted = FetchPartition::default().with_partition(1).with_partition_max_bytes(1 << 20);
            let wanted = wanted.with_current_leader_epoch(-1);
            let topic = FetchTopic::default().with_partitions(vec![wanted]);
            let topic = if version >= 13 { topic.with_topic_id(id) } else { topic.with_topic(name()) };
            let request = FetchRequest::default().with_replica_id(BrokerId(-1)).with_max_bytes(1 << 20);
            let answer = client.call(version, &request.with_session_epoch(-1).with_topics(vec![topic]));
            let found = &answer.responses[0].partitions[0];
            assert_eq!(found.error_code, 0);
            assert!(!found.records.as_ref().unwrap().is_empty());
        }
        Api::ListOffsets => {
            let asked = ListOffsetsPartition::default().with_partition_index(1).with_timestamp(-1);
            let topic = ListOffsetsTopic::default().with_name(name());
            let topic = topic.with_partitions(vec![asked.with_current_leader_epoch(-1)]);
            let request = ListOffsetsRequest::default().with_replica_id(BrokerId(-1)).with_topics(vec![topic]);
            let answer = client.call(version, &request);
            assert_eq!(answer.topics[0].partitions[0].error_code, 0);
            assert!(answer.topics[0].partitions[0].offset > 0);
        }
        Api::InitProducerId => {
            assert_eq!(
                client.call(version, &InitProducerIdRequest::default().with_transactional_id(None)).error_code,
                0
            );
        }
        Api::OffsetForLeaderEpoch => {
            let asked = OffsetForLeaderPartition::default().with_partition(1).with_leader_epoch(0);
            let topic = OffsetForLeaderTopic::default().with_topic(name());
            let topic = topic.with_partitions(vec![asked.with_current_leader_epoch(-1)]);
            let request = OffsetForLeaderEpochRequest::default().with_replica_id(BrokerId(-1));
            let answer = client.call(version, &request.with_topics(vec![topic]));
            assert_eq!(answer.topics[0].partitions[0].error_code, 0);
        }
        Api::CreateTopics => {
            let topic = CreatableTopic::default().with_name(TopicName(text("tried")));
            let topic = topic.with_num_partitions(3).with_replication_factor(1);
            let request = CreateTopicsRequest::default().with_topics(vec![topic]).with_validate_only(true);
            let answer = client.call(version, &request);
            assert_eq!(answer.topics[0].error_code, 0);
            assert!(version < 5 || answer.topics[0].configs.as_ref().is_some_and(|configs| !configs.is_empty()));
        }
        Api::DeleteTopics => {
            let absent = TopicName(text("absent"));
            let state = DeleteTopicState::default().with_name(Some(absent.clone()));
            let request = match version >= 6 {
                true => DeleteTopicsRequest::default().with_topics(vec![state]),
                false => DeleteTopicsRequest::default().with_topic_names(vec![absent]),
            };
            assert_eq!(client.call(version, &request).responses[0].error_code, 3);
        }
        Api::DescribeConfigs => {
            let topic = DescribeConfigsResource::default().with_resource_type(2).with_resource_name(text("orders"));
            let topic = topic.with_configuration_keys(None);
            let answer = client.call(version, &DescribeConfigsRequest::default().with_resources(vec![topic]));
            assert_eq!(answer.results[0].error_code, 0);
            assert!(answer.results[0].configs.iter().any(|config| config.name.as_str() == "retention.ms"));
        }
        Api::CreatePartitions => {
            let topic = CreatePartitionsTopic::default().with_name(name()).with_count(1).with_assignments(None);
            let answer = client.call(version, &CreatePartitionsRequest::default().with_topics(vec![topic]));
            assert_eq!(answer.results[0].error_code, 37, "there are two already");
        }
        Api::OffsetCommit
        | Api::OffsetFetch
        | Api::FindCoordinator
        | Api::JoinGroup
        | Api::Heartbeat
        | Api::LeaveGroup
        | Api::SyncGroup
        | Api::DescribeGroups
        | Api::ListGroups
        | Api::DeleteGroups
        | Api::OffsetDelete => groups::ask(client, api, version),
        Api::DeleteRecords => deletions::ask(client, version),
        Api::AlterConfigs | Api::IncrementalAlterConfigs => configs::ask(client, api, version),
        Api::DescribeLogDirs
        | Api::ElectLeaders
        | Api::AlterPartitionReassignments
        | Api::ListPartitionReassignments => replicas::ask(client, api, version),
        Api::DescribeProducers | Api::ListConfigResources | Api::DescribeTopicPartitions => {
            looks::ask(client, api, version, id);
        }
        Api::DescribeCluster => {
            let answer = client.call(version, &DescribeClusterRequest::default());
            assert_eq!((answer.error_code, answer.brokers.len()), (0, 1));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_version_that_is_advertised_is_as_the_schemas_have_it() {
    let fixture = Fixture::new().await;
    let run = |mut client: Client| {
        let topic = CreatableTopic::default().with_name(name()).with_num_partitions(2).with_replication_factor(-1);
        let made = client.call(7, &CreateTopicsRequest::default().with_topics(vec![topic]));
        assert_eq!(made.topics[0].error_code, 0);
        let id = made.topics[0].topic_id;
        for api in Api::ALL.iter().copied() {
            let (first, last) = api.versions();
            for version in first..=last {
                ask(&mut client, api, version, id);
            }
        }
    };
    fixture.client(run).await;
}
