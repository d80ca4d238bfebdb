#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::expect_used)]
//! What is judged before it is committed.

use highwater_types::batch::ProducerStamp;
use highwater_types::{ProducerEpoch, Sequence};

use super::*;
use crate::partition::producers::{ProducerLimits, SequenceError};

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
    let (producer, first) = (ProducerId::new(4), Sequence::new(10));
    let unknown = Verdict::Refused(SequenceError::Unknown { producer, first });
    assert_eq!(ahead.judge(&committed, batch(10, 19)), unknown);
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
