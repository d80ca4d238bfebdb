//! What a million messages in flight or delayed cost in memory, and how fast a queue decides.
#![allow(clippy::disallowed_methods, reason = "reads its own memory and a clock")]
#![allow(clippy::unwrap_used, clippy::panic, clippy::cast_precision_loss, clippy::print_stdout, reason = "a test")]

use std::time::Instant;

use highwater_groups::queue::{
    AckToken, Answer, Command, Context, Decision, Desk, GroupId, KeyHash, Message, Moment, Nonce, Order, Outcome,
    QueueConfig, QueueRecord, QueuesImage, Scan, Ticket, WorkerId, record,
};
use highwater_types::{LogIndex, Offset, OffsetRange, Timestamp};

const MIB: u64 = 1 << 20;

/// The resident memory of this process, in bytes.
fn resident_bytes() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    statm.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok()).unwrap_or(0) * 4_096
}

fn group() -> GroupId {
    GroupId::new("resize").unwrap()
}

fn worker() -> WorkerId {
    WorkerId::new("worker-1").unwrap()
}

/// A leader whose records are committed at once.
struct Leader {
    image: QueuesImage,
    desk: Desk,
    now_ms: u64,
    log_end: u64,
    entries: u64,
    message: fn(Offset) -> Message,
}

impl Leader {
    fn new(order: Order, message: fn(Offset) -> Message) -> Self {
        let config = QueueConfig {
            order,
            in_flight_max: 4_000_000,
            worker_in_flight_max: 4_000_000,
            entries_max: 2_000_000,
            ..QueueConfig::default()
        };
        let mut image = QueuesImage::default();
        image.replay_entry(LogIndex::new(1), &[QueueRecord::create(group(), config, Offset::ZERO).unwrap()]);
        let context = Context { now: Moment::new(0), wall: Timestamp::from_ms(0), log_end: Offset::ZERO };
        let desk = Desk::new(group(), Nonce::new(1), image.queue(&group()).unwrap(), &context);
        Self { image, desk, now_ms: 0, log_end: 0, entries: 1, message }
    }

    fn context(&self) -> Context {
        let wall = Timestamp::from_ms(self.now_ms.cast_signed());
        Context { now: Moment::new(self.now_ms), wall, log_end: Offset::new(self.log_end).unwrap() }
    }

    fn decide(&mut self, command: Command) -> Answer {
        let context = self.context();
        let queue = self.image.queue(&group()).unwrap();
        let mut decision = self.desk.decide(queue, Ticket::new(1), command, &context);
        let mut replies = std::mem::take(&mut decision.then);
        replies.append(&mut decision.now);
        self.commit(decision);
        replies.remove(0).answer
    }

    fn commit(&mut self, decision: Decision) {
        if decision.records.is_empty() {
            return;
        }
        let records = record::decode(&record::encode(&decision.records)).unwrap();
        self.entries += 1;
        self.image.replay_entry(LogIndex::new(self.entries), &records);
        let context = self.context();
        self.desk.committed(self.image.queue(&group()).unwrap(), &records, &context);
    }

    fn scan(&mut self) {
        let context = self.context();
        while let Some(range) = self.desk.wanted(self.image.queue(&group()).unwrap(), &context) {
            let offsets = (range.start.get()..range.end.get()).map(|offset| Offset::new(offset).unwrap());
            let messages = offsets.map(self.message).collect();
            let decision = self.desk.offer(self.image.queue(&group()).unwrap(), &Scan { range, messages }, &context);
            self.commit(decision);
        }
    }

    fn acquire(&mut self, max: usize) -> Vec<AckToken> {
        self.scan();
        match self.decide(Command::Acquire { worker: worker(), max }) {
            Answer::Acquire(acquired) => acquired.leases.iter().map(|lease| lease.token).collect(),
            _ => panic!("another answer"),
        }
    }

    fn ack(&mut self, tokens: &[AckToken]) {
        let outcomes = tokens.iter().map(|token| (*token, Outcome::Ack)).collect();
        self.decide(Command::Settle { worker: worker(), outcomes });
    }

    fn all(&mut self, count: u64) -> Vec<AckToken> {
        self.log_end += count;
        let mut tokens = Vec::new();
        while tokens.len() < usize::try_from(count).unwrap() {
            tokens.extend(self.acquire(1_000));
        }
        tokens
    }
}

