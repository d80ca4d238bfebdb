//! What each node holds, leads and receives, with the steps of the plan counted in.

use std::collections::{BTreeMap, BTreeSet};

use highwater_types::NodeId;

use crate::image::MetadataImage;
use crate::node::Member;

/// What one node has to do.
#[derive(Clone, Debug, Default)]
struct Load {
    /// Replicas that it holds once all moves are done.
    replicas: usize,
    /// Replicas that it holds now or is to hold.
    held: usize,
    /// Partitions that it leads by preference.
    leads: usize,
    /// Partitions that are being copied to it.
    receiving: usize,
    /// Its rack.
    rack: String,
    /// Whether it may be given more.
    is_ready: bool,
}

/// What the nodes have to do.
pub(super) struct Loads {
    nodes: BTreeMap<NodeId, Load>,
    replicas_per_node_max: usize,
}

impl Loads {
    pub(super) fn new(image: &MetadataImage, replicas_per_node_max: usize) -> Self {
        let load = |member: &Member| {
            let (rack, is_ready) = (member.registration.rack.clone(), member.is_ready());
            (member.node(), Load { rack, is_ready, ..Load::default() })
        };
        let mut loads = Self { nodes: image.members().map(load).collect(), replicas_per_node_max };
        for (_, _, held) in image.partitions() {
            held.holders().into_iter().for_each(|node| loads.change(node, |load| load.held += 1));
            held.wanted().iter().for_each(|node| loads.change(*node, |load| load.replicas += 1));
            held.added().for_each(|node| loads.change(node, |load| load.receiving += 1));
            held.preferred_leader().into_iter().for_each(|node| loads.change(node, |load| load.leads += 1));
        }
        loads
    }

    pub(super) fn count_move(&mut self, from: &[NodeId], target: &[NodeId]) {
        for node in from.iter().filter(|node| !target.contains(node)) {
            self.change(*node, |load| load.replicas = load.replicas.saturating_sub(1));
        }
        for node in target.iter().filter(|node| !from.contains(node)) {
            self.change(*node, |load| {
                load.replicas += 1;
                load.held += 1;
                load.receiving += 1;
            });
        }
        self.count_leader(from.first(), target.first());
    }

    pub(super) fn count_leader(&mut self, from: Option<&NodeId>, to: Option<&NodeId>) {
        from.into_iter().for_each(|node| self.change(*node, |load| load.leads = load.leads.saturating_sub(1)));
        to.into_iter().for_each(|node| self.change(*node, |load| load.leads += 1));
    }

    /// The nodes that may be given more, those with the fewest replicas first.
    pub(super) fn ready(&self) -> Vec<NodeId> {
        let mut ready: Vec<(usize, NodeId)> =
            self.nodes.iter().filter(|(_, load)| load.is_ready).map(|(node, load)| (load.replicas, *node)).collect();
        ready.sort_unstable();
        ready.into_iter().map(|(_, node)| node).collect()
    }

    pub(super) fn is_ready(&self, node: NodeId) -> bool {
        self.nodes.get(&node).is_some_and(|load| load.is_ready)
    }

    pub(super) fn is_full(&self, node: NodeId) -> bool {
        self.nodes.get(&node).is_none_or(|load| load.held >= self.replicas_per_node_max)
    }

    pub(super) fn replicas(&self, node: NodeId) -> usize {
        self.nodes.get(&node).map_or(0, |load| load.replicas)
    }

    pub(super) fn leads(&self, node: NodeId) -> usize {
        self.nodes.get(&node).map_or(0, |load| load.leads)
    }

    pub(super) fn receiving(&self, node: NodeId) -> usize {
        self.nodes.get(&node).map_or(0, |load| load.receiving)
    }

    /// In how many racks the nodes are; a node without a rack is one of its own.
    pub(super) fn racks(&self, nodes: &[NodeId]) -> usize {
        let rack = |node: &NodeId| self.nodes.get(node).map_or("", |load| load.rack.as_str());
        let (alone, shared): (Vec<&str>, Vec<&str>) = nodes.iter().map(rack).partition(|rack| rack.is_empty());
        alone.len() + shared.into_iter().collect::<BTreeSet<_>>().len()
    }

    fn change(&mut self, node: NodeId, change: impl FnOnce(&mut Load)) {
        if let Some(load) = self.nodes.get_mut(&node) {
            change(load);
        }
    }
}
