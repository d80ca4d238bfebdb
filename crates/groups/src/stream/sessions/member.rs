//! What members say between two joins: sync, heartbeat, leave. And how they are thrown out.

use bytes::Bytes;
use std::collections::BTreeMap;

use super::Sessions;
use super::live::{LiveGroup, Phase};
use super::rebalance;
use super::step::Step;
use crate::stream::command::{
    Answer, FenceError, HeartbeatError, Identity, LeaveError, Leaver, Left, MemberError, SyncError, SyncGroup,
};
use crate::stream::ids::{GroupId, MemberId, Ticket};
use crate::stream::limits;
use crate::stream::member::Assignment;
use crate::stream::record::GroupRecord;

impl Sessions {
    pub(super) fn sync(&mut self, step: &mut Step<'_>, ticket: Ticket, command: SyncGroup) {
        let id = command.group.clone();
        let refused = match self.live.get_mut(&id) {
            Some(group) => sync(group, step, ticket, command).err(),
            None => Some(unknown(&id, &command.by).into()),
        };
        if let Some(refused) = refused {
            step.answer(ticket, Answer::Sync(Err(refused)));
        }
        self.reschedule(&id);
    }

    pub(super) fn heartbeat(&mut self, step: &mut Step<'_>, ticket: Ticket, id: &GroupId, by: &Identity) {
        let result = match self.live.get_mut(id) {
            Some(group) => heartbeat(group, step, by),
            None => Err(unknown(id, by).into()),
        };
        step.answer(ticket, Answer::Heartbeat(result));
    }

    pub(super) fn leave(&mut self, step: &mut Step<'_>, ticket: Ticket, id: &GroupId, members: Vec<Leaver>) {
        if members.len() > limits::GROUP_MEMBERS_MAX {
            let refused = LeaveError::TooManyMembers { count: members.len() };
            return step.answer_now(ticket, Answer::Leave(Err(refused)));
        }
        let left = match self.live.get_mut(id) {
            Some(group) => leave(group, step, members),
            None => members.into_iter().map(|leaver| not_left(id, leaver)).collect(),
        };
        step.answer(ticket, Answer::Leave(Ok(left)));
        self.reschedule(id);
    }

    pub(super) fn fence(&mut self, step: &mut Step<'_>, ticket: Ticket, id: &GroupId, member: &MemberId) {
        let unknown = || MemberError::UnknownMember { group: id.clone(), member: Some(member.clone()), instance: None };
        let known = self.live.get_mut(id).filter(|group| group.members.contains_key(member));
        let result = known.map(|group| throw_out(group, step, vec![member.clone()])).ok_or_else(unknown);
        step.answer(ticket, Answer::Fence(result.map_err(FenceError::from)));
        self.reschedule(id);
    }
}

fn unknown(group: &GroupId, by: &Identity) -> MemberError {
    MemberError::UnknownMember { group: group.clone(), member: Some(by.member.clone()), instance: by.instance.clone() }
}

/// Members are gone for good; those who stay share anew.
pub(super) fn throw_out(group: &mut LiveGroup, step: &mut Step<'_>, members: Vec<MemberId>) {
    let taken: Vec<_> = members.iter().filter_map(|id| group.take(id, step)).collect();
    rebalance::record_loss(group, step, &taken);
    if !taken.is_empty() && matches!(group.phase, Phase::Stable | Phase::Completing) {
        rebalance::begin(group, step);
    }
    rebalance::try_finish(group, step);
}

fn sync(group: &mut LiveGroup, step: &mut Step<'_>, ticket: Ticket, command: SyncGroup) -> Result<(), SyncError> {
    let now = step.now();
    group.member_of(&command.by)?.restart_session(now);
    let is_other_type = command.protocol_type.is_some() && command.protocol_type != group.protocol_type;
    if is_other_type || (command.protocol.is_some() && command.protocol != group.protocol) {
        return Err(SyncError::InconsistentProtocol { group: group.id.clone() });
    }
    let leads = group.leader.as_ref() == Some(&command.by.member);
    match group.phase {
        Phase::Empty | Phase::Dead | Phase::Preparing(_) => return Err(group.rebalancing()),
        Phase::Completing if leads => {
            let given = check_assignments(group, command.assignments)?;
            wait(group, step, ticket, &command.by.member);
            hand_out(group, step, given);
        }
        Phase::Completing => wait(group, step, ticket, &command.by.member),
        Phase::Stable => {
            if let Some(member) = group.members.get(&command.by.member) {
                step.answer(ticket, Answer::Sync(Ok(group.synced(member))));
            }
            if let Some(member) = group.members.get_mut(&command.by.member) {
                member.has_synced = true;
            }
        }
    }
    if group.members.values().all(|member| member.has_synced) {
        group.sync_deadline = None;
    }
    Ok(())
}

