//! The cluster and its nodes: what they are, and what an operator does with them.

use std::time::Duration;

use highwater_proto::v1;
use highwater_proto::v1::admin_service_client::AdminServiceClient;
use highwater_types::{NodeId, PartitionId};

use super::{Admin, check};
use crate::request::{Repeat, RequestError, request};

/// The cluster, as the node that answered knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Cluster {
    /// Its id, a UUID.
    pub id: String,
    /// Its nodes.
    pub nodes: Vec<Node>,
    /// The node that controls it; `None` while there is none.
    pub controller: Option<NodeId>,
    /// The version of the server that answered.
    pub version: String,
}

/// One node of the cluster. What it did not tell is `None`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Node {
    /// Its id.
    pub id: NodeId,
    /// Where clients reach it, as `HOST:PORT`.
    pub address: String,
    /// Where other nodes reach it, as `HOST:PORT`.
    pub peer_address: String,
    /// The failure domain that it is in; empty: none.
    pub rack: String,
    /// What the operator wants of it.
    pub state: NodeState,
    /// Whether the controller has not heard of it for a while.
    pub is_fenced: bool,
    /// Partitions that it holds a replica of.
    pub replicas: u32,
    /// Partitions that it is to lead when all is well.
    pub preferred_leaders: u32,
    /// Partitions that it leads.
    pub leaders: Option<u32>,
    /// Its version.
    pub version: Option<String>,
    /// Free space where its data is, in bytes.
    pub data_free_bytes: Option<u64>,
    /// How long ago the node that answered heard of it.
    pub heard: Option<Duration>,
    /// Whether it has a vote about the cluster's metadata.
    pub is_metadata_voter: Option<bool>,
}

/// What the operator wants of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum NodeState {
    /// It holds and leads partitions.
    Active,
    /// It holds partitions and leads none, so that it can be stopped without anybody noticing.
    Draining,
    /// Its partitions move to other nodes; then it is removed.
    Decommissioning,
}

/// Something that is wrong with the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Problem {
    /// How bad it is.
    pub severity: Severity,
    /// What is wrong, with which thing.
    pub text: String,
    /// What to do.
    pub advice: String,
}

/// How bad a problem is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Severity {
    /// Something works with less to spare than it should have.
    Warning,
    /// Something does not work, or the next failure stops it.
    Critical,
}

/// One step of a plan: the replicas of a partition before and after. The first is the preferred leader.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PlannedMove {
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: PartitionId,
    /// Its replicas now.
    pub from: Vec<NodeId>,
    /// Its replicas then.
    pub to: Vec<NodeId>,
}

/// What a node has used of its machine since its process started.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct NodeUsage {
    /// The node.
    pub node: NodeId,
    /// Processor time, user and system.
    pub cpu: Duration,
    /// Memory resident now, in bytes.
    pub rss_bytes: u64,
    /// The most memory that was resident at any time, in bytes.
    pub rss_peak_bytes: u64,
    /// Time since the process started.
    pub uptime: Duration,
    /// Free space where the data is, in bytes.
    pub data_free_bytes: u64,
    /// A name of the process: nodes that share one share its processor time and memory.
    pub process: String,
}

impl Admin {
    /// The nodes of the cluster and who controls it.
    ///
    /// # Errors
    /// When the request fails.
    pub async fn describe_cluster(&self) -> Result<Cluster, RequestError> {
        let answer = request(&self.client.shared, Repeat::Harmless, |channel| async move {
            AdminServiceClient::new(channel).describe_cluster(v1::DescribeClusterRequest {}).await
        })
        .await?;
        Ok(Cluster::from_wire(answer))
    }

