//! Decisions about where partitions are. The leader of a partition's group carries them out and says when it is done.

use std::collections::BTreeSet;

use highwater_types::{NodeId, TopicPartition};

use super::{done, unchanged};
use crate::assignment::Assignment;
use crate::command::{CommandError, Decision, Policy};
use crate::image::MetadataImage;
use crate::node::NodeState;
use crate::record::MetadataRecord;
use crate::topic::Topic;

pub(super) fn begin(
    image: &MetadataImage,
    partition: TopicPartition,
    target: &[NodeId],
    policy: &Policy,
) -> Result<Decision, CommandError> {
    let (topic, held) = find(image, partition)?;
    if held.wanted() == target {
        return unchanged();
    }
    if let Some(target) = &held.target {
        return Err(CommandError::MoveUnderWay { target: list(target) });
    }
    let nodes: BTreeSet<NodeId> = target.iter().copied().collect();
    let replicas = usize::try_from(topic.replicas).unwrap_or(usize::MAX);
    if nodes.len() != target.len() || target.len() != replicas {
        let (topic, replicas, named) = (topic.name.clone(), topic.replicas, list(target));
        return Err(CommandError::InvalidTarget { topic, replicas, named });
    }
    for node in &nodes {
        check_may_take(image, held, *node, policy)?;
    }
    let assignment = match nodes == held.replicas.iter().copied().collect() {
        true => held.settled_on(target.to_vec()),
        false => held.moving_to(target.to_vec()),
    };
    assigned(partition, assignment)
}

pub(super) fn cancel(image: &MetadataImage, partition: TopicPartition) -> Result<Decision, CommandError> {
    let (_, held) = find(image, partition)?;
    match &held.target {
        None => Err(CommandError::NotMoving),
        Some(_) if held.added().next().is_none() => Err(CommandError::MoveAddsNothing),
        Some(_) => assigned(partition, held.moving_back()),
    }
}

pub(super) fn finish(
    image: &MetadataImage,
    partition: TopicPartition,
    generation: u32,
) -> Result<Decision, CommandError> {
    let (_, held) = find(image, partition)?;
    match &held.target {
        Some(target) if held.generation == generation => assigned(partition, held.settled_on(target.clone())),
        // Word of an earlier generation: that move was finished or taken back since.
        _ => unchanged(),
    }
}

pub(super) fn prefer(image: &MetadataImage, partition: TopicPartition, node: NodeId) -> Result<Decision, CommandError> {
    let (_, held) = find(image, partition)?;
    if let Some(target) = &held.target {
        return Err(CommandError::MoveUnderWay { target: list(target) });
    }
    if !held.replicas.contains(&node) {
        return Err(CommandError::NoReplica { node, replicas: list(&held.replicas) });
    }
    if held.preferred_leader() == Some(node) {
        return unchanged();
    }
    let others = held.replicas.iter().copied().filter(|other| *other != node);
    assigned(partition, held.settled_on(std::iter::once(node).chain(others).collect()))
}

/// Refuses a node that does not hold the partition yet and cannot take it.
fn check_may_take(image: &MetadataImage, held: &Assignment, node: NodeId, policy: &Policy) -> Result<(), CommandError> {
    let member = image.member(node).ok_or(CommandError::UnknownNode { node })?;
    if held.replicas.contains(&node) {
        return Ok(());
    }
    let not_ready = |reason| Err(CommandError::NodeNotReady { node, reason });
    match member.state {
        NodeState::Decommissioning => return not_ready("is being decommissioned"),
        NodeState::Draining => return not_ready("is being drained"),
        NodeState::Active if member.is_fenced => return not_ready("does not answer"),
        NodeState::Active => {}
    }
    let per_node_max = policy.replicas_per_node_max;
    match image.partitions().filter(|(_, _, other)| other.holds(node)).count() < per_node_max {
        true => Ok(()),
        false => Err(CommandError::NodeFull { node, per_node_max }),
    }
}

fn find(image: &MetadataImage, partition: TopicPartition) -> Result<(&Topic, &Assignment), CommandError> {
    let topic = image.topic_by_id(partition.topic);
    let found = topic.and_then(|topic| Some((&**topic, topic.partition(partition.partition)?)));
    found.ok_or(CommandError::UnknownPartition { partition })
}

fn assigned(partition: TopicPartition, assignment: Assignment) -> Result<Decision, CommandError> {
    done(vec![MetadataRecord::PartitionAssigned { partition, assignment }])
}

fn list(nodes: &[NodeId]) -> String {
    nodes.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}
