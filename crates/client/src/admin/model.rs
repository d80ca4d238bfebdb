//! What the admin calls take and give, and their conversion from and to the wire.

use std::collections::HashMap;
use std::time::Duration;

use highwater_proto::v1;
use highwater_types::{LeaderEpoch, NodeId, Offset, PartitionId, Timestamp};

/// A topic to be created.
///
/// ```
/// use highwater_client::NewTopic;
/// let topic = NewTopic::new("orders").partitions(3).replicas(1).config("retention.ms", "86400000");
/// # let _ = topic;
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "describes a topic; `Admin::create_topic` creates it"]
pub struct NewTopic {
    pub(super) name: String,
    partitions: u32,
    replicas: u32,
    config: HashMap<String, String>,
    validate_only: bool,
}

impl NewTopic {
    /// A topic with the cluster's default of partitions and replicas.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), partitions: 0, replicas: 0, config: HashMap::new(), validate_only: false }
    }

    /// How many partitions; 0 is the cluster's default.
    pub fn partitions(mut self, count: u32) -> Self {
        self.partitions = count;
        self
    }

    /// On how many nodes each partition is kept; 0 is the cluster's default.
    pub fn replicas(mut self, count: u32) -> Self {
        self.replicas = count;
        self
    }

    /// Sets a setting by name. The server refuses a name that it does not know.
    pub fn config(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.config.insert(name.into(), value.into());
        self
    }

    /// Check everything and create nothing.
    pub fn validate_only(mut self, only: bool) -> Self {
        self.validate_only = only;
        self
    }

    pub(super) fn into_wire(self) -> v1::CreateTopicRequest {
        v1::CreateTopicRequest {
            name: self.name,
            partitions: self.partitions,
            replicas: self.replicas,
            config: self.config,
            validate_only: self.validate_only,
        }
    }
}

/// A change to a topic.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use = "describes a change; `Admin::alter_topic` makes it"]
pub struct TopicChange {
    set: HashMap<String, String>,
    unset: Vec<String>,
    partitions: Option<u32>,
}

impl TopicChange {
    /// No change yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets a setting.
    pub fn set(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.set.insert(name.into(), value.into());
        self
    }

    /// Returns a setting to its default.
    pub fn unset(mut self, name: impl Into<String>) -> Self {
        self.unset.push(name.into());
        self
    }

    /// Grows the topic to so many partitions. Records with a key may go to another partition from then on.
    pub fn partitions(mut self, count: u32) -> Self {
        self.partitions = Some(count);
        self
    }

    pub(super) fn into_wire(self, name: &str) -> v1::AlterTopicRequest {
        v1::AlterTopicRequest { name: name.to_owned(), set: self.set, unset: self.unset, partitions: self.partitions }
    }
}

/// A topic and its partitions.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Topic {
    /// Its name.
    pub name: String,
    /// Its id, a UUID; a topic created again under the same name has another.
    pub id: String,
    /// On how many nodes each partition is kept.
    pub replicas: u32,
    /// Its partitions, in the order of their numbers.
    pub partitions: Vec<Partition>,
}

/// One partition of a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Partition {
    /// Its number.
    pub partition: PartitionId,
    /// The node that leads it; `None` while it has no leader.
    pub leader: Option<NodeId>,
    /// The term of that leader.
    pub leader_epoch: LeaderEpoch,
    /// The nodes that keep it.
    pub replicas: Vec<NodeId>,
    /// The first offset that is kept; `None` when the node that answered does not hold the partition.
    pub log_start: Option<Offset>,
    /// The first offset that is not committed; `None` when the node that answered does not hold the partition.
    pub high_watermark: Option<Offset>,
    /// Its size on disk, in bytes; `None` when the node that answered does not hold the partition.
    pub size_bytes: Option<u64>,
}

/// A topic with its settings.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TopicDescription {
    /// The topic.
    pub topic: Topic,
    /// All its settings, the defaults among them.
    pub config: Vec<ConfigValue>,
}

/// One setting of a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConfigValue {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: String,
    /// Whether that is the default.
    pub is_default: bool,
    /// What it does.
    pub description: String,
}

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

/// One node of the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Node {
    /// Its id.
    pub id: NodeId,
    /// Where clients reach it, as `HOST:PORT`.
    pub address: String,
}

/// What a node has used of its machine since its process started.
#[derive(Clone, Copy, Debug, PartialEq)]
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
}

/// Where reading from a position starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PartitionOffset {
    /// The partition.
    pub partition: PartitionId,
    /// The offset to start at; for a timestamp later than every record, the end.
    pub offset: Offset,
    /// The timestamp of the record there, where there is one.
    pub timestamp: Option<Timestamp>,
    /// The first offset that is kept.
    pub log_start: Offset,
    /// The first offset that is not committed.
    pub high_watermark: Offset,
}

impl Topic {
    pub(super) fn from_wire(topic: v1::Topic) -> Self {
        Self {
            name: topic.name,
            id: topic.id,
            replicas: topic.replicas,
            partitions: topic.partitions.into_iter().map(Partition::from_wire).collect(),
        }
    }
}

impl Partition {
    fn from_wire(partition: v1::Partition) -> Self {
        Self {
            partition: PartitionId::new(partition.partition),
            leader: partition.leader.map(NodeId::new),
            leader_epoch: LeaderEpoch::new(partition.leader_epoch),
            replicas: partition.replicas.into_iter().map(NodeId::new).collect(),
            log_start: partition.log_start.and_then(Offset::from_wire),
            high_watermark: partition.high_watermark.and_then(Offset::from_wire),
            size_bytes: partition.size_bytes,
        }
    }
}

impl TopicDescription {
    pub(super) fn from_wire(answer: v1::DescribeTopicResponse) -> Option<Self> {
        let config = answer.config.into_iter().map(|value| ConfigValue {
            name: value.name,
            value: value.value,
            is_default: value.is_default,
            description: value.description,
        });
        Some(Self { topic: Topic::from_wire(answer.topic?), config: config.collect() })
    }
}

impl Cluster {
    pub(super) fn from_wire(answer: v1::DescribeClusterResponse) -> Self {
        let nodes = answer.nodes.into_iter().map(|node| Node { id: NodeId::new(node.id), address: node.address });
        Self {
            id: answer.cluster_id,
            nodes: nodes.collect(),
            controller: answer.controller.map(NodeId::new),
            version: answer.version,
        }
    }
}

impl NodeUsage {
    pub(super) fn from_wire(answer: &v1::NodeUsageResponse) -> Self {
        let seconds = |value: f64| Duration::try_from_secs_f64(value).unwrap_or_default();
        Self {
            node: NodeId::new(answer.node),
            cpu: seconds(answer.cpu_seconds),
            rss_bytes: answer.rss_bytes,
            rss_peak_bytes: answer.rss_peak_bytes,
            uptime: seconds(answer.uptime_seconds),
            data_free_bytes: answer.data_free_bytes,
        }
    }
}
