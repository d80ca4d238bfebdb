#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::expect_used)]
//! The order of answers.

use highwater_types::{ProducerId, Sequence};
use proptest::prelude::*;

use super::*;
use crate::partition::producers::SequenceError;

fn offset(value: u64) -> Offset {
    Offset::new(value).unwrap()
}

fn placed(at: u64, duplicate: bool) -> Answer {
    Ok(Placed { base_offset: offset(at), duplicate })
}

fn out_of_order() -> AppendError {
    let (first, expected) = (Sequence::new(9), Sequence::new(5));
    SequenceError::OutOfOrder { producer: ProducerId::new(1), first, expected }.into()
}

/// What a call answered.
fn answers<T>(call: impl FnOnce(&mut dyn FnMut(T, Answer))) -> Vec<(T, Answer)> {
    let mut given = Vec::new();
    call(&mut |ticket, answer| given.push((ticket, answer)));
    given
}

#[test]
fn nothing_in_flight_is_answered_at_once() {
    let mut pending = Pending::default();
    assert_eq!(pending.decide('a', Err(out_of_order())), Some(('a', Err(out_of_order()))));
    assert!(pending.is_empty());
}

#[test]
fn a_refusal_waits_for_what_it_rests_on() {
    let mut pending = Pending::default();
    pending.accept('a');
    assert_eq!(pending.decide('b', Err(out_of_order())), None);
    pending.accept('c');
    let first = answers(|answer| pending.on_committed(offset(10), answer));
    assert_eq!(first, [('a', placed(10, false)), ('b', Err(out_of_order()))]);
    assert_eq!(answers(|answer| pending.on_committed(offset(20), answer)), [('c', placed(20, false))]);
}

#[test]
fn a_refusal_whose_ground_failed_is_taken_back() {
    let mut pending = Pending::default();
    pending.accept('a');
    assert_eq!(pending.decide('b', Err(out_of_order())), None);
    let full = AppendError::DiskFull { bytes: 1, reason: "full".to_owned() };
    assert_eq!(pending.decide('c', Err(full.clone())), None);
    let given = answers(|answer| pending.on_failed(&AppendError::OutcomeUnknown, answer));
    let not_stored = AppendError::NotLeader { leader: None };
    assert_eq!(given, [('a', Err(AppendError::OutcomeUnknown)), ('b', Err(not_stored)), ('c', Err(full))]);
}

#[test]
fn a_repeat_shares_the_fate_of_the_first() {
    let mut pending = Pending::default();
    let a = pending.accept('a');
    let b = pending.accept('b');
    pending.repeat('A', a);
    pending.repeat('B', b);
    assert_eq!(answers(|answer| pending.on_committed(offset(10), answer)), [('a', placed(10, false))]);
    let given = answers(|answer| pending.on_failed(&AppendError::OutcomeUnknown, answer));
    let unknown = || Err(AppendError::OutcomeUnknown);
    assert_eq!(given, [('b', unknown()), ('A', placed(10, true)), ('B', unknown())]);
    assert!(pending.is_empty());
}

#[derive(Clone, Debug)]
enum Step {
    Accept,
    Refuse,
    Repeat(prop::sample::Index),
    Commit,
    Fail,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => Just(Step::Accept),
        1 => Just(Step::Refuse),
        1 => any::<prop::sample::Index>().prop_map(Step::Repeat),
        3 => Just(Step::Commit),
        1 => Just(Step::Fail),
    ]
}

proptest! {
    /// Whatever happens: everybody is answered once, in order, and nobody before those in front of him.
    #[test]
    fn answers_leave_in_order(steps in prop::collection::vec(step(), 1..200)) {
        let mut pending = Pending::default();
        let mut in_flight = VecDeque::new();
        let mut given = Vec::new();
        let mut tickets = 0..;
        for step in steps {
            match step {
                Step::Accept => in_flight.push_back(pending.accept(tickets.next().unwrap())),
                Step::Refuse => {
                    let answered = pending.decide(tickets.next().unwrap(), Err(out_of_order()));
                    prop_assert_eq!(answered.is_some(), in_flight.is_empty());
                    given.extend(answered.map(|(ticket, _)| ticket));
                }
                Step::Repeat(which) if !in_flight.is_empty() => {
                    let number = in_flight[which.index(in_flight.len())];
                    pending.repeat(tickets.next().unwrap(), number);
                }
                Step::Commit if in_flight.pop_front().is_some() => {
                    pending.on_committed(offset(1), |ticket, _| given.push(ticket));
                }
                Step::Fail if in_flight.pop_front().is_some() => {
                    pending.on_failed(&AppendError::OutcomeUnknown, |ticket, _| given.push(ticket));
                }
                Step::Repeat(_) | Step::Commit | Step::Fail => {}
            }
        }
        while in_flight.pop_front().is_some() {
            pending.on_committed(offset(1), |ticket, _| given.push(ticket));
        }
        prop_assert!(pending.is_empty());
        prop_assert_eq!(given, (0..tickets.next().unwrap()).collect::<Vec<i32>>());
    }
}
