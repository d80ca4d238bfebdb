//! Random workers and operators of one queue whose leader crashes: what must hold whatever they do.
//!
//! - No message is with two workers of one leader at a time, nor are two of one key; no cap is exceeded.
//! - What was confirmed as acked is never handed out again; a token that is not of a standing lease does nothing.
//! - Attempts go up by one with each failure that is recorded, down by a redrive, and otherwise not: not by a crash.
//! - Nothing is handed out before its date or after its time to live, or while the group is paused.
//! - Every message ends acked, dropped, dead, or taken by retention, and the counts add up.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test")]

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use highwater_groups::queue::outbox::Position;
use highwater_groups::queue::{
    AckToken, Answer, Backoff, BreakerConfig, Change, Command, Context, Decision, Desk, Entry, GroupId, KeyHash,
    Message, Moment, Nonce, OnExpiry, Order, Outbox, Outcome, Priority, QueueConfig, QueueRecord, QueuesImage, Reason,
    Scan, Settled, Standing, Tenant, Ticket, WorkerId, record,
};
use highwater_types::{LogIndex, Offset, OffsetRange, Timestamp};
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Op {
    Produce {
        count: u64,
        key: u64,
        priority: u8,
        tenant: u64,
        in_ms: Option<i64>,
        ttl_ms: Option<i64>,
    },
    Acquire {
        worker: usize,
        max: usize,
    },
    /// A worker settles some of the tokens that anybody ever had.
    Settle {
        worker: usize,
        picks: Vec<(usize, usize)>,
    },
    /// A worker settles what it was given last.
    Work {
        worker: usize,
        outcome: usize,
    },
    Reschedule {
        pick: u64,
        in_ms: i64,
    },
    Cancel {
        pick: u64,
    },
    Redrive {
        from: u64,
        count: u64,
    },
    DropDead {
        from: u64,
        count: u64,
    },
    Pause,
    Resume,
    /// Keeps the dead that a trim would take.
    Keep {
        by: u64,
    },
    Trim {
        by: u64,
    },
    Configure(usize),
    Wait(u64),
    Wall(i64),
    CommitLog(usize),
    Crash,
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let worker = || 0..3_usize;
    let ttl = || prop_oneof![4 => Just(None), 1 => Just(Some(700)), 1 => Just(Some(2_500))];
    let delay = || prop_oneof![4 => Just(None), 1 => Just(Some(300)), 1 => Just(Some(1_500))];
    let produce = (1..6_u64, 0..4_u64, 3..6_u8, 0..3_u64, delay(), ttl()).prop_map(
        |(count, key, priority, tenant, in_ms, ttl_ms)| Op::Produce { count, key, priority, tenant, in_ms, ttl_ms },
    );
    let op = prop_oneof![
        8 => produce,
        10 => (worker(), 1..6_usize).prop_map(|(worker, max)| Op::Acquire { worker, max }),
        12 => (worker(), 0..8_usize).prop_map(|(worker, outcome)| Op::Work { worker, outcome }),
        3 => (worker(), prop::collection::vec((any::<usize>(), 0..8_usize), 1..4))
            .prop_map(|(worker, picks)| Op::Settle { worker, picks }),
        2 => (any::<u64>(), -100..2_000_i64).prop_map(|(pick, in_ms)| Op::Reschedule { pick, in_ms }),
        1 => any::<u64>().prop_map(|pick| Op::Cancel { pick }),
        2 => (0..40_u64, 1..20_u64).prop_map(|(from, count)| Op::Redrive { from, count }),
        1 => (0..40_u64, 1..4_u64).prop_map(|(from, count)| Op::DropDead { from, count }),
        1 => Just(Op::Pause),
        2 => Just(Op::Resume),
        1 => (1..12_u64).prop_map(|by| Op::Keep { by }),
        1 => (1..6_u64).prop_map(|by| Op::Trim { by }),
        1 => (0..4_usize).prop_map(Op::Configure),
        5 => prop_oneof![Just(1), Just(99), Just(500), Just(1_000), Just(3_000)].prop_map(Op::Wait),
        1 => prop_oneof![Just(-2_000_i64), Just(5_000)].prop_map(Op::Wall),
        12 => (1..4_usize).prop_map(Op::CommitLog),
        1 => Just(Op::Crash),
    ];
    prop::collection::vec(op, 1..160)
}

