//! Where the records of newly given partitions begin: at the group's offset; without one, as the member wants it.
//!
//! Invariant: a member that wants only what comes from now on loses nothing of what is new. A topic that was created, or a
//! partition that was added, after the group began to read is read from its first record. To tell these, the places where
//! such a group begins with a topic are recorded at once, for all of its partitions, unless they are already.

use std::collections::{BTreeMap, BTreeSet};

use highwater_groups::stream::command::{CommitOffsets, Identity, NewOffset};
use highwater_groups::stream::{Answer, Command, CommittedOffset, GroupId};
use highwater_metadata::Topic;
use highwater_proto::v1;
use highwater_types::{ErrorCode, Offset, Timestamp, TopicId, TopicName, TopicPartition};

use crate::coordinator::CoordinatorHandle;
use crate::front::failure::Failure;
use crate::front::grpc::groups::{Groups, mismatched};

/// What must be known to find the starts.
pub(super) struct Starts {
    pub(super) groups: Groups,
    pub(super) handle: CoordinatorHandle,
    pub(super) group: GroupId,
    pub(super) by: Identity,
    pub(super) reset: v1::OffsetReset,
    /// When the member's stream was opened.
    pub(super) opened_at: Timestamp,
    /// The topics that were there then.
    pub(super) known: BTreeSet<TopicId>,
    pub(super) partitions: Vec<(TopicPartition, TopicName)>,
}

/// Where a partition starts, or why that is not known.
pub(super) type Start = (TopicPartition, Result<Offset, Failure>);

impl Starts {
    /// Finds the starts. Those that depend on what a partition holds wait for its leader.
    pub(super) async fn find(self) -> Result<Vec<Start>, Failure> {
        let mut committed = self.groups.offsets_of(&self.handle, &self.group).await?;
        if self.reset == v1::OffsetReset::Latest {
            let begun = self.beginnings(&committed).await;
            if !begun.is_empty() {
                self.begin(begun).await?;
                // What stands there now, whoever put it there: all members begin where the first of them did.
                committed = self.groups.offsets_of(&self.handle, &self.group).await?;
            }
        }
        let (mut starts, mut missing) = (Vec::new(), BTreeMap::<TopicName, BTreeSet<TopicPartition>>::new());
        for (at, topic) in &self.partitions {
            match committed.get(at) {
                Some(committed) => starts.push((*at, Ok(committed.offset))),
                None => drop(missing.entry(topic.clone()).or_default().insert(*at)),
            }
        }
        for (topic, partitions) in missing {
            match self.reset {
                v1::OffsetReset::Error => {
                    starts.extend(partitions.into_iter().map(|at| (at, Err(no_offset(&topic, at)))))
                }
                // Its leader did not say where it ends: asked again soon.
                v1::OffsetReset::Latest => {
                    starts.extend(partitions.into_iter().map(|at| (at, Err(not_now(&topic, at)))))
                }
                v1::OffsetReset::Earliest | v1::OffsetReset::Unspecified => {
                    starts.extend(self.look_up(&topic, &partitions, start()).await);
                }
            }
        }
        Ok(starts)
    }

    /// Begins with topics and no more: what is not done by this is done by whoever is given their partitions.
    pub(super) async fn begin_all(self) {
        if let Ok(committed) = self.groups.offsets_of(&self.handle, &self.group).await {
            let begun = self.beginnings(&committed).await;
            let _told_elsewhere = self.begin(begun).await;
        }
    }

