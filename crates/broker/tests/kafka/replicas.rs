//! Where replicas are: what they take on disk, who is to lead, and how they move.

use std::time::{Duration, Instant};

use highwater_broker::front::kafka::api::Api;
use kafka_protocol::messages::alter_partition_reassignments_request::{ReassignablePartition, ReassignableTopic};
use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::describe_log_dirs_request::DescribableLogDirTopic;
use kafka_protocol::messages::elect_leaders_request::TopicPartitions;
use kafka_protocol::messages::list_partition_reassignments_request::ListPartitionReassignmentsTopics;
use kafka_protocol::messages::list_partition_reassignments_response::OngoingPartitionReassignment;
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{
    AlterPartitionReassignmentsRequest, BrokerId, CreateTopicsRequest, DescribeLogDirsRequest, DescribeLogDirsResponse,
    ElectLeadersRequest, ElectLeadersResponse, ListPartitionReassignmentsRequest, MetadataRequest, ProduceRequest,
    TopicName,
};

use super::batches::batch;
use super::harness::{Client, Fixture, PATIENCE, text};

const PREFERRED: i8 = 0;
const UNCLEAN: i8 = 1;

fn name(topic: &str) -> TopicName {
    TopicName(text(topic))
}

fn create(client: &mut Client, topic: &str, partitions: i32, replicas: i16) {
    let topic = CreatableTopic::default().with_name(name(topic));
    let topic = topic.with_num_partitions(partitions).with_replication_factor(replicas);
    let made = client.call(7, &CreateTopicsRequest::default().with_topics(vec![topic]));
    assert_eq!(made.topics[0].error_code, 0);
}

type Named<'a> = Option<&'a [(&'a str, &'a [i32])]>;

fn dirs(client: &mut Client, version: i16, topics: Named<'_>) -> DescribeLogDirsResponse {
    let topic = |(topic, partitions): &(&str, &[i32])| {
        DescribableLogDirTopic::default().with_topic(name(topic)).with_partitions(partitions.to_vec())
    };
    let topics = topics.map(|topics| topics.iter().map(topic).collect());
    client.call(version, &DescribeLogDirsRequest::default().with_topics(topics))
}

fn elect(client: &mut Client, version: i16, kind: i8, topics: Named<'_>, timeout_ms: i32) -> ElectLeadersResponse {
    let topic = |(topic, partitions): &(&str, &[i32])| {
        TopicPartitions::default().with_topic(name(topic)).with_partitions(partitions.to_vec())
    };
    let topics = topics.map(|topics| topics.iter().map(topic).collect());
    let request = ElectLeadersRequest::default().with_topic_partitions(topics).with_timeout_ms(timeout_ms);
    client.call(version, &if version >= 1 { request.with_election_type(kind) } else { request })
}

fn codes(answer: &ElectLeadersResponse) -> Vec<i16> {
    let results = answer.replica_election_results.iter().flat_map(|topic| &topic.partition_result);
    results.map(|partition| partition.error_code).collect()
}

/// Moves a partition; the code and the words for it.
fn reassign(client: &mut Client, version: i16, topic: &str, partition: i32, to: Option<&[i32]>) -> (i16, String) {
    let nodes = to.map(|to| to.iter().copied().map(BrokerId).collect());
    let moved = ReassignablePartition::default().with_partition_index(partition).with_replicas(nodes);
    let topic = ReassignableTopic::default().with_name(name(topic)).with_partitions(vec![moved]);
    let request = AlterPartitionReassignmentsRequest::default().with_timeout_ms(5_000).with_topics(vec![topic]);
    let request = if version >= 1 { request.with_allow_replication_factor_change(false) } else { request };
    let answer = client.call(version, &request);
    assert_eq!(answer.error_code, 0);
    assert!(version < 1 || !answer.allow_replication_factor_change);
    let told = &answer.responses[0].partitions[0];
    (told.error_code, told.error_message.as_ref().map(ToString::to_string).unwrap_or_default())
}

/// The partitions that move.
fn moving(client: &mut Client, topics: Named<'_>) -> Vec<OngoingPartitionReassignment> {
    let topic = |(topic, partitions): &(&str, &[i32])| {
        let asked = ListPartitionReassignmentsTopics::default().with_name(name(topic));
        asked.with_partition_indexes(partitions.to_vec())
    };
    let topics = topics.map(|topics| topics.iter().map(topic).collect());
    let request = ListPartitionReassignmentsRequest::default().with_timeout_ms(5_000).with_topics(topics);
    let answer = client.call(0, &request);
    assert_eq!(answer.error_code, 0);
    answer.topics.into_iter().flat_map(|topic| topic.partitions).collect()
}

