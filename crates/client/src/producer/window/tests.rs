//! The window against a server that keeps the rules of idempotent producing, over a network that does not behave.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::expect_used)]

use std::collections::VecDeque;
use std::sync::Arc;

use highwater_types::batch::{Compression, ValidBatch, records};
use highwater_types::{PartitionId, Timestamp, TopicName, limits};
use proptest::prelude::*;

use super::*;
use crate::producer::accumulator::{Accumulator, Batching, Taken};
use crate::producer::delivery::{Delivery, Memory, RecordMetadata};
use crate::record::Record;

const DELIVERY_TIMEOUT: Duration = Duration::from_secs(120);
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

fn options() -> WindowOptions {
    WindowOptions {
        batches_max: limits::PRODUCER_BATCHES_IN_FLIGHT_MAX,
        is_idempotent: true,
        repeats_unknown: true,
        delivery_timeout: DELIVERY_TIMEOUT,
        answer_timeout: ANSWER_TIMEOUT,
    }
}

fn identity() -> Identity {
    Identity { id: ProducerId::new(7), epoch: ProducerEpoch::new(0) }
}

fn server_error(code: ErrorCode) -> ServerError {
    let message = format!("{code} by the test");
    let error = highwater_proto::v1::Error {
        code: code.number(),
        message,
        retryable: code.is_retryable(),
        ..Default::default()
    };
    ServerError::from_wire(error)
}

fn broken() -> Failure {
    Failure::Broken(ConnectionError::new("server:1", "cut"))
}

/// A window with its accumulator, and the time in the hands of the test.
struct Bench {
    accumulator: Accumulator,
    window: Window,
    now: Instant,
    deliveries: VecDeque<(u64, Delivery)>,
    next_record: u64,
}

impl Bench {
    fn new(options: WindowOptions) -> Self {
        let memory = Arc::new(Memory::new(1 << 20));
        let batching = Batching { compression: Compression::None, batch_bytes: 1 << 16, linger: Duration::ZERO };
        let topic = TopicName::new("t").unwrap();
        let mut window = Window::new(options);
        if options.is_idempotent {
            assert!(window.needs_identity() && !window.has_room());
            window.set_identity(identity());
        }
        Self {
            accumulator: Accumulator::new(&topic, PartitionId::new(0), batching, &memory),
            window,
            now: crate::clock::now(),
            deliveries: VecDeque::new(),
            next_record: 0,
        }
    }

    /// Pushes one batch of so many records, numbered on.
    fn push(&mut self, record_count: u64) {
        for _ in 0..record_count {
            let record = Record::new(self.next_record.to_be_bytes().to_vec());
            let appended = self.accumulator.append(&record, Timestamp::from_ms(1), 0, || self.now).unwrap();
            self.deliveries.push_back((self.next_record, appended.delivery));
            self.next_record += 1;
        }
        let Taken::Batch(gathered) = self.accumulator.take(0, self.now) else { panic!("a batch was appended") };
        self.window.push(gathered);
    }

    fn send(&mut self) -> Option<(u64, Bytes)> {
        self.window.next_request(self.now)
    }

    /// The deliveries that are settled, in order, with their record numbers.
    fn settled(&mut self) -> Vec<(u64, Result<RecordMetadata, ProduceError>)> {
        self.window.release(|_| {});
        let mut settled = Vec::new();
        while let Some((number, mut delivery)) = self.deliveries.pop_front() {
            match futures_util::FutureExt::now_or_never(&mut delivery) {
                Some(result) => settled.push((number, result)),
                None => {
                    self.deliveries.push_front((number, delivery));
                    break;
                }
            }
        }
        settled
    }
}

fn sequence_of(batch: &Bytes) -> (i16, i32) {
    let producer = BatchHeader::read(batch).unwrap().producer.unwrap();
    (producer.epoch.get(), producer.first_sequence.get())
}

#[test]
fn sequences_count_records_and_answers_settle_in_order() {
    let mut bench = Bench::new(options());
    bench.push(3);
    bench.push(2);
    let (first, batch) = bench.send().unwrap();
    assert_eq!(sequence_of(&batch), (0, 0));
    let (second, batch) = bench.send().unwrap();
    assert_eq!(sequence_of(&batch), (0, 3));
    assert_eq!(bench.send(), None);
    bench.window.on_answer(first, Ok(Offset::new(10))).unwrap();
    bench.window.on_answer(second, Ok(Offset::new(13))).unwrap();
    let offsets: Vec<u64> = bench.settled().into_iter().map(|(_, r)| r.unwrap().offset.unwrap().get()).collect();
    assert_eq!(offsets, [10, 11, 12, 13, 14]);
    assert!(bench.window.is_empty());
}