/// A lease as its worker sees it.
#[derive(Clone, Debug)]
struct Held {
    token: AckToken,
    worker: usize,
    deadline: Moment,
}

struct World {
    now_ms: u64,
    wall_ms: i64,
    config: QueueConfig,
    image: QueuesImage,
    desk: Desk,
    outbox: Outbox,
    in_flight: VecDeque<(Position, Vec<QueueRecord>)>,
    desks: u64,
    tickets: u64,
    entries: u64,
    log: Vec<Message>,
    log_start: u64,
    /// Every token that was ever given out.
    tokens: Vec<AckToken>,
    held: BTreeMap<Offset, Held>,
    /// What each settle asked for, while its answer is awaited.
    asked: BTreeMap<Ticket, Vec<AckToken>>,
    confirmed: BTreeSet<Offset>,
    /// Whose records are kept.
    kept: BTreeSet<Offset>,
    /// By records alone.
    attempts: BTreeMap<Offset, u32>,
    /// The latest that the wall clock ever said.
    latest_ms: i64,
}

fn group() -> GroupId {
    GroupId::new("g").unwrap()
}

fn worker_id(worker: usize) -> WorkerId {
    WorkerId::new(&format!("w{worker}")).unwrap()
}

fn config(order: Order, number: usize) -> QueueConfig {
    QueueConfig {
        lease_ms: 1_000,
        attempts_max: 3,
        backoff: Backoff::Exponential { first_ms: 50, cap_ms: 400 },
        order,
        in_flight_max: [7, 3, 100, 12][number],
        worker_in_flight_max: [4, 100, 2, 6][number],
        oldest_every: [0, 3, 5, 10][number],
        look_ahead: [5, 100, 1, 30][number],
        entries_max: [20, 1_000, 6, 50][number],
        dead_max: [1_000, 1_000, 4, 1_000][number],
        on_expiry: if number == 1 { OnExpiry::Drop } else { OnExpiry::Dead },
        breaker: (number == 3).then_some(BreakerConfig {
            failures_percent: 60,
            outcomes_min: 5,
            window_ms: 4_000,
            probe_after_ms: 400,
        }),
        ..QueueConfig::default()
    }
}

fn outcome(number: usize) -> Outcome {
    let reason = Reason::new("why");
    match number {
        0..3 => Outcome::Ack,
        3 => Outcome::Release,
        4 => Outcome::Fail { reason, retry_after_ms: None },
        5 => Outcome::Fail { reason, retry_after_ms: Some(0) },
        6 => Outcome::Reject { reason },
        _ => Outcome::Extend { lease_ms: 1_500 },
    }
}

impl World {
    fn new(order: Order, number: usize) -> Self {
        let config = config(order, number);
        let mut image = QueuesImage::default();
        image.replay_entry(LogIndex::new(1), &[QueueRecord::create(group(), config, Offset::ZERO).unwrap()]);
        let context = Context { now: Moment::default(), wall: Timestamp::from_ms(1_000_000), log_end: Offset::ZERO };
        let desk = Desk::new(group(), Nonce::new(0), image.queue(&group()).unwrap(), &context);
        Self {
            now_ms: 0,
            wall_ms: 1_000_000,
            config,
            image,
            desk,
            outbox: Outbox::default(),
            in_flight: VecDeque::new(),
            desks: 0,
            tickets: 0,
            entries: 1,
            log: Vec::new(),
            log_start: 0,
            tokens: Vec::new(),
            held: BTreeMap::new(),
            asked: BTreeMap::new(),
            confirmed: BTreeSet::new(),
            kept: BTreeSet::new(),
            attempts: BTreeMap::new(),
            latest_ms: 1_000_000,
        }
    }

