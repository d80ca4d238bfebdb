//! Committed offsets: commit, fetch, seek, delete. Who may change them, and how many there may be.
//!
//! A commit looks at no offset that stands already, so it needs no more than the image that is committed. The caps count
//! what the image holds: what is under way may go past them once, by what is under way.

use highwater_types::{Timestamp, TopicPartition};

use super::Sessions;
use super::live::{LiveGroup, Phase};
use super::rebalance;
use super::step::Step;
use crate::planted::{Bug, is_planted};
use crate::stream::command::{
    Answer, CommitError, CommitOffsets, Committed, DeleteOffsetsError, FetchError, Identity, MemberError, NewOffset,
    OffsetError, Refused, SeekError, SeekOffsets,
};
use crate::stream::ids::{GroupId, Ticket};
use crate::stream::image::GroupsImage;
use crate::stream::limits;
use crate::stream::offsets::CommittedOffset;
use crate::stream::record::GroupRecord;

type NewOffsets = Vec<(TopicPartition, NewOffset)>;

impl Sessions {
    pub(super) fn commit(&mut self, image: &GroupsImage, step: &mut Step<'_>, ticket: Ticket, command: CommitOffsets) {
        let CommitOffsets { group, by, retention_ms, offsets, is_beginning } = command;
        if let Err(refused) = check_size(&offsets) {
            return step.answer_now(ticket, Answer::Commit(Err(refused)));
        }
        let may_commit = self.may_commit(step, &group, by.as_ref());
        if let Err(refused) = may_commit.and_then(|()| self.has_room(image, &group, &offsets)) {
            return step.answer(ticket, Answer::Commit(Err(refused)));
        }
        let (offsets, refused) = split(offsets, step.config.offset_metadata_bytes_max);
        if !offsets.is_empty() {
            self.revive(&group);
            step.record(match committed(step, group, retention_ms, offsets) {
                GroupRecord::OffsetsCommitted { group, committed_at, offsets } if is_beginning => {
                    GroupRecord::OffsetsBegun { group, committed_at, offsets }
                }
                committed => committed,
            });
        }
        step.answer(ticket, Answer::Commit(Ok(Committed { refused })));
    }

    pub(super) fn seek(&mut self, image: &GroupsImage, step: &mut Step<'_>, ticket: Ticket, command: SeekOffsets) {
        let SeekOffsets { group: id, offsets, is_forced } = command;
        if offsets.len() > limits::REQUEST_PARTITIONS_MAX {
            let refused = SeekError::TooManyPartitions { count: offsets.len() };
            return step.answer_now(ticket, Answer::Seek(Err(refused)));
        }
        let offsets: NewOffsets = offsets
            .into_iter()
            .map(|(at, offset)| (at, NewOffset { offset, leader_epoch: None, metadata: String::new() }))
            .collect();
        let has_members = self.live.get(&id).is_some_and(LiveGroup::has_members);
        let result = match self.has_room(image, &id, &offsets) {
            _ if has_members && !is_forced => Err(SeekError::NotEmpty { group: id.clone() }),
            Err(CommitError::TooManyGroups) => Err(SeekError::TooManyGroups),
            Err(_) => Err(SeekError::GroupFull { group: id.clone() }),
            Ok(()) => Ok(()),
        };
        if result.is_ok() {
            // The fence stands before the offsets: nothing of the old generation is committed behind them.
            let has_fence = has_members && !is_planted(Bug::SeekWithoutFence);
            if let Some(group) = self.live.get_mut(&id).filter(|_| has_fence) {
                rebalance::fence(group, step);
            }
            self.revive(&id);
            self.reschedule(&id);
            step.record(committed(step, id, None, offsets));
        }
        step.answer(ticket, Answer::Seek(result));
    }

    pub(super) fn delete_offsets(
        &mut self,
        image: &GroupsImage,
        step: &mut Step<'_>,
        ticket: Ticket,
        id: &GroupId,
        partitions: Vec<TopicPartition>,
    ) {
        if partitions.len() > limits::REQUEST_PARTITIONS_MAX {
            let refused = DeleteOffsetsError::TooManyPartitions { count: partitions.len() };
            return step.answer_now(ticket, Answer::DeleteOffsets(Err(refused)));
        }
        let live = self.live.get(id);
        if live.map_or(image.group(id).is_none(), |live| live.phase == Phase::Dead) {
            let refused = DeleteOffsetsError::GroupNotFound { group: id.clone() };
            return step.answer(ticket, Answer::DeleteOffsets(Err(refused)));
        }
        let is_read = |at: &TopicPartition| {
            live.is_some_and(|live| live.members.values().any(|held| held.member.may_read(at.topic)))
        };
        let (read, unread): (Vec<_>, Vec<_>) = partitions.into_iter().partition(is_read);
        if !unread.is_empty() {
            step.record(GroupRecord::OffsetsDeleted { group: id.clone(), partitions: unread });
        }
        let refused = |at: TopicPartition| Refused { at, error: OffsetError::Subscribed { topic: at.topic } };
        step.answer(ticket, Answer::DeleteOffsets(Ok(read.into_iter().map(refused).collect())));
    }

