//! Credit, outcomes and leases, without a server.

use bytes::Bytes;
use highwater_types::ErrorCode;
use v1::outcome::Kind;

use super::*;
use crate::clock;

const LEASE: Duration = Duration::from_secs(30);

fn token(text: &'static str) -> MessageToken {
    MessageToken(Bytes::from_static(text.as_bytes()))
}

fn place(offset: u64) -> Place {
    Place { partition: PartitionId::new(3), offset: Offset::new(offset).unwrap() }
}

/// What became of messages, without their places.
fn results(answers: Vec<Answer>) -> Vec<Result<Settled, ErrorCode>> {
    let result = |answer| match answer {
        Answer::Settled(settled) => settled.result.map_err(|error| error.code),
        Answer::NotExtended(error) => panic!("{error}"),
    };
    answers.into_iter().map(result).collect()
}

fn state(state: v1::SettledState) -> v1::Settled {
    v1::Settled { state: state.into(), lease_ms: 30_000, ..v1::Settled::default() }
}

fn refused(code: ErrorCode) -> v1::Settled {
    let error = v1::Error { code: code.number(), retryable: code.is_retryable(), ..v1::Error::default() };
    v1::Settled { error: Some(error), ..v1::Settled::default() }
}

fn settled(request: u64, results: impl IntoIterator<Item = v1::Settled>) -> v1::SettledBatch {
    v1::SettledBatch { request, results: results.into_iter().collect() }
}

#[test]
fn credit_is_what_no_handler_and_no_message_under_way_takes() {
    let (mut hands, now) = (Hands::new(3, true), clock::now());
    assert_eq!((hands.begin(now), hands.next_credit(now)), (3, None));
    let first = hands.take(place(7), token("a"), LEASE, now).unwrap();
    hands.take(place(7), token("b"), LEASE, now).unwrap();
    assert_eq!(hands.next_credit(now), None, "one is out, two are worked on");
    hands.finish(first, MessageOutcome::Ack);
    assert_eq!((hands.next_credit(now), hands.next_credit(now)), (Some(1), None));
    hands.on_break();
    assert_eq!(hands.begin(now), 2, "one handler still runs");
}

#[test]
fn a_little_credit_waits_a_moment_for_more() {
    let (mut hands, now) = (Hands::new(80, false), clock::now());
    hands.begin(now);
    let serials: Vec<_> = (0..80).map(|_| hands.take(place(7), token("a"), LEASE, now).unwrap()).collect();
    hands.finish(serials[0], MessageOutcome::Ack);
    assert_eq!(hands.next_credit(now), None);
    let later = hands.next_deadline().unwrap();
    assert_eq!((later, hands.next_credit(later), hands.next_deadline()), (now + CREDIT_PAUSE, Some(1), None));
    serials[1..=10].iter().for_each(|serial| hands.finish(*serial, MessageOutcome::Ack));
    assert_eq!(hands.next_credit(later), Some(10), "so many are worth it at once");
}

#[test]
fn outcomes_that_nobody_answers_end_the_credit() {
    let (mut hands, now) = (Hands::new(1, false), clock::now());
    let mut credit = hands.begin(now);
    let mut taken = 0;
    while credit > 0 {
        let serial = hands.take(place(7), token("a"), LEASE, now).unwrap();
        hands.finish(serial, MessageOutcome::Ack);
        taken += 1;
        credit = hands.next_credit(now).unwrap_or(0);
    }
    assert_eq!(taken, UNANSWERED_MIN);
    let batch = hands.next_batch(now).unwrap();
    let acked = batch.outcomes.iter().map(|_| state(v1::SettledState::Acked));
    assert_eq!(hands.on_settled(settled(batch.request, acked), now).len(), BATCH_OUTCOMES_MAX);
    assert_eq!(hands.next_credit(now), Some(1));
}

#[test]
fn outcomes_gather_while_batches_are_on_their_way() {
    let (mut hands, now) = (Hands::new(10, false), clock::now());
    hands.begin(now);
    let mut sent = 0;
    for _ in 0..10 {
        let serial = hands.take(place(7), token("a"), LEASE, now).unwrap();
        hands.finish(serial, MessageOutcome::Ack);
        sent += hands.next_batch(now).map_or(0, |batch| batch.outcomes.len());
    }
    assert_eq!(sent, BATCHES_MAX);
    hands.on_settled(settled(2, [state(v1::SettledState::Acked)]), now);
    assert_eq!(hands.next_batch(now).unwrap().outcomes.len(), 10 - BATCHES_MAX);
    assert_eq!(hands.unanswered_since(), Some(now));
}

