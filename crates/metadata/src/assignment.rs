//! Which nodes hold a partition, and which shall.
//!
//! Invariant: every node that may be a member of the partition's Raft group is in `replicas` or in `target`. A node that
//! is in neither may delete what it has.

use std::collections::BTreeSet;

use highwater_types::NodeId;

/// The nodes that hold one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assignment {
    /// The nodes, each once, the preferred leader first; never empty. While a move is taken back, also those that it
    /// had begun to add.
    pub replicas: Vec<NodeId>,
    /// The nodes that shall hold it instead, while it moves.
    pub target: Option<Vec<NodeId>>,
    /// Counts the changes, so that word of a move that was done late is not taken for word of the next one.
    pub generation: u32,
}

impl Assignment {
    /// On these nodes, the preferred leader first.
    #[must_use]
    pub const fn new(replicas: Vec<NodeId>) -> Self {
        Self { replicas, target: None, generation: 0 }
    }

    /// The nodes that are, or shall become, the members of the group.
    #[must_use]
    pub fn wanted(&self) -> &[NodeId] {
        self.target.as_deref().unwrap_or(&self.replicas)
    }

    /// The node that leads when it can.
    #[must_use]
    pub fn preferred_leader(&self) -> Option<NodeId> {
        self.wanted().first().copied()
    }

    /// Whether the node holds the partition, or shall, or may not delete it yet.
    #[must_use]
    pub fn holds(&self, node: NodeId) -> bool {
        self.replicas.contains(&node) || self.wanted().contains(&node)
    }

    /// All nodes that hold it or shall.
    #[must_use]
    pub fn holders(&self) -> BTreeSet<NodeId> {
        self.replicas.iter().chain(self.wanted()).copied().collect()
    }

    /// Whether it is moving.
    #[must_use]
    pub const fn is_moving(&self) -> bool {
        self.target.is_some()
    }

    /// The nodes that a move adds.
    pub fn added(&self) -> impl Iterator<Item = NodeId> {
        self.wanted().iter().copied().filter(|node| !self.replicas.contains(node))
    }

    /// The same, moving to `target`.
    pub(crate) fn moving_to(&self, target: Vec<NodeId>) -> Self {
        Self { replicas: self.replicas.clone(), target: Some(target), generation: self.generation.wrapping_add(1) }
    }

    /// On these nodes and on no others.
    pub(crate) fn settled_on(&self, replicas: Vec<NodeId>) -> Self {
        Self { replicas, target: None, generation: self.generation.wrapping_add(1) }
    }

    /// Moving back to where it was. What the move had begun to add may be a member by now, so it stays until the way
    /// back is done.
    pub(crate) fn moving_back(&self) -> Self {
        let mut replicas = self.replicas.clone();
        replicas.extend(self.added());
        Self { replicas, target: Some(self.replicas.clone()), generation: self.generation.wrapping_add(1) }
    }
}

impl std::fmt::Display for Assignment {
    /// The nodes as `1,2,3`, and `>2,3,4` behind them while it moves.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write_nodes(f, &self.replicas)?;
        if let Some(target) = &self.target {
            f.write_str(">")?;
            write_nodes(f, target)?;
        }
        Ok(())
    }
}

fn write_nodes(f: &mut std::fmt::Formatter<'_>, nodes: &[NodeId]) -> std::fmt::Result {
    for (place, node) in nodes.iter().enumerate() {
        let comma = if place == 0 { "" } else { "," };
        write!(f, "{comma}{node}")?;
    }
    Ok(())
}
