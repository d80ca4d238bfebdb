//! A cluster of three with one topic: nothing is wrong with it, then one thing at a time is.

use highwater_metadata::{MetadataRecord, NodeRegistration, TopicSettings};
use highwater_proto::internal::v1::PeerDescription;
use highwater_types::{NodeUuid, PartitionId, Timestamp, TopicId, TopicName};

use super::*;

const TOPIC: [u8; 16] = [7; 16];

pub(super) fn node(number: u64) -> NodeId {
    NodeId::new(number)
}

pub(super) fn image() -> MetadataImage {
    let mut image = MetadataImage::default();
    for number in 1..=3 {
        image.replay(&MetadataRecord::NodeRegistered(NodeRegistration {
            node: node(number),
            uuid: NodeUuid::from_bytes([1; 16]),
            address: format!("10.0.0.{number}:7400"),
            peer_address: String::new(),
            rack: String::new(),
            kafka_address: String::new(),
            kafka_listeners: BTreeMap::new(),
        }));
    }
    image.replay(&MetadataRecord::TopicCreated(Topic {
        id: TopicId::from_bytes(TOPIC),
        name: TopicName::new("orders").unwrap(),
        created_at: Timestamp::from_ms(0),
        replicas: 3,
        partitions: vec![Assignment::new((1..=3).map(NodeId::new).collect())],
        settings: TopicSettings::default(),
    }));
    image
}

/// A replica of a group that node 1 leads, on this node.
fn replica(key: LogKey, on: u64) -> ReplicaDescription {
    let peer =
        |node| PeerDescription { node, is_voter: true, matched_index: Some(9), lag: Some(0), heard_ms: Some(100) };
    ReplicaDescription {
        key: bytes::Bytes::copy_from_slice(&key.to_bytes()),
        leader: 1,
        term: 1,
        is_leader: on == 1,
        voters: vec![1, 2, 3],
        peers: if on == 1 { vec![peer(2), peer(3)] } else { Vec::new() },
        ..ReplicaDescription::default()
    }
}

fn partition_key() -> LogKey {
    LogKey::new(TOPIC, 0)
}

fn reports() -> BTreeMap<NodeId, NodeReport> {
    let heartbeat = NodeHeartbeat { free_bytes: 50 << 30, total_bytes: 100 << 30, ..NodeHeartbeat::default() };
    let report = |on| NodeReport {
        replicas: Some(vec![replica(METADATA_LOG, on), replica(partition_key(), on)]),
        heartbeat: Some(heartbeat.clone()),
    };
    (1..=3).map(|number| (node(number), report(number))).collect()
}

fn kinds(image: &MetadataImage, reports: &BTreeMap<NodeId, NodeReport>) -> Vec<(Severity, &'static str)> {
    problems(image, reports, &MoveAges::new()).into_iter().map(|problem| (problem.severity, problem.kind)).collect()
}

pub(super) fn assign(image: &mut MetadataImage, assignment: Assignment) {
    let partition = TopicPartition { topic: TopicId::from_bytes(TOPIC), partition: PartitionId::new(0) };
    image.replay(&MetadataRecord::PartitionAssigned { partition, assignment });
}

#[test]
fn nothing_is_wrong_with_a_healthy_cluster() {
    assert_eq!(problems(&image(), &reports(), &MoveAges::new()), []);
}

#[test]
fn a_node_that_is_down_is_named_with_what_it_costs() {
    let (mut image, mut reports) = (image(), reports());
    image.replay(&MetadataRecord::NodeFenced { node: node(3) });
    reports.get_mut(&node(3)).unwrap().replicas = None;
    for replica in reports.get_mut(&node(1)).unwrap().replicas.iter_mut().flatten() {
        replica.peers[1].heard_ms = Some(60_000);
    }
    let found = problems(&image, &reports, &MoveAges::new());
    let kinds: Vec<_> = found.iter().map(|problem| (problem.severity, problem.kind)).collect();
    assert_eq!(
        kinds,
        [
            (Severity::Critical, "node-fenced"),
            (Severity::Warning, "controller-at-risk"),
            (Severity::Warning, "replicas-behind"),
        ]
    );
    assert_eq!(found[0].text, "node 3 (10.0.0.3:7400) does not answer the controller and is fenced");
    assert_eq!(found[2].text, "partition 0 of topic 'orders' has 2 of 3 replicas in sync; behind: [3]");
}

#[test]
fn groups_without_a_leader_are_named() {
    let (image, mut reports) = (image(), reports());
    reports.remove(&node(1));
    let found = kinds(&image, &reports);
    let critical = |kind| (Severity::Critical, kind);
    assert_eq!(found, [critical("node-silent"), critical("controller-missing"), critical("leader-missing")]);
    reports.remove(&node(2));
    let texts: Vec<String> =
        problems(&image, &reports, &MoveAges::new()).into_iter().map(|problem| problem.text).collect();
    assert!(texts.iter().any(|text| text.contains("2 of its nodes [1,2,3] do not answer")), "{texts:?}");
}

