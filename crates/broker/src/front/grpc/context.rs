//! What the APIs call: the node below, and the budgets at the door.

use highwater_types::{PartitionId, TopicName};
use prost::Message;
use tokio::sync::watch;
use tonic::body::Body;

use super::proxy::Proxy;
use super::wire::{MessageLimits, one_message};
use crate::admission::ByteBudget;
use crate::clock::Clock;
use crate::controller::ControllerHandle;
use crate::front::failure::Failure;
use crate::partition::PartitionHandle;
use crate::queues::QueueError;
use crate::raft::Leadership;
use crate::router::Router;
use crate::shutdown::Shutdown;
use crate::survey::Survey;

/// Shared by all services of the front. Clones are the same.
#[derive(Clone, Debug)]
pub(crate) struct Context {
    /// From a topic's name and a partition's number to the partition.
    pub(crate) router: Router,
    /// Who changes what the cluster is.
    pub(crate) controller: ControllerHandle,
    /// Who leads the metadata, as far as this node knows.
    pub(crate) controller_leadership: watch::Receiver<Leadership>,
    /// What the nodes say of themselves and of their replicas.
    pub(crate) survey: Survey,
    /// Times what comes without a time.
    pub(crate) clock: Clock,
    /// Bounds the messages that bring records.
    pub(crate) data_messages: MessageLimits,
    /// Bounds all other messages, apart: a full produce budget must not keep a reader from asking.
    pub(crate) control_messages: MessageLimits,
    /// Where records that are taken out of batches for a reader are admitted.
    pub(crate) decoded: ByteBudget,
    /// Passes on what another node leads.
    pub(crate) proxy: Proxy,
    /// When it is requested, streams end.
    pub(crate) shutdown: Shutdown,
}

impl Context {
    /// The partition, if this node has it.
    pub(super) fn partition(&self, topic: &str, partition: PartitionId) -> Result<PartitionHandle, Failure> {
        Ok(self.router.partition(&TopicName::new(topic)?, partition)?)
    }

    /// The partition, if this node leads it.
    pub(super) fn led_partition(&self, topic: &str, partition: PartitionId) -> Result<PartitionHandle, Failure> {
        let handle = self.partition(topic, partition)?;
        let led = handle.leadership();
        match led.serves_writes {
            true => Ok(handle),
            false => Err(QueueError::NotLeader { leader: led.other_leader() }.into()),
        }
    }

    /// Adds where the leader is reached to a failure that names one.
    pub(super) fn located(&self, mut failure: Failure) -> Failure {
        if let (Some(leader), None) = (failure.leader, &failure.leader_address) {
            failure.leader_address = self.router.image().node(leader).map(|node| node.address.clone());
        }
        failure
    }

    /// The request of a call that brings no records.
    pub(super) async fn control_request<T: Message + Default>(&self, body: Body) -> Result<T, Failure> {
        let message = one_message(body, self.control_messages.clone()).await?;
        T::decode(message.bytes).map_err(|error| Failure::invalid(format!("the request cannot be read: {error}")))
    }
}
