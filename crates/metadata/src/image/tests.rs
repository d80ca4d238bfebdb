//! Random commands against the promises of decisions, replay and snapshots.

use bytes::Bytes;
use highwater_types::{ClusterId, NodeUuid, PartitionId, Timestamp};
use proptest::prelude::*;
use uuid::Uuid;

use super::*;
use crate::command::{AlterTopic, Command, Context, CreateTopic, JoinNode, Policy, Reply};
use crate::decide::decide;
use crate::node::NodeState;
use crate::record;
use crate::settings::TopicSettings;

fn node(number: u64) -> NodeRegistration {
    let uuid = NodeUuid::new(Uuid::from_u128(u128::from(number) + 100));
    let address = |base: u64| format!("127.0.0.1:{}", base + number);
    let (address, peer_address) = (address(7000), address(8000));
    let (rack, kafka_address) = (format!("rack-{}", number % 2), format!("127.0.0.1:{}", 9000 + number));
    let kafka_listeners = [("outside".to_owned(), format!("10.0.0.{number}:9094"))].into();
    NodeRegistration { node: NodeId::new(number), uuid, address, peer_address, rack, kafka_address, kafka_listeners }
}

fn topic_name(number: u8) -> TopicName {
    TopicName::new(&format!("topic-{number}")).unwrap()
}

fn settings() -> impl Strategy<Value = Vec<(String, String)>> {
    let name = prop_oneof![Just("retention.ms"), Just("segment.bytes"), Just("no.such.setting")];
    let value = prop_oneof![Just("-1"), Just("2MiB"), Just("90000"), Just("3d")];
    prop::collection::vec((name.prop_map(str::to_owned), value.prop_map(str::to_owned)), 0..3)
}

fn join(number: u64) -> Command {
    let NodeRegistration { uuid, address, peer_address, rack, .. } = node(number);
    Command::JoinNode(JoinNode { uuid, address, peer_address, rack })
}

/// Topics are numbered by the step that creates them, so a low number is often one that exists.
fn partition() -> impl Strategy<Value = TopicPartition> {
    let id = |(step, number): (u128, u32)| TopicPartition {
        topic: TopicId::new(Uuid::from_u128(step)),
        partition: PartitionId::new(number),
    };
    (1_u128..20, 0_u32..4).prop_map(id)
}

fn about_nodes() -> impl Strategy<Value = Command> {
    let id = || (1_u64..6).prop_map(NodeId::new);
    let state = prop_oneof![Just(NodeState::Active), Just(NodeState::Draining), Just(NodeState::Decommissioning)];
    prop_oneof![
        1 => (1_u64..4).prop_map(|number| Command::RegisterNode(node(number))),
        3 => (1_u64..7).prop_map(join),
        2 => (id(), state).prop_map(|(node, state)| Command::SetNodeState { node, state }),
        1 => (id(), id()).prop_map(|(node, by)| Command::ReplaceNode { node, by }),
        1 => id().prop_map(|node| Command::FenceNode { node }),
        3 => id().prop_map(|node| Command::UnfenceNode { node }),
        1 => id().prop_map(|node| Command::RemoveNode { node }),
        1 => any::<bool>().prop_map(|is_on| Command::SetBalancing { is_on }),
    ]
}

fn about_moves() -> impl Strategy<Value = Command> {
    let node = || (1_u64..6).prop_map(NodeId::new);
    let target = prop::collection::vec(node(), 1..4);
    prop_oneof![
        3 => (partition(), target).prop_map(|(partition, target)| Command::MoveReplicas { partition, target }),
        1 => partition().prop_map(|partition| Command::CancelMove { partition }),
        2 => (partition(), 0_u32..4)
            .prop_map(|(partition, generation)| Command::FinishMove { partition, generation }),
        2 => (partition(), node()).prop_map(|(partition, node)| Command::PreferLeader { partition, node }),
        1 => ((0_u8..4).prop_map(topic_name), 0_u32..4)
            .prop_map(|(name, replicas)| Command::SetReplicas { name, replicas }),
    ]
}

fn command() -> impl Strategy<Value = Command> {
    let name = || (0_u8..4).prop_map(topic_name);
    prop_oneof![
        4 => about_nodes(),
        4 => about_moves(),
        4 => (name(), 0_u32..20, 0_u32..4, settings(), any::<bool>()).prop_map(
            |(name, partitions, replicas, settings, is_validate_only)| Command::CreateTopic(CreateTopic {
                name, partitions, replicas, settings, is_validate_only,
            })
        ),
        2 => name().prop_map(|name| Command::DeleteTopic { name }),
        3 => (name(), settings(), prop::option::of(0_u32..30)).prop_map(|(name, set, partitions)| {
            Command::AlterTopic(AlterTopic { name, set, unset: vec!["segment.ms".to_owned()], partitions })
        }),
        1 => (1_u32..5_000).prop_map(|count| Command::AllocateProducerIds { count }),
    ]
}

fn context(step: usize) -> Context {
    let topic_id = TopicId::new(Uuid::from_u128(step as u128 + 1));
    let policy = Policy { replicas_per_node_max: 30, ..Policy::default() };
    Context { now: Timestamp::from_ms(1_000), topic_id, seed: step as u64, policy }
}