    /// What is wrong with the cluster, the worst first; nothing when all is well.
    ///
    /// # Errors
    /// When the request fails.
    pub async fn cluster_health(&self) -> Result<Vec<Problem>, RequestError> {
        let answer = request(&self.client.shared, Repeat::Harmless, |channel| async move {
            AdminServiceClient::new(channel).cluster_health(v1::ClusterHealthRequest {}).await
        })
        .await?;
        Ok(answer.problems.into_iter().map(Problem::from_wire).collect())
    }

    /// What the node that answers has used of its machine.
    ///
    /// # Errors
    /// When the request fails.
    pub async fn node_usage(&self) -> Result<NodeUsage, RequestError> {
        self.usage(None).await
    }

    /// What one node of the cluster has used of its machine, whichever node answers.
    ///
    /// # Errors
    /// When there is no such node, it cannot be asked, or the request fails.
    pub async fn node_usage_of(&self, node: NodeId) -> Result<NodeUsage, RequestError> {
        self.usage(Some(node.get())).await
    }

    async fn usage(&self, node: Option<u64>) -> Result<NodeUsage, RequestError> {
        let answer = request(&self.client.shared, Repeat::Harmless, |channel| async move {
            AdminServiceClient::new(channel).node_usage(v1::NodeUsageRequest { node }).await
        })
        .await?;
        Ok(NodeUsage::from_wire(answer))
    }

    /// Takes the leaders off a node, lets it lead again, or moves everything off it for good. Returns when that is
    /// decided; the cluster does it in the background, and goes on with it whatever fails meanwhile.
    ///
    /// # Errors
    /// When there is no such node, too few others are left for what it holds, or the request fails.
    pub async fn set_node_state(&self, node: NodeId, state: NodeState) -> Result<(), RequestError> {
        let state = state.to_wire().into();
        request(&self.client.shared, Repeat::Harmless, |channel| async move {
            let message = v1::SetNodeStateRequest { node: node.get(), state };
            AdminServiceClient::new(channel).set_node_state(message).await
        })
        .await?;
        Ok(())
    }

    /// Moves everything that a node holds to another node, and removes the first when that is done. Returns when it is
    /// decided. The node may be gone already.
    ///
    /// # Errors
    /// When there are no such nodes, or the request fails.
    pub async fn replace_node(&self, node: NodeId, by: NodeId) -> Result<(), RequestError> {
        request(&self.client.shared, Repeat::OnlyIfNotDone, |channel| async move {
            let message = v1::ReplaceNodeRequest { node: node.get(), by: by.get() };
            AdminServiceClient::new(channel).replace_node(message).await
        })
        .await?;
        Ok(())
    }

    /// Removes a node that holds nothing. Its id is never given out again.
    ///
    /// # Errors
    /// When there is no such node, it still holds something, or the request fails.
    pub async fn remove_node(&self, node: NodeId) -> Result<(), RequestError> {
        request(&self.client.shared, Repeat::OnlyIfNotDone, |channel| async move {
            AdminServiceClient::new(channel).remove_node(v1::RemoveNodeRequest { node: node.get() }).await
        })
        .await?;
        Ok(())
    }

    /// Spreads replicas and leaders evenly over the nodes, and returns the moves that were begun; with
    /// `is_validate_only`, those that would be.
    ///
    /// # Errors
    /// When the request fails.
    pub async fn balance(&self, is_validate_only: bool) -> Result<Vec<PlannedMove>, RequestError> {
        let answer = request(&self.client.shared, Repeat::OnlyIfNotDone, |channel| async move {
            AdminServiceClient::new(channel).balance(v1::BalanceRequest { validate_only: is_validate_only }).await
        })
        .await?;
        Ok(answer.moves.into_iter().map(PlannedMove::from_wire).collect())
    }

    /// Makes another of its replicas the preferred leader of a partition; it takes over as soon as it has everything.
    ///
    /// # Errors
    /// When there is no such partition, the node holds no replica of it, or the request fails.
    pub async fn transfer_leader(&self, topic: &str, partition: PartitionId, to: NodeId) -> Result<(), RequestError> {
        check(topic)?;
        let message = v1::TransferLeaderRequest { topic: topic.to_owned(), partition: partition.get(), to: to.get() };
        request(&self.client.shared, Repeat::Harmless, |channel| {
            let message = message.clone();
            async move { AdminServiceClient::new(channel).transfer_leader(message).await }
        })
        .await?;
        Ok(())
    }