    fn context(&self) -> Context {
        Context {
            now: Moment::new(self.now_ms),
            wall: Timestamp::from_ms(self.wall_ms),
            log_end: Offset::new(self.log.len() as u64).unwrap(),
        }
    }

    fn send(&mut self, command: Command) -> Ticket {
        self.tickets += 1;
        let (ticket, context) = (Ticket::new(self.tickets), self.context());
        let decision = self.desk.decide(self.image.queue(&group()).unwrap(), ticket, command, &context);
        self.take(decision);
        ticket
    }

    fn take(&mut self, decision: Decision) {
        let outgoing = self.outbox.push(decision);
        if let Some((position, records)) = outgoing.records {
            self.in_flight.push_back((position, record::decode(&record::encode(&records)).unwrap()));
        }
        for reply in outgoing.replies {
            self.tell(reply.to, reply.answer);
        }
    }

    fn tell(&mut self, to: Ticket, answer: Answer) {
        if let Answer::Settle(Ok(results)) = answer {
            let asked = self.asked.remove(&to).unwrap();
            for (token, result) in asked.iter().zip(results) {
                if matches!(result, Ok(Settled::Acked | Settled::AlreadyDone)) {
                    self.confirmed.insert(token.offset);
                    assert!(self.image.queue(&group()).unwrap().is_done(token.offset), "confirmed and not recorded");
                }
            }
        }
    }

    fn run(&mut self, op: Op) {
        let pick = |pick: u64, end: usize| Offset::new(pick % (end as u64 + 2)).unwrap();
        let range = |from, count| OffsetRange::new(Offset::new(from).unwrap(), Offset::new(from + count).unwrap());
        match op {
            Op::Produce { count, key, priority, tenant, in_ms, ttl_ms } => {
                for _ in 0..count {
                    let after = |ms: i64| Timestamp::from_ms(self.wall_ms + ms);
                    self.log.push(Message {
                        offset: Offset::new(self.log.len() as u64).unwrap(),
                        key: (key > 0).then(|| KeyHash::new(key)),
                        priority: Priority::new(priority),
                        tenant: Tenant::new(tenant),
                        deliver_at: in_ms.map(after),
                        expires_at: ttl_ms.map(after),
                    });
                }
            }
            Op::Acquire { worker, max } => self.acquire(worker, max),
            Op::Settle { worker, picks } => {
                if !self.tokens.is_empty() {
                    let token = |(pick, number)| (self.tokens[pick % self.tokens.len()], outcome(number));
                    self.settle(worker, picks.into_iter().map(token).collect());
                }
            }
            Op::Work { worker, outcome: number } => {
                let mine = self.held.values().filter(|held| held.worker == worker).map(|held| held.token);
                self.settle(worker, mine.take(3).map(|token| (token, outcome(number))).collect());
            }
            Op::Reschedule { pick: number, in_ms } => {
                let deliver_at = Timestamp::from_ms(self.wall_ms + in_ms);
                self.send(Command::Reschedule { offset: pick(number, self.log.len()), deliver_at });
            }
            Op::Cancel { pick: number } => {
                self.send(Command::Cancel { offset: pick(number, self.log.len()) });
            }
            Op::Redrive { from, count } => drop(self.send(Command::Redrive { ranges: vec![range(from, count)] })),
            Op::DropDead { from, count } => drop(self.send(Command::DropDead { ranges: vec![range(from, count)] })),
            Op::Pause => drop(self.send(Command::Pause { reason: Reason::new("later") })),
            Op::Resume => drop(self.send(Command::Resume)),
            Op::Keep { by } => {
                let below = Offset::new(self.log_start + by).unwrap();
                let dead = self.image.queue(&group()).unwrap().dead_in_log(below);
                let records = dead.map(|offset| (offset, Bytes::from_static(b"its record"))).collect();
                self.send(Command::Keep { records });
            }
            Op::Trim { by } => {
                self.log_start = (self.log_start + by).min(self.log.len() as u64);
                self.send(Command::Trim { start: Offset::new(self.log_start).unwrap() });
            }
            Op::Configure(number) => {
                let config = config(self.config.order, number);
                self.send(Command::Configure { config });
            }
            Op::Wait(ms) => self.wait(ms),
            Op::Wall(ms) => {
                self.wall_ms += ms;
                self.latest_ms = self.latest_ms.max(self.wall_ms);
            }
            Op::CommitLog(count) => (0..count).for_each(|_| self.commit()),
            Op::Crash => self.crash(),
        }
    }

