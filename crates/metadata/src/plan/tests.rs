//! Plans that are carried out step by step on random clusters: they end, with everything where it should be.

use highwater_types::{ClusterId, LogIndex, NodeUuid, Timestamp, TopicId, TopicName};
use proptest::prelude::*;
use uuid::Uuid;

use super::*;
use crate::command::{Context, CreateTopic};
use crate::decide::decide;
use crate::node::NodeRegistration;

const LIMITS: PlanLimits = PlanLimits { moves_max: 5, moves_per_node_max: 2 };

/// A cluster without a log.
struct Cluster {
    image: MetadataImage,
    step: u64,
}

impl Cluster {
    fn new(nodes: u64, racks: u64) -> Self {
        let rack = |number: u64| if racks == 0 { String::new() } else { format!("rack-{}", number % racks) };
        let node = |number: u64| NodeRegistration {
            node: NodeId::new(number),
            uuid: NodeUuid::new(Uuid::from_u128(number.into())),
            address: String::new(),
            peer_address: String::new(),
            rack: rack(number),
            kafka_address: String::new(),
            kafka_listeners: std::collections::BTreeMap::new(),
        };
        let mut cluster = Self { image: MetadataImage::default(), step: 0 };
        let nodes = (1..=nodes).map(node).collect();
        cluster.run(&Command::FormCluster { cluster: ClusterId::new(Uuid::from_u128(1)), nodes });
        cluster
    }

    fn run(&mut self, command: &Command) {
        self.step += 1;
        let topic_id = TopicId::new(Uuid::from_u128(self.step.into()));
        let policy = Policy { replicas_per_node_max: 1_000, ..Policy::default() };
        let context = Context { now: Timestamp::from_ms(0), topic_id, seed: self.step, policy };
        let decision = decide(&self.image, command, &context);
        let decision = decision.unwrap_or_else(|error| panic!("{command:?} was refused: {error}"));
        self.image.replay_entry(LogIndex::new(self.step), &decision.records);
    }

    fn create(&mut self, name: &str, partitions: u32, replicas: u32) {
        let name = TopicName::new(name).unwrap();
        let topic = CreateTopic { name, partitions, replicas, settings: Vec::new(), is_validate_only: false };
        self.run(&Command::CreateTopic(topic));
    }

    fn plan(&self) -> Vec<Command> {
        let policy = Policy { replicas_per_node_max: 1_000, ..Policy::default() };
        next_steps(&self.image, &BTreeSet::from([NodeId::new(1)]), &policy, &LIMITS)
    }

    /// Whether no chain of hand-overs, each to a node that has a replica, takes a leadership from a node to one that has
    /// two fewer. Evenly for every node would be too much to ask: a partition with one replica is led where it is.
    fn leaders_are_as_even_as_replicas_allow(&self) -> bool {
        let all: Vec<Vec<NodeId>> = self.image.partitions().map(|(_, _, held)| held.replicas.clone()).collect();
        let leads = |node: NodeId| all.iter().filter(|replicas| replicas.first() == Some(&node)).count();
        self.image.nodes().all(|from| {
            let mut reached = BTreeSet::from([from.node]);
            loop {
                let led_there = all.iter().filter(|replicas| replicas.first().is_some_and(|led| reached.contains(led)));
                let next: BTreeSet<NodeId> = led_there.flatten().copied().chain([from.node]).collect();
                if next == reached {
                    break reached.iter().all(|to| leads(from.node) < leads(*to) + 2);
                }
                reached = next;
            }
        })
    }