#[test]
fn a_window_is_full_with_five_batches() {
    let mut bench = Bench::new(options());
    (0..5).for_each(|_| bench.push(1));
    assert!(!bench.window.has_room());
    let (first, _) = bench.send().unwrap();
    bench.window.on_answer(first, Ok(None)).unwrap();
    bench.settled();
    assert!(bench.window.has_room());
}

#[test]
fn a_refusal_for_now_sends_everything_again_in_order_under_the_same_sequences() {
    let mut bench = Bench::new(options());
    (0..4).for_each(|_| bench.push(2));
    let sent: Vec<_> = (0..3).map(|_| bench.send().unwrap()).collect();
    bench.window.on_answer(sent[0].0, Err(server_error(ErrorCode::Overloaded))).unwrap();
    assert_eq!(bench.window.take_trouble(), None, "two are in flight");
    assert!(!bench.window.has_room());
    assert_eq!(bench.send(), None, "nothing new before they are answered");
    bench.window.on_answer(sent[1].0, Err(server_error(ErrorCode::OutOfOrderSequence))).unwrap();
    bench.window.on_answer(sent[2].0, Err(server_error(ErrorCode::OutOfOrderSequence))).unwrap();
    assert!(bench.window.take_trouble().is_some());
    let again: Vec<_> = (0..4).map(|_| bench.send().unwrap().1).collect();
    assert_eq!(again.iter().map(sequence_of).collect::<Vec<_>>(), [(0, 0), (0, 2), (0, 4), (0, 6)]);
}

#[test]
fn a_lost_answer_is_asked_for_again_and_the_duplicate_is_a_success() {
    let mut bench = Bench::new(options());
    bench.push(1);
    bench.send().unwrap();
    bench.window.on_break(&broken());
    let (again, batch) = bench.send().unwrap();
    assert_eq!(sequence_of(&batch), (0, 0));
    bench.window.on_answer(again, Err(server_error(ErrorCode::DuplicateSequence))).unwrap();
    assert_eq!(bench.settled()[0].1.as_ref().unwrap().offset, None);
}

#[test]
fn after_a_definite_failure_the_rest_gets_a_new_epoch_and_new_sequences() {
    let mut bench = Bench::new(options());
    (0..3).for_each(|_| bench.push(2));
    let sent: Vec<_> = (0..3).map(|_| bench.send().unwrap()).collect();
    bench.window.on_answer(sent[0].0, Err(server_error(ErrorCode::InvalidBatch))).unwrap();
    bench.window.on_answer(sent[1].0, Err(server_error(ErrorCode::OutOfOrderSequence))).unwrap();
    bench.window.on_answer(sent[2].0, Err(server_error(ErrorCode::OutOfOrderSequence))).unwrap();
    assert_eq!(bench.window.take_trouble(), None);
    bench.push(1);
    let again: Vec<_> = (0..3).map(|_| bench.send().unwrap().1).collect();
    assert_eq!(again.iter().map(sequence_of).collect::<Vec<_>>(), [(1, 0), (1, 2), (1, 4)]);
    assert!(again.iter().all(|batch| ValidBatch::check(batch.clone(), batch.len()).is_ok()));
    let failed = &bench.settled()[0].1;
    let error = failed.as_ref().unwrap_err();
    assert_eq!((error.outcome(), error.is_retryable()), (Outcome::NotDone, false));
}

#[test]
fn a_batch_that_may_be_stored_keeps_its_sequence_until_the_server_has_looked() {
    let mut bench = Bench::new(options());
    (0..2).for_each(|_| bench.push(1));
    let (_, _) = (bench.send().unwrap(), bench.send().unwrap());
    bench.window.on_break(&broken());
    // The first gets too old; the second does not.
    bench.window.entries[1].deadline += DELIVERY_TIMEOUT;
    bench.now += DELIVERY_TIMEOUT;
    bench.window.expire(bench.now);
    assert_eq!(bench.window.take_trouble(), None);
    let (again, batch) = bench.send().unwrap();
    assert_eq!(sequence_of(&batch), (0, 1));
    bench.window.on_answer(again, Err(server_error(ErrorCode::OutOfOrderSequence))).unwrap();
    assert_eq!(bench.window.take_trouble(), None);
    assert_eq!(sequence_of(&bench.send().unwrap().1), (1, 0));
    let error = bench.settled()[0].1.clone().unwrap_err();
    assert!(matches!(&error, ProduceError::TimedOut { last: Some(last), .. } if last.contains("cut")), "{error}");
    assert_eq!(error.outcome(), Outcome::Unknown);
}

