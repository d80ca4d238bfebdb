//! The bytes of each format of queues, kept for ever: an entry with one record of each kind, and an image. And what is
//! refused.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "a test"
)]

use bytes::Bytes;
use highwater_golden::hex;
use highwater_groups::queue::{
    Attempt, Backoff, BreakerConfig, Change, DeathCause, DecodeError, DropCause, GroupId, OnExpiry, Order, Pause,
    PausedBy, QueueConfig, QueueRecord, QueuesImage, Reason, WorkerId, record,
};
use highwater_types::{LogIndex, Offset, OffsetRange, Timestamp};

const RECORDS: &str = include_str!("fixtures/v1/queue_records.hex");
const IMAGE: &str = include_str!("fixtures/v1/queue_image.hex");

fn at(offset: u64) -> Offset {
    Offset::new(offset).unwrap()
}

fn range(start: u64, end: u64) -> OffsetRange {
    OffsetRange::new(at(start), at(end))
}

fn attempt(number: u32, reason: &str) -> Attempt {
    Attempt {
        number,
        worker: WorkerId::new("worker-7").unwrap(),
        started_at: Timestamp::from_ms(1_700_000_000_000),
        duration_ms: 1_500,
        reason: Reason::new(reason),
    }
}

fn of(group: &str, change: Change) -> QueueRecord {
    QueueRecord { group: GroupId::new(group).unwrap(), change }
}

fn config() -> QueueConfig {
    QueueConfig {
        lease_ms: 20_000,
        lease_total_ms_max: 60_000,
        attempts_max: 3,
        backoff: Backoff::Linear { step_ms: 100, cap_ms: 1_000 },
        order: Order::Key,
        in_flight_max: 500,
        worker_in_flight_max: 50,
        oldest_every: 7,
        look_ahead: 300,
        entries_max: 10_000,
        dead_max: 100,
        on_expiry: OnExpiry::Drop,
        breaker: Some(BreakerConfig {
            failures_percent: 80,
            outcomes_min: 20,
            window_ms: 5_000,
            probe_after_ms: 2_000,
        }),
    }
}

fn records() -> Vec<QueueRecord> {
    let wall = Timestamp::from_ms(1_700_000_001_500);
    let pause = Pause { by: PausedBy::Breaker, at: wall, reason: Reason::new("8 of 10 attempts failed") };
    let died = |offset, cause, attempt| Change::Died { offset: at(offset), attempts: 1, cause, at: wall, attempt };
    vec![
        of("mail", Change::Configured { config: config(), start: at(100) }),
        of("mail", Change::Acked { ranges: vec![range(100, 200), range(205, 206), range(1_000, 2_000)] }),
        of("mail", Change::Acked { ranges: vec![range(5_000, 5_001), range(300, 301)] }),
        of("mail", Change::Dropped { cause: DropCause::Cancelled, ranges: vec![range(210, 211)] }),
        of("mail", Change::Dropped { cause: DropCause::Absent, ranges: vec![range(212, 214)] }),
        of(
            "mail",
            Change::Failed { offset: at(201), attempts: 1, retry_at: wall, attempt: attempt(1, "connection refused") },
        ),
        of("mail", died(202, DeathCause::Rejected, Some(attempt(1, "nonsense")))),
        of("mail", died(203, DeathCause::Expired, None)),
        of("mail", died(204, DeathCause::AttemptsSpent, Some(attempt(1, "")))),
        of("mail", Change::Rescheduled { offset: at(206), deliver_at: wall }),
        of("mail", Change::Kept { offset: at(202), record: Bytes::from_static(b"its record") }),
        of("mail", Change::Redriven { ranges: vec![range(204, 205)], at: wall }),
        of("mail", Change::Paused { pause: Some(pause) }),
        of("plain", Change::Configured { config: QueueConfig::default(), start: Offset::ZERO }),
        of("plain", Change::Paused { pause: None }),
        of("plain", Change::Trimmed { start: at(50) }),
        of("gone", Change::Configured { config: QueueConfig::default(), start: Offset::ZERO }),
        of("gone", Change::Deleted),
    ]
}

fn image() -> QueuesImage {
    let mut image = QueuesImage::default();
    image.replay_entry(LogIndex::new(7), &records());
    image
}

#[test]
fn records_have_the_bytes_of_format_1() {
    hex::update(env!("CARGO_MANIFEST_DIR"), "v1/queue_records.hex", &hex::encode(&record::encode(&records())));
    assert_eq!(hex::encode(&record::encode(&records())), RECORDS);
    assert_eq!(record::decode(&hex::decode(RECORDS)), Ok(records()));
}

#[test]
fn an_image_has_the_bytes_of_format_1() {
    hex::update(env!("CARGO_MANIFEST_DIR"), "v1/queue_image.hex", &hex::encode(&image().to_bytes()));
    assert_eq!(hex::encode(&image().to_bytes()), IMAGE);
    assert_eq!(QueuesImage::from_bytes(&hex::decode(IMAGE)), Ok(image()));
}

#[test]
fn what_was_replayed_is_not_replayed_again() {
    let (mut once, mut twice) = (image(), image());
    assert!(!twice.replay_entry(LogIndex::new(7), &[of("mail", Change::Deleted)]));
    assert_eq!(once, twice);
    // Nor does it matter for records that carry absolute values.
    let records = &records()[1..];
    records.iter().for_each(|record| once.replay(record));
    twice.replay_entry(LogIndex::new(8), records);
    twice.replay_entry(LogIndex::new(8), &[]);
    assert_eq!(once.to_bytes()[3..], twice.to_bytes()[3..]);
    assert_eq!(once.to_bytes()[3..], image().to_bytes()[3..]);
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
    assert_eq!(QueuesImage::from_bytes(&with_format(IMAGE, 2)), Err(newer));
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
        if let Ok(records) = record::decode(&damaged) {
            QueuesImage::default().replay_entry(LogIndex::new(1), &records);
        }
    }
    let bytes = hex::decode(IMAGE);
    for place in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[place] ^= 0x55;
        if let Ok(mut image) = QueuesImage::from_bytes(&damaged) {
            image.replay_entry(LogIndex::new(100), &records());
        }
    }
}
