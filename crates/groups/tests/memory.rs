//! What ten thousand groups cost in memory, and how fast offsets are committed.
#![allow(clippy::disallowed_methods, reason = "reads its own memory and a clock")]
#![allow(clippy::unwrap_used, clippy::cast_possible_truncation, clippy::print_stdout, reason = "a test")]

use std::time::Instant;

use bytes::Bytes;
use highwater_groups::stream::command::{CommitOffsets, JoinGroup, NewOffset};
use highwater_groups::stream::{
    Client, ClientHost, ClientId, Command, Config, Context, GroupId, GroupsImage, Moment, Protocol, ProtocolName,
    ProtocolType, Sessions, Ticket, record,
};
use highwater_types::{LogIndex, Offset, PartitionId, Timestamp, TopicId, TopicPartition};

const MIB: u64 = 1 << 20;

/// The resident memory of this process, in bytes.
fn resident_bytes() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    statm.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok()).unwrap_or(0) * 4_096
}

fn group(number: u32) -> GroupId {
    GroupId::new(&format!("group-of-some-service-{number}")).unwrap()
}

fn join(number: u32) -> Command {
    Command::Join(JoinGroup {
        group: group(number),
        member: None,
        instance: None,
        client: Client { id: ClientId::new("consumer-1").unwrap(), host: ClientHost::new("10.0.0.1").unwrap() },
        session_timeout_ms: 45_000,
        rebalance_timeout_ms: 300_000,
        protocol_type: ProtocolType::new("consumer").unwrap(),
        protocols: vec![Protocol { name: ProtocolName::new("range").unwrap(), metadata: Bytes::from(vec![7; 200]) }],
        subscription: None,
        owned: Vec::new(),
        needs_known_id: false,
        can_skip_assignment: true,
    })
}

fn commit(number: u32, partitions: u32, offset: u64) -> Command {
    let new = || NewOffset { offset: Offset::new(offset).unwrap(), leader_epoch: None, metadata: String::new() };
    let at = |partition| TopicPartition {
        topic: TopicId::from_bytes([(partition % 5) as u8; 16]),
        partition: PartitionId::new(partition / 5),
    };
    let offsets = (0..partitions).map(|partition| (at(partition), new())).collect();
    Command::CommitOffsets(CommitOffsets {
        group: group(number),
        by: None,
        retention_ms: None,
        offsets,
        is_beginning: false,
    })
}

/// A fifth of the 10,000 groups that fit into 200 MiB.
#[test]
fn two_thousand_groups_fit_into_40_mib() {
    fit(2_000);
}

#[test]
#[ignore = "a measurement"]
fn ten_thousand_groups_fit_into_200_mib() {
    fit(10_000);
}

/// Groups with 100 offsets and two members each, on a leader.
fn fit(groups: u32) {
    let before = resident_bytes();
    let no_topics = |_| 0;
    let context = |nonce| Context {
        now: Moment::default(),
        wall: Timestamp::from_ms(1_700_000_000_000),
        nonce,
        partitions: &no_topics,
    };
    let mut image = GroupsImage::default();
    let mut sessions = Sessions::new(Config::default(), &image, &context(0));
    let mut entries = 0;
    for number in 0..groups {
        for command in [commit(number, 100, 1), join(number), join(number)] {
            entries += 1;
            let decision = sessions.decide(&image, Ticket::new(entries), command, &context(entries.into()));
            let records = record::decode(&record::encode(&decision.records)).unwrap();
            image.replay_entry(LogIndex::new(entries), &records);
        }
    }
    let all = Moment::new(1_000_000);
    while sessions.next_deadline() <= all && image.group(&group(groups - 1)).is_some_and(|g| g.members.is_empty()) {
        let decision = sessions.tick(&image, &Context { now: sessions.next_deadline(), ..context(0) });
        entries += 1;
        image.replay_entry(LogIndex::new(entries), &record::decode(&record::encode(&decision.records)).unwrap());
    }
    assert_eq!(image.group(&group(0)).unwrap().members.len(), 2);
    let used = resident_bytes().saturating_sub(before);
    println!(
        "{groups} groups of 100 offsets and 2 members: {} MiB, snapshot {} KiB",
        used / MIB,
        image.to_bytes().len() / 1024
    );
    assert!(used < u64::from(groups) * 200 * MIB / 10_000, "{} MiB", used / MIB);
}

/// `cargo test --release -- --ignored --nocapture`: commits decided, encoded, decoded and replayed a second.
#[test]
#[ignore = "a measurement"]
fn commits_per_second() {
    let no_topics = |_| 0;
    let context = Context {
        now: Moment::default(),
        wall: Timestamp::from_ms(1_700_000_000_000),
        nonce: 0,
        partitions: &no_topics,
    };
    let mut image = GroupsImage::default();
    let mut sessions = Sessions::new(Config::default(), &image, &context);
    for partitions in [1, 10, 100] {
        let (start, count) = (Instant::now(), 200_000);
        for number in 0..count {
            let command = commit(number % 1_000, partitions, number.into());
            let decision = sessions.decide(&image, Ticket::new(1), command, &context);
            let records = record::decode(&record::encode(&decision.records)).unwrap();
            records.iter().for_each(|record| image.replay(record));
        }
        println!("{partitions} partitions a commit: {:.0}/s", f64::from(count) / start.elapsed().as_secs_f64());
    }
}
