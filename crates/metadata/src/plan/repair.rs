//! Partitions that are not where they should be: on nodes that are to leave, or with another number of replicas than
//! their topic wants.

use std::collections::BTreeMap;

use highwater_types::NodeId;

use super::Plan;
use crate::assignment::Assignment;
use crate::image::MetadataImage;
use crate::node::NodeState;

pub(super) fn steps(plan: &mut Plan<'_>) {
    let image = plan.image;
    let successors = leaving(image);
    for (partition, topic, held) in image.partitions() {
        if !plan.has_room() {
            return;
        }
        if held.is_moving() || plan.touched.contains(&partition) {
            continue;
        }
        let width = usize::try_from(topic.replicas).unwrap_or(usize::MAX);
        if held.replicas.len() == width && !held.replicas.iter().any(|node| successors.contains_key(node)) {
            continue;
        }
        if let Some(target) = target(plan, held, width, &successors) {
            plan.begin_move(partition, &held.replicas, target);
        }
    }
}

/// The nodes that are to leave, each with the one that takes its place if one was named.
fn leaving(image: &MetadataImage) -> BTreeMap<NodeId, Option<NodeId>> {
    let leaving = image.members().filter(|member| member.state == NodeState::Decommissioning);
    leaving.map(|member| (member.node(), member.successor)).collect()
}

/// The nodes that should hold the partition; none while too few could take it.
fn target(
    plan: &Plan<'_>,
    held: &Assignment,
    width: usize,
    leaving: &BTreeMap<NodeId, Option<NodeId>>,
) -> Option<Vec<NodeId>> {
    let may_take = |node: NodeId, so_far: &[NodeId]| {
        plan.loads.is_ready(node)
            && !plan.loads.is_full(node)
            && plan.may_receive(node)
            && !held.replicas.contains(&node)
            && !so_far.contains(&node)
    };
    let mut target: Vec<NodeId> = held.replicas.iter().copied().filter(|node| !leaving.contains_key(node)).collect();
    // Who answers stays before who does not, and the order stays otherwise.
    while target.len() > width {
        let gone = target.iter().rposition(|node| !plan.loads.is_ready(*node));
        target.remove(gone.unwrap_or_else(|| most_loaded_follower(plan, &target)));
    }
    for node in &held.replicas {
        let Some(successor) = leaving.get(node).copied().flatten() else { continue };
        let could_take = plan.loads.is_ready(successor) && !plan.loads.is_full(successor);
        if could_take && !held.replicas.contains(&successor) && !plan.may_receive(successor) {
            // Its turn comes.
            return None;
        }
        if target.len() < width && may_take(successor, &target) {
            // It inherits the place, so also the leadership.
            let place = held.replicas.iter().take_while(|other| *other != node).filter(|other| target.contains(other));
            let place = place.count();
            target.insert(place, successor);
        }
    }
    while target.len() < width {
        let best = |node: &NodeId| {
            let with: Vec<NodeId> = target.iter().copied().chain([*node]).collect();
            (std::cmp::Reverse(plan.loads.racks(&with)), plan.loads.replicas(*node), *node)
        };
        let next = plan.loads.ready().into_iter().filter(|node| may_take(*node, &target)).min_by_key(best)?;
        target.push(next);
    }
    // The preferred leader has left: who leads least comes first.
    if held.preferred_leader().is_some_and(|first| !target.contains(&first))
        && !leaving.values().flatten().any(|successor| target.first() == Some(successor))
    {
        let least = |(_, node): &(usize, &NodeId)| (!plan.loads.is_ready(**node), plan.loads.leads(**node));
        let first = target.iter().enumerate().min_by_key(least).map_or(0, |(place, _)| place);
        target.swap(0, first);
    }
    Some(target)
}

fn most_loaded_follower(plan: &Plan<'_>, target: &[NodeId]) -> usize {
    let followers = target.iter().enumerate().skip(1);
    let most = followers.max_by_key(|(place, node)| (plan.loads.replicas(**node), *place));
    most.map_or(0, |(place, _)| place)
}
