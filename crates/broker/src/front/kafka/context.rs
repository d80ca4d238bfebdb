//! What the APIs call: the node below, and the budgets at the door.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use highwater_metadata::{Topic, is_internal};
use highwater_types::batch::BatchError;
use highwater_types::{ErrorCode, LeaderEpoch, NodeId, PartitionId, TopicId, TopicName, TopicPartition};
use tokio::sync::watch;

use super::error::{KafkaCode, Refusal};
use super::frame::Budgets;
use super::unserved::Unserved;
use crate::admission::ByteBudget;
use crate::clock::Clock;
use crate::controller::ControllerHandle;
use crate::front::failure::Failure;
use crate::partition::PartitionHandle;
use crate::raft::Leadership;
use crate::router::Router;
use crate::shutdown::Shutdown;
use crate::survey::Survey;

/// What the node gives the front.
#[derive(Clone, Debug)]
pub(crate) struct Parts {
    /// From a topic's name and a partition's number to the partition.
    pub(crate) router: Router,
    /// Who changes what the cluster is.
    pub(crate) controller: ControllerHandle,
    /// Who leads the metadata, as far as this node knows.
    pub(crate) controller_leadership: watch::Receiver<Leadership>,
    /// What the nodes say of their replicas.
    pub(crate) survey: Survey,
    /// Where this node's data is.
    pub(crate) data_dir: PathBuf,
    /// The time that records get where they do not keep their producer's.
    pub(crate) clock: Clock,
    /// The bytes of produce requests under way, shared with the other fronts.
    pub(crate) produce_budget: ByteBudget,
    /// Whether topics are made that are asked for and not there.
    pub(crate) auto_create_topics: bool,
    /// When it is requested, connections end.
    pub(crate) shutdown: Shutdown,
}

/// Shared by all connections.
#[derive(Debug)]
pub(crate) struct Context {
    pub(super) router: Router,
    pub(super) controller: ControllerHandle,
    pub(super) controller_leadership: watch::Receiver<Leadership>,
    pub(super) survey: Survey,
    pub(super) data_dir: PathBuf,
    pub(super) clock: Clock,
    pub(super) budgets: Budgets,
    pub(super) auto_create_topics: bool,
    /// Counts fetches, so that partitions take turns at being read first.
    pub(super) turns: AtomicUsize,
    pub(super) unserved: Unserved,
    pub(super) shutdown: Shutdown,
}

/// Where a node speaks Kafka's protocol.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Broker {
    pub(super) node: NodeId,
    pub(super) host: String,
    pub(super) port: i32,
    pub(super) rack: Option<String>,
    pub(super) is_fenced: bool,
}

/// Who leads partitions, in which epoch.
pub(super) type Leaders = HashMap<TopicPartition, (NodeId, LeaderEpoch)>;

impl Context {
    pub(crate) fn new(parts: Parts) -> Self {
        let Parts {
            router,
            controller,
            controller_leadership,
            survey,
            data_dir,
            clock,
            produce_budget,
            auto_create_topics,
            shutdown,
        } = parts;
        let budgets = Budgets::new(produce_budget);
        Self {
            router,
            controller,
            controller_leadership,
            survey,
            data_dir,
            clock,
            budgets,
            auto_create_topics,
            turns: AtomicUsize::new(0),
            unserved: Unserved::default(),
            shutdown,
        }
    }

    /// A topic of clients, by its name.
    pub(super) fn topic(&self, name: &str) -> Result<Arc<Topic>, Failure> {
        Ok(self.router.topic(&own_name(name)?)?)
    }

    /// A topic of clients, by its id.
    pub(super) fn topic_by_id(&self, id: TopicId) -> Result<Arc<Topic>, Refusal> {
        let image = self.router.image();
        let found = image.topic_by_id(id).filter(|topic| !topic.is_internal()).map(Arc::clone);
        found.ok_or_else(|| Refusal::new(KafkaCode::UNKNOWN_TOPIC_ID, format!("there is no topic with the id {id}")))
    }

