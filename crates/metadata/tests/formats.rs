//! The bytes of each format, kept for ever: an entry with one record of each kind, and an image. And what is refused.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "a test"
)]

use std::collections::BTreeMap;

use highwater_golden::hex;
use highwater_metadata::{
    Assignment, Command, DecodeError, JoinNode, MetadataImage, MetadataRecord, NodeRegistration, NodeState, Setting,
    SettingValue, Topic, TopicSettings, record,
};
use highwater_types::{
    ClusterId, LogIndex, NodeId, NodeUuid, PartitionId, ProducerId, Timestamp, TopicId, TopicName, TopicPartition,
};
use uuid::Uuid;

const RECORDS_1: &str = include_str!("fixtures/v1/records.hex");
const IMAGE_1: &str = include_str!("fixtures/v1/image.hex");
const RECORDS: &str = include_str!("fixtures/v2/records.hex");
const IMAGE: &str = include_str!("fixtures/v2/image.hex");
/// Fields that came later, and are not there in the others: they are left out while they are empty.
const LISTENERS: &str = include_str!("fixtures/v2/listeners.hex");
/// What nodes send to each other.
const COMMANDS: &str = include_str!("fixtures/v1/commands.hex");

fn topic(number: u128, name: &str) -> Topic {
    let mut settings = TopicSettings::default();
    settings.set(Setting::RetentionMs, SettingValue::Unlimited);
    settings.set(Setting::SegmentBytes, SettingValue::Number(64 << 20));
    Topic {
        id: TopicId::new(Uuid::from_u128(number)),
        name: TopicName::new(name).unwrap(),
        created_at: Timestamp::from_ms(1_700_000_000_000),
        replicas: 2,
        partitions: vec![assignment(&[1, 2]), assignment(&[2, 1])],
        settings,
    }
}

fn assignment(nodes: &[u64]) -> Assignment {
    Assignment::new(nodes.iter().copied().map(NodeId::new).collect())
}

fn registration(number: u64) -> NodeRegistration {
    NodeRegistration {
        node: NodeId::new(number),
        uuid: NodeUuid::new(Uuid::from_u128(0xA0 + u128::from(number))),
        address: "127.0.0.1:7400".to_owned(),
        peer_address: String::new(),
        rack: String::new(),
        kafka_address: String::new(),
        kafka_listeners: BTreeMap::new(),
    }
}

fn records_of_format_1() -> Vec<MetadataRecord> {
    let (orders, audit) = (topic(0x11, "orders"), topic(0x22, "audit"));
    let mut settings = TopicSettings::default();
    settings.set(Setting::RetentionBytes, SettingValue::Number(1 << 30));
    vec![
        MetadataRecord::ClusterFormed { cluster: ClusterId::new(Uuid::from_u128(0xC1)) },
        MetadataRecord::NodeRegistered(registration(1)),
        MetadataRecord::TopicCreated(orders.clone()),
        MetadataRecord::TopicCreated(audit.clone()),
        MetadataRecord::TopicConfigured { topic: orders.id, settings },
        MetadataRecord::PartitionsAdded {
            topic: orders.id,
            first: PartitionId::new(2),
            assignments: vec![assignment(&[1])],
        },
        MetadataRecord::TopicDeleted { topic: audit.id },
        MetadataRecord::ProducerIdsReserved { next: ProducerId::new(1_000) },
    ]
}

fn records() -> Vec<MetadataRecord> {
    let node = |number| NodeRegistration {
        peer_address: "127.0.0.1:7401".to_owned(),
        rack: "a-1".to_owned(),
        ..registration(number)
    };
    let orders = TopicId::new(Uuid::from_u128(0x11));
    let partition = TopicPartition { topic: orders, partition: PartitionId::new(1) };
    let moving = Assignment { target: Some(assignment(&[2, 3]).replicas), generation: 5, ..assignment(&[2, 1]) };
    let (second, third, fourth) = (NodeId::new(2), NodeId::new(3), NodeId::new(4));
    let mut records = records_of_format_1();
    records.extend((2..=4).map(|number| MetadataRecord::NodeRegistered(node(number))));
    records.extend([
        MetadataRecord::NodeStateSet { node: second, state: NodeState::Draining, successor: None },
        MetadataRecord::NodeStateSet { node: third, state: NodeState::Decommissioning, successor: Some(second) },
        MetadataRecord::NodeFenced { node: second },
        MetadataRecord::NodeUnfenced { node: second },
        MetadataRecord::NodeFenced { node: third },
        MetadataRecord::NodeRemoved { node: fourth },
        MetadataRecord::PartitionAssigned { partition, assignment: moving },
        MetadataRecord::TopicReplicasSet { topic: orders, replicas: 3 },
        MetadataRecord::BalancingSet { is_on: true },
    ]);
    records
}

fn image(records: &[MetadataRecord]) -> MetadataImage {
    let mut image = MetadataImage::default();
    image.replay_entry(LogIndex::new(7), records);
    image
}