    /// Where the group begins with topics of which it has not begun with every partition: with all of them, not only
    /// with this member's, so that what is missing later was added later. None of a topic that cannot be looked up.
    async fn beginnings(&self, committed: &BTreeMap<TopicPartition, CommittedOffset>) -> Vec<(TopicPartition, Offset)> {
        let image = self.groups.context.router.image();
        let lacking = self.partitions.iter().filter(|(at, _)| !committed.contains_key(at));
        let topics: BTreeMap<TopicId, &TopicName> = lacking.map(|(at, name)| (at.topic, name)).collect();
        let mut begun = Vec::new();
        for (id, name) in topics {
            let Some(topic) = image.topic_by_id(id) else { continue };
            let all = topic.numbered_partitions().map(|(partition, _)| TopicPartition { topic: id, partition });
            let missing: BTreeSet<TopicPartition> = all.filter(|at| !committed.contains_key(at)).collect();
            let is_new = self.is_new(topic, committed);
            let looked_up = self.look_up(name, &missing, if is_new { start() } else { end() }).await;
            let found: Result<Vec<_>, Failure> =
                looked_up.into_iter().map(|(at, offset)| offset.map(|offset| (at, offset))).collect();
            begun.extend(found.unwrap_or_default());
        }
        begun
    }

    /// Whether what the group has not begun with came to be after it began to read: then nothing of it may be left out.
    fn is_new(&self, topic: &Topic, committed: &BTreeMap<TopicPartition, CommittedOffset>) -> bool {
        let was_begun = committed.keys().any(|at| at.topic == topic.id);
        let was_there = self.known.contains(&topic.id);
        let is_younger = committed.values().any(|committed| committed.committed_at < topic.created_at);
        was_begun || !was_there || is_younger || topic.created_at > self.opened_at
    }

    async fn look_up(&self, topic: &TopicName, partitions: &BTreeSet<TopicPartition>, to: v1::Position) -> Vec<Start> {
        if partitions.is_empty() {
            return Vec::new();
        }
        let asked = partitions.iter().map(|at| (at.partition.get(), to)).collect();
        match self.groups.read.lookup_positions(topic.as_str(), asked, true).await {
            Ok(found) => {
                let offsets: BTreeMap<u32, i64> = found.iter().map(|found| (found.partition, found.offset)).collect();
                let start = |at: &TopicPartition| {
                    let offset = offsets.get(&at.partition.get()).copied().and_then(Offset::from_wire);
                    (*at, offset.ok_or_else(|| no_offset(topic, *at)))
                };
                partitions.iter().map(start).collect()
            }
            Err(failure) => partitions.iter().map(|at| (*at, Err(failure.clone()))).collect(),
        }
    }

    /// Tells the coordinator where reading begins. Where something is committed by then, that stays.
    async fn begin(&self, begun: Vec<(TopicPartition, Offset)>) -> Result<(), Failure> {
        let new = |offset| NewOffset { offset, leader_epoch: None, metadata: String::new() };
        let command = CommitOffsets {
            group: self.group.clone(),
            by: Some(self.by.clone()),
            retention_ms: None,
            offsets: begun.into_iter().map(|(at, offset)| (at, new(offset))).collect(),
            is_beginning: true,
        };
        match self.handle.ask(Command::CommitOffsets(command)).await? {
            // Refused while the group rebalances, or when the member is out, of which it hears elsewhere: asked again.
            Answer::Commit(_) => Ok(()),
            other => Err(mismatched(&other)),
        }
    }
}

pub(super) fn start() -> v1::Position {
    v1::Position { at: Some(v1::position::At::Start(v1::position::Start {})) }
}

pub(super) fn end() -> v1::Position {
    v1::Position { at: Some(v1::position::At::End(v1::position::End {})) }
}

fn not_now(topic: &TopicName, at: TopicPartition) -> Failure {
    let message = format!("where partition {} of topic '{topic}' begins for the group is not known yet", at.partition);
    Failure::new(ErrorCode::LeaderUnavailable, message)
}

fn no_offset(topic: &TopicName, at: TopicPartition) -> Failure {
    let message = format!(
        "the group has no offset for partition {} of topic '{topic}'; seek to where it shall begin",
        at.partition
    );
    Failure::new(ErrorCode::OffsetOutOfRange, message)
}
