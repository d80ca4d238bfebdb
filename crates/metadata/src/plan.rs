//! Planning: the next few commands that bring the cluster closer to what its operator asked for.
//!
//! Owns: getting replicas off nodes that are to leave (`repair`), giving topics the replicas they shall have, and the
//! server's own topics as many as the cluster has grown to, evening out
//! replicas and leaders (`balance`), who should lead a partition (`leaders`), and who votes on the metadata (`voters`).
//!
//! Never: remembers anything. What is asked for stands in the image, so whoever leads the metadata group goes on where
//! another left off.
//!
//! Invariants (property-tested):
//! - a partition is never asked to be on fewer nodes than its topic wants, nor in fewer racks than it is;
//! - no move without need, so the plan of a cluster where all is well is empty, and steps that are carried out lead there;
//! - a bounded number of partitions moves at a time, overall and onto one node.

mod balance;
mod leaders;
mod loads;
mod repair;
mod voters;

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use highwater_types::{NodeId, TopicPartition};

use crate::command::{Command, Policy};
use crate::image::MetadataImage;
use crate::node::NodeState;

pub use leaders::{Leading, better_leader};
pub use voters::metadata_voters;

use loads::Loads;

/// How many commands one plan holds at most.
const STEPS_MAX: usize = 64;

/// How much may be under way at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlanLimits {
    /// Partitions that move, in the whole cluster.
    pub moves_max: usize,
    /// Partitions that are copied to one node.
    pub moves_per_node_max: usize,
}

impl Default for PlanLimits {
    fn default() -> Self {
        Self { moves_max: 16, moves_per_node_max: 4 }
    }
}

/// The next commands; none when everything is as it should be, or when nothing can be done before something under way
/// has finished. `voters` are the members of the metadata group that vote.
#[must_use]
pub fn next_steps(
    image: &MetadataImage,
    voters: &BTreeSet<NodeId>,
    policy: &Policy,
    limits: &PlanLimits,
) -> Vec<Command> {
    let mut plan = Plan::new(image, policy, limits);
    plan.take_back_lost_moves();
    plan.widen_internal(policy);
    repair::steps(&mut plan);
    if plan.steps.is_empty() {
        plan.remove_empty_nodes(voters);
    }
    if image.is_balancing() && plan.steps.is_empty() {
        balance::steps(&mut plan);
    }
    plan.steps
}

/// A plan in the making: what the image says, and what the steps so far add to it.
struct Plan<'a> {
    image: &'a MetadataImage,
    limits: &'a PlanLimits,
    loads: Loads,
    /// How many partitions move.
    moving: usize,
    /// Partitions that a step is about already.
    touched: BTreeSet<TopicPartition>,
    steps: Vec<Command>,
}

impl<'a> Plan<'a> {
    fn new(image: &'a MetadataImage, policy: &Policy, limits: &'a PlanLimits) -> Self {
        let moving = image.partitions().filter(|(_, _, held)| held.is_moving()).count();
        let (touched, steps) = (BTreeSet::new(), Vec::new());
        Self { image, limits, loads: Loads::new(image, policy.replicas_per_node_max), moving, touched, steps }
    }

    /// Whether one more partition may begin to move.
    fn has_room(&self) -> bool {
        self.moving < self.limits.moves_max && self.steps.len() < STEPS_MAX
    }

    /// Whether one more partition may begin to be copied to the node.
    fn may_receive(&self, node: NodeId) -> bool {
        self.loads.receiving(node) < self.limits.moves_per_node_max
    }

    fn begin_move(&mut self, partition: TopicPartition, from: &[NodeId], target: Vec<NodeId>) {
        self.loads.count_move(from, &target);
        self.moving += 1;
        self.touched.insert(partition);
        self.steps.push(Command::MoveReplicas { partition, target });
    }

    /// The server's own topics were made by whoever came first, perhaps while the cluster had fewer nodes than now: they
    /// get as many replicas as a topic gets that does not say.
    fn widen_internal(&mut self, policy: &Policy) {
        let ready = self.image.members().filter(|member| member.is_ready()).count();
        let wanted = u32::try_from(ready).unwrap_or(u32::MAX).min(policy.replicas_default);
        for topic in self.image.topics().filter(|topic| topic.is_internal() && topic.replicas < wanted) {
            self.steps.push(Command::SetReplicas { name: topic.name.clone(), replicas: wanted });
        }
    }

    /// A move to a node that is to leave, or has left, would have to be made again.
    fn take_back_lost_moves(&mut self) {
        let stays = |node| self.image.member(node).is_some_and(|member| member.state != NodeState::Decommissioning);
        for (partition, _, held) in self.image.partitions() {
            if held.is_moving() && held.added().any(|node| !stays(node)) && self.steps.len() < STEPS_MAX {
                self.touched.insert(partition);
                self.steps.push(Command::CancelMove { partition });
            }
        }
    }

    /// A node whose replicas are gone and that has no say in the metadata any more leaves the cluster.
    fn remove_empty_nodes(&mut self, voters: &BTreeSet<NodeId>) {
        for member in self.image.members() {
            let node = member.node();
            let is_empty = !self.image.partitions().any(|(_, _, held)| held.holds(node));
            let is_last = self.image.members().len() == 1;
            if member.state == NodeState::Decommissioning && is_empty && !voters.contains(&node) && !is_last {
                self.steps.push(Command::RemoveNode { node });
            }
        }
    }
}
