//! What the admin calls take and give, and their conversion from and to the wire.

use std::collections::HashMap;

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
    replicas: Option<u32>,
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

    /// Keeps each partition on so many nodes. The cluster moves the partitions one after another.
    pub fn replicas(mut self, count: u32) -> Self {
        self.replicas = Some(count);
        self
    }

    pub(super) fn into_wire(self, name: &str) -> v1::AlterTopicRequest {
        let Self { set, unset, partitions, replicas } = self;
        v1::AlterTopicRequest { name: name.to_owned(), set, unset, partitions, replicas }
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
    /// The first offset that is kept; `None` when no replica could be asked.
    pub log_start: Option<Offset>,
    /// The first offset that is not committed; `None` when no replica could be asked.
    pub high_watermark: Option<Offset>,
    /// Its size on the disk of one node, in bytes; `None` when no replica could be asked.
    pub size_bytes: Option<u64>,
    /// What is known of each replica. Only [`Admin::describe_topic`](super::Admin::describe_topic) asks for that.
    pub replica_status: Vec<ReplicaStatus>,
    /// The node that leads it when all is well.
    pub preferred_leader: Option<NodeId>,
    /// The nodes that its replicas are moving to; empty while they stay.
    pub target: Vec<NodeId>,
}

/// One replica of a partition. What could not be asked is `None`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReplicaStatus {
    /// Its node.
    pub node: NodeId,
    /// What it does.
    pub role: Option<ReplicaRole>,
    /// Whether its vote counts; a new replica catches up first.
    pub is_voter: Option<bool>,
    /// Whether the leader hears of it, and it has or is about to have everything.
    pub is_in_sync: Option<bool>,
    /// How many entries it is behind the leader.
    pub lag_entries: Option<u64>,
    /// How many records it is behind the leader.
    pub lag_records: Option<u64>,
    /// Its size on disk, in bytes.
    pub size_bytes: Option<u64>,
    /// Whether its log was damaged and is being fetched again.
    pub is_recovering: Option<bool>,
}

/// What a replica does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ReplicaRole {
    /// It takes the records in.
    Leader,
    /// It follows, and votes.
    Follower,
    /// It catches up, and does not vote yet.
    Learner,
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
            replica_status: partition.replica_status.iter().map(ReplicaStatus::from_wire).collect(),
            preferred_leader: partition.preferred_leader.map(NodeId::new),
            target: partition.target.into_iter().map(NodeId::new).collect(),
        }
    }
}

impl ReplicaStatus {
    fn from_wire(status: &v1::ReplicaStatus) -> Self {
        Self {
            node: NodeId::new(status.node),
            role: match status.role() {
                v1::ReplicaRole::Unspecified => None,
                v1::ReplicaRole::Leader => Some(ReplicaRole::Leader),
                v1::ReplicaRole::Follower => Some(ReplicaRole::Follower),
                v1::ReplicaRole::Learner => Some(ReplicaRole::Learner),
            },
            is_voter: status.is_voter,
            is_in_sync: status.in_sync,
            lag_entries: status.lag_entries,
            lag_records: status.lag_records,
            size_bytes: status.size_bytes,
            is_recovering: status.is_recovering,
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