    /// Runs plans, and finishes the moves in between, until nothing is left to do. Returns how many moves it took.
    fn settle(&mut self) -> usize {
        let mut moves = 0;
        for _ in 0..1_000 {
            let plan = self.plan();
            for command in &plan {
                moves += usize::from(matches!(command, Command::MoveReplicas { .. }));
                self.run(command);
            }
            let moving: Vec<_> = self.image.partitions().filter(|(_, _, held)| held.is_moving()).collect();
            assert!(moving.len() <= LIMITS.moves_max);
            for member in self.image.members() {
                let received = moving.iter().filter(|(_, _, held)| held.added().any(|node| node == member.node()));
                assert!(received.count() <= LIMITS.moves_per_node_max);
            }
            let finish = moving.iter().map(|(id, _, held)| (*id, held.generation)).collect::<Vec<_>>();
            if plan.is_empty() && finish.is_empty() {
                return moves;
            }
            // One after another, so that plans see some of them under way.
            if let Some((partition, generation)) = finish.first().copied() {
                self.run(&Command::FinishMove { partition, generation });
            }
        }
        panic!("the plans do not end: {:?}", self.plan());
    }

    fn check_width(&self) {
        for (id, topic, held) in self.image.partitions() {
            assert_eq!(held.replicas.len(), topic.replicas as usize, "{id}: {held}");
            assert!(!held.is_moving());
        }
    }

    fn count(&self, of: impl Fn(&crate::Assignment, NodeId) -> bool) -> Vec<usize> {
        let nodes = self.image.members().filter(|member| member.is_ready()).map(crate::Member::node);
        nodes.map(|node| self.image.partitions().filter(|(_, _, held)| of(held, node)).count()).collect()
    }

    fn racks(&self) -> usize {
        let loads = Loads::new(&self.image, 1_000);
        self.image.partitions().map(|(_, _, held)| loads.racks(held.wanted())).sum()
    }
}

fn spread(counts: &[usize]) -> usize {
    counts.iter().max().unwrap() - counts.iter().min().unwrap()
}

fn node(number: u64) -> NodeId {
    NodeId::new(number)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_decommissioned_node_ends_empty_and_leaves(
        nodes in 4_u64..7, racks in 0_u64..4, partitions in 1_u32..20, replicas in 1_u32..4, goes in 2_u64..5,
    ) {
        let mut cluster = Cluster::new(nodes, racks);
        cluster.create("a", partitions, replicas);
        let held = cluster.image.partitions().filter(|(_, _, held)| held.holds(node(goes))).count();
        let racks_before = cluster.racks();
        cluster.run(&Command::SetNodeState { node: node(goes), state: NodeState::Decommissioning });
        let moves = cluster.settle();
        prop_assert_eq!(moves, held, "one move for each replica that it held");
        prop_assert!(cluster.image.is_removed(node(goes)));
        prop_assert!(racks != 0 || cluster.racks() >= racks_before);
        cluster.check_width();
    }

    #[test]
    fn a_replaced_node_is_followed_by_its_successor(partitions in 1_u32..20, replicas in 1_u32..4) {
        let mut cluster = Cluster::new(5, 0);
        cluster.run(&Command::SetNodeState { node: node(5), state: NodeState::Draining });
        cluster.create("a", partitions, replicas);
        cluster.run(&Command::SetNodeState { node: node(5), state: NodeState::Active });
        let of = |image: &MetadataImage, from: NodeId, to: NodeId| -> Vec<Vec<NodeId>> {
            let put = |held: &crate::Assignment| held.replicas.iter().map(|n| if *n == from { to } else { *n }).collect();
            image.partitions().map(|(_, _, held)| put(held)).collect()
        };
        let expected = of(&cluster.image, node(2), node(5));
        cluster.run(&Command::ReplaceNode { node: node(2), by: node(5) });
        cluster.settle();
        prop_assert_eq!(of(&cluster.image, node(0), node(0)), expected);
        prop_assert!(cluster.image.is_removed(node(2)));
    }

    #[test]
    fn balancing_ends_even_and_with_no_fewer_racks(
        few in 3_u64..5, more in 0_u64..4, racks in 0_u64..4, a in 1_u32..20, b in 0_u32..20, replicas in 1_u32..4,
    ) {
        let mut cluster = Cluster::new(few + more, racks);
        for number in few + 1..=few + more {
            cluster.run(&Command::FenceNode { node: node(number) });
        }
        cluster.create("a", a, replicas);
        cluster.create("b", b, 1);
        for number in few + 1..=few + more {
            cluster.run(&Command::UnfenceNode { node: node(number) });
        }
        let racks_before = cluster.racks();
        cluster.run(&Command::SetBalancing { is_on: true });
        cluster.settle();
        cluster.check_width();
        prop_assert!(!cluster.image.is_balancing());
        prop_assert!(cluster.racks() >= racks_before);
        if racks == 0 {
            prop_assert!(spread(&cluster.count(|held, node| held.holds(node))) <= 1);
            prop_assert!(cluster.leaders_are_as_even_as_replicas_allow());
        }
        cluster.run(&Command::SetBalancing { is_on: true });
        prop_assert_eq!(cluster.settle(), 0, "what is even stays where it is");
    }

    #[test]
    fn a_topic_gets_the_replicas_it_shall_have(partitions in 1_u32..20, from in 1_u32..5, to in 1_u32..5) {
        let mut cluster = Cluster::new(5, 0);
        cluster.create("a", partitions, from);
        cluster.run(&Command::SetReplicas { name: TopicName::new("a").unwrap(), replicas: to });
        let moves = cluster.settle();
        prop_assert_eq!(moves, if from == to { 0 } else { partitions as usize });
        cluster.check_width();
    }
}

