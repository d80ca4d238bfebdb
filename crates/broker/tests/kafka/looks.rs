//! What there is: partitions in pages, what has settings, and the producers that partitions remember.

use std::collections::BTreeSet;

use highwater_broker::front::kafka::api::Api;
use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::describe_producers_request::TopicRequest as OfTopic;
use kafka_protocol::messages::describe_topic_partitions_request::{Cursor, TopicRequest};
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{
    CreateTopicsRequest, DescribeProducersRequest, DescribeProducersResponse, DescribeTopicPartitionsRequest,
    DescribeTopicPartitionsResponse, InitProducerIdRequest, ListConfigResourcesRequest, ProduceRequest, TopicName,
};
use uuid::Uuid;

use super::batches::sequenced;
use super::harness::{Client, Fixture, text};

fn name(topic: &str) -> TopicName {
    TopicName(text(topic))
}

fn create(client: &mut Client, topic: &str, partitions: i32) {
    let topic = CreatableTopic::default().with_name(name(topic));
    let topic = topic.with_num_partitions(partitions).with_replication_factor(1);
    let made = client.call(7, &CreateTopicsRequest::default().with_topics(vec![topic]));
    assert_eq!(made.topics[0].error_code, 0);
}

fn describe(
    client: &mut Client,
    topics: &[&str],
    limit: i32,
    from: Option<(&str, i32)>,
) -> DescribeTopicPartitionsResponse {
    let topics = topics.iter().map(|topic| TopicRequest::default().with_name(name(topic))).collect();
    let cursor = from.map(|(topic, index)| Cursor::default().with_topic_name(name(topic)).with_partition_index(index));
    let request = DescribeTopicPartitionsRequest::default().with_topics(topics);
    client.call(0, &request.with_response_partition_limit(limit).with_cursor(cursor))
}

/// The topics of an answer with the numbers of the partitions that it tells of, and where to go on.
type Page = (Vec<(String, Vec<i32>)>, Option<(String, i32)>);

fn told(answer: &DescribeTopicPartitionsResponse) -> Page {
    let topics = answer.topics.iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|partition| partition.partition_index).collect();
        (topic.name.clone().unwrap().0.to_string(), partitions)
    });
    let next = answer.next_cursor.as_ref();
    (topics.collect(), next.map(|next| (next.topic_name.0.to_string(), next.partition_index)))
}

fn resources(client: &mut Client, version: i16, kinds: Vec<i8>) -> (i16, Vec<(String, i8)>) {
    let answer = client.call(version, &ListConfigResourcesRequest::default().with_resource_types(kinds));
    let listed = answer.config_resources.iter().map(|one| (one.resource_name.to_string(), one.resource_type));
    (answer.error_code, listed.collect())
}

fn producers(client: &mut Client, topic: &str, partitions: Vec<i32>) -> DescribeProducersResponse {
    let asked = OfTopic::default().with_name(name(topic)).with_partition_indexes(partitions);
    client.call(0, &DescribeProducersRequest::default().with_topics(vec![asked]))
}