    fn scan(&mut self) {
        let context = self.context();
        for _ in 0..100 {
            let queue = self.image.queue(&group()).unwrap();
            let Some(range) = self.desk.wanted(queue, &context) else { return };
            let messages = self.log.iter().filter(|message| range.contains(message.offset)).copied().collect();
            let decision = self.desk.offer(queue, &Scan { range, messages }, &context);
            assert!(decision.records.is_empty(), "no offset is absent");
            self.take(decision);
        }
        panic!("it never has enough");
    }

    fn acquire(&mut self, worker: usize, max: usize) {
        self.scan();
        self.let_go();
        let (context, queue) = (self.context(), self.image.queue(&group()).unwrap());
        let pause = queue.pause().map(|pause| pause.by);
        self.tickets += 1;
        let command = Command::Acquire { worker: worker_id(worker), max };
        let decision = self.desk.decide(queue, Ticket::new(self.tickets), command, &context);
        let Answer::Acquire(acquired) = &decision.now[0].answer else { panic!("it waits") };
        assert!(acquired.leases.len() <= max);
        match pause {
            Some(highwater_groups::queue::PausedBy::Operator) => assert!(acquired.leases.is_empty()),
            Some(highwater_groups::queue::PausedBy::Breaker) => assert!(acquired.leases.len() <= 1),
            None => {}
        }
        for lease in &acquired.leases {
            let message = self.log[usize::try_from(lease.offset.get()).unwrap()];
            assert!(!self.confirmed.contains(&lease.offset), "{} was acked", lease.offset);
            assert!(!queue.is_done(lease.offset) && !queue.entry(lease.offset).is_some_and(Entry::is_dead));
            assert!(!self.held.contains_key(&lease.offset), "{} is with another worker", lease.offset);
            assert_eq!(lease.attempt, self.attempts.get(&lease.offset).unwrap_or(&0) + 1);
            // Once it came up, a wall clock that goes back does not take that away.
            let date = self.date_of(lease.offset);
            assert!(date.is_none_or(|at| at.as_ms() <= self.latest_ms), "{} comes before its date", lease.offset);
            let is_redriven = queue.entry(lease.offset).is_some_and(|entry| entry.is_redriven);
            let is_over = message.expires_at.is_some_and(|at| at <= context.wall);
            assert!(is_redriven || !is_over, "{} is expired", lease.offset);
            let of_order = match self.config.order {
                Order::None => 0,
                Order::Partition => self.held.len(),
                Order::Key => {
                    let key = |offset: &Offset| self.log[usize::try_from(offset.get()).unwrap()].key;
                    self.held.keys().filter(|offset| message.key.is_some() && key(offset) == message.key).count()
                }
            };
            assert_eq!(of_order, 0, "{} does not wait for its turn", lease.offset);
            self.tokens.push(lease.token);
            self.held.insert(lease.offset, Held { token: lease.token, worker, deadline: lease.deadline });
        }
        let config = queue.config();
        assert!(acquired.leases.is_empty() || self.held.len() <= config.in_flight_max);
        let of_worker = self.held.values().filter(|held| held.worker == worker).count();
        assert!(acquired.leases.is_empty() || of_worker <= config.worker_in_flight_max);
        self.take(decision);
    }

    /// From when on a message may be handed out.
    fn date_of(&self, offset: Offset) -> Option<Timestamp> {
        match self.image.queue(&group()).unwrap().entry(offset).map(|entry| entry.standing) {
            Some(Standing::Scheduled { deliver_at }) => Some(deliver_at),
            Some(_) => None,
            None => self.log[usize::try_from(offset.get()).unwrap()].deliver_at,
        }
    }