#[test]
fn a_cluster_where_all_is_well_is_left_alone() {
    let mut cluster = Cluster::new(3, 0);
    cluster.create("a", 10, 3);
    cluster.run(&Command::FenceNode { node: node(2) });
    cluster.run(&Command::SetNodeState { node: node(3), state: NodeState::Draining });
    assert_eq!(cluster.plan(), []);
}

#[test]
fn a_move_to_a_node_that_leaves_is_taken_back() {
    let mut cluster = Cluster::new(5, 0);
    cluster.create("a", 1, 3);
    let (partition, _, held) = cluster.image.partitions().next().unwrap();
    let added = cluster.image.members().map(crate::Member::node).find(|node| !held.holds(*node)).unwrap();
    let (from, mut target) = (held.replicas.clone(), held.replicas.clone());
    target[2] = added;
    cluster.run(&Command::MoveReplicas { partition, target });
    cluster.run(&Command::SetNodeState { node: added, state: NodeState::Decommissioning });
    assert_eq!(cluster.plan(), [Command::CancelMove { partition }]);
    cluster.settle();
    assert_eq!(cluster.image.assignment(partition).unwrap().replicas, from);
    assert!(cluster.image.is_removed(added));
}

#[test]
fn a_voter_on_the_metadata_is_not_removed() {
    let mut cluster = Cluster::new(4, 0);
    cluster.run(&Command::SetNodeState { node: node(1), state: NodeState::Decommissioning });
    assert_eq!(cluster.plan(), []);
}

#[test]
fn leaders_are_evened_out_by_way_of_others() {
    let mut cluster = Cluster::new(3, 0);
    cluster.create("a", 6, 2);
    let ids: Vec<TopicPartition> = cluster.image.partitions().map(|(id, _, _)| id).collect();
    // Node 1 leads three, node 2 two, node 3 one; 1 and 3 share nothing.
    let orders = [[1, 2], [1, 2], [1, 2], [2, 3], [2, 3], [3, 2]];
    for (partition, order) in ids.iter().zip(orders) {
        let assignment = crate::Assignment::new(order.map(NodeId::new).to_vec());
        cluster.image.replay(&crate::MetadataRecord::PartitionAssigned { partition: *partition, assignment });
    }
    let image = &cluster.image;
    let mut plan = Plan::new(image, &Policy::default(), &LIMITS);
    balance::even_out_leaders(&mut plan);
    let Some([Command::PreferLeader { node: first, .. }, Command::PreferLeader { node: second, .. }]) =
        plan.steps.first_chunk()
    else {
        panic!("{:?}", plan.steps)
    };
    assert_eq!((BTreeSet::from([*first, *second]), plan.steps.len()), (BTreeSet::from([node(2), node(3)]), 2));
}