fn commands() -> Vec<Command> {
    let partition = TopicPartition { topic: TopicId::new(Uuid::from_u128(0x11)), partition: PartitionId::new(1) };
    let (uuid, address) = (NodeUuid::new(Uuid::from_u128(0xA7)), "127.0.0.1:7400".to_owned());
    let (peer_address, rack) = ("127.0.0.1:7401".to_owned(), "b".to_owned());
    let (node, by) = (NodeId::new(1), NodeId::new(2));
    vec![
        Command::JoinNode(JoinNode { uuid, address, peer_address, rack }),
        Command::RegisterNode(registration(3)),
        Command::SetNodeState { node, state: NodeState::Decommissioning },
        Command::ReplaceNode { node, by },
        Command::SetReplicas { name: TopicName::new("orders").unwrap(), replicas: 3 },
        Command::MoveReplicas { partition, target: vec![node, by] },
        Command::FinishMove { partition, generation: 5 },
        Command::PreferLeader { partition, node },
        Command::SetBalancing { is_on: true },
        Command::AllocateProducerIds { count: 1_000 },
    ]
}

#[test]
fn format_1_is_understood() {
    assert_eq!(record::decode(&hex::decode(RECORDS_1)), Ok(records_of_format_1()));
    assert_eq!(MetadataImage::from_bytes(&hex::decode(IMAGE_1)), Ok(image(&records_of_format_1())));
}

#[test]
fn records_have_the_bytes_of_format_2() {
    hex::update(env!("CARGO_MANIFEST_DIR"), "v2/records.hex", &hex::encode(&record::encode(&records())));
    assert_eq!(hex::encode(&record::encode(&records())), RECORDS);
    assert_eq!(record::decode(&hex::decode(RECORDS)), Ok(records()));
}

#[test]
fn a_node_with_listeners_has_the_bytes_of_format_2() {
    let place = |name: &str, port: u16| (name.to_owned(), format!("log-1.example:{port}"));
    let kafka_listeners = BTreeMap::from([place("inside", 9092), place("outside", 9094)]);
    let node = NodeRegistration { kafka_address: "127.0.0.1:9092".to_owned(), kafka_listeners, ..registration(1) };
    let records = vec![MetadataRecord::NodeRegistered(node)];
    hex::update(env!("CARGO_MANIFEST_DIR"), "v2/listeners.hex", &hex::encode(&record::encode(&records)));
    assert_eq!(hex::encode(&record::encode(&records)), LISTENERS);
    assert_eq!(record::decode(&hex::decode(LISTENERS)), Ok(records.clone()));
    assert_eq!(MetadataImage::from_bytes(&image(&records).to_bytes()), Ok(image(&records)));
    assert!(records[0].to_string().ends_with("kafka.inside=log-1.example:9092 kafka.outside=log-1.example:9094"));
}

#[test]
fn an_image_has_the_bytes_of_format_2() {
    hex::update(env!("CARGO_MANIFEST_DIR"), "v2/image.hex", &hex::encode(&image(&records()).to_bytes()));
    assert_eq!(hex::encode(&image(&records()).to_bytes()), IMAGE);
    assert_eq!(MetadataImage::from_bytes(&hex::decode(IMAGE)), Ok(image(&records())));
}

#[test]
fn commands_have_the_bytes_of_format_1() {
    let text: String = commands().iter().map(|command| hex::encode(&command.to_bytes()) + "--\n").collect();
    hex::update(env!("CARGO_MANIFEST_DIR"), "v1/commands.hex", &text);
    assert_eq!(text, COMMANDS);
    let decoded =
        COMMANDS.split("--\n").filter(|text| !text.is_empty()).map(|text| Command::from_bytes(&hex::decode(text)));
    assert_eq!(decoded.collect::<Result<Vec<_>, _>>(), Ok(commands()));
}

#[test]
fn a_newer_format_is_refused() {
    let newer = DecodeError::NewerFormat { found: 3, known: 2 };
    let with_format = |text, format| {
        let mut bytes = hex::decode(text);
        bytes[0] = format;
        bytes
    };
    assert_eq!(record::decode(&with_format(RECORDS, 3)), Err(newer.clone()));
    assert_eq!(MetadataImage::from_bytes(&with_format(IMAGE, 3)), Err(newer));
    assert!(matches!(record::decode(&with_format(RECORDS, 0)), Err(DecodeError::Malformed { .. })));
    assert_eq!(record::decode(&[]), Err(DecodeError::Empty));
}

#[test]
fn an_unknown_kind_of_record_is_refused() {
    // Format 1, one record of two bytes, whose only field has the number 15 and no content.
    let unknown = [1, 0x0A, 0x02, 0x7A, 0x00];
    assert_eq!(record::decode(&unknown), Err(DecodeError::UnknownRecord));
}

#[test]
fn an_unknown_setting_is_refused_by_name() {
    let bytes = hex::decode(RECORDS);
    let at = bytes.windows(12).position(|window| window == b"retention.ms").unwrap();
    let mut renamed = bytes.clone();
    renamed[at..at + 12].copy_from_slice(b"retention.xx");
    let refused = record::decode(&renamed).unwrap_err();
    assert!(matches!(&refused, DecodeError::UnknownSetting { name, .. } if name == "retention.xx"), "{refused}");
}

#[test]
fn a_cut_is_refused() {
    let bytes = hex::decode(RECORDS);
    // A cut behind a whole record cannot be told from a shorter entry; the log's checksum is there for that.
    for length in 1..bytes.len() {
        if let Ok(records) = record::decode(&bytes[..length]) {
            assert!(self::records().starts_with(&records));
        }
    }
}
