//! Golden transcripts: each file in `tests/scripts` holds commands, and under each the records and the reply, or the
//! refusal, that it leads to. The records go through their bytes before they are replayed.
//!
//! A line that starts with `>` is a command, the lines under it are what comes of it, `#` is a remark. After a wanted
//! change, run with `HIGHWATER_UPDATE_SCRIPTS=1` and read the difference before it is committed.
#![allow(clippy::disallowed_methods, reason = "reads and rewrites its own scripts")]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "a test"
)]

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use highwater_metadata::{
    AlterTopic, Command, Context, CreateTopic, MetadataImage, NodeRegistration, Policy, Reply, Setting, Topic, decide,
    record,
};
use highwater_types::{ClusterId, LogIndex, NodeId, NodeUuid, Timestamp, TopicId, TopicName};
use uuid::Uuid;

/// A controller without a log: one image, and a count of what was decided.
#[derive(Default)]
struct Controller {
    image: MetadataImage,
    steps: u64,
    policy: Policy,
}

impl Controller {
    /// Runs one line and says what came of it, line by line.
    fn run(&mut self, line: &str) -> String {
        let (verb, words) = line.split_once(' ').unwrap_or((line, ""));
        match verb {
            "image" => self.describe(),
            "restart" => {
                let image = MetadataImage::from_bytes(&self.image.to_bytes()).unwrap();
                assert_eq!(image, self.image);
                self.image = image;
                "the image is the same after a restart from its snapshot\n".to_owned()
            }
            "room-per-node" => {
                self.policy.replicas_per_node_max = words.parse().unwrap();
                String::new()
            }
            _ => self.decide(&parse(verb, words)),
        }
    }

    fn decide(&mut self, command: &Command) -> String {
        self.steps += 1;
        let context = Context {
            now: Timestamp::from_ms(i64::try_from(self.steps).unwrap() * 1_000),
            topic_id: TopicId::new(Uuid::from_u128(u128::from(self.steps))),
            seed: self.steps,
            policy: self.policy,
        };
        let decision = match decide(&self.image, command, &context) {
            Ok(decision) => decision,
            Err(refused) => return format!("refused {}: {refused}\n", refused.code()),
        };
        let mut text = String::new();
        let records = record::decode(&record::encode(&decision.records)).unwrap();
        assert_eq!(records, decision.records);
        records.iter().for_each(|record| writeln!(text, "record {record}").unwrap());
        self.image.replay_entry(LogIndex::new(self.steps), &records);
        match decision.reply {
            Reply::Done => text.push_str("reply done\n"),
            Reply::Topic(topic) => writeln!(text, "reply {}", describe(&topic)).unwrap(),
            Reply::ProducerIds { first, count } => writeln!(text, "reply producer-ids {first} x {count}").unwrap(),
        }
        text
    }

    fn describe(&self) -> String {
        let mut text = format!("revision {}\n", self.image.revision().unwrap());
        for node in self.image.nodes() {
            writeln!(text, "node {} at {}", node.node, node.address).unwrap();
        }
        for topic in self.image.topics() {
            writeln!(text, "{}", describe(topic)).unwrap();
        }
        writeln!(text, "next producer id {}", self.image.producer_id_next()).unwrap();
        text
    }
}

fn describe(topic: &Topic) -> String {
    let mut text = format!("topic {} {} x{}", topic.name, topic.id, topic.replicas);
    for (number, assignment) in topic.numbered_partitions() {
        let nodes: Vec<_> = assignment.replicas.iter().map(ToString::to_string).collect();
        write!(text, " {number}@{}", nodes.join(",")).unwrap();
    }
    for setting in Setting::ALL.iter().filter(|setting| !topic.settings.is_default(**setting)) {
        write!(text, " {setting}={}", topic.settings.get(*setting)).unwrap();
    }
    text
}

/// Reads `verb name? key=value...`; keys that a command does not know are settings.
fn parse(verb: &str, words: &str) -> Command {
    let mut name = None;
    let mut pairs: Vec<(String, String)> = Vec::new();
    for word in words.split_whitespace() {
        match word.split_once('=') {
            Some((key, value)) => pairs.push((key.to_owned(), value.to_owned())),
            None => name = Some(TopicName::new(word).unwrap()),
        }
    }
    let mut take = |key: &str| {
        let at = pairs.iter().position(|(found, _)| found == key)?;
        Some(pairs.remove(at).1)
    };
    let number = |text: Option<String>| text.map(|text| text.parse::<u32>().unwrap());
    let node = |number: u32, uuid: Option<String>| {
        let uuid = uuid.map_or(u128::from(number) + 0xA0, |text| text.parse().unwrap());
        let address = format!("127.0.0.1:{}", 7_400 + number * 10);
        NodeRegistration { node: NodeId::new(number.into()), uuid: NodeUuid::new(Uuid::from_u128(uuid)), address }
    };
    match verb {
        "form-cluster" => Command::FormCluster { cluster: ClusterId::new(Uuid::from_u128(0xC1)), node: node(1, None) },
        "register-node" => Command::RegisterNode(node(number(take("node")).unwrap(), take("uuid"))),
        "create-topic" => Command::CreateTopic(CreateTopic {
            name: name.unwrap(),
            partitions: number(take("partitions")).unwrap_or(0),
            replicas: number(take("replicas")).unwrap_or(0),
            is_validate_only: take("validate-only").is_some(),
            settings: pairs,
        }),
        "delete-topic" => Command::DeleteTopic { name: name.unwrap() },
        "alter-topic" => Command::AlterTopic(AlterTopic {
            name: name.unwrap(),
            partitions: number(take("partitions")),
            unset: take("unset").into_iter().collect(),
            set: pairs,
        }),
        "allocate-producer-ids" => Command::AllocateProducerIds { count: number(take("count")).unwrap() },
        _ => panic!("no such command: {verb}"),
    }
}

/// The script again, with what came of each command under it.
fn replay(script: &str) -> String {
    let mut controller = Controller::default();
    let mut text = String::new();
    for line in script.lines() {
        match line.strip_prefix("> ") {
            Some(command) => write!(text, "{line}\n{}", controller.run(command)).unwrap(),
            None if line.is_empty() || line.starts_with('#') => writeln!(text, "{line}").unwrap(),
            None => {} // what came of it last time
        }
    }
    text
}

#[test]
fn every_script_runs_as_it_is_written() {
    let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scripts");
    let mut count = 0;
    for entry in fs::read_dir(scripts).unwrap() {
        let path = entry.unwrap().path();
        let expected = fs::read_to_string(&path).unwrap();
        let found = replay(&expected);
        if std::env::var_os("HIGHWATER_UPDATE_SCRIPTS").is_some() {
            fs::write(&path, &found).unwrap();
        } else if let Some((line, (expected, found))) =
            expected.lines().chain(["(end)"]).zip(found.lines().chain(["(end)"])).enumerate().find(|(_, (a, b))| a != b)
        {
            panic!("{}:{}\n expected: {expected}\n    found: {found}", path.display(), line + 1);
        }
        count += 1;
    }
    assert!(count >= 4, "only {count} scripts were found");
}
