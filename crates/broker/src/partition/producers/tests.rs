#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::expect_used)]
#![allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_possible_wrap)]
//! The rules one by one, and all of them against a plain model.

use std::collections::HashMap;

use highwater_types::LeaderEpoch;
use highwater_types::batch::Compression;
use proptest::prelude::*;

use super::codec::{DecodeError, decode, encode};
use super::*;

const HOUR_MS: i64 = 3_600_000;

fn offset(value: u64) -> Offset {
    Offset::new(value).unwrap()
}

fn header(id: i64, epoch: i16, first: i32, records: u32, time_ms: i64) -> BatchHeader {
    BatchHeader {
        base_offset: Offset::ZERO,
        total_bytes: 100,
        leader_epoch: LeaderEpoch::new(1),
        crc: 0,
        compression: Compression::None,
        log_append_time: false,
        is_transactional: false,
        is_control: false,
        last_offset_delta: records - 1,
        base_timestamp: Timestamp::from_ms(time_ms),
        max_timestamp: Timestamp::from_ms(time_ms),
        producer: (id >= 0).then(|| ProducerStamp {
            id: ProducerId::new(id),
            epoch: ProducerEpoch::new(epoch),
            first_sequence: Sequence::new(first),
        }),
        record_count: records,
    }
}

fn ask(table: &Producers, id: i64, epoch: i16, first: i32, records: u32) -> Verdict {
    let batch = Stamped::of(&header(id, epoch, first, records, 0)).unwrap();
    judge(table.get(ProducerId::new(id)), batch)
}

fn out_of_order(id: i64, first: i32, expected: i32) -> Verdict {
    let (first, expected) = (Sequence::new(first), Sequence::new(expected));
    Verdict::Refused(SequenceError::OutOfOrder { producer: ProducerId::new(id), first, expected })
}

fn unknown(id: i64, first: i32) -> Verdict {
    Verdict::Refused(SequenceError::Unknown { producer: ProducerId::new(id), first: Sequence::new(first) })
}

fn forgotten(id: i64, first: i32) -> Verdict {
    Verdict::Refused(SequenceError::Forgotten { producer: ProducerId::new(id), first: Sequence::new(first) })
}

fn stored(at: u64) -> Verdict {
    Verdict::Duplicate(Place::Stored(offset(at)))
}

/// Seven batches of ten records from producer 7, the first at sequence 0 and offset 100.
fn seven_batches() -> Producers {
    let mut table = Producers::new(ProducerLimits::default());
    for n in 0..7 {
        table.apply(offset(100 + 10 * n), &header(7, 0, 10 * n as i32, 10, 1_000));
    }
    table
}

#[test]
fn the_last_five_are_answered_with_their_first_offset() {
    let table = seven_batches();
    for n in 2..7 {
        assert_eq!(ask(&table, 7, 0, 10 * n, 10), stored(100 + 10 * n as u64));
    }
    assert_eq!(ask(&table, 7, 0, 70, 3), Verdict::Next);
}

#[test]
fn older_ones_are_duplicates_without_an_offset() {
    let table = seven_batches();
    assert_eq!(ask(&table, 7, 0, 0, 10), forgotten(7, 0));
    assert_eq!(ask(&table, 7, 0, 10, 10), forgotten(7, 10));
    assert_eq!(ask(&table, 7, 0, 5, 10), forgotten(7, 5), "all of it is stored, however it was cut");
}

#[test]
fn what_overlaps_without_matching_is_out_of_order() {
    let table = seven_batches();
    assert_eq!(ask(&table, 7, 0, 60, 11), out_of_order(7, 60, 70));
    assert_eq!(ask(&table, 7, 0, 15, 10), out_of_order(7, 15, 70));
    assert_eq!(ask(&table, 7, 0, 65, 10), out_of_order(7, 65, 70));
    assert_eq!(ask(&table, 7, 0, 71, 1), out_of_order(7, 71, 70));
}

