//! Batches close when they are full, due, or in a hurry; and the sender is woken exactly when there is something for it.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::expect_used)]

use futures_util::FutureExt;
use highwater_types::batch::records;
use proptest::prelude::*;

use super::*;
use crate::clock;

fn accumulator(batch_bytes: usize, linger: Duration) -> Accumulator {
    let batching = Batching { compression: Compression::None, batch_bytes, linger };
    let memory = Arc::new(Memory::new(1 << 20));
    Accumulator::new(&TopicName::new("t").unwrap(), PartitionId::new(0), batching, &memory)
}

fn append(accumulator: &Accumulator, bytes: usize, now: Instant) -> Result<Appended, AppendError> {
    accumulator.append(&Record::new(vec![b'x'; bytes]), Timestamp::from_ms(1), 0, || now)
}

fn is_woken(accumulator: &Accumulator) -> bool {
    accumulator.wait().now_or_never().is_some()
}

#[test]
fn an_idle_sender_is_woken_by_any_record_and_only_once() {
    let (accumulator, now) = (accumulator(1_000, Duration::ZERO), clock::now());
    assert!(matches!(accumulator.take(0, now), Taken::Nothing));
    append(&accumulator, 10, now).unwrap();
    assert!(is_woken(&accumulator));
    append(&accumulator, 10, now).unwrap();
    assert!(!is_woken(&accumulator), "it is awake");
    let Taken::Batch(batch) = accumulator.take(0, now) else { panic!("a batch is there") };
    assert_eq!(batch.builder.record_count(), 2);
}

#[test]
fn a_busy_sender_is_woken_only_by_a_full_batch() {
    let (accumulator, now) = (accumulator(200, Duration::ZERO), clock::now());
    append(&accumulator, 60, now).unwrap();
    assert!(matches!(accumulator.take(usize::MAX, now), Taken::Nothing));
    assert!(!append(&accumulator, 20, now).unwrap().sealed);
    assert!(!is_woken(&accumulator));
    assert!(append(&accumulator, 60, now).unwrap().sealed);
    assert!(is_woken(&accumulator));
    assert!(matches!(accumulator.take(usize::MAX, now), Taken::Batch(batch) if batch.builder.record_count() == 2));
}

#[test]
fn a_sender_that_has_some_in_flight_is_woken_by_as_much() {
    let (accumulator, now) = (accumulator(1_000, Duration::ZERO), clock::now());
    append(&accumulator, 60, now).unwrap();
    assert!(matches!(accumulator.take(250, now), Taken::Nothing));
    append(&accumulator, 60, now).unwrap();
    assert!(!is_woken(&accumulator));
    append(&accumulator, 60, now).unwrap();
    assert!(is_woken(&accumulator));
    assert!(matches!(accumulator.take(250, now), Taken::Batch(batch) if batch.builder.record_count() == 3));
}

#[test]
fn a_batch_lingers_until_it_is_due_or_there_is_a_hurry() {
    let linger = Duration::from_millis(5);
    let (accumulator, now) = (accumulator(1_000, linger), clock::now());
    append(&accumulator, 10, now).unwrap();
    assert!(matches!(accumulator.take(0, now), Taken::NotBefore(due) if due == now + linger));
    append(&accumulator, 10, now).unwrap();
    assert!(!is_woken(&accumulator), "the time is what it waits for");
    assert!(matches!(accumulator.take(0, now + linger), Taken::Batch(_)));
    append(&accumulator, 10, now).unwrap();
    assert!(matches!(accumulator.take(0, now), Taken::NotBefore(_)));
    assert!(accumulator.hurry().is_some());
    assert!(is_woken(&accumulator));
    assert!(matches!(accumulator.take(0, now), Taken::Batch(_)));
    append(&accumulator, 10, now).unwrap();
    assert!(matches!(accumulator.take(0, now), Taken::NotBefore(_)), "the hurry is over");
}

#[test]
fn a_record_larger_than_a_batch_travels_alone() {
    let (accumulator, now) = (accumulator(100, Duration::ZERO), clock::now());
    append(&accumulator, 10, now).unwrap();
    append(&accumulator, 500, now).unwrap();
    append(&accumulator, 10, now).unwrap();
    let counts: Vec<u32> = std::iter::from_fn(|| match accumulator.take(0, now) {
        Taken::Batch(batch) => Some(batch.builder.record_count()),
        _ => None,
    })
    .collect();
    assert_eq!(counts, [1, 1, 1]);
}

#[test]
fn a_record_that_no_batch_may_hold_is_refused_and_leaves_no_trace() {
    let (accumulator, now) = (accumulator(100, Duration::ZERO), clock::now());
    let error = append(&accumulator, highwater_types::limits::BATCH_BYTES_MAX, now).unwrap_err();
    assert!(matches!(error, AppendError::Record(BatchError::TooLarge { .. })));
    assert!(accumulator.is_between_batches());
    assert!(matches!(accumulator.take(0, now), Taken::Nothing));
}

#[test]
fn what_is_closed_takes_nothing_and_is_finished_when_it_is_empty() {
    let (accumulator, now) = (accumulator(100, Duration::from_secs(9)), clock::now());
    append(&accumulator, 10, now).unwrap();
    accumulator.close();
    assert_eq!(append(&accumulator, 10, now).unwrap_err(), AppendError::Closed);
    assert!(!accumulator.is_finished());
    assert!(matches!(accumulator.take(0, now), Taken::Batch(_)), "closing is a hurry");
    assert!(accumulator.is_finished());
}

#[test]
fn what_waits_too_long_is_handed_back_oldest_first() {
    let (accumulator, now) = (accumulator(100, Duration::ZERO), clock::now());
    let later = now + Duration::from_secs(1);
    append(&accumulator, 60, now).unwrap();
    append(&accumulator, 60, later).unwrap();
    assert_eq!(accumulator.oldest(), Some(now));
    assert_eq!(accumulator.take_expired(now).len(), 1);
    assert_eq!(accumulator.oldest(), Some(later));
    assert!(accumulator.take_expired(now).is_empty());
    assert_eq!(accumulator.take_expired(later).len(), 1);
    assert_eq!(accumulator.oldest(), None);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever is appended and whenever it is taken: the records come out in order, in batches within their bound.
    #[test]
    fn records_leave_in_their_order(steps in proptest::collection::vec((0..300_usize, 0..4_u8), 1..200)) {
        let (accumulator, now) = (accumulator(1_000, Duration::ZERO), clock::now());
        let mut taken: Vec<Vec<u8>> = Vec::new();
        let mut take = |bytes_min| {
            while let Taken::Batch(batch) = accumulator.take(bytes_min, now) {
                let bytes = batch.builder.finish().unwrap();
                assert!(bytes.len() <= 1_000);
                taken.extend(records(bytes).unwrap().map(|record| record.unwrap().value.unwrap().to_vec()));
            }
        };
        let mut appended = Vec::new();
        for (number, (bytes, action)) in steps.into_iter().enumerate() {
            let mut value = vec![0; bytes];
            value.extend(number.to_be_bytes());
            accumulator.append(&Record::new(value.clone()), Timestamp::from_ms(1), 0, || now).unwrap();
            appended.push(value);
            match action {
                0 => take(usize::MAX),
                1 => take(0),
                _ => {}
            }
        }
        take(0);
        prop_assert_eq!(taken, appended);
    }
}
