#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::expect_used)]
//! What is judged before it is committed.

use super::*;
use crate::partition::producers::ProducerLimits;

fn batch(first: i32, last: i32) -> Stamped {
    let (id, epoch) = (ProducerId::new(4), ProducerEpoch::new(0));
    let stamp = ProducerStamp { id, epoch, first_sequence: Sequence::new(first) };
    Stamped { stamp, last: Sequence::new(last) }
}

fn nothing_committed() -> Producers {
    Producers::new(ProducerLimits::default())
}

fn expects(expected: i32, first: i32) -> Verdict {
    let (first, expected) = (Sequence::new(first), Sequence::new(expected));
    Verdict::Refused(SequenceError::OutOfOrder { producer: ProducerId::new(4), first, expected })
}

#[test]
fn the_next_batch_follows_the_one_in_flight() {
    let (committed, mut ahead) = (nothing_committed(), InFlightProducers::default());
    ahead.accept(&committed, batch(0, 9), 0);
    assert_eq!(ahead.judge(&committed, batch(10, 19)), Verdict::Next);
    assert_eq!(ahead.judge(&committed, batch(20, 29)), expects(10, 20));
    assert_eq!(ahead.judge(&committed, batch(0, 9)), Verdict::Duplicate(Place::InFlight(0)));
    ahead.accept(&committed, batch(10, 19), 1);
    ahead.settle(ProducerId::new(4), 0, Offset::ZERO);
    assert_eq!(ahead.judge(&committed, batch(0, 9)), Verdict::Duplicate(Place::Stored(Offset::ZERO)));
    assert_eq!(ahead.judge(&committed, batch(10, 19)), Verdict::Duplicate(Place::InFlight(1)));
}

#[test]
fn with_the_last_batch_settled_the_committed_table_decides() {
    let (committed, mut ahead) = (nothing_committed(), InFlightProducers::default());
    ahead.accept(&committed, batch(0, 9), 0);
    ahead.settle(ProducerId::new(4), 0, Offset::ZERO);
    // In the product the table knows the batch by now. Here it does not, which shows who is asked.
    assert_eq!(ahead.judge(&committed, batch(50, 59)), Verdict::Next);
}

#[test]
fn an_outcome_from_before_a_clear_changes_nothing_after_it() {
    let (committed, mut ahead) = (nothing_committed(), InFlightProducers::default());
    ahead.accept(&committed, batch(0, 9), 0);
    ahead.clear();
    ahead.accept(&committed, batch(0, 9), 1);
    ahead.settle(ProducerId::new(4), 0, Offset::ZERO);
    assert_eq!(ahead.judge(&committed, batch(0, 9)), Verdict::Duplicate(Place::InFlight(1)));
}

#[test]
fn an_unknown_producer_starts_with_what_was_refused() {
    let (committed, mut ahead) = (nothing_committed(), InFlightProducers::default());
    assert_eq!(ahead.judge(&committed, batch(7, 9)), Verdict::Next);
    ahead.refuse(&committed, batch(7, 9));
    assert_eq!(ahead.judge(&committed, batch(10, 12)), expects(7, 10), "its successor must not overtake it");
    ahead.refuse(&committed, batch(10, 12));
    assert_eq!(ahead.judge(&committed, batch(7, 9)), Verdict::Next);
    ahead.accept(&committed, batch(7, 9), 0);
    assert_eq!(ahead.judge(&committed, batch(10, 12)), Verdict::Next);
}

#[test]
fn what_is_owed_is_bounded() {
    let (committed, mut ahead) = (nothing_committed(), InFlightProducers::default());
    for id in 0..=i64::try_from(OWED_MAX).unwrap() {
        let mut first = batch(0, 0);
        first.stamp.id = ProducerId::new(id);
        ahead.refuse(&committed, first);
    }
    assert_eq!(ahead.owed.len(), OWED_MAX);
    assert!(ahead.owed_by(ProducerId::new(0)).is_none(), "the oldest is forgotten");
}
