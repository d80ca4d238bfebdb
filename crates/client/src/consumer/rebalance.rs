//! Who reads which partition, and the hooks that a program may hang into changes of that.

use std::fmt;

use highwater_proto::v1;
use highwater_types::{Offset, PartitionId, TopicName};

/// A partition by the name of its topic.
///
/// ```
/// use highwater_client::{PartitionId, TopicName, TopicPartitionName};
/// # fn example() -> Result<(), highwater_client::TopicNameError> {
/// let partition = TopicPartitionName::new(TopicName::new("orders")?, PartitionId::new(3));
/// assert_eq!(partition.to_string(), "orders-3");
/// # Ok(())
/// # }
/// # example().unwrap();
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicPartitionName {
    /// The topic.
    pub topic: TopicName,
    /// The partition of it.
    pub partition: PartitionId,
}

impl TopicPartitionName {
    /// A partition of a topic.
    #[must_use]
    pub fn new(topic: TopicName, partition: PartitionId) -> Self {
        Self { topic, partition }
    }

    /// `None` where the server names what cannot be a topic.
    pub(super) fn from_wire(topic: &str, partition: u32) -> Option<Self> {
        Some(Self::new(TopicName::new(topic).ok()?, PartitionId::new(partition)))
    }

    pub(super) fn to_wire(&self) -> v1::PartitionName {
        v1::PartitionName { topic: self.topic.as_str().to_owned(), partition: self.partition.get() }
    }
}

impl fmt::Display for TopicPartitionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.topic, self.partition)
    }
}

/// A partition that a consumer was given.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct AssignedPartition {
    /// Which one.
    pub partition: TopicPartitionName,
    /// Where its records begin: what the group committed, or what [`OffsetReset`](crate::OffsetReset) says.
    /// `None` when neither is known: [`ConsumeError::Partition`](crate::ConsumeError::Partition) says why, and it is read
    /// after a seek.
    pub offset: Option<Offset>,
}

impl AssignedPartition {
    pub(super) fn from_wire(wire: &v1::AssignedPartition) -> Option<Self> {
        let partition = TopicPartitionName::from_wire(&wire.topic, wire.partition)?;
        Some(Self { partition, offset: Offset::from_wire(wire.offset) })
    }
}

/// Is told when partitions come and go; given to [`ConsumerBuilder::on_rebalance`](crate::ConsumerBuilder::on_rebalance).
///
/// The methods are called by the consumer's own task, one at a time, and nothing else of the consumer goes on meanwhile: not
/// its heartbeats either. They should return soon and not block.
///
/// ```
/// use highwater_client::{AssignedPartition, RebalanceListener, TopicPartitionName};
///
/// struct Log;
///
/// impl RebalanceListener for Log {
///     fn assigned(&mut self, partitions: &[AssignedPartition]) {
///         for assigned in partitions {
///             eprintln!("{} from offset {:?} on", assigned.partition, assigned.offset);
///         }
///     }
///     fn revoked(&mut self, partitions: &[TopicPartitionName]) {
///         eprintln!("no longer: {partitions:?}");
///     }
/// }
/// ```
pub trait RebalanceListener: Send + 'static {
    /// These were given to this consumer, beside those that it has. Their first record comes after this.
    fn assigned(&mut self, partitions: &[AssignedPartition]) {
        let _ = partitions;
    }

    /// These go to another consumer, or this one closes. No record of them comes any more; they are given up, and with
    /// [`Commit::Every`](crate::Commit) what was done with them is committed, after this returned.
    fn revoked(&mut self, partitions: &[TopicPartitionName]) {
        let _ = partitions;
    }

    /// These are gone already, because the group took this consumer for dead: others may read them, and nothing can be
    /// committed for them any more.
    fn lost(&mut self, partitions: &[TopicPartitionName]) {
        let _ = partitions;
    }
}

/// Nobody listens.
pub(super) struct Silent;

impl RebalanceListener for Silent {}
