//! Which nodes hold which partition: spreads the leaders and the replicas of a topic over the nodes.
//!
//! Pure and deterministic: the same nodes, loads and seed give the same placement.
//!
//! Invariants (property-tested):
//! - a partition's replicas are different nodes, as many as asked; the first is the one that leads by preference;
//! - while no node is full, the nodes' leaders of one topic differ by at most one, their replicas by at most two;
//! - no node gets more than its cap.

use std::collections::BTreeMap;

use highwater_types::NodeId;

/// The nodes that hold one partition, the preferred leader first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assignment {
    /// The nodes, each once; never empty.
    pub replicas: Vec<NodeId>,
}

/// What a node holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Load {
    /// Partitions of the topic at hand that the node leads by preference.
    topic_leaders: usize,
    /// Replicas of the topic at hand.
    topic_replicas: usize,
    /// Partitions of all topics that the node leads by preference.
    leaders: usize,
    /// Replicas of all topics.
    replicas: usize,
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
        /// How many nodes there are.
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
    pub fn new(nodes: impl IntoIterator<Item = NodeId>, replicas_per_node_max: usize, seed: u64) -> Self {
        let nodes = nodes.into_iter().map(|node| (node, Load::default())).collect();
        Self { nodes, replicas_per_node_max, seed }
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
        for (place, node) in held.replicas.iter().enumerate() {
            if let Some(load) = self.nodes.get_mut(node) {
                let leads = usize::from(place == 0);
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

    /// The node that leads least of this topic leads; those with the fewest replicas of it follow.
    /// The load of other topics breaks ties, and chance breaks those, so that neighbours do not all share one follower.
    fn choose(&self, partition: u64, width: usize) -> Option<Assignment> {
        let chance = |node: NodeId| mix(self.seed ^ mix(partition) ^ mix(node.get()).rotate_left(17));
        let mut free: Vec<(NodeId, Load)> = self
            .nodes
            .iter()
            .filter(|(_, load)| load.replicas < self.replicas_per_node_max)
            .map(|(node, load)| (*node, *load))
            .collect();
        free.sort_by_key(|(node, load)| (load.topic_leaders, load.topic_replicas, load.leaders, chance(*node)));
        if let Some((_, followers)) = free.split_first_mut() {
            followers.sort_by_key(|(node, load)| (load.topic_replicas, load.replicas, chance(*node)));
        }
        let replicas: Vec<NodeId> = free.into_iter().take(width).map(|(node, _)| node).collect();
        (replicas.len() == width).then_some(Assignment { replicas })
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
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

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
            let mut placed = Placement::new(nodes(count), 10_000, seed).place(partitions, width).unwrap();
            let mut more = Placement::new(nodes(count), 10_000, seed ^ 1);
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
            match Placement::new(nodes(count), cap, seed).place(partitions, width) {
                Ok(placed) => prop_assert!(nodes(count).all(|node| holds(&placed, node) <= cap)),
                Err(PlacementError::NodesFull { placed, .. }) => prop_assert!(placed < partitions),
                Err(error) => prop_assert!(false, "{}", error),
            }
        }

        #[test]
        fn the_same_seed_places_the_same(count in 1_u64..8, partitions in 1_u32..30, seed: u64) {
            let place = || Placement::new(nodes(count), 1_000, seed).place(partitions, 1).unwrap();
            prop_assert_eq!(place(), place());
        }
    }

    #[test]
    fn another_topics_load_breaks_ties() {
        let mut placement = Placement::new(nodes(3), 1_000, 7);
        placement.count_other(&Assignment { replicas: vec![NodeId::new(1)] });
        placement.count_other(&Assignment { replicas: vec![NodeId::new(2)] });
        let placed = placement.place(1, 1).unwrap();
        assert_eq!(placed, [Assignment { replicas: vec![NodeId::new(3)] }]);
    }

    #[test]
    fn too_few_nodes_is_said_so() {
        let refused = Placement::new(nodes(1), 1_000, 0).place(1, 3);
        assert_eq!(refused, Err(PlacementError::TooFewNodes { replicas: 3, nodes: 1 }));
    }
}
