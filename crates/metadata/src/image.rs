//! The image: what the cluster is at one moment, held in memory by every node.
//!
//! Owns: nodes and those that were removed, topics by name and by id, and the next free producer id;
//! [`MetadataImage::replay`], its only mutation; and (in `snapshot`) its form as bytes.
//!
//! Invariants:
//! - An image that was shared never changes: its maps are behind `Arc`s and are copied on the first write, topics by
//!   reference.
//! - `replay` is total: a record about a topic or a node that is gone changes nothing.
//! - A node that was removed is remembered for ever, so that neither its number nor its data directory comes back.
//! - `topics` and `names` hold the same topics.

mod snapshot;

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;

use highwater_types::{ClusterId, LogIndex, NodeId, NodeUuid, ProducerId, TopicId, TopicName, TopicPartition};

use crate::assignment::Assignment;
use crate::node::{Member, NodeRegistration};
use crate::record::MetadataRecord;
use crate::topic::Topic;

/// What the cluster is at one moment. Cheap to clone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MetadataImage {
    cluster: Option<ClusterId>,
    revision: Option<LogIndex>,
    members: Arc<BTreeMap<NodeId, Member>>,
    removed: Arc<BTreeMap<NodeId, NodeUuid>>,
    topics: Arc<BTreeMap<TopicName, Arc<Topic>>>,
    names: Arc<BTreeMap<TopicId, TopicName>>,
    producer_id_next: ProducerId,
    is_balancing: bool,
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

    /// The nodes as they registered themselves, by id.
    pub fn nodes(&self) -> impl ExactSizeIterator<Item = &NodeRegistration> {
        self.members.values().map(|member| &member.registration)
    }

    /// One node as it registered itself.
    #[must_use]
    pub fn node(&self, node: NodeId) -> Option<&NodeRegistration> {
        self.member(node).map(|member| &member.registration)
    }

    /// The nodes, with what is wanted of them and whether they answer, by id.
    pub fn members(&self) -> impl ExactSizeIterator<Item = &Member> {
        self.members.values()
    }

    /// One node, with what is wanted of it and whether it answers.
    #[must_use]
    pub fn member(&self, node: NodeId) -> Option<&Member> {
        self.members.get(&node)
    }

    /// The node with this data directory.
    #[must_use]
    pub fn member_by_uuid(&self, uuid: NodeUuid) -> Option<&Member> {
        self.members.values().find(|member| member.registration.uuid == uuid)
    }

    /// The nodes that were removed, with their data directories.
    pub fn removed(&self) -> impl ExactSizeIterator<Item = (NodeId, NodeUuid)> {
        self.removed.iter().map(|(node, uuid)| (*node, *uuid))
    }

    /// Whether this node was removed from the cluster.
    #[must_use]
    pub fn is_removed(&self, node: NodeId) -> bool {
        self.removed.contains_key(&node)
    }

    /// A number that no node ever had.
    #[must_use]
    pub fn node_id_next(&self) -> NodeId {
        let last = self.members.keys().chain(self.removed.keys()).max();
        NodeId::new(last.map_or(1, |last| last.get().saturating_add(1)))
    }

    /// Whether replicas and leaders are being evened out over the nodes.
    #[must_use]
    pub fn is_balancing(&self) -> bool {
        self.is_balancing
    }

    /// Where a partition is.
    #[must_use]
    pub fn assignment(&self, partition: TopicPartition) -> Option<&Assignment> {
        self.topic_by_id(partition.topic)?.partition(partition.partition)
    }

    /// Every partition, with its topic and where it is.
    pub fn partitions(&self) -> impl Iterator<Item = (TopicPartition, &Topic, &Assignment)> {
        self.topics().flat_map(|topic| {
            let partition =
                |(partition, assignment)| (TopicPartition { topic: topic.id, partition }, &**topic, assignment);
            topic.numbered_partitions().map(partition)
        })
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
            MetadataRecord::NodeRegistered(node) => self.register(node),
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
            MetadataRecord::NodeStateSet { node, state, successor } => self.change_node(*node, |member| {
                (member.state, member.successor) = (*state, *successor);
            }),
            MetadataRecord::NodeFenced { node } => self.change_node(*node, |member| member.is_fenced = true),
            MetadataRecord::NodeUnfenced { node } => self.change_node(*node, |member| member.is_fenced = false),
            MetadataRecord::NodeRemoved { node } => {
                if let Some(member) = Arc::make_mut(&mut self.members).remove(node) {
                    Arc::make_mut(&mut self.removed).insert(*node, member.registration.uuid);
                }
            }
            MetadataRecord::PartitionAssigned { partition: id, assignment } => self.change(id.topic, |topic| {
                let at = usize::try_from(id.partition.get()).unwrap_or(usize::MAX);
                if let Some(held) = topic.partitions.get_mut(at) {
                    held.clone_from(assignment);
                }
            }),
            MetadataRecord::TopicReplicasSet { topic, replicas } => {
                self.change(*topic, |topic| topic.replicas = *replicas);
            }
            MetadataRecord::BalancingSet { is_on } => self.is_balancing = *is_on,
        }
    }

    /// A node that registers again keeps what is wanted of it.
    fn register(&mut self, node: &NodeRegistration) {
        match Arc::make_mut(&mut self.members).entry(node.node) {
            Entry::Occupied(mut known) => known.get_mut().registration = node.clone(),
            Entry::Vacant(new) => drop(new.insert(Member::new(node.clone()))),
        }
    }

    fn change_node(&mut self, node: NodeId, change: impl FnOnce(&mut Member)) {
        if let Some(member) = Arc::make_mut(&mut self.members).get_mut(&node) {
            change(member);
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