#[test]
fn a_new_epoch_starts_at_zero_and_fences_the_old() {
    let mut table = seven_batches();
    assert_eq!(ask(&table, 7, 1, 70, 1), out_of_order(7, 70, 0));
    assert_eq!(ask(&table, 7, 1, 0, 10), Verdict::Next);
    table.apply(offset(170), &header(7, 1, 0, 10, 1_000));
    let (producer, epoch, current) = (ProducerId::new(7), ProducerEpoch::new(0), ProducerEpoch::new(1));
    assert_eq!(ask(&table, 7, 0, 70, 1), Verdict::Refused(SequenceError::Fenced { producer, epoch, current }));
    assert_eq!(ask(&table, 7, 1, 0, 10), stored(170));
}

#[test]
fn an_unknown_producer_starts_at_zero_in_any_epoch() {
    let table = Producers::new(ProducerLimits::default());
    assert_eq!(ask(&table, 7, 0, 10, 10), unknown(7, 10), "its first batch must not be overtaken");
    assert_eq!(ask(&table, 7, 3, 0, 10), Verdict::Next);
}

#[test]
fn what_came_before_a_producer_was_known_is_no_duplicate() {
    let mut table = Producers::new(ProducerLimits::default());
    table.apply(offset(0), &header(7, 3, 50, 10, 0));
    // Nobody knows whether 40..50 is stored: to call it a duplicate could lose it.
    assert_eq!(ask(&table, 7, 3, 40, 10), out_of_order(7, 40, 60));
}

#[test]
fn a_gap_in_the_log_ends_what_is_known() {
    let mut table = seven_batches();
    table.apply(offset(170), &header(7, 0, 80, 10, 1_000));
    assert_eq!(ask(&table, 7, 0, 70, 10), out_of_order(7, 70, 90), "70..80 was never stored");
    assert_eq!(ask(&table, 7, 0, 0, 10), out_of_order(7, 0, 90));
}

#[test]
fn sequences_wrap_to_zero() {
    let mut table = Producers::new(ProducerLimits::default());
    table.apply(offset(0), &header(1, 0, i32::MAX - 4, 5, 0));
    assert_eq!(ask(&table, 1, 0, 0, 5), Verdict::Next);
    table.apply(offset(5), &header(1, 0, 0, 5, 0));
    assert_eq!(ask(&table, 1, 0, i32::MAX - 4, 5), stored(0));
    // One batch across the edge.
    table.apply(offset(10), &header(2, 0, i32::MAX - 1, 4, 0));
    assert_eq!(ask(&table, 2, 0, i32::MAX - 1, 4), stored(10));
    assert_eq!(ask(&table, 2, 0, 2, 1), Verdict::Next);
}

#[test]
fn a_producer_is_forgotten_after_a_day_of_the_logs_own_time() {
    let day = ProducerLimits { expiry_ms: Some(24 * HOUR_MS as u64), ..ProducerLimits::default() };
    let mut table = Producers::new(day);
    table.apply(offset(0), &header(1, 0, 0, 1, 0));
    for hour in 1..24 {
        table.apply(offset(hour), &header(2, 0, hour as i32, 1, hour as i64 * HOUR_MS));
    }
    assert_eq!(ask(&table, 1, 0, 0, 1), stored(0));
    table.apply(offset(24), &header(-1, 0, 0, 1, 24 * HOUR_MS));
    assert_eq!(ask(&table, 1, 0, 1, 1), unknown(1, 1), "forgotten, also by batches that are not idempotent");
    assert_eq!(ask(&table, 2, 0, 23, 1), stored(23));
}

#[test]
fn one_wild_timestamp_forgets_nobody() {
    let mut table = Producers::new(ProducerLimits::default());
    table.apply(offset(0), &header(1, 0, 0, 1, 0));
    table.apply(offset(1), &header(2, 0, 0, 1, i64::MAX));
    assert_eq!(table.now(), Timestamp::from_ms(HOUR_MS));
    assert_eq!(ask(&table, 1, 0, 0, 1), stored(0));
    // Records from the past do not make their producer old.
    table.apply(offset(2), &header(3, 0, 0, 1, -5 * HOUR_MS));
    assert_eq!(ask(&table, 3, 0, 0, 1), stored(2));
}

