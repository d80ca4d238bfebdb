//! Evening out: racks first, then replicas, then leaders, each only when what is before it is done.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use highwater_types::{NodeId, TopicPartition};

use super::{Plan, STEPS_MAX};
use crate::assignment::Assignment;
use crate::command::Command;

pub(super) fn steps(plan: &mut Plan<'_>) {
    spread_over_racks(plan);
    even_out_replicas(plan);
    if plan.moving > 0 {
        return;
    }
    even_out_leaders(plan);
    if plan.steps.is_empty() {
        plan.steps.push(Command::SetBalancing { is_on: false });
    }
}

/// The partitions that may begin to move.
fn at_rest<'a>(plan: &Plan<'a>) -> Vec<(TopicPartition, &'a Assignment)> {
    let partitions = plan.image.partitions().filter(|(id, _, held)| !held.is_moving() && !plan.touched.contains(id));
    partitions.map(|(id, _, held)| (id, held)).collect()
}

/// Moves a replica that shares its rack with another one to a rack where there is none.
fn spread_over_racks(plan: &mut Plan<'_>) {
    for (partition, held) in at_rest(plan) {
        if !plan.has_room() {
            return;
        }
        let now = plan.loads.racks(&held.replicas);
        if now == held.replicas.len() {
            continue;
        }
        let mut better: Vec<Vec<NodeId>> = Vec::new();
        for from in held.replicas.iter().rev() {
            let takers = plan.loads.ready().into_iter().filter(|node| can_take(plan, held, *node));
            better.extend(takers.map(|to| swapped(&held.replicas, *from, to)));
        }
        if let Some(target) = better.into_iter().find(|target| plan.loads.racks(target) > now) {
            plan.begin_move(partition, &held.replicas, target);
        }
    }
}

/// Moves replicas from who holds most to who holds least, until they differ by at most one or nothing fits.
fn even_out_replicas(plan: &mut Plan<'_>) {
    while plan.has_room() {
        let Some((partition, from, target)) = uneven(plan) else { return };
        plan.begin_move(partition, &from, target);
    }
}

fn uneven(plan: &Plan<'_>) -> Option<(TopicPartition, Vec<NodeId>, Vec<NodeId>)> {
    let ready = plan.loads.ready();
    let movable = at_rest(plan);
    for donor in ready.iter().rev() {
        for taker in &ready {
            if plan.loads.replicas(*donor) < plan.loads.replicas(*taker) + 2 {
                break;
            }
            for (partition, held) in &movable {
                let target = swapped(&held.replicas, *donor, *taker);
                let keeps_racks = plan.loads.racks(&target) >= plan.loads.racks(&held.replicas);
                if held.replicas.contains(donor) && can_take(plan, held, *taker) && keeps_racks {
                    return Some((*partition, held.replicas.clone(), target));
                }
            }
        }
    }
    None
}

/// Gives leaders from who leads most to who leads least, also by way of others, until they differ by at most one or no
/// way is left.
pub(super) fn even_out_leaders(plan: &mut Plan<'_>) {
    let mut order: BTreeMap<TopicPartition, Vec<NodeId>> = at_rest(plan)
        .into_iter()
        .filter(|(_, held)| held.replicas.iter().all(|node| plan.loads.is_ready(*node)))
        .map(|(partition, held)| (partition, held.replicas.clone()))
        .collect();
    let mut changed = BTreeSet::new();
    while changed.len() < STEPS_MAX {
        let Some(way) = way_between_uneven(plan, &order) else { break };
        for (partition, to) in way {
            if let Some(replicas) = order.get_mut(&partition) {
                plan.loads.count_leader(replicas.first(), Some(&to));
                let place = replicas.iter().position(|node| *node == to).unwrap_or(0);
                replicas.swap(0, place);
                changed.insert(partition);
            }
        }
    }
    for (partition, node) in changed.into_iter().filter_map(|id| Some((id, *order.get(&id)?.first()?))) {
        if plan.image.assignment(partition).and_then(Assignment::preferred_leader) != Some(node) {
            plan.steps.push(Command::PreferLeader { partition, node });
        }
    }
}

/// Changes of leaders that take one from a node and give one to another node that leads at least two fewer.
fn way_between_uneven(
    plan: &Plan<'_>,
    order: &BTreeMap<TopicPartition, Vec<NodeId>>,
) -> Option<Vec<(TopicPartition, NodeId)>> {
    let mut donors = plan.loads.ready();
    donors.sort_by_key(|node| std::cmp::Reverse(plan.loads.leads(*node)));
    donors.into_iter().find_map(|donor| {
        // How each node is reached from the donor: which node before it gives which partition.
        let mut reached: BTreeMap<NodeId, Option<(NodeId, TopicPartition)>> = BTreeMap::from([(donor, None)]);
        let mut next = VecDeque::from([donor]);
        while let Some(node) = next.pop_front() {
            if plan.loads.leads(donor) >= plan.loads.leads(node) + 2 {
                return Some(way_to(node, &reached));
            }
            for (partition, replicas) in order.iter().filter(|(_, replicas)| replicas.first() == Some(&node)) {
                for follower in replicas.iter().skip(1) {
                    if !reached.contains_key(follower) {
                        reached.insert(*follower, Some((node, *partition)));
                        next.push_back(*follower);
                    }
                }
            }
        }
        None
    })
}

fn way_to(end: NodeId, reached: &BTreeMap<NodeId, Option<(NodeId, TopicPartition)>>) -> Vec<(TopicPartition, NodeId)> {
    let mut way = Vec::new();
    let mut node = end;
    while let Some((before, partition)) = reached.get(&node).copied().flatten() {
        way.push((partition, node));
        node = before;
    }
    way
}

fn can_take(plan: &Plan<'_>, held: &Assignment, node: NodeId) -> bool {
    !held.replicas.contains(&node) && !plan.loads.is_full(node) && plan.may_receive(node)
}

fn swapped(replicas: &[NodeId], from: NodeId, to: NodeId) -> Vec<NodeId> {
    replicas.iter().map(|node| if *node == from { to } else { *node }).collect()
}
