//! The partitions that a member holds, and where each stands.

use std::collections::{BTreeMap, BTreeSet};

use highwater_metadata::MetadataImage;
use highwater_proto::v1;
use highwater_types::{Offset, PartitionId, TopicName, TopicPartition};

use super::feed::Feed;

/// Where a partition stands between being given and being released.
#[derive(Debug)]
pub(super) enum Stage {
    /// Where its records begin is looked up; the client does not know of it yet.
    Starting,
    /// It is read. Without a feed, reading failed, and it waits for a seek.
    Reading(Option<Feed>),
    /// The client is to release it.
    Revoked,
}

/// A partition that the member holds.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) topic: TopicName,
    pub(super) stage: Stage,
    /// The next offset that is sent.
    pub(super) position: Offset,
    /// As far as the partition is known to go.
    pub(super) end: Offset,
    /// When it was given, in the order of serials: another holding of the same partition has another.
    pub(super) given: u64,
    /// Of the feed that may speak for it.
    pub(super) serial: u64,
    pub(super) is_paused: bool,
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Holdings(pub(super) BTreeMap<TopicPartition, Held>);

impl Holdings {
    /// What the member may still be reading, as far as the coordinator is concerned.
    pub(super) fn owned(&self) -> Vec<TopicPartition> {
        self.0.keys().copied().collect()
    }

    /// Takes away what an assignment does not have; what the client has to release, and whether anything is gone
    /// already because the client never knew of it.
    pub(super) fn revoke_all_but(&mut self, given: &BTreeSet<TopicPartition>) -> (Vec<v1::PartitionName>, bool) {
        let lost: Vec<_> = self.0.keys().filter(|at| !given.contains(at)).copied().collect();
        let (mut revoked, mut is_any_gone) = (Vec::new(), false);
        for at in lost {
            let Some(held) = self.0.get_mut(&at) else { continue };
            match held.stage {
                Stage::Starting => {
                    self.0.remove(&at);
                    is_any_gone = true;
                }
                Stage::Reading(_) => {
                    held.stage = Stage::Revoked;
                    // By the name that the client knows: the topic may be gone.
                    let topic = held.topic.to_string();
                    revoked.push(v1::PartitionName { topic, partition: at.partition.get() });
                }
                Stage::Revoked => {}
            }
        }
        (revoked, is_any_gone)
    }

    /// Forgets what is revoked and whose topic is gone; whether there was any.
    pub(super) fn forget_deleted(&mut self, image: &MetadataImage) -> bool {
        let before = self.0.len();
        self.0.retain(|at, held| !matches!(held.stage, Stage::Revoked) || image.topic_by_id(at.topic).is_some());
        self.0.len() < before
    }

    /// Whether the client still has to release something.
    pub(super) fn is_revoking(&self) -> bool {
        self.0.values().any(|held| matches!(held.stage, Stage::Revoked))
    }

    /// Whether the client has to release a partition of that name.
    pub(super) fn is_revoking_named(&self, topic: &TopicName, partition: PartitionId) -> bool {
        let is_it = |(at, held): (&TopicPartition, &Held)| {
            at.partition == partition && held.topic == *topic && matches!(held.stage, Stage::Revoked)
        };
        self.0.iter().any(is_it)
    }

    /// The client has released a partition; whether it was to.
    pub(super) fn release(&mut self, at: TopicPartition) -> bool {
        let is_due = self.0.get(&at).is_some_and(|held| matches!(held.stage, Stage::Revoked));
        if is_due {
            self.0.remove(&at);
        }
        is_due
    }
}