#[test]
fn what_was_never_sent_expires_as_certainly_not_stored() {
    let mut bench = Bench::new(options());
    bench.push(1);
    bench.window.on_break(&Failure::Unsent(ConnectionError::new("server:1", "refused")));
    bench.now += DELIVERY_TIMEOUT;
    bench.window.expire(bench.now);
    let error = bench.settled()[0].1.clone().unwrap_err();
    assert_eq!((error.outcome(), error.is_retryable()), (Outcome::NotDone, true));
}

#[test]
fn what_was_refused_is_not_sent_again_when_no_answer_can_come_in_time() {
    let mut bench = Bench::new(options());
    bench.push(1);
    bench.now += Duration::from_millis(1);
    bench.push(1);
    bench.send().unwrap();
    bench.window.on_answer(1, Err(server_error(ErrorCode::DiskFull))).unwrap();
    bench.window.take_trouble().unwrap();
    // The first is given up, and the second has a millisecond left.
    bench.now += DELIVERY_TIMEOUT - Duration::from_millis(1);
    bench.window.expire(bench.now);
    assert_eq!(bench.window.take_trouble(), None);
    assert_eq!(bench.send(), None, "it could only become unknown");
    bench.now += Duration::from_millis(1);
    assert!(!bench.window.is_stalled(bench.now), "the stream is well");
    bench.window.expire(bench.now);
    let outcomes: Vec<_> = bench.settled().into_iter().map(|(_, result)| result.unwrap_err().outcome()).collect();
    assert_eq!(outcomes, [Outcome::NotDone, Outcome::NotDone]);
}

#[test]
fn a_fenced_identity_is_given_up_and_nothing_is_sent_without_one() {
    let mut bench = Bench::new(options());
    bench.push(1);
    let (first, _) = bench.send().unwrap();
    bench.window.on_answer(first, Err(server_error(ErrorCode::ProducerFenced))).unwrap();
    assert_eq!(bench.window.take_trouble(), None);
    assert!(bench.window.needs_identity() && !bench.window.has_room());
    bench.window.set_identity(Identity { id: ProducerId::new(8), epoch: ProducerEpoch::new(0) });
    bench.push(1);
    assert_eq!(sequence_of(&bench.send().unwrap().1), (0, 0));
}

#[test]
fn an_answer_out_of_turn_is_told() {
    let mut bench = Bench::new(options());
    assert_eq!(bench.window.on_answer(1, Ok(None)), Err(UnexpectedAnswer { correlation: 1 }));
    (0..2).for_each(|_| bench.push(1));
    let sent: Vec<_> = (0..2).map(|_| bench.send().unwrap()).collect();
    assert_eq!(bench.window.on_answer(sent[1].0, Ok(None)), Err(UnexpectedAnswer { correlation: sent[1].0 }));
}

#[test]
fn an_overdue_answer_is_a_stall() {
    let mut bench = Bench::new(options());
    bench.push(1);
    bench.send().unwrap();
    assert!(!bench.window.is_stalled(bench.now));
    assert_eq!(bench.window.next_deadline(), Some(bench.now + ANSWER_TIMEOUT));
    assert!(bench.window.is_stalled(bench.now + ANSWER_TIMEOUT));
}

#[test]
fn without_acks_what_may_have_arrived_is_never_sent_twice() {
    let mut bench = Bench::new(WindowOptions { is_idempotent: false, repeats_unknown: false, ..options() });
    (0..2).for_each(|_| bench.push(1));
    bench.send().unwrap();
    bench.window.on_break(&broken());
    assert!(bench.send().is_some(), "the second never left");
    assert_eq!(bench.send(), None);
    let settled = bench.settled();
    assert_eq!(settled.len(), 1);
    assert_eq!(settled[0].1.as_ref().unwrap_err().outcome(), Outcome::Unknown);
}

#[test]
fn a_wrong_server_fails_everything_at_once() {
    let mut bench = Bench::new(options());
    (0..2).for_each(|_| bench.push(1));
    bench.window.on_break(&Failure::Rejected(ConnectionError::new("server:1", "unimplemented")));
    let settled = bench.settled();
    assert_eq!(settled.len(), 2);
    assert!(settled.iter().all(|(_, result)| result.as_ref().unwrap_err().outcome() == Outcome::NotDone));
}

