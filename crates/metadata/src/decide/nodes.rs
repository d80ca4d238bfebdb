//! Decisions about nodes: who they are, what is wanted of them, and when they go.

use highwater_types::{NodeId, limits};

use super::{done, unchanged};
use crate::command::{CommandError, Decision, JoinNode, Reply};
use crate::image::MetadataImage;
use crate::node::{Member, NodeRegistration, NodeState};
use crate::record::MetadataRecord;

pub(super) fn register(image: &MetadataImage, node: &NodeRegistration) -> Result<Decision, CommandError> {
    let known = member(image, node.node)?;
    if known.registration.uuid != node.uuid {
        return Err(CommandError::NodeIdTaken { node: node.node });
    }
    check(node)?;
    match known.registration == *node {
        true => unchanged(),
        false => done(vec![MetadataRecord::NodeRegistered(node.clone())]),
    }
}

/// A new node is fenced until the controller hears from it, so nothing is placed on one that never comes.
pub(super) fn join(image: &MetadataImage, command: &JoinNode) -> Result<Decision, CommandError> {
    let JoinNode { uuid, address, peer_address, rack } = command.clone();
    if let Some((node, _)) = image.removed().find(|(_, removed)| *removed == uuid) {
        return Err(CommandError::NodeRemoved { node });
    }
    let known = image.member_by_uuid(uuid).map(Member::node);
    let node = known.unwrap_or_else(|| image.node_id_next());
    // A node tells where it speaks Kafka's protocol when it starts.
    let known_places = image.node(node).map(|known| (known.kafka_address.clone(), known.kafka_listeners.clone()));
    let (kafka_address, kafka_listeners) = known_places.unwrap_or_default();
    let registration = NodeRegistration { node, uuid, address, peer_address, rack, kafka_address, kafka_listeners };
    check(&registration)?;
    if known.is_none() && image.members().len() >= limits::CLUSTER_NODES_MAX {
        return Err(CommandError::TooManyNodes);
    }
    let mut records = Vec::new();
    if image.node(node) != Some(&registration) {
        records.push(MetadataRecord::NodeRegistered(registration));
    }
    if known.is_none() {
        records.push(MetadataRecord::NodeFenced { node });
    }
    Ok(Decision { records, reply: Reply::Node { node } })
}

pub(super) fn set_state(image: &MetadataImage, node: NodeId, state: NodeState) -> Result<Decision, CommandError> {
    if state == NodeState::Decommissioning && image.is_removed(node) {
        return unchanged();
    }
    let known = member(image, node)?;
    if state == NodeState::Decommissioning {
        check_others(image, node)?;
    }
    match (known.state, known.successor) == (state, None) {
        true => unchanged(),
        false => done(vec![MetadataRecord::NodeStateSet { node, state, successor: None }]),
    }
}

pub(super) fn replace(image: &MetadataImage, node: NodeId, by: NodeId) -> Result<Decision, CommandError> {
    if image.is_removed(node) && image.member(by).is_some() {
        return unchanged();
    }
    let (known, successor) = (member(image, node)?, member(image, by)?);
    let not_ready = |reason| Err(CommandError::NodeNotReady { node: by, reason });
    match (successor.state, successor.is_fenced) {
        _ if by == node => return not_ready("is the node that is to go"),
        (NodeState::Active, false) => {}
        (NodeState::Active, true) => return not_ready("does not answer"),
        (NodeState::Draining, _) => return not_ready("is being drained"),
        (NodeState::Decommissioning, _) => return not_ready("is being decommissioned"),
    }
    check_others(image, node)?;
    let (state, successor) = (NodeState::Decommissioning, Some(by));
    match (known.state, known.successor) == (state, successor) {
        true => unchanged(),
        false => done(vec![MetadataRecord::NodeStateSet { node, state, successor }]),
    }
}

pub(super) fn set_fenced(image: &MetadataImage, node: NodeId, is_fenced: bool) -> Result<Decision, CommandError> {
    match (member(image, node)?.is_fenced, is_fenced) {
        (false, true) => done(vec![MetadataRecord::NodeFenced { node }]),
        (true, false) => done(vec![MetadataRecord::NodeUnfenced { node }]),
        _ => unchanged(),
    }
}

pub(super) fn remove(image: &MetadataImage, node: NodeId) -> Result<Decision, CommandError> {
    if image.is_removed(node) {
        return unchanged();
    }
    let state = member(image, node)?.state;
    if image.members().len() == 1 {
        return Err(CommandError::LastNode { node });
    }
    let replicas = image.partitions().filter(|(_, _, assignment)| assignment.holds(node)).count();
    if replicas > 0 {
        return Err(CommandError::NodeHoldsReplicas { node, replicas });
    }
    if state != NodeState::Decommissioning {
        return Err(CommandError::NodeNotDecommissioned { node, state });
    }
    done(vec![MetadataRecord::NodeRemoved { node }])
}

/// Refuses to let a node go without which a topic could not have its replicas.
fn check_others(image: &MetadataImage, node: NodeId) -> Result<(), CommandError> {
    let stays = |member: &&Member| member.node() != node && member.state != NodeState::Decommissioning;
    let others = image.members().filter(stays).count();
    if others == 0 {
        return Err(CommandError::LastNode { node });
    }
    let needs = |replicas: u32| usize::try_from(replicas).unwrap_or(usize::MAX) > others;
    match image.topics().find(|topic| needs(topic.replicas)) {
        Some(topic) => {
            Err(CommandError::NodeNeeded { node, topic: topic.name.clone(), replicas: topic.replicas, others })
        }
        None => Ok(()),
    }
}

fn check(node: &NodeRegistration) -> Result<(), CommandError> {
    node.fault().map_or(Ok(()), |reason| Err(CommandError::InvalidNode { reason }))
}

fn member(image: &MetadataImage, node: NodeId) -> Result<&Member, CommandError> {
    image.member(node).ok_or(match image.is_removed(node) {
        true => CommandError::NodeRemoved { node },
        false => CommandError::UnknownNode { node },
    })
}
