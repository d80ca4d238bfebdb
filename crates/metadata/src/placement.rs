//! Which nodes hold which partition: spreads the leaders and the replicas of a topic over nodes and racks.
//!
//! Pure and deterministic: the same nodes, loads and seed give the same placement.
//!
//! Invariants (property-tested):
//! - a partition's replicas are different nodes, as many as asked; the first is the one that leads by preference;
//! - while no node is full and racks are equally large, the nodes' leaders of one topic differ by at most one, their
//!   replicas by at most two;
//! - no node gets more than its cap;
//! - no two replicas share a rack while another rack has room;
//! - a node that does not answer, or is being drained, gets a replica only when there are not enough others, and never
//!   so many of one partition that it could not elect a leader.

use std::collections::{BTreeMap, BTreeSet};

use highwater_types::NodeId;

use crate::assignment::Assignment;
use crate::node::{Member, NodeState};

/// A node that may be given replicas.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The node.
    pub node: NodeId,
    /// Its rack; empty: none that it shares.
    pub rack: String,
    /// Whether it answers.
    pub is_alive: bool,
    /// Whether it answers and nobody wants to stop it.
    pub is_ready: bool,
}

impl Place {
    /// The node as a place for replicas; none if it is to leave the cluster.
    #[must_use]
    pub fn of(member: &Member) -> Option<Self> {
        (member.state != NodeState::Decommissioning).then(|| Self {
            node: member.node(),
            rack: member.registration.rack.clone(),
            is_alive: !member.is_fenced,
            is_ready: member.is_ready(),
        })
    }
}

/// What a node holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Load {
    /// Its rack, if it shares one.
    rack: String,
    /// See [`Place`].
    is_alive: bool,
    /// See [`Place`].
    is_ready: bool,
    /// Partitions of the topic at hand that the node leads by preference.
    topic_leaders: usize,
    /// Replicas of the topic at hand.
    topic_replicas: usize,
    /// Partitions of all topics that the node leads by preference.
    leaders: usize,
    /// Replicas of all topics.
    replicas: usize,
}

impl Load {
    /// Whom to ask first: those that are ready, then those that answer at least.
    const fn reluctance(&self) -> u8 {
        match (self.is_ready, self.is_alive) {
            (true, _) => 0,
            (false, true) => 1,
            (false, false) => 2,
        }
    }
}

/// Places the partitions of one topic.
#[derive(Debug)]
pub struct Placement {
    nodes: BTreeMap<NodeId, Load>,
    replicas_per_node_max: usize,
    seed: u64,
}

/// No placement was possible.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlacementError {
    /// The cluster is too small.
    #[error("{replicas} replicas need as many nodes; the cluster has {nodes}")]
    TooFewNodes {
        /// How many replicas were asked for.
        replicas: u32,
        /// How many nodes there are, without those that are to leave.
        nodes: usize,
    },
    /// Too few nodes answer: the partitions could not elect leaders.
    #[error(
        "most of {replicas} replicas must be on nodes that answer, and {alive} of {nodes} do; try again when more are up"
    )]
    TooFewAlive {
        /// How many replicas were asked for.
        replicas: u32,
        /// How many nodes answer.
        alive: usize,
        /// How many nodes there are, without those that are to leave.
        nodes: usize,
    },
    /// The nodes hold as many partitions as they may.
    #[error(
        "the nodes have room for {placed} of the {partitions} partitions: each holds at most {per_node_max}; \
         delete topics, add nodes, or raise the limit of partitions per node"
    )]
    NodesFull {
        /// How many partitions were to be placed.
        partitions: u32,
        /// How many of them had room.
        placed: u32,
        /// How many replicas one node may hold.
        per_node_max: usize,
    },
}

impl Placement {
    /// Over these nodes, each of which takes up to `replicas_per_node_max` replicas of all topics together.
    #[must_use]
    pub fn new(places: impl IntoIterator<Item = Place>, replicas_per_node_max: usize, seed: u64) -> Self {
        let load =
            |Place { node, rack, is_alive, is_ready }| (node, Load { rack, is_alive, is_ready, ..Load::default() });
        Self { nodes: places.into_iter().map(load).collect(), replicas_per_node_max, seed }
    }

    /// Counts what the nodes hold already of another topic.
    pub fn count_other(&mut self, held: &Assignment) {
        self.count(held, false);
    }

    /// Counts what the nodes hold already of the topic at hand.
    pub fn count_own(&mut self, held: &Assignment) {
        self.count(held, true);
    }