/// The leader and the replicas of a partition.
fn place(client: &mut Client, topic: &str, partition: usize) -> (i32, Vec<i32>) {
    let asked = MetadataRequestTopic::default().with_name(Some(name(topic)));
    let answer = client.call(12, &MetadataRequest::default().with_topics(Some(vec![asked])));
    let found = &answer.topics[0].partitions[partition];
    (found.leader_id.0, found.replica_nodes.iter().map(|node| node.0).collect())
}

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < PATIENCE, "not within {PATIENCE:?}: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Asks one API in one version; there is a topic `orders` of two partitions on one node.
pub(crate) fn ask(client: &mut Client, api: Api, version: i16) {
    match api {
        Api::DescribeLogDirs => {
            let answer = dirs(client, version, None);
            let dir = &answer.results[0];
            assert_eq!((answer.error_code, answer.results.len(), dir.error_code), (0, 1, 0), "version {version}");
            let orders = dir.topics.iter().find(|topic| topic.name == name("orders")).unwrap();
            assert_eq!(orders.partitions.len(), 2);
            assert!(version < 4 || (0 < dir.usable_bytes && dir.usable_bytes <= dir.total_bytes));
        }
        Api::ElectLeaders => {
            let answer = elect(client, version, PREFERRED, Some(&[("orders", &[0, 9])]), 1_000);
            assert_eq!((answer.error_code, codes(&answer)), (0, vec![84, 3]), "version {version}");
            let all = elect(client, version, PREFERRED, None, 1_000);
            assert_eq!((all.error_code, codes(&all)), (0, vec![]), "there is nothing to do");
        }
        Api::AlterPartitionReassignments => {
            assert_eq!(reassign(client, version, "orders", 0, Some(&[1])), (0, String::new()), "it is there");
            assert_eq!(reassign(client, version, "orders", 0, None).0, 85);
            assert_eq!(reassign(client, version, "orders", 9, None).0, 3);
        }
        Api::ListPartitionReassignments => assert_eq!(moving(client, None), []),
        other => panic!("{} is not about replicas", other.name()),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_directory_tells_what_replicas_take() {
    let fixture = Fixture::new().await;
    let directory = fixture.data.path().to_str().unwrap().to_owned();
    let run = move |mut client: Client| {
        create(&mut client, "full", 2, 1);
        create(&mut client, "empty", 1, 1);
        let data = PartitionProduceData::default().with_index(1).with_records(Some(batch(&[&vec![7; 100_000]])));
        let topic = TopicProduceData::default().with_name(name("full")).with_partition_data(vec![data]);
        let request = ProduceRequest::default().with_acks(-1).with_timeout_ms(5_000).with_topic_data(vec![topic]);
        assert_eq!(client.call(9, &request).responses[0].partition_responses[0].error_code, 0);
        let answer = dirs(&mut client, 4, None);
        let dir = &answer.results[0];
        assert_eq!(dir.log_dir.as_str(), directory);
        let sizes: Vec<(&str, Vec<(i32, bool)>)> = dir
            .topics
            .iter()
            .map(|topic| {
                let sizes = topic.partitions.iter().map(|one| (one.partition_index, one.partition_size > 100_000));
                (topic.name.0.as_str(), sizes.collect())
            })
            .collect();
        assert_eq!(sizes, [("empty", vec![(0, false)]), ("full", vec![(0, false), (1, true)])]);
        assert!(dir.topics.iter().flat_map(|topic| &topic.partitions).all(|one| one.offset_lag == 0));
        // What is not there is left out, and what is asked for twice is told of once.
        let named: Named<'_> = Some(&[("full", &[1, 1, 9]), ("absent", &[0]), ("full", &[1]), ("__groups", &[0])]);
        let answer = dirs(&mut client, 4, named);
        let topics = &answer.results[0].topics;
        assert_eq!((topics.len(), topics[0].partitions.len()), (1, 1));
        assert_eq!(dirs(&mut client, 4, Some(&[])).results[0].topics, []);
    };
    fixture.client(run).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unclean_elections_are_not_offered() {
    let fixture = Fixture::new().await;
    let run = |mut client: Client| {
        create(&mut client, "t", 1, 1);
        for (kind, named) in [(UNCLEAN, "unclean"), (9, "unclean")] {
            let answer = elect(&mut client, 2, kind, Some(&[("t", &[0])]), 1_000);
            assert_eq!((answer.error_code, codes(&answer)), (0, vec![42]));
            let told = answer.replica_election_results[0].partition_result[0].error_message.clone().unwrap();
            assert!(told.contains(named), "{told}");
            let all = elect(&mut client, 2, kind, None, 1_000);
            assert_eq!((all.error_code, codes(&all)), (42, vec![]));
        }
    };
    fixture.client(run).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_preferred_replica_is_waited_for() {
    let nodes = Fixture::three().await;
    let run = |mut client: Client| {
        create(&mut client, "t", 1, 3);
        until("it is led", || place(&mut client, "t", 0).0 >= 0);
        let (leader, replicas) = place(&mut client, "t", 0);
        // The same nodes in another order: nothing moves, and another one is preferred.
        let mut others: Vec<i32> = replicas.iter().copied().filter(|node| *node != leader).collect();
        let preferred = others[0];
        others.push(leader);
        assert_eq!(reassign(&mut client, 1, "t", 0, Some(&others)).0, 0);
        let elected = codes(&elect(&mut client, 2, PREFERRED, Some(&[("t", &[0])]), 20_000));
        assert!([vec![0], vec![84]].contains(&elected), "{elected:?}");
        assert_eq!(place(&mut client, "t", 0).0, preferred);
        assert_eq!(codes(&elect(&mut client, 1, PREFERRED, Some(&[("t", &[0])]), 1_000)), [84]);
        assert_eq!(codes(&elect(&mut client, 0, PREFERRED, None, 1_000)), [0_i16; 0]);
    };
    nodes[0].client(run).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn partitions_move_and_are_listed_while_they_do() {
    let mut nodes = Vec::from(Fixture::three().await);
    let run = |mut client: Client| {
        create(&mut client, "t", 1, 1);
        until("it is led", || place(&mut client, "t", 0).0 >= 0);
        let (_, from) = place(&mut client, "t", 0);
        let to: Vec<i32> = (1..=3).filter(|node| !from.contains(node)).take(1).collect();
        let refused: [(i16, &[i32], i16); 6] = [
            (0, &[], 39),
            (0, &[1, 1], 39),
            (0, &[9], 39),
            (0, &[-1], 39),
            (0, &[1, 2], 39),
            // The count of replicas is the topic's.
            (1, &[1, 2], 38),
        ];
        for (version, target, code) in refused {
            let told = reassign(&mut client, version, "t", 0, Some(target));
            assert_eq!(told.0, code, "{target:?}: {told:?}");
            assert!(!told.1.is_empty());
        }
        assert_eq!(reassign(&mut client, 1, "t", 0, None).0, 85);
        assert_eq!(reassign(&mut client, 1, "absent", 0, Some(&[1])).0, 3);
        assert_eq!(reassign(&mut client, 1, "t", 0, Some(&to)), (0, String::new()));
        until("it has moved", || moving(&mut client, None).is_empty());
        assert_eq!(place(&mut client, "t", 0).1, to);
        create(&mut client, "u", 1, 2);
        until("it is led", || place(&mut client, "u", 0).0 >= 0);
        place(&mut client, "u", 0).1
    };
    let from: Vec<i32> = nodes[0].client(run).await;
    // A move to a node that does not answer goes on until it does, or is taken back.
    let target: i32 = (1..=3).find(|node| !from.contains(node)).unwrap();
    let is_target = |node: &Fixture| Ok(node.server.node().identity().node.get()) == u64::try_from(target);
    let index = nodes.iter().position(is_target).unwrap();
    let silent = nodes.remove(index);
    silent.server.shutdown().await.unwrap();
    let run = move |mut client: Client| {
        let stays = from[0];
        let mut moved = (0, String::new());
        // The controller may be elected anew; and once it knows that the node is silent, it moves nothing there.
        until("the move is decided", || {
            moved = reassign(&mut client, 1, "u", 0, Some(&[stays, target]));
            ![5, 6, 7].contains(&moved.0)
        });
        if moved.0 == 39 {
            assert!(moved.1.contains("does not answer"), "{moved:?}");
            return;
        }
        assert_eq!(moved, (0, String::new()));
        let listed = moving(&mut client, Some(&[("u", &[0]), ("t", &[0])]));
        let ids = |nodes: &[BrokerId]| nodes.iter().map(|node| node.0).collect::<Vec<_>>();
        assert_eq!(listed.len(), 1);
        assert_eq!(ids(&listed[0].replicas), [stays, target, from[1]]);
        assert_eq!((ids(&listed[0].adding_replicas), ids(&listed[0].removing_replicas)), (vec![target], vec![from[1]]));
        assert_eq!(moving(&mut client, Some(&[("t", &[0])])), []);
        assert_eq!(reassign(&mut client, 1, "u", 0, Some(&[target, stays])).0, 60, "it moves elsewhere");
        assert_eq!(reassign(&mut client, 1, "u", 0, None), (0, String::new()));
        until("it is taken back", || moving(&mut client, None).is_empty());
        assert_eq!(place(&mut client, "u", 0).1, from);
    };
    nodes[0].client(run).await;
}