/// What the image must be like after a command was replayed.
fn check_reply(command: &Command, reply: &Reply, before: &MetadataImage, after: &MetadataImage) {
    match (command, reply) {
        (Command::CreateTopic(create), Reply::Topic(_)) if create.is_validate_only => assert_eq!(before, after),
        (Command::CreateTopic(_) | Command::AlterTopic(_), Reply::Topic(topic)) => {
            assert_eq!(after.topic(&topic.name), Some(topic));
            assert_eq!(after.topic_by_id(topic.id), Some(topic));
        }
        (Command::DeleteTopic { name }, Reply::Done) => assert_eq!(after.topic(name), None),
        (Command::FormCluster { nodes, .. }, Reply::Done) => assert!(after.nodes().eq(nodes)),
        (Command::RegisterNode(node), Reply::Done) => assert_eq!(after.node(node.node), Some(node)),
        (Command::JoinNode(join), Reply::Node { node }) => {
            assert_eq!(after.node(*node).unwrap().uuid, join.uuid);
            assert!(before.node(*node).is_none_or(|known| known.uuid == join.uuid) && !before.is_removed(*node));
        }
        (Command::RemoveNode { node }, Reply::Done) => assert!(after.is_removed(*node)),
        (Command::SetBalancing { is_on }, Reply::Done) => assert_eq!(after.is_balancing(), *is_on),
        (_, Reply::Done) => {}
        (Command::AllocateProducerIds { count }, Reply::ProducerIds { first, .. }) => {
            assert_eq!(*first, before.producer_id_next());
            assert_eq!(after.producer_id_next().get(), first.get() + i64::from(*count));
        }
        (command, reply) => panic!("{command:?} gave {reply:?}"),
    }
    assert_eq!(after.topics.len(), after.names.len());
    check_assignments(before, after);
}

/// A node that was, or may be, a member of a partition's group keeps holding it until the move is finished.
fn check_assignments(before: &MetadataImage, after: &MetadataImage) {
    for (id, topic, held) in after.partitions() {
        let distinct = |nodes: &[NodeId]| nodes.iter().collect::<std::collections::BTreeSet<_>>().len() == nodes.len();
        assert!(distinct(&held.replicas) && distinct(held.wanted()), "{id}: {held}");
        assert!(held.holders().iter().all(|node| !after.is_removed(*node)), "{id} of {}: {held}", topic.name);
        let Some(earlier) = before.assignment(id).filter(|earlier| earlier.generation != held.generation) else {
            continue;
        };
        let gone = earlier.holders().difference(&held.holders()).count();
        assert!(gone == 0 || held.replicas == earlier.wanted(), "{id} went from {earlier} to {held}");
    }
}

proptest! {
    #[test]
    fn what_is_decided_is_what_replay_gives(commands in prop::collection::vec(command(), 1..40)) {
        let mut image = MetadataImage::default();
        let form = Command::FormCluster { cluster: ClusterId::new(Uuid::from_u128(9)), nodes: vec![node(1), node(2)] };
        let mut log: Vec<Bytes> = Vec::new();
        for (step, command) in std::iter::once(&form).chain(&commands).enumerate() {
            let before = image.clone();
            prop_assert_eq!(&Command::from_bytes(&command.to_bytes()).unwrap(), command);
            let Ok(decision) = decide(&image, command, &context(step)) else { continue };
            prop_assert_eq!(&Reply::from_bytes(&decision.reply.to_bytes()).unwrap(), &decision.reply);
            let payload = record::encode(&decision.records);
            let records = record::decode(&payload).unwrap();
            prop_assert_eq!(&records, &decision.records);
            let index = LogIndex::new(log.len() as u64);
            prop_assert!(image.replay_entry(index, &records));
            log.push(payload);
            let mut unchanged = image.clone();
            prop_assert!(!unchanged.replay_entry(index, &records), "an entry counts once");
            prop_assert_eq!(&unchanged, &image);
            let mut plain = image.clone();
            plain.revision = before.revision;
            check_reply(command, &decision.reply, &before, &plain);
            if command.is_idempotent() && !matches!(command, Command::AllocateProducerIds { .. } | Command::CancelMove { .. }) {
                let again = decide(&image, command, &context(step));
                prop_assert!(again.is_ok_and(|again| again.records.is_empty()), "{command:?} twice");
            }
        }
        prop_assert_eq!(&MetadataImage::from_bytes(&image.to_bytes()).unwrap(), &image);
        // A node that starts from a snapshot and sees older entries again ends where the others are.
        let mut restarted = MetadataImage::from_bytes(&image.to_bytes()).unwrap();
        for (index, payload) in log.iter().enumerate() {
            restarted.replay_entry(LogIndex::new(index as u64), &record::decode(payload).unwrap());
        }
        prop_assert_eq!(restarted, image);
    }

    #[test]
    fn damaged_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = record::decode(&bytes);
        let _ = MetadataImage::from_bytes(&bytes);
        let _ = Command::from_bytes(&bytes);
        let _ = Reply::from_bytes(&bytes);
    }
}

#[test]
fn a_shared_image_never_changes() {
    let mut image = MetadataImage::default();
    image.replay(&MetadataRecord::NodeRegistered(node(1)));
    let shared = image.clone();
    image.replay(&MetadataRecord::NodeRegistered(node(2)));
    assert_eq!((shared.nodes().len(), image.nodes().len()), (1, 2));
}

#[test]
fn a_record_about_a_topic_that_is_gone_changes_nothing() {
    let mut image = MetadataImage::default();
    let topic = TopicId::new(Uuid::from_u128(5));
    image.replay(&MetadataRecord::TopicConfigured { topic, settings: TopicSettings::default() });
    image.replay(&MetadataRecord::TopicDeleted { topic });
    assert_eq!(image, MetadataImage::default());
}
