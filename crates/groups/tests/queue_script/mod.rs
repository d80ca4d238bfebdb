//! A leader of one queue without a log or a network, driven by lines of text.

mod print;

use std::collections::BTreeMap;
use std::fmt::Write as _;

use bytes::Bytes;
use highwater_groups::queue::outbox::Position;
use highwater_groups::queue::{
    AckToken, Answer, Backoff, BreakerConfig, Command, Context, Decision, Desk, GroupId, KeyHash, Message, Moment,
    Nonce, OnExpiry, Order, Outbox, Outcome, Priority, Queue, QueueConfig, QueueRecord, QueuesImage, Reason, Reply,
    Scan, Serial, Tenant, Ticket, WorkerId, record,
};
use highwater_types::{LogIndex, Offset, OffsetRange, Timestamp};

/// A leader, the log behind it, and what the image says of the committed part of that log.
#[derive(Default)]
pub(crate) struct Leader {
    image: QueuesImage,
    desk: Option<Desk>,
    outbox: Outbox,
    now_ms: u64,
    /// How far the wall clock is from the other.
    wall_ahead_ms: i64,
    tickets: u64,
    entries: u64,
    desks: u64,
    log: Vec<Message>,
    log_start: u64,
    /// The newest lease of each message.
    leases: BTreeMap<u64, AckToken>,
    /// Proposed, not committed.
    in_flight: Vec<(Position, Vec<QueueRecord>)>,
    is_held: bool,
}

/// The words of a command: plain ones, and `key=value` pairs.
struct Words<'a> {
    plain: Vec<&'a str>,
    pairs: BTreeMap<&'a str, &'a str>,
}

impl<'a> Words<'a> {
    fn new(words: &'a str) -> Self {
        let (mut plain, mut pairs) = (Vec::new(), BTreeMap::new());
        for word in words.split_whitespace() {
            match word.split_once('=') {
                Some((key, value)) => drop(pairs.insert(key, value)),
                None => plain.push(word),
            }
        }
        Self { plain, pairs }
    }

    fn number<N: std::str::FromStr>(&self, key: &str) -> Option<N>
    where
        N::Err: std::fmt::Debug,
    {
        self.pairs.get(key).map(|text| text.parse().unwrap())
    }

    fn worker(&self) -> WorkerId {
        WorkerId::new(self.plain[0]).unwrap()
    }

    fn reason(&self) -> Reason {
        Reason::new(self.pairs.get("reason").unwrap_or(&"broken"))
    }

    fn offset(&self) -> Offset {
        offset(self.plain[0].parse().unwrap())
    }
}

fn group() -> GroupId {
    GroupId::new("g").unwrap()
}

fn offset(number: u64) -> Offset {
    Offset::new(number).unwrap()
}

/// `3..5` or `3`.
fn range(text: &str) -> OffsetRange {
    let (start, end) = text.split_once("..").unwrap_or((text, ""));
    let start: u64 = start.parse().unwrap();
    OffsetRange::new(offset(start), offset(end.parse().unwrap_or(start + 1)))
}

/// Letters to a number.
fn hash(text: &str) -> u64 {
    text.bytes().fold(0, |hash, byte| hash * 31 + u64::from(byte))
}

impl Leader {
    /// Runs one line and says what came of it, line by line.
    pub(crate) fn run(&mut self, line: &str) -> String {
        let (verb, rest) = line.split_once(' ').unwrap_or((line, ""));
        let words = Words::new(rest);
        match verb {
            "create" => self.create(&words),
            "produce" => self.produce(&words),
            "wait" => self.wait(words.plain[0].parse().unwrap()),
            "wall" => {
                self.wall_ahead_ms += words.plain[0].parse::<i64>().unwrap();
                String::new()
            }
            "hold" => {
                self.is_held = true;
                String::new()
            }
            "commit-log" => self.commit(),
            "crash" => self.crash(),
            "where" => self.state(words.offset()),
            "stats" => print::stats(&self.desk.as_ref().unwrap().stats(self.queue(), &self.context())),
            "image" => print::image(&self.image),
            "deadline" => {
                let deadline = self.desk.as_ref().unwrap().next_deadline(self.queue(), &self.context());
                format!("{}\n", deadline.map_or("none".to_owned(), |at| at.to_string()))
            }
            _ => {
                let command = self.command(verb, &words);
                self.decide(command)
            }
        }
    }