#[test]
fn a_producer_that_was_forgotten_begins_anew_with_what_is_surely_not_stored() {
    let mut bench = Bench::new(options());
    bench.push(2);
    let (stored, _) = bench.send().unwrap();
    bench.window.on_answer(stored, Ok(Offset::new(0))).unwrap();
    bench.settled();
    (0..2).for_each(|_| bench.push(1));
    bench.send().unwrap();
    bench.window.on_break(&broken());
    let sent: Vec<_> = (0..2).map(|_| bench.send().unwrap().0).collect();
    for correlation in sent {
        bench.window.on_answer(correlation, Err(server_error(ErrorCode::UnknownProducer))).unwrap();
    }
    assert_eq!(bench.window.take_trouble(), None);
    let error = bench.settled()[0].1.clone().unwrap_err();
    assert_eq!(error.outcome(), Outcome::Unknown, "the server cannot tell whether the first attempt was stored");
    assert_eq!(sequence_of(&bench.send().unwrap().1), (1, 0), "the second was never sent before");
}

#[test]
fn what_is_unknown_behind_a_refused_start_goes_again_under_its_sequence() {
    let mut bench = Bench::new(options());
    (0..2).for_each(|_| bench.push(1));
    let (_, _) = (bench.send().unwrap(), bench.send().unwrap());
    bench.window.on_break(&broken());
    let sent: Vec<_> = (0..2).map(|_| bench.send().unwrap().0).collect();
    bench.window.on_answer(sent[0], Err(server_error(ErrorCode::LeaderUnavailable))).unwrap();
    bench.window.on_answer(sent[1], Err(server_error(ErrorCode::UnknownProducer))).unwrap();
    assert!(bench.window.take_trouble().is_some());
    let again: Vec<_> = (0..2).map(|_| sequence_of(&bench.send().unwrap().1)).collect();
    assert_eq!(again, [(0, 0), (0, 1)]);
}

/// A server that keeps the rules: five remembered batches, sequences without gaps, epochs that fence.
#[derive(Default)]
struct Server {
    epoch: i16,
    next_sequence: i32,
    remembered: VecDeque<(i32, u64)>,
    /// The numbers of the records, by offset.
    log: Vec<u64>,
}

impl Server {
    fn store(&mut self, batch: &Bytes, is_poison: impl Fn(u64) -> bool) -> Result<Option<Offset>, ServerError> {
        let valid = ValidBatch::check(batch.clone(), batch.len()).expect("the client sends valid batches");
        let producer = valid.header().producer.unwrap();
        let numbers: Vec<u64> = records(batch.clone())
            .unwrap()
            .map(|record| u64::from_be_bytes(record.unwrap().value.unwrap().as_ref().try_into().unwrap()))
            .collect();
        if producer.epoch.get() < self.epoch {
            return Err(server_error(ErrorCode::ProducerFenced));
        }
        if is_poison(numbers[0]) {
            return Err(server_error(ErrorCode::InvalidBatch));
        }
        let first = producer.first_sequence.get();
        if producer.epoch.get() > self.epoch {
            if first != 0 {
                return Err(server_error(ErrorCode::OutOfOrderSequence));
            }
            *self = Self { epoch: producer.epoch.get(), log: std::mem::take(&mut self.log), ..Self::default() };
        }
        if let Some((_, offset)) = self.remembered.iter().find(|(sequence, _)| *sequence == first) {
            return Ok(Offset::new(*offset));
        }
        if first != self.next_sequence {
            if self.next_sequence == 0 {
                return Err(server_error(ErrorCode::UnknownProducer));
            }
            let code =
                if first < self.next_sequence { ErrorCode::DuplicateSequence } else { ErrorCode::OutOfOrderSequence };
            return Err(server_error(code));
        }
        let offset = self.log.len() as u64;
        self.remembered.push_back((first, offset));
        if self.remembered.len() > 5 {
            self.remembered.pop_front();
        }
        self.next_sequence += i32::try_from(numbers.len()).unwrap();
        self.log.extend(numbers);
        Ok(Offset::new(offset))
    }
}

