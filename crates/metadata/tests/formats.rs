//! The bytes of format 1, kept for ever: an entry with one record of each kind, and an image. And what is refused.
#![allow(clippy::disallowed_methods, reason = "reads its own fixtures")]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "a test"
)]

use highwater_metadata::{
    Assignment, DecodeError, MetadataImage, MetadataRecord, NodeRegistration, Setting, SettingValue, Topic,
    TopicSettings, record,
};
use highwater_types::{ClusterId, LogIndex, NodeId, NodeUuid, PartitionId, ProducerId, Timestamp, TopicId, TopicName};
use uuid::Uuid;

const RECORDS: &str = include_str!("fixtures/v1/records.hex");
const IMAGE: &str = include_str!("fixtures/v1/image.hex");

fn from_hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.chars().filter_map(|c| c.to_digit(16)).map(|digit| digit as u8).collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

fn to_hex(bytes: &[u8]) -> String {
    let lines = bytes.chunks(32).map(|line| line.iter().map(|byte| format!("{byte:02x}")).collect::<String>());
    lines.collect::<Vec<_>>().join("\n") + "\n"
}

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
    Assignment { replicas: nodes.iter().copied().map(NodeId::new).collect() }
}

fn records() -> Vec<MetadataRecord> {
    let (orders, audit) = (topic(0x11, "orders"), topic(0x22, "audit"));
    let address = "127.0.0.1:7400".to_owned();
    let mut settings = TopicSettings::default();
    settings.set(Setting::RetentionBytes, SettingValue::Number(1 << 30));
    vec![
        MetadataRecord::ClusterFormed { cluster: ClusterId::new(Uuid::from_u128(0xC1)) },
        MetadataRecord::NodeRegistered(NodeRegistration {
            node: NodeId::new(1),
            uuid: NodeUuid::new(Uuid::from_u128(0xA1)),
            address,
        }),
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

fn image() -> MetadataImage {
    let mut image = MetadataImage::default();
    image.replay_entry(LogIndex::new(7), &records());
    image
}

#[test]
fn records_have_the_bytes_of_format_1() {
    assert_eq!(to_hex(&record::encode(&records())), RECORDS);
    assert_eq!(record::decode(&from_hex(RECORDS)), Ok(records()));
}

#[test]
fn an_image_has_the_bytes_of_format_1() {
    assert_eq!(to_hex(&image().to_bytes()), IMAGE);
    assert_eq!(MetadataImage::from_bytes(&from_hex(IMAGE)), Ok(image()));
}

#[test]
fn a_newer_format_is_refused() {
    let newer = DecodeError::NewerFormat { found: 2, known: 1 };
    let with_format = |text, format| {
        let mut bytes = from_hex(text);
        bytes[0] = format;
        bytes
    };
    assert_eq!(record::decode(&with_format(RECORDS, 2)), Err(newer.clone()));
    assert_eq!(MetadataImage::from_bytes(&with_format(IMAGE, 2)), Err(newer));
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
    let bytes = from_hex(RECORDS);
    let at = bytes.windows(12).position(|window| window == b"retention.ms").unwrap();
    let mut renamed = bytes.clone();
    renamed[at..at + 12].copy_from_slice(b"retention.xx");
    let refused = record::decode(&renamed).unwrap_err();
    assert!(matches!(&refused, DecodeError::UnknownSetting { name, .. } if name == "retention.xx"), "{refused}");
}

#[test]
fn a_cut_is_refused() {
    let bytes = from_hex(RECORDS);
    // A cut behind a whole record cannot be told from a shorter entry; the log's checksum is there for that.
    for length in 1..bytes.len() {
        if let Ok(records) = record::decode(&bytes[..length]) {
            assert!(self::records().starts_with(&records));
        }
    }
}