    fn context(&self) -> Context {
        Context {
            now: Moment::new(self.now_ms),
            wall: Timestamp::from_ms(i64::try_from(self.now_ms).unwrap() + self.wall_ahead_ms),
            log_end: offset(self.log.len() as u64),
        }
    }

    fn queue(&self) -> &Queue {
        self.image.queue(&group()).unwrap()
    }

    fn create(&mut self, words: &Words<'_>) -> String {
        let start = offset(words.number("start").unwrap_or(0));
        match QueueRecord::create(group(), config(words), start) {
            Ok(record) => self.take(Decision { records: vec![record], ..Decision::default() }),
            Err(error) => format!("refused: {error}\n"),
        }
    }

    /// `produce count=3 key=a priority=9 at=500 ttl=100 tenant=x`
    fn produce(&mut self, words: &Words<'_>) -> String {
        let wall = self.context().wall.as_ms();
        let after = |key| words.number::<i64>(key).map(|ms| Timestamp::from_ms(wall + ms));
        for _ in 0..words.number("count").unwrap_or(1) {
            self.log.push(Message {
                key: words.pairs.get("key").map(|key| KeyHash::new(hash(key))),
                priority: words.number("priority").map_or(Priority::DEFAULT, Priority::new),
                tenant: Tenant::new(words.pairs.get("tenant").map_or(0, |tenant| hash(tenant))),
                deliver_at: after("in"),
                expires_at: after("ttl"),
                ..Message::plain(offset(self.log.len() as u64))
            });
        }
        String::new()
    }

    fn token(&self, text: &str) -> AckToken {
        let (at, serial) = text.split_once('#').unwrap_or((text, ""));
        let at: u64 = at.parse().unwrap();
        // A message that was never leased has a token that fits nothing.
        let none = AckToken { offset: offset(at), nonce: Nonce::new(self.desks), serial: Serial::new(0) };
        match serial.parse() {
            Ok(serial) => AckToken { serial: Serial::new(serial), ..none },
            Err(_) => self.leases.get(&at).copied().unwrap_or(none),
        }
    }

    /// The tokens of a command: each word after the worker, which may be a range.
    fn tokens(&self, words: &Words<'_>) -> Vec<AckToken> {
        let numbers = words.plain[1..].iter().flat_map(|word| match word.split_once("..") {
            Some(_) => {
                let range = range(word);
                (range.start.get()..range.end.get()).map(|at| at.to_string()).collect()
            }
            None => vec![(*word).to_owned()],
        });
        numbers.map(|text| self.token(&text)).collect()
    }

    fn command(&self, verb: &str, words: &Words<'_>) -> Command {
        let reason = words.reason();
        let outcome = match verb {
            "ack" => Some(Outcome::Ack),
            "release" => Some(Outcome::Release),
            "fail" => Some(Outcome::Fail { reason: reason.clone(), retry_after_ms: words.number("after") }),
            "lost" => Some(Outcome::Lost { reason: reason.clone() }),
            "reject" => Some(Outcome::Reject { reason: reason.clone() }),
            "extend" => Some(Outcome::Extend { lease_ms: words.number("ms").unwrap() }),
            _ => None,
        };
        if let Some(outcome) = outcome {
            let outcomes = self.tokens(words).into_iter().map(|token| (token, outcome.clone())).collect();
            return Command::Settle { worker: words.worker(), outcomes };
        }
        let ranges = || words.plain.iter().map(|text| range(text)).collect();
        match verb {
            "acquire" => Command::Acquire { worker: words.worker(), max: words.plain[1].parse().unwrap() },
            "reschedule" => Command::Reschedule {
                offset: words.offset(),
                deliver_at: Timestamp::from_ms(words.number("at").unwrap()),
            },
            "cancel" => Command::Cancel { offset: words.offset() },
            "redrive" => Command::Redrive { ranges: ranges() },
            "drop-dead" => Command::DropDead { ranges: ranges() },
            "pause" => Command::Pause { reason },
            "resume" => Command::Resume,
            "configure" => Command::Configure { config: config(words) },
            "keep" => {
                let record = |at: &&str| (Offset::new(at.parse().unwrap()).unwrap(), Bytes::from_static(b"its record"));
                Command::Keep { records: words.plain.iter().map(record).collect() }
            }
            "trim" => Command::Trim { start: words.offset() },
            "delete" => Command::Delete,
            _ => panic!("no such command: {verb}"),
        }
    }

