//! Formation: how a node with an empty data directory gets its place in a cluster, once.
//!
//! Owns: who makes a cluster and who waits for it, the order of what becomes durable, and the words of every refusal.
//! Never: changes an identity. What is decided from messages is decided in `decide`, without a disk or a network.
//!
//! ```text
//!   no names       alone: identity ─► metadata group of one
//!   first_voters   node 1: nobody belongs anywhere? ─► identity ─► offer places ─► all took theirs ─► metadata group
//!                  others: wait for the offer of node 1 ─► identity ─► "taken"
//!   join           uuid ─► ask any node for a place ─► identity
//! ```
//!
//! Invariants:
//! - Node 1, the first of the list, alone makes the cluster, so two clusters cannot come of one list; and it makes the
//!   metadata group only after all of the list have their places on disk.
//! - Every step is durable before the next one begins and may be done again, so a start that was cut short is simply
//!   made again.
//! - A directory takes a place only while it has none. Whoever comes back empty to a cluster that was formed finds its
//!   place taken, and is told how to come in under a new number.

mod decide;
mod error;
mod run;
pub(super) mod wire;

#[cfg(test)]
mod tests;

pub(super) use decide::{Stance, role, take};
pub use error::FormationError;
pub(super) use run::{establish, offer_places};

use std::collections::BTreeMap;

use highwater_types::NodeId;

/// How this node is part of a cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClusterOptions {
    /// Where other nodes reach this one, as `HOST:PORT`.
    pub peer_address: String,
    /// Who forms a new cluster, each by its `peer_address`; empty: nobody, or this node alone.
    pub first_voters: Vec<String>,
    /// Whom a node that is new asks for a place, each by its `peer_address`.
    pub join: Vec<String>,
    /// What fails together with this node; empty: nothing but itself.
    pub rack: String,
    /// Where clients that speak Kafka's protocol reach it, as `HOST:PORT`; empty when none do.
    pub kafka_address: String,
    /// Where those reach it that come in through a listener with a name, by that name.
    pub kafka_listeners: BTreeMap<String, String>,
}

/// What a node with an empty data directory does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// Makes a cluster of one.
    Alone,
    /// Makes a cluster with these others.
    Founder {
        /// The others, with their places.
        others: Vec<(NodeId, String)>,
    },
    /// Waits for the offer of this place.
    Member {
        /// Its place.
        place: NodeId,
    },
    /// Asks for a place.
    Joiner,
}

/// The node that makes the cluster.
pub(super) const FOUNDER: NodeId = NodeId::new(1);