    /// The id of a partition of a client's topic.
    pub(super) fn partition_at(&self, topic: &str, partition: i32) -> Result<TopicPartition, Refusal> {
        let found = self.topic(topic)?;
        let partition = partition_id(partition)?;
        match found.partition(partition) {
            Some(_) => Ok(TopicPartition { topic: found.id, partition }),
            None => {
                let message = format!("topic '{topic}' has no partition {partition}");
                Err(Failure::new(ErrorCode::UnknownPartition, message).into())
            }
        }
    }

    /// A partition that this node leads.
    pub(super) fn led(&self, topic: &str, partition: i32) -> Result<PartitionHandle, Failure> {
        let name = own_name(topic)?;
        let handle = self.router.partition(&name, partition_id(partition)?)?;
        let led = handle.leadership();
        if led.serves_writes {
            return Ok(handle);
        }
        let leader = led.other_leader();
        let code = if leader.is_some() { ErrorCode::NotLeader } else { ErrorCode::LeaderUnavailable };
        Err(Failure { leader, ..Failure::new(code, "this node does not lead the partition") })
    }

    /// The nodes that speak Kafka's protocol, where those reach them who came in through this listener.
    pub(super) fn brokers(&self, listener: Option<&str>) -> Vec<Broker> {
        let image = self.router.image();
        let broker = |member: &highwater_metadata::Member| {
            let node = &member.registration;
            let address = match listener {
                Some(name) => node.kafka_listeners.get(name)?,
                None => &node.kafka_address,
            };
            let (host, port) = address.rsplit_once(':')?;
            Some(Broker {
                node: node.node,
                host: host.trim_start_matches('[').trim_end_matches(']').to_owned(),
                port: port.parse().ok()?,
                rack: Some(node.rack.clone()).filter(|rack| !rack.is_empty()),
                is_fenced: member.is_fenced,
            })
        };
        image.members().filter_map(broker).collect()
    }

    /// Who leads partitions: what this node holds it knows, and of all others those are asked who hold them.
    pub(super) async fn leaders(&self, partitions: Vec<TopicPartition>) -> Leaders {
        let mut leaders = Leaders::new();
        let mut unknown = Vec::new();
        for id in partitions {
            let led = self.router.open_partition(id).map(|handle| handle.leadership());
            match led.and_then(|led| Some((led.leader?, led.epoch))) {
                Some(leader) => drop(leaders.insert(id, leader)),
                None => unknown.push(id),
            }
        }
        if !unknown.is_empty() {
            let replicas = self.survey.replicas(Some(unknown.clone())).await;
            leaders.extend(unknown.into_iter().filter_map(|id| Some((id, replicas.leader(id)?))));
        }
        leaders
    }
}

/// The name of a topic that is not the server's own.
pub(super) fn own_name(name: &str) -> Result<TopicName, Failure> {
    let name = TopicName::new(name)?;
    match is_internal(&name) {
        true => {
            let message = format!("'{name}' is no name for a topic: names that begin with '__' are the server's own");
            Err(Failure::new(ErrorCode::InvalidTopicName, message))
        }
        false => Ok(name),
    }
}

/// The number of a partition, which is never below 0.
pub(super) fn partition_id(partition: i32) -> Result<PartitionId, Failure> {
    let number = u32::try_from(partition);
    number.map(PartitionId::new).map_err(|_| {
        Failure::new(ErrorCode::UnknownPartition, format!("{partition} is no partition; they are counted from 0"))
    })
}

/// As clients count nodes.
pub(super) fn node_number(node: NodeId) -> i32 {
    i32::try_from(node.get()).unwrap_or(i32::MAX)
}

/// As clients count partitions.
pub(super) fn partition_number(partition: PartitionId) -> i32 {
    i32::try_from(partition.get()).unwrap_or(i32::MAX)
}

/// That a produced partition brought nothing.
pub(super) fn no_batch() -> Failure {
    BatchError::Empty.into()
}