    /// Leases whose time is up are no leases.
    fn let_go(&mut self) {
        self.held.retain(|_, held| held.deadline.get() > self.now_ms);
    }

    fn settle(&mut self, worker: usize, outcomes: Vec<(AckToken, Outcome)>) {
        self.let_go();
        let tokens: Vec<_> = outcomes.iter().map(|(token, _)| *token).collect();
        self.tickets += 1;
        let (ticket, context) = (Ticket::new(self.tickets), self.context());
        self.asked.insert(ticket, tokens.clone());
        let command = Command::Settle { worker: worker_id(worker), outcomes };
        let decision = self.desk.decide(self.image.queue(&group()).unwrap(), ticket, command, &context);
        let mut replies = decision.now.iter().chain(&decision.then);
        let Some(Answer::Settle(Ok(results))) = replies.find(|reply| reply.to == ticket).map(|reply| &reply.answer)
        else {
            panic!("no answer")
        };
        for (token, result) in tokens.iter().zip(results) {
            let stands = self.held.get(&token.offset).is_some_and(|held| held.token == *token && held.worker == worker);
            match result {
                Ok(Settled::Extended { deadline }) => {
                    assert!(stands);
                    self.held.get_mut(&token.offset).unwrap().deadline = *deadline;
                }
                Ok(Settled::AlreadyDone) | Err(_) => {}
                Ok(_) => {
                    assert!(stands, "a token that is over did something");
                    self.held.remove(&token.offset);
                }
            }
        }
        self.take(decision);
    }

    fn wait(&mut self, ms: u64) {
        let until = self.now_ms + ms;
        for round in 0.. {
            let next = self.desk.next_deadline(self.image.queue(&group()).unwrap(), &self.context());
            let next = next.map_or(until, |at| at.get().max(self.now_ms)).min(until);
            self.wall_ms += i64::try_from(next - self.now_ms).unwrap();
            self.now_ms = next;
            self.latest_ms = self.latest_ms.max(self.wall_ms);
            let context = self.context();
            let decision = self.desk.tick(self.image.queue(&group()).unwrap(), &context);
            self.take(decision);
            if next == until {
                return;
            }
            assert!(round < 10_000, "it is due again and again");
        }
    }

    fn commit(&mut self) {
        let Some((position, records)) = self.in_flight.pop_front() else { return };
        self.let_go();
        for record in &records {
            self.learn(&record.change);
        }
        self.entries += 1;
        self.image.replay_entry(LogIndex::new(self.entries), &records);
        let mut twice = self.image.clone();
        records.iter().for_each(|record| twice.replay(record));
        assert_eq!(twice, self.image, "replay is not idempotent");
        let context = self.context();
        self.desk.committed(self.image.queue(&group()).unwrap(), &records, &context);
        for reply in self.outbox.committed(position) {
            self.tell(reply.to, reply.answer);
        }
        self.check_image();
    }

    /// What the records say, by the simplest of models.
    fn learn(&mut self, change: &Change) {
        let queue = self.image.queue(&group()).unwrap();
        match change {
            Change::Failed { offset, attempts, .. } | Change::Died { offset, attempts, attempt: Some(_), .. }
                if !queue.is_done(*offset) =>
            {
                let before = self.attempts.insert(*offset, *attempts).unwrap_or(0);
                assert_eq!(*attempts, before + 1, "{offset}");
            }
            Change::Redriven { ranges, .. } => {
                let dead = ranges.iter().flat_map(|range| queue.dead(*range)).map(|(offset, _)| offset);
                self.attempts.extend(dead.map(|offset| (offset, 0)));
            }
            Change::Kept { offset, .. } if queue.entry(*offset).is_some() => drop(self.kept.insert(*offset)),
            Change::Acked { ranges } | Change::Dropped { ranges, .. } => {
                self.kept.retain(|offset| !ranges.iter().any(|range| range.contains(*offset)));
            }
            _ => {}
        }
        if let Change::Dropped { ranges, .. } | Change::Redriven { ranges, .. } = change {
            let is_moved = |offset: &Offset| ranges.iter().any(|range| range.contains(*offset));
            assert!(!self.held.keys().any(is_moved), "what a worker has was moved");
        }
        // What retention takes is with no worker any more.
        if let Change::Trimmed { start } = change {
            self.held.retain(|offset, _| offset >= start || self.kept.contains(offset));
        }
    }