#[test]
fn who_should_lead() {
    let mut cluster = Cluster::new(3, 0);
    let held = crate::Assignment::new(vec![node(1), node(2), node(3)]);
    let all = BTreeSet::from([node(1), node(2), node(3)]);
    let ask = |image: &MetadataImage, leader: u64, in_sync: &BTreeSet<NodeId>, is_stopping: bool| {
        better_leader(image, &held, Leading { leader: node(leader), in_sync, is_stopping })
    };
    let image = &cluster.image;
    assert_eq!(ask(image, 1, &all, false), None, "the preferred one stays");
    assert_eq!(ask(image, 2, &all, false), Some(node(1)));
    assert_eq!(ask(image, 2, &BTreeSet::from([node(2), node(3)]), false), None, "it lags");
    assert_eq!(ask(image, 1, &all, true), Some(node(2)), "a node that stops gives it away");
    assert_eq!(ask(image, 1, &BTreeSet::from([node(3)]), true), Some(node(3)));
    cluster.run(&Command::FenceNode { node: node(1) });
    assert_eq!(ask(&cluster.image, 2, &all, false), None, "the preferred one does not answer");
    cluster.run(&Command::UnfenceNode { node: node(1) });
    cluster.run(&Command::SetNodeState { node: node(1), state: NodeState::Draining });
    assert_eq!(ask(&cluster.image, 1, &all, false), Some(node(2)));
    assert_eq!(ask(&cluster.image, 2, &all, false), None);
}

#[test]
fn who_votes_on_the_metadata() {
    let set = |nodes: &[u64]| nodes.iter().copied().map(NodeId::new).collect::<BTreeSet<_>>();
    let mut cluster = Cluster::new(1, 0);
    assert_eq!(metadata_voters(&cluster.image, &set(&[1])), set(&[1]));
    cluster = Cluster::new(2, 0);
    assert_eq!(metadata_voters(&cluster.image, &set(&[1])), set(&[1]), "two voters would depend on both nodes");
    cluster = Cluster::new(4, 0);
    assert_eq!(metadata_voters(&cluster.image, &set(&[1])), set(&[1, 2, 3]));
    cluster.run(&Command::FenceNode { node: node(2) });
    assert_eq!(metadata_voters(&cluster.image, &set(&[1, 2, 3])), set(&[1, 2, 3]), "it will be back");
    assert_eq!(metadata_voters(&cluster.image, &set(&[1, 3])), set(&[1, 3, 4]));
    cluster.run(&Command::SetNodeState { node: node(2), state: NodeState::Decommissioning });
    assert_eq!(metadata_voters(&cluster.image, &set(&[1, 2, 3])), set(&[1, 3, 4]));
    cluster = Cluster::new(5, 0);
    assert_eq!(metadata_voters(&cluster.image, &set(&[1, 2, 3, 4, 5])), set(&[1, 2, 3, 4, 5]));
    cluster.run(&Command::SetNodeState { node: node(5), state: NodeState::Decommissioning });
    assert_eq!(metadata_voters(&cluster.image, &set(&[1, 2, 3, 4, 5])), set(&[1, 2, 3]));
    cluster = Cluster::new(6, 3);
    assert_eq!(metadata_voters(&cluster.image, &set(&[3])), set(&[1, 2, 3]), "one in each rack");
}

#[test]
fn the_servers_own_topics_grow_with_the_cluster() {
    let mut cluster = Cluster::new(3, 0);
    cluster.create("__groups", 2, 1);
    cluster.create("orders", 2, 1);
    let widened = Command::SetReplicas { name: TopicName::new("__groups").unwrap(), replicas: 3 };
    assert_eq!(cluster.plan(), std::slice::from_ref(&widened));
    cluster.run(&widened);
    assert!(cluster.plan().iter().all(|step| matches!(step, Command::MoveReplicas { .. })));
}
