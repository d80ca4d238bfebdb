//! The image: what the groups of one coordinator are at one moment, as far as it is committed. Every replica has it.
//!
//! Owns: groups with members, generation, assignments and committed offsets; [`GroupsImage::replay`], its only mutation;
//! and (in `snapshot`) its form as bytes.
//!
//! Never: sessions, deadlines, or who waits.
//!
//! Invariants:
//! - `replay` is total: a record about a group or a member that is gone changes nothing.
//! - A group's generation never goes back. What remains of all deleted groups is one number, above which groups that are
//!   made later begin; so a name that is used again does not give out an old generation twice.
//! - An image that was cloned never changes: groups are behind `Arc`s and are copied on the first write, so a snapshot
//!   can be written while the next records come in.

mod snapshot;

use std::collections::BTreeMap;
use std::sync::Arc;

use highwater_types::{LogIndex, Timestamp, TopicId};

use super::ids::{GenerationId, GroupId, MemberId, ProtocolName, ProtocolType};
use super::member::{Assignment, Member};
use super::offsets::OffsetTable;
use super::record::{Generation, GroupRecord};

/// One group, as far as it is committed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Group {
    /// The newest generation.
    pub generation: GenerationId,
    /// What kind of members it has or had.
    pub protocol_type: Option<ProtocolType>,
    /// What its members agreed on.
    pub protocol: Option<ProtocolName>,
    /// Who assigns.
    pub leader: Option<MemberId>,
    /// Whether the assignments of this generation stand.
    pub is_assigned: bool,
    /// When this generation started; `None` when the group never had members.
    pub started_at: Option<Timestamp>,
    /// Its members, in the order in which they joined.
    pub members: Vec<Member>,
    /// How far it has read.
    pub offsets: OffsetTable,
}

impl Group {
    /// Since when it has no members; `None` while it has some, and when it never had any.
    #[must_use]
    pub fn empty_since(&self) -> Option<Timestamp> {
        self.started_at.filter(|_| self.members.is_empty())
    }

    fn start(&mut self, started: &Generation) {
        self.generation = started.generation;
        self.protocol_type.clone_from(&started.protocol_type);
        self.protocol.clone_from(&started.protocol);
        self.leader.clone_from(&started.leader);
        self.is_assigned = started.is_assigned;
        self.started_at = Some(started.started_at);
        self.members.clone_from(&started.members);
    }

    fn assign(&mut self, assignments: &[(MemberId, bytes::Bytes)]) {
        let by_member: BTreeMap<_, _> = assignments.iter().map(|(member, bytes)| (member, bytes)).collect();
        for member in &mut self.members {
            let given = by_member.get(&member.id).map(|bytes| (*bytes).clone());
            member.assignment = Assignment::Opaque(given.unwrap_or_default());
        }
        self.is_assigned = true;
    }

    /// Those who stay have to share anew, and another leader must know of it: until then the group has no assignments.
    fn lose(&mut self, members: &[MemberId]) {
        let before = self.members.len();
        self.members.retain(|member| !members.contains(&member.id));
        if self.members.len() < before {
            (self.leader, self.is_assigned) = (None, false);
        }
    }

    fn replace(&mut self, old: &MemberId, new: &Member) {
        // Also after a second replay, when the old id is gone and the new one is there.
        if let Some(member) = self.members.iter_mut().find(|member| member.id == *old || member.id == new.id) {
            member.clone_from(new);
            if self.leader.as_ref() == Some(old) {
                self.leader = Some(new.id.clone());
            }
        }
    }
}

/// The groups of one coordinator. Cheap to clone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GroupsImage {
    revision: Option<LogIndex>,
    retired: GenerationId,
    groups: BTreeMap<GroupId, Arc<Group>>,
}

impl GroupsImage {
    /// The last entry of the log that the image holds.
    #[must_use]
    pub fn revision(&self) -> Option<LogIndex> {
        self.revision
    }

    /// One group.
    #[must_use]
    pub fn group(&self, group: &GroupId) -> Option<&Group> {
        self.groups.get(group).map(|group| &**group)
    }

    /// The groups, by id.
    pub fn groups(&self) -> impl ExactSizeIterator<Item = (&GroupId, &Group)> {
        self.groups.iter().map(|(id, group)| (id, &**group))
    }

    /// The groups after one, or all of them, by id.
    pub(crate) fn groups_after(&self, after: Option<&GroupId>) -> impl Iterator<Item = (&GroupId, &Group)> {
        use std::ops::Bound::{Excluded, Unbounded};
        let from = after.map_or(Unbounded, Excluded);
        self.groups.range::<GroupId, _>((from, Unbounded)).map(|(id, group)| (id, &**group))
    }

    /// How many groups there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.groups.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }

    /// The generation of a group, or the one above which its first would begin.
    #[must_use]
    pub fn generation(&self, group: &GroupId) -> GenerationId {
        let known = self.group(group).map(|group| group.generation);
        known.filter(|generation| *generation > GenerationId::default()).unwrap_or(self.retired)
    }

    /// Takes in one entry of the log. An entry that the image holds already changes nothing, so a snapshot may be newer
    /// than the place in the log from which replay goes on. Returns whether it was new.
    pub fn replay_entry(&mut self, index: LogIndex, records: &[GroupRecord]) -> bool {
        if self.revision.is_some_and(|revision| index <= revision) {
            return false;
        }
        records.iter().for_each(|record| self.replay(record));
        self.revision = Some(index);
        true
    }