    /// A commit is also a sign of life.
    fn may_commit(&mut self, step: &Step<'_>, id: &GroupId, by: Option<&Identity>) -> Result<(), CommitError> {
        match (self.live.get_mut(id), by) {
            (Some(live), None) if live.has_members() => Err(CommitError::NotEmpty { group: id.clone() }),
            (_, None) => Ok(()),
            (Some(live), Some(by)) => {
                let forgotten = Identity { generation: live.generation, ..by.clone() };
                let by = if is_planted(Bug::CommitOfOldGeneration) { &forgotten } else { by };
                let member = live.member_of(by)?;
                member.restart_session(step.now());
                // One that is only joining read nothing in this generation, even if it guesses its number.
                let is_in_it = member.is_recorded && live.phase != Phase::Completing;
                is_in_it.then_some(()).ok_or_else(|| CommitError::RebalanceInProgress { group: id.clone() })
            }
            (None, Some(Identity { member, instance, .. })) => {
                let (group, member, instance) = (id.clone(), Some(member.clone()), instance.clone());
                Err(MemberError::UnknownMember { group, member, instance }.into())
            }
        }
    }

    fn has_room(&self, image: &GroupsImage, id: &GroupId, offsets: &NewOffsets) -> Result<(), CommitError> {
        let Some(known) = image.group(id) else {
            let is_full = !self.live.contains_key(id) && image.len() >= limits::COORDINATOR_GROUPS_MAX;
            return if is_full { Err(CommitError::TooManyGroups) } else { Ok(()) };
        };
        let texts = offsets.iter().map(|(_, new)| new.metadata.len()).sum::<usize>();
        let is_new = |at: &TopicPartition| !known.offsets.contains(*at);
        // Counting what is new costs a look at each, and is needed only close to the cap.
        let held = known.offsets.len();
        let is_full = held + offsets.len() > limits::GROUP_OFFSETS_MAX
            && held + offsets.iter().filter(|(at, _)| is_new(at)).count() > limits::GROUP_OFFSETS_MAX;
        let is_too_large = texts > 0 && known.offsets.metadata_bytes() + texts > limits::GROUP_METADATA_BYTES_MAX;
        match is_full || is_too_large {
            true => Err(CommitError::GroupFull { group: id.clone() }),
            false => Ok(()),
        }
    }

    /// A group that was deleted exists again when offsets are committed behind that.
    fn revive(&mut self, id: &GroupId) {
        if let Some(live) = self.live.get_mut(id) {
            live.is_recorded = true;
            if live.phase == Phase::Dead {
                live.phase = Phase::Empty;
            }
        }
    }
}

/// The offsets of a group as far as they are committed; those that were asked for, or all.
pub(super) fn fetch(
    image: &GroupsImage,
    id: &GroupId,
    partitions: Option<Vec<TopicPartition>>,
) -> Result<Vec<(TopicPartition, Option<CommittedOffset>)>, FetchError> {
    let offsets = image.group(id).map(|group| &group.offsets);
    let Some(partitions) = partitions else {
        let all = offsets.into_iter().flat_map(|offsets| offsets.iter());
        return Ok(all.map(|(at, committed)| (at, Some(committed))).collect());
    };
    if partitions.len() > limits::REQUEST_PARTITIONS_MAX {
        return Err(FetchError::TooManyPartitions { count: partitions.len() });
    }
    Ok(partitions.into_iter().map(|at| (at, offsets.and_then(|offsets| offsets.get(at)))).collect())
}

fn check_size(offsets: &NewOffsets) -> Result<(), CommitError> {
    if offsets.len() > limits::REQUEST_PARTITIONS_MAX {
        return Err(CommitError::TooManyPartitions { count: offsets.len() });
    }
    let bytes = offsets.iter().map(|(_, new)| new.metadata.len()).sum();
    match bytes > limits::COMMIT_METADATA_BYTES_MAX {
        true => Err(CommitError::TooLarge { bytes }),
        false => Ok(()),
    }
}

fn split(offsets: NewOffsets, max: usize) -> (NewOffsets, Vec<Refused>) {
    let (good, bad): (NewOffsets, NewOffsets) = offsets.into_iter().partition(|(_, new)| new.metadata.len() <= max);
    let refused = |(at, new): (TopicPartition, NewOffset)| Refused {
        at,
        error: OffsetError::MetadataTooLarge { bytes: new.metadata.len(), max },
    };
    (good, bad.into_iter().map(refused).collect())
}

fn committed(step: &Step<'_>, group: GroupId, retention_ms: Option<u64>, offsets: NewOffsets) -> GroupRecord {
    let committed_at = step.wall();
    let until = |ms: u64| Timestamp::from_ms(committed_at.as_ms().saturating_add_unsigned(ms));
    let expires_at = retention_ms.map(until);
    let committed = |(at, new): (TopicPartition, NewOffset)| {
        let NewOffset { offset, leader_epoch, metadata } = new;
        (at, CommittedOffset { offset, leader_epoch, metadata, committed_at, expires_at })
    };
    GroupRecord::OffsetsCommitted { group, committed_at, offsets: offsets.into_iter().map(committed).collect() }
}
