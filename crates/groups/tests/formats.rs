//! The bytes of each format, kept for ever: an entry with one record of each kind, and an image. And what is refused.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "a test"
)]

use bytes::Bytes;
use highwater_golden::hex;
use highwater_groups::stream::record::{self, Generation};
use highwater_groups::stream::{
    Assignment, Client, ClientHost, ClientId, CommittedOffset, DecodeError, GenerationId, GroupId, GroupRecord,
    GroupsImage, InstanceId, Member, MemberId, Protocol, ProtocolName, ProtocolType,
};
use highwater_types::{LeaderEpoch, LogIndex, Offset, PartitionId, Timestamp, TopicId, TopicPartition};

const RECORDS: &str = include_str!("fixtures/v1/records.hex");
const IMAGE: &str = include_str!("fixtures/v1/image.hex");

fn at(topic: u8, partition: u32) -> TopicPartition {
    TopicPartition { topic: TopicId::from_bytes([topic; 16]), partition: PartitionId::new(partition) }
}

fn member(id: &str) -> Member {
    Member {
        id: MemberId::new(id).unwrap(),
        instance: None,
        client: Client { id: ClientId::new("app").unwrap(), host: ClientHost::new("10.0.0.7").unwrap() },
        session_timeout_ms: 45_000,
        rebalance_timeout_ms: 300_000,
        protocols: vec![
            Protocol { name: ProtocolName::new("range").unwrap(), metadata: Bytes::from_static(b"reads") },
            Protocol { name: ProtocolName::new("sticky").unwrap(), metadata: Bytes::new() },
        ],
        subscription: None,
        owned: Vec::new(),
        assignment: Assignment::default(),
    }
}

fn static_member() -> Member {
    Member {
        instance: Some(InstanceId::new("one").unwrap()),
        subscription: Some(vec![TopicId::from_bytes([1; 16]), TopicId::from_bytes([2; 16])]),
        owned: vec![at(1, 0), at(1, 7), at(2, 3)],
        assignment: Assignment::Partitions(vec![at(1, 7)]),
        ..member("one-2")
    }
}

fn committed(offset: u64, metadata: &str) -> CommittedOffset {
    CommittedOffset {
        offset: Offset::new(offset).unwrap(),
        leader_epoch: None,
        metadata: metadata.to_owned(),
        committed_at: Timestamp::from_ms(1_700_000_000_000),
        expires_at: None,
    }
}

fn started(group: &str, generation: i32, members: Vec<Member>) -> GroupRecord {
    GroupRecord::GenerationStarted(Generation {
        group: GroupId::new(group).unwrap(),
        generation: GenerationId::new(generation),
        protocol_type: Some(ProtocolType::new("consumer").unwrap()),
        protocol: Some(ProtocolName::new("range").unwrap()),
        leader: members.first().map(|member| member.id.clone()),
        is_assigned: members.is_empty(),
        started_at: Timestamp::from_ms(1_700_000_000_500),
        members,
    })
}