#[test]
fn a_client_whose_clock_is_wrong_makes_the_table_forget_nobody() {
    let mut table = Producers::new(ProducerLimits::default());
    table.apply(offset(0), &header(1, 0, 0, 1, 1_700_000_000_000));
    for batch in 1..1_000 {
        // Microseconds.
        table.apply(offset(batch), &header(2, 0, batch as i32, 1, 1_700_000_000_000_000 + batch as i64));
    }
    assert_eq!(ask(&table, 1, 0, 0, 1), stored(0), "its retry is not stored twice");
}

#[test]
fn the_quietest_is_forgotten_when_there_are_too_many() {
    let mut table = Producers::new(ProducerLimits { producers_max: 3, ..ProducerLimits::default() });
    for id in 0..3 {
        table.apply(offset(id), &header(id as i64, 0, 0, 1, 0));
    }
    table.apply(offset(3), &header(0, 0, 1, 1, 0));
    table.apply(offset(4), &header(9, 0, 0, 1, 0));
    let known = |id| table.get(ProducerId::new(id)).is_some();
    assert_eq!((known(0), known(1), known(2), known(9)), (true, false, true, true));
    assert_eq!(table.len(), 3);
}

#[test]
fn an_entry_seen_before_changes_nothing() {
    let mut table = seven_batches();
    let before = table.clone();
    for n in 0..7 {
        table.apply(offset(100 + 10 * n), &header(7, 0, 10 * n as i32, 10, 1_000));
    }
    assert_eq!(table, before);
}

/// A change of these bytes is a new version of the format, and the old one stays readable.
#[test]
fn golden_bytes_of_version_1() {
    let mut table = Producers::new(ProducerLimits::default());
    table.apply(offset(5), &header(0x0102, 3, 0x0A, 2, 0x1122));
    table.apply(offset(7), &header(0x0102, 3, 0x0C, 1, 0x1122));
    let golden = [
        "01",
        "01",
        "2211000000000000",
        "01000000", // version, has a time, time, one producer
        "0201000000000000",
        "0300",
        "2211000000000000",
        "0300000000000000",
        "02", // id, epoch, seen, known, batches
        "0a000000",
        "0b000000",
        "0500000000000000", //
        "0c000000",
        "0c000000",
        "0700000000000000",
    ]
    .concat();
    let bytes = encode(&table);
    assert_eq!(bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>(), golden);
    assert_eq!(decode(&bytes, ProducerLimits::default()), Ok(table));
}

#[test]
fn bytes_that_are_no_table_are_refused() {
    let limits = ProducerLimits::default();
    let bytes = encode(&seven_batches());
    for end in 0..bytes.len() {
        assert!(matches!(decode(&bytes[..end], limits), Err(DecodeError::Truncated { .. })), "cut at {end}");
    }
    let mut newer = bytes.to_vec();
    newer[0] = 2;
    assert_eq!(decode(&newer, limits), Err(DecodeError::UnknownVersion { version: 2 }));
    let mut longer = bytes.to_vec();
    longer.push(0);
    assert!(matches!(decode(&longer, limits), Err(DecodeError::Impossible { .. })));
    let mut crowded = bytes.to_vec();
    crowded[14 + 26] = 6;
    assert!(matches!(decode(&crowded, limits), Err(DecodeError::Impossible { .. })));
}

/// Every batch that was ever stored, and nothing clever: what the table must agree with while nothing is forgotten.
#[derive(Default)]
struct Model {
    stored: HashMap<i64, Vec<(i16, u64, u64, u64)>>,
    next_offset: u64,
}