#[test]
fn a_lease_is_extended_at_its_half_until_the_handler_ends() {
    let (mut hands, now) = (Hands::new(1, true), clock::now());
    hands.begin(now);
    let serial = hands.take(place(7), token("a"), LEASE, now).unwrap();
    assert_eq!(hands.next_deadline(), Some(now + LEASE / 2));
    assert!(hands.next_batch(now + LEASE / 2 - Duration::from_millis(1)).is_none());
    let now = now + LEASE / 2;
    let batch = hands.next_batch(now).unwrap();
    assert_eq!(batch.outcomes[0].kind, Some(Kind::Extend(v1::Extend { lease_ms: 30_000 })));
    assert_eq!(hands.next_deadline(), None, "not again before the answer");
    assert!(hands.on_settled(settled(1, [state(v1::SettledState::Extended)]), now).is_empty());
    assert_eq!(hands.next_deadline(), Some(now + LEASE / 2));
    hands.finish(serial, MessageOutcome::Ack);
    let batch = hands.next_batch(now + LEASE).unwrap();
    assert_eq!(batch.outcomes.len(), 1, "the ack alone");
    let answers = hands.on_settled(settled(2, [state(v1::SettledState::Acked)]), now + LEASE);
    let Place { partition, offset } = place(7);
    let took = LEASE + LEASE / 2;
    let done = SettledMessage { partition, offset, took, result: Ok(Settled::Acked) };
    assert_eq!((answers, hands.are_empty()), (vec![Answer::Settled(done)], true));
}

#[test]
fn a_lease_that_cannot_be_extended_is_told_once() {
    let (mut hands, now) = (Hands::new(1, true), clock::now());
    hands.begin(now);
    hands.take(place(7), token("a"), LEASE, now).unwrap();
    hands.next_batch(now + LEASE).unwrap();
    let answers = hands.on_settled(settled(1, [refused(ErrorCode::LeaseLost)]), now + LEASE);
    assert!(matches!(&answers[..], [Answer::NotExtended(error)] if error.code == ErrorCode::LeaseLost));
    assert_eq!(hands.next_deadline(), None);
}

#[test]
fn what_cannot_be_taken_now_is_told_again() {
    let (mut hands, mut now) = (Hands::new(1, false), clock::now());
    hands.begin(now);
    let serial = hands.take(place(7), token("a"), LEASE, now).unwrap();
    hands.finish(serial, MessageOutcome::fail("no"));
    for request in 1..=u64::from(TRIES_MAX) {
        assert_eq!(hands.next_batch(now).unwrap().request, request);
        assert!(hands.on_settled(settled(request, [refused(ErrorCode::LeaderUnavailable)]), now).is_empty());
        assert!(hands.next_batch(now).is_none(), "not at once");
        now = hands.next_deadline().unwrap();
    }
    let last = hands.next_batch(now).unwrap();
    let answers = hands.on_settled(settled(last.request, [refused(ErrorCode::LeaderUnavailable)]), now);
    assert_eq!((results(answers), hands.are_empty()), (vec![Err(ErrorCode::LeaderUnavailable)], true));
}

#[test]
fn after_a_break_outcomes_are_told_again_and_leases_are_let_go() {
    let (mut hands, now) = (Hands::new(4, true), clock::now());
    hands.begin(now);
    let serials: Vec<_> =
        ["a", "b", "c", "d"].map(|name| hands.take(place(7), token(name), LEASE, now).unwrap()).into();
    hands.finish(serials[0], MessageOutcome::Ack);
    hands.next_batch(now).unwrap();
    hands.next_batch(now + LEASE).unwrap();
    hands.finish(serials[1], MessageOutcome::Ack);
    hands.on_break();
    assert_eq!((hands.next_deadline(), hands.unanswered_since()), (None, None));
    let batch = hands.next_batch(now).unwrap();
    let tokens: Vec<_> = batch.outcomes.iter().map(|outcome| outcome.token.clone()).collect();
    assert_eq!(tokens, ["a", "b"]);
    let answers = hands.on_settled(settled(batch.request, [state(v1::SettledState::AlreadyDone)]), now);
    let expected = [Ok(Settled::AlreadyDone), Err(ErrorCode::Internal)];
    assert_eq!(results(answers), expected, "a result is missing");
    assert_eq!(hands.left(), 2);
}

#[test]
fn who_stops_gives_back_what_still_comes_and_what_is_not_done() {
    let (mut hands, now) = (Hands::new(2, false), clock::now());
    hands.begin(now);
    let serial = hands.take(place(7), token("a"), LEASE, now).unwrap();
    hands.stop();
    assert_eq!(hands.take(place(7), token("b"), LEASE, now), None);
    assert_eq!(hands.next_credit(now), None);
    hands.release_all();
    hands.finish(serial, MessageOutcome::Ack);
    let batch = hands.next_batch(now).unwrap();
    let kinds: Vec<_> = batch.outcomes.into_iter().filter_map(|outcome| outcome.kind).collect();
    assert_eq!(kinds, [Kind::Release(v1::Release {}), Kind::Release(v1::Release {})], "and no ack after it");
    assert!(hands.on_settled(settled(9, []), now).is_empty(), "an answer to nothing");
}