    /// Moves the replicas of a partition to these nodes; the first is to lead it. Returns when that is decided.
    ///
    /// # Errors
    /// When there is no such partition or node, the nodes are not as many as the topic has replicas, or the request
    /// fails.
    pub async fn move_replicas(
        &self,
        topic: &str,
        partition: PartitionId,
        replicas: &[NodeId],
    ) -> Result<(), RequestError> {
        check(topic)?;
        let replicas = replicas.iter().map(|node| node.get()).collect();
        let message = v1::MoveReplicasRequest { topic: topic.to_owned(), partition: partition.get(), replicas };
        request(&self.client.shared, Repeat::OnlyIfNotDone, |channel| {
            let message = message.clone();
            async move { AdminServiceClient::new(channel).move_replicas(message).await }
        })
        .await?;
        Ok(())
    }
}

impl Cluster {
    fn from_wire(answer: v1::DescribeClusterResponse) -> Self {
        Self {
            id: answer.cluster_id,
            nodes: answer.nodes.into_iter().map(Node::from_wire).collect(),
            controller: answer.controller.map(NodeId::new),
            version: answer.version,
        }
    }
}

impl Node {
    fn from_wire(node: v1::Node) -> Self {
        Self {
            id: NodeId::new(node.id),
            state: match node.state() {
                v1::NodeState::Unspecified | v1::NodeState::Active => NodeState::Active,
                v1::NodeState::Draining => NodeState::Draining,
                v1::NodeState::Decommissioning => NodeState::Decommissioning,
            },
            address: node.address,
            peer_address: node.peer_address,
            rack: node.rack,
            is_fenced: node.is_fenced,
            replicas: node.replicas,
            preferred_leaders: node.preferred_leaders,
            leaders: node.leaders,
            version: node.version,
            data_free_bytes: node.data_free_bytes,
            heard: node.heard_ms.map(Duration::from_millis),
            is_metadata_voter: node.is_metadata_voter,
        }
    }
}

impl NodeState {
    fn to_wire(self) -> v1::NodeState {
        match self {
            Self::Active => v1::NodeState::Active,
            Self::Draining => v1::NodeState::Draining,
            Self::Decommissioning => v1::NodeState::Decommissioning,
        }
    }
}

impl Problem {
    fn from_wire(problem: v1::Problem) -> Self {
        let severity = match problem.severity() {
            v1::Severity::Warning => Severity::Warning,
            // What a newer server calls something else is no smaller thing.
            v1::Severity::Unspecified | v1::Severity::Critical => Severity::Critical,
        };
        Self { severity, text: problem.text, advice: problem.advice }
    }
}

impl PlannedMove {
    fn from_wire(planned: v1::PlannedMove) -> Self {
        let nodes = |nodes: Vec<u64>| nodes.into_iter().map(NodeId::new).collect();
        Self {
            topic: planned.topic,
            partition: PartitionId::new(planned.partition),
            from: nodes(planned.from),
            to: nodes(planned.to),
        }
    }
}

impl NodeUsage {
    fn from_wire(answer: v1::NodeUsageResponse) -> Self {
        let seconds = |value: f64| Duration::try_from_secs_f64(value).unwrap_or_default();
        Self {
            node: NodeId::new(answer.node),
            cpu: seconds(answer.cpu_seconds),
            rss_bytes: answer.rss_bytes,
            rss_peak_bytes: answer.rss_peak_bytes,
            uptime: seconds(answer.uptime_seconds),
            data_free_bytes: answer.data_free_bytes,
            process: answer.process,
        }
    }
}
