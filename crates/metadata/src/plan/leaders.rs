//! Who should lead a partition now. Asked by the node that leads it, which knows who is in sync.

use std::collections::BTreeSet;

use highwater_types::NodeId;

use crate::assignment::Assignment;
use crate::image::MetadataImage;
use crate::node::{Member, NodeState};

/// What the leader of a partition knows.
#[derive(Clone, Copy, Debug)]
pub struct Leading<'a> {
    /// Who leads.
    pub leader: NodeId,
    /// The voters that have all but the newest records, the leader among them or not.
    pub in_sync: &'a BTreeSet<NodeId>,
    /// Whether the leader's node is about to stop.
    pub is_stopping: bool,
}

/// The node that should lead the partition instead, if there is a better one: the preferred leader, or any that can
/// when this one should not.
#[must_use]
pub fn better_leader(image: &MetadataImage, held: &Assignment, leading: Leading<'_>) -> Option<NodeId> {
    let wanted = held.wanted();
    let can_lead = |node: &NodeId| {
        let is_ready = image.member(*node).is_some_and(Member::is_ready);
        *node != leading.leader && is_ready && leading.in_sync.contains(node)
    };
    let is_wanted = |member: &Member| member.state == NodeState::Active && wanted.contains(&member.node());
    let may_stay = !leading.is_stopping && image.member(leading.leader).is_some_and(is_wanted);
    match may_stay {
        true => held.preferred_leader().filter(can_lead),
        false => wanted.iter().chain(&held.replicas).copied().find(can_lead),
    }
}