    fn check_image(&self) {
        let queue = self.image.queue(&group()).unwrap();
        let everything = OffsetRange::new(Offset::ZERO, Offset::MAX);
        for (offset, entry) in queue.entries(everything) {
            assert!(!queue.is_done(offset));
            assert_eq!(entry.attempts, self.attempts.get(&offset).copied().unwrap_or(0), "{offset}");
            assert!(entry.journal.iter().zip(1..).all(|(attempt, number)| attempt.number == number));
        }
        assert!(self.kept.iter().all(|offset| queue.kept(*offset).is_some() && !queue.is_done(*offset)), "not kept");
        assert_eq!(queue.dead(everything).count(), queue.dead_count());
        let open = queue.first_open();
        assert!(!queue.is_done(open) && !queue.entry(open).is_some_and(Entry::is_dead));
        let stats = self.desk.stats(queue, &self.context());
        assert_eq!(stats.acked + stats.dropped + stats.trimmed, {
            let done: u64 = queue.done().iter().map(OffsetRange::len).sum();
            queue.start().get() + done
        });
    }

    fn crash(&mut self) {
        self.in_flight.clear();
        self.asked.clear();
        self.held.clear();
        self.desks += 1;
        self.image = QueuesImage::from_bytes(&self.image.to_bytes()).unwrap();
        let context = self.context();
        let queue = self.image.queue(&group()).unwrap();
        let desk = Desk::new(group(), Nonce::new(self.desks), queue, &context);
        let _ = std::mem::take(&mut self.outbox).fail(std::mem::replace(&mut self.desk, desk));
        self.check_image();
    }

    fn settle_down(&mut self) {
        while !self.in_flight.is_empty() {
            self.commit();
        }
    }

    /// Faults are over: every message ends.
    fn finish(&mut self) {
        self.settle_down();
        let all = QueueConfig { dead_max: 100_000, breaker: None, ..config(self.config.order, 0) };
        self.send(Command::Configure { config: all });
        self.send(Command::Resume);
        self.settle_down();
        let end = Offset::new(self.log.len() as u64).unwrap();
        for round in 0.. {
            let queue = self.image.queue(&group()).unwrap();
            let mut open = (0..end.get()).map(|at| Offset::new(at).unwrap()).filter(|offset| !queue.is_done(*offset));
            if open.all(|offset| queue.entry(offset).is_some_and(Entry::is_dead)) {
                break;
            }
            assert!(round < 1_000, "something is stuck: {:?}", self.desk.peek(Offset::ZERO, 5, &self.context()));
            self.acquire(0, 5);
            self.run(Op::Work { worker: 0, outcome: 0 });
            self.wait(100);
            self.settle_down();
        }
        self.check_image();
        let stats = self.desk.stats(self.image.queue(&group()).unwrap(), &self.context());
        assert_eq!(
            (stats.ready, stats.blocked, stats.delayed, stats.resting, stats.leased, stats.settling),
            Default::default()
        );
        assert_eq!(stats.acked + stats.dropped + stats.trimmed + stats.dead as u64, self.log.len() as u64);
    }
}

fn run(order: Order, number: usize, ops: Vec<Op>) {
    let mut world = World::new(order, number);
    ops.into_iter().for_each(|op| world.run(op));
    world.finish();
}

proptest! {
    #[test]
    fn without_an_order(number in 0..4_usize, ops in ops()) {
        run(Order::None, number, ops);
    }

    #[test]
    fn by_key(number in 0..4_usize, ops in ops()) {
        run(Order::Key, number, ops);
    }

    #[test]
    fn by_partition(number in 0..4_usize, ops in ops()) {
        run(Order::Partition, number, ops);
    }
}