    fn decide(&mut self, command: Command) -> String {
        let mut text = String::new();
        if let Command::Acquire { .. } = command {
            text += &self.scan();
        }
        if let Command::Trim { start } = command {
            self.log_start = start.get();
        }
        self.tickets += 1;
        let (ticket, context) = (Ticket::new(self.tickets), self.context());
        let queue = self.image.queue(&group()).unwrap();
        let decision = self.desk.as_mut().unwrap().decide(queue, ticket, command, &context);
        text + &self.take(decision)
    }

    /// What the caller does before it acquires: reads what is wanted.
    fn scan(&mut self) -> String {
        let (mut text, context) = (String::new(), self.context());
        loop {
            let queue = self.image.queue(&group()).unwrap();
            let desk = self.desk.as_mut().unwrap();
            let Some(range) = desk.wanted(queue, &context) else { return text };
            let messages = self.log.iter().filter(|message| range.contains(message.offset)).copied().collect();
            let decision = desk.offer(queue, &Scan { range, messages }, &context);
            text += &self.take(decision);
        }
    }

    fn take(&mut self, decision: Decision) -> String {
        let mut text = String::new();
        let outgoing = self.outbox.push(decision);
        if let Some((position, records)) = outgoing.records {
            let decoded = record::decode(&record::encode(&records)).unwrap();
            assert_eq!(decoded, records);
            records.iter().for_each(|record| writeln!(text, "record {record}").unwrap());
            self.in_flight.push((position, decoded));
        }
        text += &self.tell(&outgoing.replies);
        if !self.is_held {
            text += &self.commit();
        }
        text
    }

    fn tell(&mut self, replies: &[Reply]) -> String {
        for reply in replies {
            if let Answer::Acquire(acquired) = &reply.answer {
                self.leases.extend(acquired.leases.iter().map(|lease| (lease.offset.get(), lease.token)));
            }
        }
        print::replies(replies)
    }

    /// All that was proposed is committed.
    fn commit(&mut self) -> String {
        self.is_held = false;
        let mut text = String::new();
        for (position, records) in std::mem::take(&mut self.in_flight) {
            self.entries += 1;
            self.image.replay_entry(LogIndex::new(self.entries), &records);
            self.check_replay(&records);
            let context = self.context();
            match (self.image.queue(&group()), self.desk.as_mut()) {
                (Some(queue), Some(desk)) => desk.committed(queue, &records, &context),
                (Some(_), None) => self.lead(),
                (None, _) => self.desk = None,
            }
            let replies = self.outbox.committed(position);
            text += &self.tell(&replies);
        }
        text
    }

    /// Records that are replayed twice change nothing.
    fn check_replay(&self, records: &[QueueRecord]) {
        let mut twice = self.image.clone();
        records.iter().for_each(|record| twice.replay(record));
        assert_eq!(twice, self.image);
    }

    fn lead(&mut self) {
        self.desks += 1;
        let nonce = Nonce::new(self.desks);
        self.desk = self.image.queue(&group()).map(|queue| Desk::new(group(), nonce, queue, &self.context()));
    }