/// In an order that is random, and the same each time.
fn shuffled(mut tokens: Vec<AckToken>) -> Vec<AckToken> {
    let mix = |number: u64| (number ^ (number >> 31)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    tokens.sort_by_cached_key(|token| mix(mix(mix(token.offset.get() + 1))));
    tokens
}

/// A twentieth of the million that fits into 150 MiB. One test, since it reads the memory of the whole process.
#[test]
fn fifty_thousand_messages_fit_into_8_mib() {
    // What was freed may stay with the process and be used again, so all count from here.
    let before = resident_bytes();
    in_flight(50_000, Order::None, before);
    delayed(50_000, before);
    acked_behind_one_that_is_not(100_000);
}

/// Each is to be run alone: `cargo test --release --test queue_memory -- --ignored --nocapture --exact NAME`.
#[test]
#[ignore = "a measurement"]
fn a_million_in_flight_fit_into_150_mib() {
    in_flight(1_000_000, Order::None, resident_bytes());
    acked_behind_one_that_is_not(10_000_000);
}

#[test]
#[ignore = "a measurement"]
fn a_million_in_flight_by_key_fit_into_150_mib() {
    in_flight(1_000_000, Order::Key, resident_bytes());
}

#[test]
#[ignore = "a measurement"]
fn a_million_delayed_fit_into_150_mib() {
    delayed(1_000_000, resident_bytes());
}

fn check(what: &str, count: u64, before: u64) {
    let used = resident_bytes().saturating_sub(before);
    println!("{count} messages {what}: {} MiB", used / MIB);
    assert!(used < count * 157 + 4 * MIB, "{what}: {used} bytes");
}

fn in_flight(count: u64, order: Order, before: u64) {
    let mut leader =
        Leader::new(order, |offset| Message { key: Some(KeyHash::new(offset.get() + 7)), ..Message::plain(offset) });
    let tokens = leader.all(count);
    // The tokens are with the workers.
    let of_workers = u64::try_from(size_of_val(tokens.as_slice())).unwrap();
    check(&format!("in flight, order {order:?}"), count, before + of_workers);
    let (mut most, mut size) = (0, 0);
    for tokens in shuffled(tokens).chunks(1_000) {
        leader.ack(tokens);
        let ranges = leader.image.queue(&group()).unwrap().done().len();
        if ranges > most {
            (most, size) = (ranges, leader.image.to_bytes().len());
        }
    }
    println!("  acked in any order: at most {most} ranges, a snapshot of {} KiB", size / 1_024);
    assert_eq!(leader.image.queue(&group()).unwrap().start(), Offset::new(count).unwrap());
}

fn delayed(count: u64, before: u64) {
    let far = |offset: Offset| Message {
        deliver_at: Some(Timestamp::from_ms(1_000_000 + offset.get().cast_signed())),
        ..Message::plain(offset)
    };
    let mut leader = Leader::new(Order::None, far);
    leader.log_end = count;
    assert!(leader.acquire(10).is_empty());
    check("delayed", count, before);
    leader.now_ms = 1_000_999;
    let start = Instant::now();
    assert_eq!(leader.acquire(10_000).len(), 1_000);
    println!("  1000 of them come up in {} us", start.elapsed().as_micros());
}

/// One message that is not acked, and many behind it that are, cost one range.
fn acked_behind_one_that_is_not(count: u64) {
    let mut leader = Leader::new(Order::None, Message::plain);
    leader.log_end = 1;
    let first = leader.acquire(1);
    let before = resident_bytes();
    for _ in 0..count / 4_000 {
        let tokens = leader.all(4_000);
        leader.ack(&tokens);
    }
    let queue = leader.image.queue(&group()).unwrap();
    let end = Offset::new(count + 1).unwrap();
    assert_eq!(queue.done().iter().collect::<Vec<_>>(), [OffsetRange::new(Offset::new(1).unwrap(), end)]);
    let used = resident_bytes().saturating_sub(before);
    println!(
        "{count} acked behind one that is not: {} KiB, a snapshot of {} bytes",
        used / 1_024,
        leader.image.to_bytes().len()
    );
    assert!(leader.image.to_bytes().len() < 200 && used < 8 * MIB);
    leader.ack(&first);
    assert_eq!(leader.image.queue(&group()).unwrap().start(), end);
}

/// `cargo test --release --test queue_memory -- --ignored --nocapture`: messages handed out, acked, encoded, decoded and
/// replayed a second.
#[test]
#[ignore = "a measurement"]
fn messages_per_second() {
    for (outstanding, batch, order) in [
        (1_000, 1, Order::None),
        (1_000, 100, Order::None),
        (1_000, 100, Order::Key),
        (1_000_000, 1, Order::None),
        (1_000_000, 100, Order::None),
    ] {
        for is_shuffled in [false, true] {
            let mut leader = Leader::new(order, |offset| Message {
                key: Some(KeyHash::new(offset.get() + 7)),
                ..Message::plain(offset)
            });
            let (rounds, start) = (1_000_000 / outstanding, Instant::now());
            for _ in 0..rounds {
                let mut tokens = leader.all(outstanding);
                if is_shuffled {
                    tokens = shuffled(tokens);
                }
                tokens.chunks(batch).for_each(|tokens| leader.ack(tokens));
            }
            println!(
                "{outstanding} outstanding, {batch} acks a batch, order {order:?}, {}: {:.0} messages/s",
                if is_shuffled { "out of order" } else { "in order" },
                (rounds * outstanding) as f64 / start.elapsed().as_secs_f64()
            );
        }
    }
}