fn records() -> Vec<GroupRecord> {
    let group = || GroupId::new("mail").unwrap();
    let id = |text: &str| MemberId::new(text).unwrap();
    let committed_at = Timestamp::from_ms(1_700_000_000_000);
    let epoch = Some(LeaderEpoch::new(4));
    let until = Some(Timestamp::from_ms(1_700_000_060_000));
    vec![
        started("mail", 3, vec![member("a-1"), static_member(), member("b-3")]),
        GroupRecord::MemberReplaced {
            group: group(),
            old: id("one-2"),
            member: Member { id: id("one-4"), ..static_member() },
        },
        GroupRecord::MembersRemoved { group: group(), members: vec![id("b-3")] },
        GroupRecord::Assigned {
            group: group(),
            generation: GenerationId::new(3),
            assignments: vec![(id("a-1"), Bytes::from_static(b"half"))],
        },
        GroupRecord::OffsetsCommitted {
            group: group(),
            committed_at,
            offsets: vec![
                (at(1, 0), committed(10, "")),
                (at(1, 1), CommittedOffset { leader_epoch: epoch, ..committed(1 << 40, "text") }),
                (at(2, 0), CommittedOffset { expires_at: until, ..committed(0, "") }),
                (at(2, 1), committed(7, "")),
                (at(3, 0), committed(8, "")),
            ],
        },
        GroupRecord::OffsetsDeleted { group: group(), partitions: vec![at(1, 0)] },
        GroupRecord::OffsetsExpired { group: group(), committed_until: committed_at, partitions: vec![at(2, 1)] },
        GroupRecord::TopicDeleted { topic: TopicId::from_bytes([3; 16]) },
        started("gone", 9, Vec::new()),
        GroupRecord::GroupDeleted { group: GroupId::new("gone").unwrap() },
        GroupRecord::GroupExpired { group: group() },
        GroupRecord::OffsetsCommitted {
            group: GroupId::new("simple").unwrap(),
            committed_at,
            offsets: vec![(at(1, 0), committed(5, ""))],
        },
    ]
}

fn image() -> GroupsImage {
    let mut image = GroupsImage::default();
    image.replay_entry(LogIndex::new(7), &records());
    image
}

#[test]
fn records_have_the_bytes_of_format_1() {
    hex::update(env!("CARGO_MANIFEST_DIR"), "v1/records.hex", &hex::encode(&record::encode(&records())));
    assert_eq!(hex::encode(&record::encode(&records())), RECORDS);
    assert_eq!(record::decode(&hex::decode(RECORDS)), Ok(records()));
}

#[test]
fn an_image_has_the_bytes_of_format_1() {
    hex::update(env!("CARGO_MANIFEST_DIR"), "v1/image.hex", &hex::encode(&image().to_bytes()));
    assert_eq!(hex::encode(&image().to_bytes()), IMAGE);
    assert_eq!(GroupsImage::from_bytes(&hex::decode(IMAGE)), Ok(image()));
}

#[test]
fn what_was_replayed_is_not_replayed_again() {
    let (mut once, mut twice) = (image(), image());
    assert!(
        !twice.replay_entry(LogIndex::new(7), &[GroupRecord::GroupDeleted { group: GroupId::new("mail").unwrap() }])
    );
    assert_eq!(once, twice);
    // Nor does it matter for records that carry absolute values.
    let records = records();
    records.iter().for_each(|record| once.replay(record));
    twice.replay_entry(LogIndex::new(8), &records);
    twice.replay_entry(LogIndex::new(8), &[]);
    assert_eq!(once.to_bytes()[3..], twice.to_bytes()[3..]);
    assert_eq!(once.generation(&GroupId::new("new").unwrap()), GenerationId::new(9));
}

#[test]
fn a_newer_format_is_refused() {
    let newer = DecodeError::NewerFormat { found: 2, known: 1 };
    let with_format = |text, format| {
        let mut bytes = hex::decode(text);
        bytes[0] = format;
        bytes
    };
    assert_eq!(record::decode(&with_format(RECORDS, 2)), Err(newer.clone()));
    assert_eq!(GroupsImage::from_bytes(&with_format(IMAGE, 2)), Err(newer));
    assert!(matches!(record::decode(&with_format(RECORDS, 0)), Err(DecodeError::Malformed { .. })));
    assert_eq!(record::decode(&[]), Err(DecodeError::Empty));
}

#[test]
fn an_unknown_kind_of_record_is_refused() {
    // Format 1, one record of two bytes, whose only field has the number 15 and no content.
    assert_eq!(record::decode(&[1, 0x0A, 0x02, 0x7A, 0x00]), Err(DecodeError::UnknownRecord));
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
    // No damage may make it panic.
    for place in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[place] ^= 0x55;
        let _ = record::decode(&damaged);
        let _ = GroupsImage::from_bytes(&damaged);
    }
}
