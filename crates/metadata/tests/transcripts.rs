//! Golden transcripts: each file in `tests/scripts` holds commands, and under each the records and the reply, or the
//! refusal, that it leads to. The records go through their bytes before they are replayed.
//!
//! A line that starts with `>` is a command, the lines under it are what comes of it, `#` is a remark. After a wanted
//! change, run with `HIGHWATER_UPDATE_SCRIPTS=1` and read the difference before it is committed.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "a test"
)]

use std::fmt::Write as _;

use highwater_golden::script::replay_all;
use highwater_metadata::{
    AlterTopic, Command, Context, CreateTopic, JoinNode, MetadataImage, NodeRegistration, NodeState, Policy, Reply,
    Setting, Topic, decide, record,
};
use highwater_types::{
    ClusterId, LogIndex, NodeId, NodeUuid, PartitionId, Timestamp, TopicId, TopicName, TopicPartition,
};
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
            _ => self.decide(&parse(&self.image, verb, words)),
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
            Reply::Node { node } => writeln!(text, "reply node {node}").unwrap(),
        }
        text
    }

    fn describe(&self) -> String {
        let mut text = format!("revision {}\n", self.image.revision().unwrap());
        for member in self.image.members() {
            write!(text, "node {} at {}", member.node(), member.registration.address).unwrap();
            if member.state != NodeState::Active {
                write!(text, " {}", member.state).unwrap();
            }
            if let Some(successor) = member.successor {
                write!(text, " in favour of {successor}").unwrap();
            }
            text.push_str(if member.is_fenced { " fenced\n" } else { "\n" });
        }
        for (node, _) in self.image.removed() {
            writeln!(text, "removed node {node}").unwrap();
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
        write!(text, " {number}@{assignment}").unwrap();
    }
    for setting in Setting::ALL.iter().filter(|setting| !topic.settings.is_default(**setting)) {
        write!(text, " {setting}={}", topic.settings.get(*setting)).unwrap();
    }
    text
}

/// The words of a command: at most one name, and `key=value` pairs.
struct Words {
    name: Option<String>,
    pairs: Vec<(String, String)>,
}

impl Words {
    fn new(words: &str) -> Self {
        let (mut name, mut pairs) = (None, Vec::new());
        for word in words.split_whitespace() {
            match word.split_once('=') {
                Some((key, value)) => pairs.push((key.to_owned(), value.to_owned())),
                None => name = Some(word.to_owned()),
            }
        }
        Self { name, pairs }
    }

    fn name(&self) -> TopicName {
        TopicName::new(self.name.as_deref().unwrap()).unwrap()
    }

    fn take(&mut self, key: &str) -> Option<String> {
        let at = self.pairs.iter().position(|(found, _)| found == key)?;
        Some(self.pairs.remove(at).1)
    }

    fn number(&mut self, key: &str) -> Option<u32> {
        self.take(key).map(|text| text.parse().unwrap())
    }

    fn node(&mut self, key: &str) -> NodeId {
        NodeId::new(self.number(key).unwrap().into())
    }

    /// `partition=N` of the topic that is named.
    fn partition(&mut self, image: &MetadataImage) -> TopicPartition {
        let topic = image.topic(&self.name()).map_or(TopicId::new(Uuid::from_u128(0xDEAD)), |topic| topic.id);
        TopicPartition { topic, partition: PartitionId::new(self.number("partition").unwrap()) }
    }

    fn registration(&mut self, number: u32) -> NodeRegistration {
        let uuid = self.take("uuid").map_or(u128::from(number) + 0xA0, |text| text.parse().unwrap());
        let port = self.number("port").unwrap_or(7_400 + number * 10);
        NodeRegistration {
            node: NodeId::new(number.into()),
            uuid: NodeUuid::new(Uuid::from_u128(uuid)),
            address: format!("127.0.0.1:{port}"),
            peer_address: format!("127.0.0.1:{}", port + 1),
            rack: self.take("rack").unwrap_or_default(),
            kafka_address: self.take("kafka").unwrap_or_default(),
            kafka_listeners: std::collections::BTreeMap::new(),
        }
    }
}

/// Reads `verb name? key=value...`; keys that a command about topics does not know are settings.
fn parse(image: &MetadataImage, verb: &str, words: &str) -> Command {
    let mut words = Words::new(words);
    match verb {
        "form-cluster" => {
            let nodes = (1..=words.number("nodes").unwrap_or(1)).map(|number| words.registration(number)).collect();
            Command::FormCluster { cluster: ClusterId::new(Uuid::from_u128(0xC1)), nodes }
        }
        "create-topic" => Command::CreateTopic(CreateTopic {
            name: words.name(),
            partitions: words.number("partitions").unwrap_or(0),
            replicas: words.number("replicas").unwrap_or(0),
            is_validate_only: words.take("validate-only").is_some(),
            settings: words.pairs,
        }),
        "delete-topic" => Command::DeleteTopic { name: words.name() },
        "alter-topic" => Command::AlterTopic(AlterTopic {
            name: words.name(),
            partitions: words.number("partitions"),
            unset: words.take("unset").into_iter().collect(),
            set: words.pairs,
        }),
        "set-replicas" => Command::SetReplicas { name: words.name(), replicas: words.number("replicas").unwrap() },
        "allocate-producer-ids" => Command::AllocateProducerIds { count: words.number("count").unwrap() },
        "balance" => Command::SetBalancing { is_on: true },
        verb => parse_about_nodes(verb, &mut words).unwrap_or_else(|| parse_about_moves(image, verb, &mut words)),
    }
}

fn parse_about_nodes(verb: &str, words: &mut Words) -> Option<Command> {
    Some(match verb {
        "register-node" => {
            let number = words.number("node").unwrap();
            Command::RegisterNode(words.registration(number))
        }
        "join-node" => {
            let number = words.number("like").unwrap();
            let NodeRegistration { uuid, address, peer_address, rack, .. } = words.registration(number);
            Command::JoinNode(JoinNode { uuid, address, peer_address, rack })
        }
        "activate" => Command::SetNodeState { node: words.node("node"), state: NodeState::Active },
        "drain" => Command::SetNodeState { node: words.node("node"), state: NodeState::Draining },
        "decommission" => Command::SetNodeState { node: words.node("node"), state: NodeState::Decommissioning },
        "replace" => Command::ReplaceNode { node: words.node("node"), by: words.node("by") },
        "fence" => Command::FenceNode { node: words.node("node") },
        "unfence" => Command::UnfenceNode { node: words.node("node") },
        "remove" => Command::RemoveNode { node: words.node("node") },
        _ => return None,
    })
}

fn parse_about_moves(image: &MetadataImage, verb: &str, words: &mut Words) -> Command {
    let partition = words.partition(image);
    match verb {
        "move" => {
            let nodes = words.take("to").unwrap();
            let target = nodes.split(',').map(|node| NodeId::new(node.parse().unwrap())).collect();
            Command::MoveReplicas { partition, target }
        }
        "cancel-move" => Command::CancelMove { partition },
        "finish-move" => Command::FinishMove { partition, generation: words.number("generation").unwrap() },
        "prefer" => Command::PreferLeader { partition, node: words.node("node") },
        _ => panic!("no such command: {verb}"),
    }
}

#[test]
fn every_script_runs_as_it_is_written() {
    replay_all(env!("CARGO_MANIFEST_DIR"), "tests/scripts", 4, Controller::default, Controller::run);
}
