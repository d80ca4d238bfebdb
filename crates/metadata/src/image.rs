//! The image: what the cluster is at one moment, held in memory by every node.
//!
//! Owns: nodes, topics by name and by id, and the next free producer id; [`MetadataImage::replay`], its only mutation;
//! and (in `snapshot`) its form as bytes.
//!
//! Invariants:
//! - An image that was shared never changes: its maps are behind `Arc`s and are copied on the first write, topics by
//!   reference.
//! - `replay` is total: a record about a topic that is gone changes nothing.
//! - `topics` and `names` hold the same topics.

mod snapshot;

use std::collections::BTreeMap;
use std::sync::Arc;

use highwater_types::{ClusterId, LogIndex, NodeId, ProducerId, TopicId, TopicName};

use crate::record::MetadataRecord;
use crate::topic::{NodeRegistration, Topic};

/// What the cluster is at one moment. Cheap to clone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MetadataImage {
    cluster: Option<ClusterId>,
    revision: Option<LogIndex>,
    nodes: Arc<BTreeMap<NodeId, NodeRegistration>>,
    topics: Arc<BTreeMap<TopicName, Arc<Topic>>>,
    names: Arc<BTreeMap<TopicId, TopicName>>,
    producer_id_next: ProducerId,
}

impl MetadataImage {
    /// The cluster's id; `None` before it was formed.
    #[must_use]
    pub fn cluster(&self) -> Option<ClusterId> {
        self.cluster
    }

    /// The last entry of the controller's log that the image holds.
    #[must_use]
    pub fn revision(&self) -> Option<LogIndex> {
        self.revision
    }

    /// The nodes, by id.
    pub fn nodes(&self) -> impl ExactSizeIterator<Item = &NodeRegistration> {
        self.nodes.values()
    }

    /// One node.
    #[must_use]
    pub fn node(&self, node: NodeId) -> Option<&NodeRegistration> {
        self.nodes.get(&node)
    }

    /// The topics, by name.
    pub fn topics(&self) -> impl ExactSizeIterator<Item = &Arc<Topic>> {
        self.topics.values()
    }

    /// The topic with this name.
    #[must_use]
    pub fn topic(&self, name: &TopicName) -> Option<&Arc<Topic>> {
        self.topics.get(name)
    }

    /// The topic with this id.
    #[must_use]
    pub fn topic_by_id(&self, topic: TopicId) -> Option<&Arc<Topic>> {
        self.topics.get(self.names.get(&topic)?)
    }

    /// The first producer id that no block holds yet.
    #[must_use]
    pub fn producer_id_next(&self) -> ProducerId {
        self.producer_id_next
    }

    /// Takes in one entry of the controller's log. An entry that the image holds already changes nothing, so a
    /// snapshot may be newer than the place in the log from which replay goes on. Returns whether it was new.
    pub fn replay_entry(&mut self, index: LogIndex, records: &[MetadataRecord]) -> bool {
        if self.revision.is_some_and(|revision| index <= revision) {
            return false;
        }
        records.iter().for_each(|record| self.replay(record));
        self.revision = Some(index);
        true
    }

    /// Takes in one record.
    pub fn replay(&mut self, record: &MetadataRecord) {
        match record {
            MetadataRecord::ClusterFormed { cluster } => self.cluster = Some(*cluster),
            MetadataRecord::NodeRegistered(node) => {
                Arc::make_mut(&mut self.nodes).insert(node.node, node.clone());
            }
            MetadataRecord::TopicCreated(topic) => self.insert(topic),
            MetadataRecord::TopicDeleted { topic } => self.remove(*topic),
            MetadataRecord::TopicConfigured { topic, settings } => {
                self.change(*topic, |topic| topic.settings = settings.clone());
            }
            MetadataRecord::PartitionsAdded { topic, first, assignments } => self.change(*topic, |topic| {
                topic.partitions.truncate(usize::try_from(first.get()).unwrap_or(usize::MAX));
                topic.partitions.extend_from_slice(assignments);
            }),
            MetadataRecord::ProducerIdsReserved { next } => {
                self.producer_id_next = self.producer_id_next.max(*next);
            }
        }
    }

    fn insert(&mut self, topic: &Topic) {
        // A name has one topic: whatever had it before is gone.
        if let Some(earlier) = self.topics.get(&topic.name).map(|topic| topic.id) {
            self.remove(earlier);
        }
        Arc::make_mut(&mut self.names).insert(topic.id, topic.name.clone());
        Arc::make_mut(&mut self.topics).insert(topic.name.clone(), Arc::new(topic.clone()));
    }

    fn remove(&mut self, topic: TopicId) {
        if let Some(name) = Arc::make_mut(&mut self.names).remove(&topic) {
            Arc::make_mut(&mut self.topics).remove(&name);
        }
    }

    fn change(&mut self, topic: TopicId, change: impl FnOnce(&mut Topic)) {
        let Some(name) = self.names.get(&topic) else { return };
        if let Some(topic) = Arc::make_mut(&mut self.topics).get_mut(name) {
            change(Arc::make_mut(topic));
        }
    }
}

#[cfg(test)]
mod tests;