    /// The leader is gone with what was not committed; another one begins from a snapshot.
    fn crash(&mut self) -> String {
        let lost: usize = std::mem::take(&mut self.in_flight).iter().map(|(_, records)| records.len()).sum();
        self.is_held = false;
        let mut text = format!("lost {lost} records\n");
        if let Some(desk) = self.desk.take() {
            for ticket in std::mem::take(&mut self.outbox).fail(desk) {
                writeln!(text, "{ticket}: unknown").unwrap();
            }
        }
        let image = QueuesImage::from_bytes(&self.image.to_bytes()).unwrap();
        assert_eq!(image, self.image);
        self.image = image;
        self.lead();
        text
    }

    fn wait(&mut self, ms: u64) -> String {
        let (mut text, until) = (String::new(), self.now_ms + ms);
        loop {
            let next = self.desk.as_ref().unwrap().next_deadline(self.queue(), &self.context());
            let next = next.map_or(until, |at| at.get().max(self.now_ms)).min(until);
            self.now_ms = next;
            let context = self.context();
            let queue = self.image.queue(&group()).unwrap();
            let decision = self.desk.as_mut().unwrap().tick(queue, &context);
            let came = self.take(decision);
            if !came.is_empty() {
                write!(text, "at {next}\n{came}").unwrap();
            }
            if next == until {
                return text;
            }
        }
    }

    fn state(&self, at: Offset) -> String {
        let state = self.desk.as_ref().unwrap().state_of(self.queue(), at, &self.context());
        let mut text = format!("{state:?}\n");
        if let Some(entry) = self.queue().entry(at) {
            write!(text, "attempts={}", entry.attempts).unwrap();
            entry.journal.iter().for_each(|attempt| write!(text, " {attempt}").unwrap());
            text.push('\n');
        }
        text
    }
}

fn config(words: &Words<'_>) -> QueueConfig {
    let mut config = QueueConfig { breaker: None, backoff: Backoff::Fixed { pause_ms: 100 }, ..QueueConfig::default() };
    config.lease_ms = words.number("lease").unwrap_or(1_000);
    config.lease_total_ms_max = words.number("total").unwrap_or(5_000).max(config.lease_ms);
    config.attempts_max = words.number("attempts").unwrap_or(config.attempts_max);
    config.in_flight_max = words.number("group").unwrap_or(config.in_flight_max);
    config.worker_in_flight_max = words.number("worker").unwrap_or(config.worker_in_flight_max);
    config.oldest_every = words.number("oldest").unwrap_or(config.oldest_every);
    config.look_ahead = words.number("ahead").unwrap_or(config.look_ahead);
    config.entries_max = words.number("entries").unwrap_or(config.entries_max);
    config.dead_max = words.number("dead").unwrap_or(config.dead_max);
    config.order = match words.pairs.get("order").copied() {
        Some("key") => Order::Key,
        Some("partition") => Order::Partition,
        _ => Order::None,
    };
    if words.pairs.get("expired").copied() == Some("drop") {
        config.on_expiry = OnExpiry::Drop;
    }
    let parts: Vec<u64> = words
        .pairs
        .get("backoff")
        .map_or(Vec::new(), |text| text.split(':').filter_map(|part| part.parse().ok()).collect());
    match words.pairs.get("backoff").map(|text| text.split(':').next().unwrap()) {
        Some("none") => config.backoff = Backoff::None,
        Some("fixed") => config.backoff = Backoff::Fixed { pause_ms: parts[0] },
        Some("linear") => config.backoff = Backoff::Linear { step_ms: parts[0], cap_ms: parts[1] },
        Some("exponential") => config.backoff = Backoff::Exponential { first_ms: parts[0], cap_ms: parts[1] },
        _ => {}
    }
    if let Some(failures_percent) = words.number("breaker") {
        config.breaker =
            Some(BreakerConfig { failures_percent, outcomes_min: 4, window_ms: 10_000, probe_after_ms: 2_000 });
    }
    config
}
