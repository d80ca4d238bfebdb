//! Commands: what the controller may be asked to do, and what it answers. Why it refuses is in `error`, how a command
//! and its answer go from node to node in `wire`.

mod error;
mod wire;

use std::sync::Arc;

use highwater_types::{ClusterId, NodeId, NodeUuid, ProducerId, Timestamp, TopicId, TopicName, TopicPartition};

use crate::node::{NodeRegistration, NodeState};
use crate::record::MetadataRecord;
use crate::topic::Topic;

pub use error::CommandError;

/// Something that the controller is asked to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Makes the cluster, with its first nodes. Once only.
    FormCluster {
        /// Its id.
        cluster: ClusterId,
        /// The first nodes.
        nodes: Vec<NodeRegistration>,
    },
    /// Tells the new address or rack of a node that the cluster knows.
    RegisterNode(NodeRegistration),
    /// Adds a node under a number that no node ever had. A data directory that was added already keeps its number.
    JoinNode(JoinNode),
    /// Says what the operator wants of a node.
    SetNodeState {
        /// The node.
        node: NodeId,
        /// What is wanted.
        state: NodeState,
    },
    /// Moves what one node holds to another one, and removes the first from the cluster after that.
    ReplaceNode {
        /// The node that is to go.
        node: NodeId,
        /// The node that takes its place.
        by: NodeId,
    },
    /// Notes that the controller does not hear from a node.
    FenceNode {
        /// The node.
        node: NodeId,
    },
    /// Notes that the controller hears from a node again.
    UnfenceNode {
        /// The node.
        node: NodeId,
    },
    /// Takes a node that is decommissioned and holds nothing any more out of the cluster, for ever.
    RemoveNode {
        /// The node.
        node: NodeId,
    },
    /// Creates a topic.
    CreateTopic(CreateTopic),
    /// Deletes a topic and everything in it.
    DeleteTopic {
        /// Its name.
        name: TopicName,
    },
    /// Changes a topic.
    AlterTopic(AlterTopic),
    /// Changes how many replicas the partitions of a topic have; they move one after another.
    SetReplicas {
        /// The topic.
        name: TopicName,
        /// How many.
        replicas: u32,
    },
    /// Moves a partition to these nodes, the preferred leader first.
    MoveReplicas {
        /// The partition.
        partition: TopicPartition,
        /// The nodes that shall hold it.
        target: Vec<NodeId>,
    },
    /// Takes a move back that is not finished.
    CancelMove {
        /// The partition.
        partition: TopicPartition,
    },
    /// Notes that the nodes of the target are the members of the partition's group, and no other node is.
    FinishMove {
        /// The partition.
        partition: TopicPartition,
        /// The generation of the assignment that was carried out.
        generation: u32,
    },
    /// Makes a node that holds a partition the one that leads it when it can.
    PreferLeader {
        /// The partition.
        partition: TopicPartition,
        /// The node.
        node: NodeId,
    },
    /// Starts or stops evening out replicas and leaders over the nodes. Stops by itself when they are even.
    SetBalancing {
        /// Whether to start.
        is_on: bool,
    },
    /// Sets a block of producer ids aside, none of which was ever handed out.
    AllocateProducerIds {
        /// How many.
        count: u32,
    },
}

/// A node that wants to be part of the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinNode {
    /// Its data directory.
    pub uuid: NodeUuid,
    /// Where clients reach it, as `HOST:PORT`.
    pub address: String,
    /// Where the other nodes reach it, as `HOST:PORT`.
    pub peer_address: String,
    /// What fails together with it; empty: nothing but itself.
    pub rack: String,
}

/// The topic to create.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreateTopic {
    /// Its name.
    pub name: TopicName,
    /// How many partitions; 0: the default.
    pub partitions: u32,
    /// How many replicas each; 0: the default, or fewer while the cluster has fewer nodes.
    pub replicas: u32,
    /// Its settings, by name, as they were written.
    pub settings: Vec<(String, String)>,
    /// Whether to check everything and create nothing.
    pub is_validate_only: bool,
}

/// What to change of a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AlterTopic {
    /// Its name.
    pub name: TopicName,
    /// Settings to set, by name, as they were written.
    pub set: Vec<(String, String)>,
    /// Settings to return to their defaults, by name.
    pub unset: Vec<String>,
    /// How many partitions it shall have; `None`: as many as now.
    pub partitions: Option<u32>,
}

/// What a decision takes besides the image and the command: time, chance, and what the node was configured with.
#[derive(Clone, Copy, Debug)]
pub struct Context {
    /// The time.
    pub now: Timestamp,
    /// The id of the topic, if one is created; never used before.
    pub topic_id: TopicId,
    /// The chance in placement.
    pub seed: u64,
    /// What was configured.
    pub policy: Policy,
}

/// What an operator configures about decisions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Partitions of a topic that does not say.
    pub partitions_default: u32,
    /// Replicas of a topic that does not say, if the cluster has as many nodes.
    pub replicas_default: u32,
    /// The most replicas that one node holds. Each costs about a megabyte of memory and an open file or two.
    pub replicas_per_node_max: usize,
}

impl Default for Policy {
    fn default() -> Self {
        Self { partitions_default: 1, replicas_default: 3, replicas_per_node_max: 2_000 }
    }
}

/// What a command leads to: records that must be committed before anybody hears the reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// The records; none when nothing changes.
    pub records: Vec<MetadataRecord>,
    /// The answer.
    pub reply: Reply,
}

/// The answer to a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// It is done.
    Done,
    /// The topic as it is now.
    Topic(Arc<Topic>),
    /// A block of producer ids.
    ProducerIds {
        /// The first of them.
        first: ProducerId,
        /// How many.
        count: u32,
    },
    /// The number of a node that joined.
    Node {
        /// Its number.
        node: NodeId,
    },
}

impl Command {
    /// Whether doing it twice is as doing it once, so that it may be sent again when its answer was lost.
    #[must_use]
    pub const fn is_idempotent(&self) -> bool {
        // The second time a topic exists already, or is gone, or is another one of that name.
        !matches!(self, Self::CreateTopic(_) | Self::DeleteTopic { .. } | Self::FormCluster { .. })
    }
}