    fn count(&mut self, held: &Assignment, is_own: bool) {
        let leader = held.preferred_leader();
        for node in held.holders() {
            if let Some(load) = self.nodes.get_mut(&node) {
                let leads = usize::from(leader == Some(node));
                load.replicas += 1;
                load.leaders += leads;
                load.topic_replicas += usize::from(is_own);
                load.topic_leaders += if is_own { leads } else { 0 };
            }
        }
    }

    /// Places `partitions` more partitions of the topic at hand with `replicas` replicas each.
    ///
    /// # Errors
    /// [`PlacementError`]; then nothing is placed.
    pub fn place(mut self, partitions: u32, replicas: u32) -> Result<Vec<Assignment>, PlacementError> {
        let nodes = self.nodes.len();
        let width = usize::try_from(replicas).unwrap_or(usize::MAX);
        if width == 0 || width > nodes {
            return Err(PlacementError::TooFewNodes { replicas, nodes });
        }
        let alive = self.nodes.values().filter(|load| load.is_alive).count();
        if alive <= width / 2 {
            return Err(PlacementError::TooFewAlive { replicas, alive, nodes });
        }
        let mut placed = Vec::new();
        for partition in 0..partitions {
            let Some(assignment) = self.choose(u64::from(partition), width) else {
                let per_node_max = self.replicas_per_node_max;
                return Err(PlacementError::NodesFull { partitions, placed: partition, per_node_max });
            };
            self.count_own(&assignment);
            placed.push(assignment);
        }
        Ok(placed)
    }

    /// The node that leads least of this topic leads; those with the fewest replicas of it follow, from other racks if
    /// there are. The load of other topics breaks ties, and chance breaks those, so that neighbours do not all share
    /// one follower.
    fn choose(&self, partition: u64, width: usize) -> Option<Assignment> {
        let chance = |node: NodeId| mix(self.seed ^ mix(partition) ^ mix(node.get()).rotate_left(17));
        let mut free: Vec<(NodeId, &Load)> = self
            .nodes
            .iter()
            .filter(|(_, load)| load.replicas < self.replicas_per_node_max)
            .map(|(node, load)| (*node, load))
            .collect();
        let (first, load) = free.iter().copied().min_by_key(|(node, load)| {
            (load.reluctance(), load.topic_leaders, load.topic_replicas, load.leaders, chance(*node))
        })?;
        let mut replicas = vec![first];
        let mut racks: BTreeSet<&str> = BTreeSet::from([load.rack.as_str()]);
        let mut alive = usize::from(load.is_alive);
        while replicas.len() < width {
            free.retain(|(node, _)| !replicas.contains(node));
            let shares = |load: &Load| !load.rack.is_empty() && racks.contains(load.rack.as_str());
            let (next, load) = free.iter().copied().min_by_key(|(node, load)| {
                (load.reluctance(), shares(load), load.topic_replicas, load.replicas, chance(*node))
            })?;
            replicas.push(next);
            racks.insert(&load.rack);
            alive += usize::from(load.is_alive);
        }
        (alive > width / 2).then(|| Assignment::new(replicas))
    }
}