    /// Takes in one record.
    pub fn replay(&mut self, record: &GroupRecord) {
        match record {
            GroupRecord::GenerationStarted(started) => {
                let group = self.group_or_new(&started.group);
                if group.generation <= started.generation {
                    group.start(started);
                }
            }
            GroupRecord::Assigned { group, generation, assignments } => self.change(group, |group| {
                if group.generation == *generation {
                    group.assign(assignments);
                }
            }),
            GroupRecord::MembersRemoved { group, members } => {
                self.change(group, |group| group.lose(members));
            }
            GroupRecord::MemberReplaced { group, old, member } => {
                self.change(group, |group| group.replace(old, member));
            }
            GroupRecord::OffsetsCommitted { group, offsets, .. } => {
                let group = self.group_or_new(group);
                offsets.iter().for_each(|(at, committed)| group.offsets.set(*at, committed));
            }
            GroupRecord::OffsetsBegun { group, offsets, .. } => {
                let group = self.group_or_new(group);
                for (at, begun) in offsets {
                    if !group.offsets.contains(*at) {
                        group.offsets.set(*at, begun);
                    }
                }
            }
            GroupRecord::OffsetsDeleted { group, partitions } => self.change(group, |group| {
                partitions.iter().for_each(|at| group.offsets.remove_if(*at, |_| true));
            }),
            GroupRecord::OffsetsExpired { group, committed_until, partitions } => self.change(group, |group| {
                partitions.iter().for_each(|at| group.offsets.remove_if(*at, |when| when <= *committed_until));
            }),
            GroupRecord::GroupDeleted { group } => self.remove(group),
            GroupRecord::GroupExpired { group } => {
                if self.group(group).is_some_and(|group| group.members.is_empty() && group.offsets.is_empty()) {
                    self.remove(group);
                }
            }
            GroupRecord::TopicDeleted { topic } => self.remove_topic(*topic),
        }
    }

    /// A new group has generation 0, whatever is retired: that number may have grown by another group since the first
    /// generation of this one was decided. It counts where generations are decided, not where they are replayed.
    fn group_or_new(&mut self, group: &GroupId) -> &mut Group {
        Arc::make_mut(self.groups.entry(group.clone()).or_default())
    }

    fn change(&mut self, group: &GroupId, change: impl FnOnce(&mut Group)) {
        if let Some(group) = self.groups.get_mut(group) {
            change(Arc::make_mut(group));
        }
    }

    fn remove(&mut self, group: &GroupId) {
        if let Some(removed) = self.groups.remove(group) {
            self.retired = self.retired.max(removed.generation);
        }
    }

    fn remove_topic(&mut self, topic: TopicId) {
        let holds = |group: &Group| group.offsets.topics().any(|(held, _)| held == topic);
        for group in self.groups.values_mut().filter(|group| holds(group)) {
            Arc::make_mut(group).offsets.remove_topic(topic);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn started(group: &GroupId, generation: i32) -> GroupRecord {
        GroupRecord::GenerationStarted(Generation {
            group: group.clone(),
            generation: GenerationId::new(generation),
            protocol_type: None,
            protocol: None,
            leader: None,
            is_assigned: true,
            started_at: Timestamp::default(),
            members: Vec::new(),
        })
    }

    #[test]
    fn a_deleted_group_does_not_outrun_the_generation_of_another() {
        let (old, new) = (GroupId::new("old").unwrap(), GroupId::new("new").unwrap());
        let committed = GroupRecord::OffsetsCommitted {
            group: new.clone(),
            committed_at: Timestamp::default(),
            offsets: Vec::new(),
        };
        let mut image = GroupsImage::default();
        // The third was decided before the second was committed.
        for record in [started(&old, 6), GroupRecord::GroupDeleted { group: old.clone() }, committed, started(&new, 3)]
        {
            image.replay(&record);
        }
        assert_eq!(image.generation(&new), GenerationId::new(3));
        assert_eq!(image.generation(&old), GenerationId::new(6));
        // Within one group it never goes back.
        image.replay(&started(&new, 2));
        assert_eq!(image.generation(&new), GenerationId::new(3));
    }

    #[test]
    fn where_reading_begins_does_not_undo_what_was_read() {
        let group = GroupId::new("readers").unwrap();
        let at = |partition| highwater_types::TopicPartition {
            topic: TopicId::from_bytes([1; 16]),
            partition: highwater_types::PartitionId::new(partition),
        };
        let committed = |offset| super::super::offsets::CommittedOffset {
            offset: highwater_types::Offset::new(offset).unwrap(),
            leader_epoch: None,
            metadata: String::new(),
            committed_at: Timestamp::default(),
            expires_at: None,
        };
        let (committed_at, group_of) = (Timestamp::default(), || group.clone());
        let records = [
            GroupRecord::OffsetsCommitted { group: group_of(), committed_at, offsets: vec![(at(0), committed(7))] },
            // Decided before the one above was committed.
            GroupRecord::OffsetsBegun {
                group: group_of(),
                committed_at,
                offsets: vec![(at(0), committed(3)), (at(1), committed(4))],
            },
        ];
        let mut image = GroupsImage::default();
        let again = super::super::record::decode(&super::super::record::encode(&records)).unwrap();
        assert_eq!(again, records);
        again.iter().chain(&records).for_each(|record| image.replay(record));
        let offset = |partition| image.group(&group).unwrap().offsets.get(at(partition)).unwrap().offset.get();
        assert_eq!((offset(0), offset(1)), (7, 4));
    }
}