fn wait(group: &mut LiveGroup, step: &mut Step<'_>, ticket: Ticket, id: &MemberId) {
    let superseded = group.rebalancing();
    if let Some(member) = group.members.get_mut(id) {
        member.has_synced = true;
        if let Some(earlier) = member.syncing.replace(ticket) {
            step.answer(earlier, Answer::Sync(Err(superseded)));
        }
    }
}

fn check_assignments(
    group: &LiveGroup,
    assignments: Vec<(MemberId, Bytes)>,
) -> Result<BTreeMap<MemberId, Bytes>, SyncError> {
    let bytes = assignments.iter().map(|(member, bytes)| member.as_str().len() + bytes.len()).sum();
    if bytes > limits::GROUP_ASSIGNMENTS_BYTES_MAX {
        return Err(SyncError::AssignmentsTooLarge { group: group.id.clone(), bytes });
    }
    let known = assignments.into_iter().filter(|(member, _)| group.members.contains_key(member));
    // Copied, since a slice would keep the whole request in memory.
    Ok(known.map(|(member, bytes)| (member, Bytes::copy_from_slice(&bytes))).collect())
}

/// The leader has assigned: all who wait learn it.
fn hand_out(group: &mut LiveGroup, step: &mut Step<'_>, given: BTreeMap<MemberId, Bytes>) {
    for (id, member) in &mut group.members {
        member.member.assignment = Assignment::Opaque(given.get(id).cloned().unwrap_or_default());
    }
    group.phase = Phase::Stable;
    step.record(GroupRecord::Assigned {
        group: group.id.clone(),
        generation: group.generation,
        assignments: given.into_iter().collect(),
    });
    let now = step.now();
    let mut told = Vec::new();
    for member in group.members.values_mut() {
        if let Some(ticket) = member.syncing.take() {
            member.restart_session(now);
            told.push((ticket, member.member.id.clone()));
        }
    }
    for (ticket, member) in told.iter().filter_map(|(ticket, id)| Some((ticket, group.members.get(id)?))) {
        step.answer(*ticket, Answer::Sync(Ok(group.synced(member))));
    }
}

fn heartbeat(group: &mut LiveGroup, step: &Step<'_>, by: &Identity) -> Result<(), HeartbeatError> {
    // A member that has not yet heard of the next generation, or cannot before it has finished its work, is alive.
    group.member_of(by)?.restart_session(step.now());
    match group.phase {
        Phase::Preparing(_) => Err(HeartbeatError::RebalanceInProgress { group: group.id.clone() }),
        _ => Ok(()),
    }
}

fn leave(group: &mut LiveGroup, step: &mut Step<'_>, members: Vec<Leaver>) -> Vec<Left> {
    let (mut gone, mut left) = (Vec::new(), Vec::new());
    for leaver in members {
        let mut result = resolve(group, &leaver);
        if result.as_ref().is_ok_and(|id| gone.contains(id)) {
            result = Err(group.unknown(leaver.member.as_ref(), leaver.instance.as_ref()));
        }
        let result = result.map(|id| gone.push(id));
        left.push(Left { member: leaver.member, instance: leaver.instance, result });
    }
    gone.retain(|id| group.reserved.remove(id).is_none());
    throw_out(group, step, gone);
    left
}

/// Whom a request names.
fn resolve(group: &LiveGroup, leaver: &Leaver) -> Result<MemberId, MemberError> {
    match (&leaver.member, &leaver.instance) {
        (Some(id), None) if group.reserved.contains_key(id) => Ok(id.clone()),
        (Some(id), instance) => group.identify(id, instance.as_ref()).map(|()| id.clone()),
        (None, Some(instance)) => {
            group.statics.get(instance).cloned().ok_or_else(|| group.unknown(None, Some(instance)))
        }
        (None, None) => Err(group.unknown(None, None)),
    }
}

fn not_left(group: &GroupId, leaver: Leaver) -> Left {
    let Leaver { member, instance } = leaver;
    let error = MemberError::UnknownMember { group: group.clone(), member: member.clone(), instance: instance.clone() };
    Left { member, instance, result: Err(error) }
}