/// Scatters a number over all 64 bits (the finaliser of SplitMix64).
fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    value ^ (value >> 31)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn place(node: NodeId) -> Place {
        Place { node, rack: String::new(), is_alive: true, is_ready: true }
    }

    fn places(count: u64) -> impl Iterator<Item = Place> {
        nodes(count).map(place)
    }

    fn nodes(count: u64) -> impl Iterator<Item = NodeId> {
        (1..=count).map(NodeId::new)
    }

    /// How far the nodes lie apart in what `count` says of them.
    fn spread(nodes_count: u64, count: impl Fn(NodeId) -> usize) -> usize {
        let counts: Vec<usize> = nodes(nodes_count).map(count).collect();
        counts.iter().max().unwrap() - counts.iter().min().unwrap()
    }

    fn leads(placed: &[Assignment], node: NodeId) -> usize {
        placed.iter().filter(|assignment| assignment.replicas[0] == node).count()
    }

    fn holds(placed: &[Assignment], node: NodeId) -> usize {
        placed.iter().filter(|assignment| assignment.replicas.contains(&node)).count()
    }

    /// So many nodes, and so many replicas as they can hold.
    fn cluster() -> impl Strategy<Value = (u64, u32)> {
        (1_u64..12).prop_flat_map(|count| (Just(count), 1..=u32::try_from(count.min(5)).unwrap()))
    }

    proptest! {
        #[test]
        fn leaders_and_replicas_are_spread(
            (count, width) in cluster(), partitions in 1_u32..80, grown in 0_u32..40, seed: u64,
        ) {
            let mut placed = Placement::new(places(count), 10_000, seed).place(partitions, width).unwrap();
            let mut more = Placement::new(places(count), 10_000, seed ^ 1);
            placed.iter().for_each(|held| more.count_own(held));
            placed.extend(more.place(grown, width).unwrap());
            for assignment in &placed {
                let distinct: BTreeSet<_> = assignment.replicas.iter().collect();
                prop_assert_eq!(distinct.len(), width as usize);
            }
            prop_assert!(spread(count, |node| leads(&placed, node)) <= 1, "leaders: {:?}", placed);
            prop_assert!(spread(count, |node| holds(&placed, node)) <= 2, "replicas: {:?}", placed);
        }

        #[test]
        fn no_node_is_filled_beyond_its_cap(
            (count, width) in cluster(), partitions in 1_u32..40, cap in 1_usize..20, seed: u64,
        ) {
            match Placement::new(places(count), cap, seed).place(partitions, width) {
                Ok(placed) => prop_assert!(nodes(count).all(|node| holds(&placed, node) <= cap)),
                Err(PlacementError::NodesFull { placed, .. }) => prop_assert!(placed < partitions),
                Err(error) => prop_assert!(false, "{}", error),
            }
        }

        #[test]
        fn the_same_seed_places_the_same(count in 1_u64..8, partitions in 1_u32..30, seed: u64) {
            let place = || Placement::new(places(count), 1_000, seed).place(partitions, 1).unwrap();
            prop_assert_eq!(place(), place());
        }
    }

    fn racked(nodes: &[(u64, &str)]) -> Vec<Place> {
        nodes.iter().map(|(node, rack)| Place { rack: (*rack).to_owned(), ..place(NodeId::new(*node)) }).collect()
    }

    #[test]
    fn replicas_are_in_different_racks_while_there_are_enough() {
        let places = racked(&[(1, "a"), (2, "a"), (3, "b"), (4, "b"), (5, "c"), (6, "c")]);
        let rack = |node: &NodeId| places.iter().find(|place| place.node == *node).unwrap().rack.clone();
        for assignment in Placement::new(places.clone(), 1_000, 3).place(30, 3).unwrap() {
            let racks: BTreeSet<String> = assignment.replicas.iter().map(rack).collect();
            assert_eq!(racks.len(), 3, "{assignment}");
        }
        let few = racked(&[(1, "a"), (2, "a"), (3, "b")]);
        for assignment in Placement::new(few, 1_000, 3).place(5, 3).unwrap() {
            assert_eq!(assignment.replicas.len(), 3, "two racks are better than none");
        }
    }

    #[test]
    fn a_node_that_is_down_is_the_last_resort_and_never_leads() {
        let mut places: Vec<Place> = places(4).collect();
        (places[3].is_alive, places[3].is_ready) = (false, false);
        let (fourth, place) = (NodeId::new(4), |width| Placement::new(places.clone(), 1_000, 1).place(8, width));
        assert!(place(3).unwrap().iter().all(|assignment| !assignment.replicas.contains(&fourth)));
        assert!(place(4).unwrap().iter().all(|assignment| assignment.replicas[0] != fourth));
    }

    #[test]
    fn a_majority_of_the_replicas_must_answer() {
        let mut places: Vec<Place> = places(3).collect();
        for place in &mut places[1..] {
            (place.is_alive, place.is_ready) = (false, false);
        }
        let refused = Placement::new(places.clone(), 1_000, 0).place(1, 3);
        assert_eq!(refused, Err(PlacementError::TooFewAlive { replicas: 3, alive: 1, nodes: 3 }));
        assert!(Placement::new(places, 1_000, 0).place(1, 1).is_ok());
    }

    #[test]
    fn another_topics_load_breaks_ties() {
        let mut placement = Placement::new(places(3), 1_000, 7);
        placement.count_other(&Assignment::new(vec![NodeId::new(1)]));
        placement.count_other(&Assignment::new(vec![NodeId::new(2)]));
        let placed = placement.place(1, 1).unwrap();
        assert_eq!(placed, [Assignment::new(vec![NodeId::new(3)])]);
    }

    #[test]
    fn too_few_nodes_is_said_so() {
        let refused = Placement::new(places(1), 1_000, 0).place(1, 3);
        assert_eq!(refused, Err(PlacementError::TooFewNodes { replicas: 3, nodes: 1 }));
    }
}
