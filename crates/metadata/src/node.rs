//! The nodes of the cluster: who they are, what the operator wants of them, and whether they answer.

use std::collections::BTreeMap;

use highwater_types::{NodeId, NodeUuid};

/// The longest address of a node, in bytes.
const ADDRESS_BYTES_MAX: usize = 300;

/// Where a node may be reached by Kafka's protocol under a name, at most.
const KAFKA_LISTENERS_MAX: usize = 8;

/// The longest name of such a place, in bytes.
const LISTENER_NAME_BYTES_MAX: usize = 64;

/// The longest name of a rack, in bytes.
const RACK_BYTES_MAX: usize = 64;

/// A node as it registered itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeRegistration {
    /// Its number in the cluster.
    pub node: NodeId,
    /// Its data directory: another one under the same number is another node.
    pub uuid: NodeUuid,
    /// Where clients reach it, as `HOST:PORT`.
    pub address: String,
    /// Where the other nodes reach it, as `HOST:PORT`; empty when it does not listen for any.
    pub peer_address: String,
    /// What fails together with it: its rack, its zone. Empty: nothing but itself.
    pub rack: String,
    /// Where clients that speak Kafka's protocol reach it, as `HOST:PORT`; empty when none do.
    pub kafka_address: String,
    /// Where clients reach it that came in through a listener with a name: `HOST:PORT` by that name.
    pub kafka_listeners: BTreeMap<String, String>,
}

/// What an operator wants of a node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum NodeState {
    /// It takes part in everything.
    #[default]
    Active,
    /// It keeps its replicas and leads none that another node can lead; no new replicas while there are other nodes.
    Draining,
    /// Its replicas are moved to other nodes; when it has none left it is removed from the cluster.
    Decommissioning,
}

/// A node as the cluster knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// What it said of itself.
    pub registration: NodeRegistration,
    /// What the operator wants of it.
    pub state: NodeState,
    /// Whether the controller does not hear from it.
    pub is_fenced: bool,
    /// Where its replicas go while it is decommissioned, if one node replaces it.
    pub successor: Option<NodeId>,
}

impl NodeRegistration {
    /// What is wrong with what the node says of itself.
    pub(crate) fn fault(&self) -> Option<&'static str> {
        let Self { address, peer_address, rack, kafka_address, kafka_listeners, .. } = self;
        let mut addresses = [address, peer_address, kafka_address].into_iter().chain(kafka_listeners.values());
        if addresses.any(|address| address.len() > ADDRESS_BYTES_MAX) {
            return Some("an address has at most 300 bytes");
        }
        let mut names = kafka_listeners.keys();
        if kafka_listeners.len() > KAFKA_LISTENERS_MAX || names.any(|name| name.len() > LISTENER_NAME_BYTES_MAX) {
            return Some("a node has at most 8 named listeners, with names of at most 64 bytes");
        }
        let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '/' | ':');
        if rack.len() > RACK_BYTES_MAX || !rack.chars().all(is_plain) {
            return Some("a rack has at most 64 of the characters a-z A-Z 0-9 . _ - / :");
        }
        None
    }
}

impl NodeState {
    /// Its name, for people and on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Draining => "draining",
            Self::Decommissioning => "decommissioning",
        }
    }
}

impl std::fmt::Display for NodeState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

impl Member {
    /// A node that was just registered.
    #[must_use]
    pub const fn new(registration: NodeRegistration) -> Self {
        Self { registration, state: NodeState::Active, is_fenced: false, successor: None }
    }

    /// Its number.
    #[must_use]
    pub const fn node(&self) -> NodeId {
        self.registration.node
    }

    /// Whether it may be given replicas and leaders without a second thought.
    #[must_use]
    pub const fn is_ready(&self) -> bool {
        matches!(self.state, NodeState::Active) && !self.is_fenced
    }
}
