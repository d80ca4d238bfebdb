//! A coordinator without a log or a network, driven by lines of text.

mod parse;
mod print;

use std::collections::BTreeMap;
use std::fmt::Write as _;

use highwater_groups::stream::{
    Answer, Command, Config, Context, Decision, GroupRecord, GroupsImage, Moment, Outbox, Reply, Sessions, Ticket,
    record,
};
use highwater_types::{LogIndex, Timestamp, TopicId};
use parse::Words;

/// A leader, the log behind it, and what the image says of the committed part of that log.
#[derive(Default)]
pub(crate) struct Coordinator {
    config: Config,
    topics: BTreeMap<String, u32>,
    image: GroupsImage,
    sessions: Option<Sessions>,
    outbox: Outbox,
    now_ms: u64,
    tickets: u64,
    entries: u64,
    /// Proposed, not committed.
    in_flight: Vec<(highwater_groups::stream::outbox::Position, Vec<GroupRecord>)>,
    is_held: bool,
}

impl Coordinator {
    /// Runs one line and says what came of it, line by line.
    pub(crate) fn run(&mut self, line: &str) -> String {
        let (verb, rest) = line.split_once(' ').unwrap_or((line, ""));
        let mut words = Words::new(rest);
        let text = match verb {
            "config" => self.configure(&mut words),
            "topic" => {
                self.topics.insert(words.name(), words.number("partitions").unwrap());
                String::new()
            }
            "wait" => self.wait(words.name().parse().unwrap()),
            "hold" => {
                self.is_held = true;
                String::new()
            }
            "commit-log" => self.commit(),
            "crash" => self.crash(),
            "churn" => self.churn(&words.name(), words.number("count").unwrap()),
            "image" => print::image(&self.image),
            _ => {
                let command = parse::command(verb, &mut words);
                self.decide(command)
            }
        };
        print::shorten(&text)
    }

    fn configure(&mut self, words: &mut Words) -> String {
        let config = &mut self.config;
        if let Some(ms) = words.number("delay_ms") {
            config.initial_rebalance_delay_ms = ms.into();
        }
        if let Some(ms) = words.number("retention_ms") {
            config.offsets_retention_ms = ms.into();
        }
        if let Some(ms) = words.number("sweep_ms") {
            config.sweep_interval_ms = ms.into();
        }
        if let Some(max) = words.number("members") {
            config.members_max = max.try_into().unwrap();
        }
        String::new()
    }

    fn decide(&mut self, command: Command) -> String {
        self.tickets += 1;
        let ticket = self.tickets;
        let decision =
            self.with_context(|sessions, image, context| sessions.decide(image, Ticket::new(ticket), command, context));
        let mut text = String::new();
        let is_answered = decision.now.iter().chain(&decision.then).any(|reply| reply.to.get() == ticket);
        if !is_answered {
            writeln!(text, "waits as {ticket}").unwrap();
        }
        text + &self.take(decision)
    }

    fn with_context<R>(&mut self, run: impl FnOnce(&mut Sessions, &GroupsImage, &Context<'_>) -> R) -> R {
        let topics: BTreeMap<TopicId, u32> =
            self.topics.iter().map(|(name, count)| (parse::topic(name), *count)).collect();
        let partitions = |topic| topics.get(&topic).copied().unwrap_or(0);
        let wall = Timestamp::from_ms(i64::try_from(self.now_ms).unwrap());
        let now = Moment::new(self.now_ms);
        let context = Context { now, wall, nonce: self.tickets.into(), partitions: &partitions };
        let sessions = self.sessions.get_or_insert_with(|| Sessions::new(self.config, &self.image, &context));
        run(sessions, &self.image, &context)
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
        text += &print::replies(&outgoing.replies);
        if !self.is_held {
            text += &self.commit();
        }
        text
    }

    /// All that was proposed is committed.
    fn commit(&mut self) -> String {
        self.is_held = false;
        let mut replies: Vec<Reply> = Vec::new();
        for (position, records) in std::mem::take(&mut self.in_flight) {
            self.entries += 1;
            self.image.replay_entry(LogIndex::new(self.entries), &records);
            replies.extend(self.outbox.committed(position));
        }
        print::replies(&replies)
    }

    /// The leader is gone with what was not committed; another one begins from a snapshot.
    fn crash(&mut self) -> String {
        let lost: usize = std::mem::take(&mut self.in_flight).iter().map(|(_, records)| records.len()).sum();
        self.is_held = false;
        let mut text = format!("lost {lost} records\n");
        if let Some(sessions) = self.sessions.take() {
            for ticket in std::mem::take(&mut self.outbox).fail(sessions) {
                writeln!(text, "{ticket}: not the coordinator").unwrap();
            }
        }
        let image = GroupsImage::from_bytes(&self.image.to_bytes()).unwrap();
        assert_eq!(image, self.image);
        self.image = image;
        self.with_context(|_, _, _| ());
        text
    }

    /// Lets time pass, and tells what is due when it is due.
    fn wait(&mut self, ms: u64) -> String {
        let end = self.now_ms + ms;
        let mut text = String::new();
        loop {
            let due = self.with_context(|sessions, _, _| sessions.next_deadline()).get();
            if due > end {
                break;
            }
            self.now_ms = self.now_ms.max(due);
            let decision = self.with_context(|sessions, image, context| sessions.tick(image, context));
            let told = self.take(decision);
            if !told.is_empty() {
                writeln!(text, "at {}", self.now_ms).unwrap();
                text += &told;
            }
        }
        self.now_ms = end;
        text
    }

    /// So many members join and leave, one after another.
    fn churn(&mut self, group: &str, count: u32) -> String {
        let mut most = 0;
        let mut records = 0;
        for _ in 0..count {
            let mut words = Words::new(&format!("{group} client=c"));
            self.tickets += 1;
            let (ticket, join) = (Ticket::new(self.tickets), parse::command("join", &mut words));
            let mut decisions =
                vec![self.with_context(|sessions, image, context| sessions.decide(image, ticket, join, context))];
            let joined = decisions[0].then.iter().find_map(|reply| match &reply.answer {
                Answer::Join(Ok(joined)) => Some(joined.member.clone()),
                _ => None,
            });
            let member = joined.map_or_else(|| format!("c#{}", self.tickets), |member| member.to_string());
            let mut words = Words::new(&format!("{group} member={member}"));
            let leave = parse::command("leave", &mut words);
            decisions
                .push(self.with_context(|sessions, image, context| sessions.decide(image, ticket, leave, context)));
            for decision in decisions {
                records += decision.records.len();
                let _ = self.take(decision);
            }
            most = most.max(self.image.to_bytes().len());
        }
        format!("{records} records, an image of at most {most} bytes\n")
    }
}
