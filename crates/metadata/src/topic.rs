//! What the image holds of a topic.

use highwater_types::{PartitionId, Timestamp, TopicId, TopicName};

use crate::assignment::Assignment;
use crate::settings::TopicSettings;

/// The topic whose partitions are the coordinators of groups. It holds no records.
pub const GROUPS_TOPIC: &str = "__groups";

/// Names that begin so are the server's own.
pub const INTERNAL_PREFIX: &str = "__";

/// Whether a topic of that name is the server's own.
#[must_use]
pub fn is_internal(name: &TopicName) -> bool {
    name.as_str().starts_with(INTERNAL_PREFIX)
}

/// A topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topic {
    /// Its id; another topic that takes the name later has another.
    pub id: TopicId,
    /// Its name.
    pub name: TopicName,
    /// When it was created.
    pub created_at: Timestamp,
    /// How many replicas each of its partitions has.
    pub replicas: u32,
    /// Where its partitions are, from partition 0 on.
    pub partitions: Vec<Assignment>,
    /// What it sets.
    pub settings: TopicSettings,
}

impl Topic {
    /// Whether it is the server's own: clients neither write nor read it.
    #[must_use]
    pub fn is_internal(&self) -> bool {
        is_internal(&self.name)
    }

    /// How many partitions it has.
    #[must_use]
    pub fn partition_count(&self) -> u32 {
        u32::try_from(self.partitions.len()).unwrap_or(u32::MAX)
    }

    /// Where one of its partitions is.
    #[must_use]
    pub fn partition(&self, partition: PartitionId) -> Option<&Assignment> {
        self.partitions.get(usize::try_from(partition.get()).ok()?)
    }

    /// Its partitions with their numbers.
    pub fn numbered_partitions(&self) -> impl Iterator<Item = (PartitionId, &Assignment)> {
        (0..).map(PartitionId::new).zip(&self.partitions)
    }
}