#[derive(Clone, Debug)]
enum Step {
    Push(u64),
    Send,
    /// The server takes the next request off the stream and answers.
    Serve,
    /// It refuses the next request without a look.
    Refuse,
    /// It says that it does not know whether it stored the next request; it did, or not.
    Doubt(bool),
    /// The client reads the next answer.
    Answer,
    /// The stream breaks; the server still gets so many of the requests that were on it.
    Break(usize),
    /// Time passes.
    Wait(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (1..4_u64).prop_map(Step::Push),
        6 => Just(Step::Send),
        5 => Just(Step::Serve),
        1 => Just(Step::Refuse),
        1 => any::<bool>().prop_map(Step::Doubt),
        6 => Just(Step::Answer),
        1 => (0..6_usize).prop_map(Step::Break),
        1 => (1..60_u64).prop_map(Step::Wait),
    ];
    proptest::collection::vec(step, 1..200)
}

/// One stream between a window and a server.
struct World {
    bench: Bench,
    server: Server,
    requests: VecDeque<(u64, Bytes)>,
    answers: VecDeque<(u64, Result<Option<Offset>, ServerError>)>,
    settled: Vec<(u64, Result<RecordMetadata, ProduceError>)>,
    poison_every: u64,
}

impl World {
    fn store(&mut self, batch: &Bytes) -> Result<Option<Offset>, ServerError> {
        let poison_every = self.poison_every;
        self.server.store(batch, |number| poison_every > 0 && number % poison_every == poison_every - 1)
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Push(count) if self.bench.window.has_room() => self.bench.push(*count),
            Step::Send => self.requests.extend(self.bench.send()),
            Step::Serve => self.serve(|world, batch| world.store(batch)),
            Step::Refuse => self.serve(|_, _| Err(server_error(ErrorCode::Overloaded))),
            Step::Doubt(stores) => self.serve(|world, batch| {
                if *stores {
                    let _ = world.store(batch);
                }
                Err(server_error(ErrorCode::OutcomeUnknown))
            }),
            Step::Answer => {
                if let Some((correlation, result)) = self.answers.pop_front() {
                    self.bench.window.on_answer(correlation, result).unwrap();
                }
            }
            Step::Break(arrive) => self.cut(*arrive),
            Step::Wait(seconds) => {
                self.bench.now += Duration::from_secs(*seconds);
                if self.bench.window.is_stalled(self.bench.now) {
                    self.cut(0);
                }
                self.bench.window.expire(self.bench.now);
            }
            Step::Push(_) => {}
        }
        self.bench.window.take_trouble();
        if self.bench.window.needs_identity() {
            panic!("no identity is lost in this world");
        }
        let settled = self.bench.settled();
        self.settled.extend(settled);
    }

    fn serve(&mut self, answer: impl FnOnce(&mut Self, &Bytes) -> Result<Option<Offset>, ServerError>) {
        if let Some((correlation, batch)) = self.requests.pop_front() {
            let result = answer(self, &batch);
            self.answers.push_back((correlation, result));
        }
    }

    fn cut(&mut self, arrive: usize) {
        for (_, batch) in std::mem::take(&mut self.requests).into_iter().take(arrive) {
            let _ = self.store(&batch);
        }
        self.answers.clear();
        self.bench.window.on_break(&broken());
    }

    /// All faults are gone: everything must settle.
    fn heal(&mut self) {
        for _ in 0..1_000 {
            if self.bench.window.is_empty() && self.bench.deliveries.is_empty() {
                return;
            }
            [Step::Send, Step::Serve, Step::Answer].iter().for_each(|step| self.step(step));
        }
        panic!("{} records do not settle", self.bench.deliveries.len());
    }

    fn check(&self) {
        let log = &self.server.log;
        assert!(log.is_sorted_by(|before, after| before < after), "out of order or twice: {log:?}");
        assert_eq!(self.settled.len() as u64, self.bench.next_record, "everything is settled");
        for (number, result) in &self.settled {
            let at = log.binary_search(number).ok();
            match result {
                Ok(metadata) => {
                    let at = at.unwrap_or_else(|| panic!("record {number} was acknowledged and is not there"));
                    let told = metadata.offset.map_or(at as u64, Offset::get);
                    assert_eq!(told, at as u64, "the offset of record {number}");
                }
                Err(error) if error.outcome() == Outcome::NotDone => {
                    assert_eq!(at, None, "record {number} is there, but: {error}");
                }
                Err(_) => {}
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn records_are_stored_in_order_and_once_and_errors_tell_the_truth(
        steps in steps(),
        poison_every in prop_oneof![Just(0_u64), 5..20_u64],
    ) {
        let mut world = World {
            bench: Bench::new(options()),
            server: Server::default(),
            requests: VecDeque::new(),
            answers: VecDeque::new(),
            settled: Vec::new(),
            poison_every,
        };
        steps.iter().for_each(|step| world.step(step));
        world.heal();
        world.check();
    }
}
