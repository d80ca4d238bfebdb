//! What should run on this node, by the image. Pure.
//!
//! ## How a group begins, exactly once
//!
//! A Raft group begins when its first entry is written, which names its first members; two groups under one key, with
//! different first entries, would be two histories of one partition. So the first entry must be the same whoever
//! writes it:
//!
//! - The first members are those that the partition was **created** with. An assignment tells them as long as its
//!   generation is 0; from its first change on nobody begins the group any more, for then it may name others.
//! - Any of those may write it, for it is the same entry: openraft gives it term 0 and index 0, and the members are a
//!   set. So it does no harm that several do, that one does on an old image, or that one does after the group has moved
//!   away from it: what it has then is the oldest prefix of the one history, and its votes are as good as that.
//! - The first of the assignment does so at once. The others stand in for it after a while in which nobody led, so that
//!   a partition created while one of its nodes is down serves, and one created in a healthy cluster has one candidate
//!   and no split vote.
//! - Whoever has voted for the first one stands in no more: openraft takes a vote for a beginning. Were the first lost
//!   for ever between its call for votes and its election, the group would never begin; nothing was acknowledged in it.
//! - A replica that was added later begins nothing: it waits for a leader, which brings it the log.
//!
//! A replica that lost its log is none of these: it is being rebuilt, and its group begins nothing by it (see `raft`).

use std::collections::BTreeMap;
use std::sync::Arc;

use highwater_metadata::{Assignment, MetadataImage, Topic};
use highwater_storage::{LogKey, LogOptions};
use highwater_types::{NodeId, TopicPartition};

use super::error::GroupName;

/// A closed segment holds nothing younger than it, so the age of segments follows a short retention, down to this.
const SEGMENT_AGE_MS_MIN: u64 = 1_000;

/// What a coordinator keeps is small; so are its segments.
const COORDINATOR_SEGMENT_BYTES: u64 = 8 << 20;

/// A partition that should run on this node.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    pub(super) id: TopicPartition,
    pub(super) topic: Arc<Topic>,
    pub(super) assignment: Assignment,
    pub(super) beginning: Beginning,
}

/// What a replica does when its group has no members yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Beginning {
    /// It gives the group these, at once.
    Begins(Vec<NodeId>),
    /// It gives the group these when nobody has led it for a while.
    StandsIn(Vec<NodeId>),
    /// It waits for a leader.
    Waits,
}

/// Everything that the image wants to run on `node`.
pub(super) fn wanted(image: &MetadataImage, node: NodeId) -> BTreeMap<TopicPartition, Wanted> {
    let mut wanted = BTreeMap::new();
    for topic in image.topics() {
        for (partition, assignment) in topic.numbered_partitions() {
            if assignment.holds(node) {
                let id = TopicPartition { topic: topic.id, partition };
                let (topic, assignment) = (Arc::clone(topic), assignment.clone());
                let beginning = beginning(image, &assignment, node);
                wanted.insert(id, Wanted { id, topic, assignment, beginning });
            }
        }
    }
    wanted
}

/// How a replica on `node` begins.
fn beginning(image: &MetadataImage, assignment: &Assignment, node: NodeId) -> Beginning {
    let replicas = &assignment.replicas;
    if assignment.generation != 0 || !replicas.contains(&node) {
        return Beginning::Waits;
    }
    let answers = |node: NodeId| image.member(node).is_some_and(|member| !member.is_fenced);
    match replicas.iter().copied().find(|replica| *replica == node || answers(*replica)) {
        Some(first) if first == node => Beginning::Begins(replicas.clone()),
        _ => Beginning::StandsIn(replicas.clone()),
    }
}

impl Wanted {
    pub(super) fn name(&self) -> GroupName {
        GroupName::Partition { topic: self.topic.name.clone(), id: self.id }
    }

    pub(super) fn key(&self) -> LogKey {
        log_key(self.id)
    }

    /// Whether no other node holds it or shall.
    pub(super) fn is_alone(&self) -> bool {
        self.assignment.holders().len() == 1
    }

    /// Whether it coordinates groups, instead of holding records.
    pub(super) fn is_coordinator(&self) -> bool {
        self.topic.is_internal()
    }

    pub(super) fn log_options(&self) -> LogOptions {
        if self.is_coordinator() {
            return LogOptions { segment_bytes_max: COORDINATOR_SEGMENT_BYTES, ..LogOptions::default() };
        }
        let settings = &self.topic.settings;
        let retention_ms = settings.retention_ms().unwrap_or(u64::MAX);
        LogOptions {
            segment_bytes_max: settings.segment_bytes(),
            segment_age_ms_max: settings.segment_ms().min(retention_ms).max(SEGMENT_AGE_MS_MIN),
            ..LogOptions::default()
        }
    }
}

/// The log of a partition.
pub(super) fn log_key(id: TopicPartition) -> LogKey {
    LogKey::new(id.topic.to_bytes(), id.partition.get())
}