impl Model {
    /// Sequences are counted without wrapping here.
    fn judge(&self, id: i64, epoch: i16, first: u64, records: u64) -> Verdict {
        let wrap = |sequence: u64| (sequence % SEQUENCES as u64) as i32;
        let Some(all) = self.stored.get(&id) else {
            return if first == 0 { Verdict::Next } else { unknown(id, wrap(first)) };
        };
        let newest = all.iter().map(|b| b.0).max().unwrap();
        if epoch < newest {
            let (producer, epoch, current) =
                (ProducerId::new(id), ProducerEpoch::new(epoch), ProducerEpoch::new(newest));
            return Verdict::Refused(SequenceError::Fenced { producer, epoch, current });
        }
        let own: Vec<_> = all.iter().filter(|b| b.0 == epoch).collect();
        let Some(last) = own.last() else {
            return if first == 0 { Verdict::Next } else { out_of_order(id, wrap(first), 0) };
        };
        let next = last.1 + last.2;
        if first == next {
            return Verdict::Next;
        }
        let window = &own[own.len().saturating_sub(WINDOW)..];
        if let Some(same) = window.iter().find(|b| b.1 == first && b.2 == records) {
            return stored(same.3);
        }
        if first >= own[0].1 && first + records <= window[0].1 {
            return forgotten(id, wrap(first));
        }
        out_of_order(id, wrap(first), wrap(next))
    }
}

#[derive(Clone, Debug)]
struct Attempt {
    id: i64,
    epoch: i16,
    /// Where it begins, in records from the newest known end; 0 is the next one.
    shift: i64,
    records: u32,
    reopens: bool,
}

fn attempt() -> impl Strategy<Value = Attempt> {
    let shift = prop_oneof![6 => Just(0_i64), 3 => -40_i64..0, 1 => 1_i64..5];
    (0..3_i64, prop_oneof![8 => Just(0_i16), 1 => Just(1_i16)], shift, 1..6_u32, proptest::bool::weighted(0.05))
        .prop_map(|(id, epoch, shift, records, reopens)| Attempt { id, epoch, shift, records, reopens })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    /// Whatever producers send, in whatever order: the table decides as one who remembers everything would, also after
    /// its state went through bytes. Half of the runs begin just below the edge where sequences wrap.
    #[test]
    fn the_table_agrees_with_a_model(starts_high in any::<bool>(), attempts in prop::collection::vec(attempt(), 1..200)) {
        let start = if starts_high { SEQUENCES as u64 - 30 } else { 0 };
        let mut table = Producers::new(ProducerLimits::default());
        let mut model = Model::default();
        for Attempt { id, epoch, shift, records, reopens } in attempts {
            if starts_high && !model.stored.contains_key(&id) {
                // Its past is long; the table knows its last record.
                let base = model.next_offset;
                table.apply(offset(base), &header(id, 0, (start - 1) as i32, 1, 0));
                model.stored.entry(id).or_default().push((0, start - 1, 1, base));
                model.next_offset += 1;
            }
            let own_end = model.stored.get(&id).and_then(|all| all.iter().rfind(|b| b.0 == epoch)).map(|b| b.1 + b.2);
            let end = own_end.unwrap_or(0);
            let Some(first) = end.checked_add_signed(shift) else { continue };
            let wrapped = (first % SEQUENCES as u64) as i32;
            let expected = model.judge(id, epoch, first, u64::from(records));
            prop_assert_eq!(ask(&table, id, epoch, wrapped, records), expected);
            if expected == Verdict::Next {
                let base = model.next_offset;
                table.apply(offset(base), &header(id, epoch, wrapped, records, 0));
                model.stored.entry(id).or_default().push((epoch, first, u64::from(records), base));
                model.next_offset += u64::from(records);
            }
            if reopens {
                let again = decode(&encode(&table), ProducerLimits::default()).unwrap();
                prop_assert_eq!(&again, &table);
                table = again;
            }
        }
    }
}