/// Asks one API in one version; there is a topic `orders` of two partitions.
pub(crate) fn ask(client: &mut Client, api: Api, version: i16, id: Uuid) {
    match api {
        Api::DescribeTopicPartitions => {
            let answer = describe(client, &["orders", "absent"], 2_000, None);
            assert_eq!((answer.topics[0].error_code, answer.topics[1].error_code), (3, 0), "by name");
            assert!(answer.topics[0].partitions.is_empty() && answer.next_cursor.is_none());
            let topic = &answer.topics[1];
            assert_eq!((topic.topic_id, topic.is_internal, topic.partitions.len()), (id, false, 2));
            let partition = &topic.partitions[1];
            assert_eq!((partition.error_code, partition.partition_index, partition.leader_id.0), (0, 1, 1));
            assert_eq!((partition.replica_nodes.len(), partition.isr_nodes.len()), (1, 1));
            assert_eq!(partition.eligible_leader_replicas.as_ref().map(Vec::len), Some(0), "never null");
            assert_eq!(partition.last_known_elr.as_ref().map(Vec::len), Some(0), "never null");
        }
        Api::ListConfigResources => {
            let (code, listed) = resources(client, version, vec![]);
            let orders = ("orders".to_owned(), 2);
            assert_eq!((code, listed.contains(&orders)), (0, version >= 1), "version {version}");
        }
        Api::DescribeProducers => {
            let answer = producers(client, "orders", vec![0, 9]);
            let codes: Vec<i16> = answer.topics[0].partitions.iter().map(|partition| partition.error_code).collect();
            assert_eq!(codes, [0, 3]);
        }
        other => panic!("{} is not about what there is", other.name()),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn partitions_are_told_of_in_pages() {
    let fixture = Fixture::new().await;
    let run = |mut client: Client| {
        for (topic, partitions) in [("c", 2), ("a", 3), ("b", 1)] {
            create(&mut client, topic, partitions);
        }
        let all = told(&describe(&mut client, &[], 100, None));
        let topics = [("a", vec![0, 1, 2]), ("b", vec![0]), ("c", vec![0, 1])];
        assert_eq!(all, (topics.map(|(topic, partitions)| (topic.to_owned(), partitions)).to_vec(), None));
        // Pages of every size say the same together, each with what it may hold.
        for limit in 1..=6 {
            let (mut seen, mut from) = (BTreeSet::new(), None);
            loop {
                let from_here = from.as_ref().map(|(topic, index): &(String, i32)| (topic.as_str(), *index));
                let (topics, next) = told(&describe(&mut client, &[], limit, from_here));
                let page: Vec<(String, i32)> = topics
                    .into_iter()
                    .flat_map(|(topic, partitions)| partitions.into_iter().map(move |one| (topic.clone(), one)))
                    .collect();
                assert!(!page.is_empty() && page.len() <= usize::try_from(limit).unwrap());
                assert!(page.iter().all(|one| seen.insert(one.clone())), "nothing twice");
                from = next;
                if from.is_none() {
                    break;
                }
            }
            assert_eq!(seen.len(), 6, "limit {limit}");
        }
        // Named ones only, from the middle of one; one that is named twice is told of once.
        let (topics, next) = told(&describe(&mut client, &["c", "a", "a", "zzz"], 100, Some(("a", 1))));
        let due = [("a", vec![1, 2]), ("c", vec![0, 1]), ("zzz", vec![])];
        assert_eq!(topics, due.map(|(topic, partitions)| (topic.to_owned(), partitions)));
        assert_eq!(next, None);
        // Limits and cursors that make no sense.
        assert_eq!(told(&describe(&mut client, &["a"], 0, None)).1, Some(("a".to_owned(), 1)));
        assert_eq!(told(&describe(&mut client, &["a"], -5, Some(("a", -7)))).1, Some(("a".to_owned(), 1)));
        assert_eq!(told(&describe(&mut client, &["a"], 9, Some(("a", 99)))).0, [("a".to_owned(), vec![])]);
        assert_eq!(told(&describe(&mut client, &["a"], 9, Some(("b", 0)))).0, []);
        let internal = describe(&mut client, &["__groups"], 9, None);
        assert_eq!((internal.topics[0].error_code, internal.topics[0].partitions.len()), (17, 0));
    };
    fixture.client(run).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn topics_have_settings_and_nothing_else() {
    let fixture = Fixture::new().await;
    let run = |mut client: Client| {
        create(&mut client, "b", 1);
        create(&mut client, "a", 1);
        let topics = vec![("a".to_owned(), 2), ("b".to_owned(), 2)];
        assert_eq!(resources(&mut client, 1, vec![]), (0, topics.clone()));
        assert_eq!(resources(&mut client, 1, vec![2, 4, 2]), (0, topics));
        assert_eq!(resources(&mut client, 1, vec![4, 8, 16, 32]), (0, vec![]));
        assert_eq!(resources(&mut client, 1, vec![2, 99]), (35, vec![]));
    };
    fixture.client(run).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn producers_are_remembered() {
    let fixture = Fixture::new().await;
    let run = |mut client: Client| {
        create(&mut client, "t", 2);
        let made = client.call(4, &InitProducerIdRequest::default().with_transactional_id(None));
        let (id, epoch) = (made.producer_id.0, made.producer_epoch);
        for sequence in 0..3 {
            let data = PartitionProduceData::default().with_index(1);
            let data = data.with_records(Some(sequenced(id, epoch, sequence)));
            let topic = TopicProduceData::default().with_name(name("t")).with_partition_data(vec![data]);
            let request = ProduceRequest::default().with_acks(-1).with_timeout_ms(5_000).with_topic_data(vec![topic]);
            assert_eq!(client.call(9, &request).responses[0].partition_responses[0].error_code, 0);
        }
        let answer = producers(&mut client, "t", vec![0, 1, 7, 1]);
        let partitions = &answer.topics[0].partitions;
        let codes: Vec<i16> = partitions.iter().map(|partition| partition.error_code).collect();
        assert_eq!(codes, [0, 0, 3, 42], "the last one was named before");
        assert!(partitions[0].active_producers.is_empty());
        let known = &partitions[1].active_producers[0];
        assert_eq!((known.producer_id.0, known.producer_epoch, known.last_sequence), (id, i32::from(epoch), 2));
        assert_eq!((known.last_timestamp, known.current_txn_start_offset), (1_000, -1));
        assert_eq!(producers(&mut client, "absent", vec![0]).topics[0].partitions[0].error_code, 3);
    };
    fixture.client(run).await;
}