#[test]
fn a_majority_that_lags_is_critical() {
    let (image, mut reports) = (image(), reports());
    let led = &mut reports.get_mut(&node(1)).unwrap().replicas.as_mut().unwrap()[1];
    led.peers[0].lag = Some(1_000_000);
    led.peers[1].lag = None;
    assert_eq!(kinds(&image, &reports), [(Severity::Critical, "replicas-behind")]);
}

#[test]
fn moves_are_told_and_stuck_ones_are_warned_of() {
    let (mut image, reports) = (image(), reports());
    image.replay(&MetadataRecord::NodeRegistered(NodeRegistration {
        node: node(4),
        ..image.node(node(3)).unwrap().clone()
    }));
    let target = Some([1, 2, 4].map(NodeId::new).to_vec());
    assign(&mut image, Assignment { target, generation: 1, ..Assignment::new([1, 2, 3].map(NodeId::new).to_vec()) });
    assert!(kinds(&image, &reports).contains(&(Severity::Notice, "moving")));
    image.replay(&MetadataRecord::NodeFenced { node: node(4) });
    assert!(kinds(&image, &reports).contains(&(Severity::Warning, "move-stuck")));
}

#[test]
fn a_move_that_takes_long_is_stuck_unless_something_is_copied() {
    let (mut image, mut reports) = (image(), reports());
    image.replay(&MetadataRecord::NodeRegistered(NodeRegistration {
        node: node(4),
        ..image.node(node(3)).unwrap().clone()
    }));
    reports.insert(node(4), NodeReport { replicas: Some(Vec::new()), heartbeat: None });
    let target = Some([1, 2, 4].map(NodeId::new).to_vec());
    assign(&mut image, Assignment { target, generation: 1, ..Assignment::new([1, 2, 3].map(NodeId::new).to_vec()) });
    let id = image.partitions().next().unwrap().0;
    let told = |reports: &BTreeMap<NodeId, NodeReport>, seconds| {
        let ages = MoveAges::from([(id, Duration::from_secs(seconds))]);
        let found = problems(&image, reports, &ages);
        found.into_iter().filter(|problem| problem.kind.starts_with("mov")).map(|p| (p.kind, p.text)).next().unwrap()
    };
    assert_eq!(told(&reports, 59).0, "moving");
    let (kind, text) = told(&reports, 60);
    assert_eq!(kind, "move-stuck");
    assert!(text.contains("for 60 s") && text.contains("has not begun to fill node 4"), "{text}");
    let mut with_new = |lag, heard_ms| {
        let led = &mut reports.get_mut(&node(1)).unwrap().replicas.as_mut().unwrap()[1];
        led.peers.retain(|peer| peer.node != 4);
        led.peers.push(PeerDescription { node: 4, lag, heard_ms, ..led.peers[0] });
        told(&reports, 3_600)
    };
    assert_eq!(with_new(Some(1_000_000), Some(100)).0, "moving", "it is being filled");
    assert!(with_new(Some(1_000_000), Some(60_000)).1.contains("node 4 does not answer its leader"));
    assert!(with_new(Some(0), Some(100)).1.contains("the members are not changed"));
}

#[test]
fn a_decommission_that_cannot_go_on_is_told_from_one_that_does() {
    let (mut image, reports) = (image(), reports());
    let (state, successor) = (NodeState::Decommissioning, None);
    image.replay(&MetadataRecord::NodeStateSet { node: node(3), state, successor });
    assert_eq!(kinds(&image, &reports), [(Severity::Warning, "decommission-stuck")]);
    let target = Some([1, 2].map(NodeId::new).to_vec());
    assign(&mut image, Assignment { target, generation: 1, ..Assignment::new([1, 2, 3].map(NodeId::new).to_vec()) });
    let notice = |kind| (Severity::Notice, kind);
    assert_eq!(kinds(&image, &reports), [notice("node-decommissioning"), notice("moving")]);
}

#[test]
fn disks_and_damage_are_told() {
    let (image, mut reports) = (image(), reports());
    reports.get_mut(&node(2)).unwrap().heartbeat.as_mut().unwrap().free_bytes = 5 << 30;
    let third = reports.get_mut(&node(3)).unwrap();
    third.heartbeat.as_mut().unwrap().is_disk_full = true;
    third.replicas.as_mut().unwrap()[1].is_recovering = true;
    let found = kinds(&image, &reports);
    let warning = |kind| (Severity::Warning, kind);
    assert_eq!(found, [(Severity::Critical, "disk-full"), warning("disk-low"), warning("replica-recovering")]);
}

#[test]
fn many_of_a_kind_are_counted() {
    let (mut image, reports) = (image(), reports());
    let topic = image.topic_by_id(TopicId::from_bytes(TOPIC)).unwrap();
    let wide = Topic {
        id: TopicId::from_bytes([8; 16]),
        name: TopicName::new("wide").unwrap(),
        partitions: vec![topic.partitions[0].clone(); 100],
        ..Topic::clone(topic)
    };
    image.replay(&MetadataRecord::TopicCreated(wide));
    let found = problems(&image, &reports, &MoveAges::new());
    assert_eq!(found.len(), TOLD_MAX + 1);
    assert_eq!(found.last().unwrap().text, "and 80 more of the kind leader-missing");
}
