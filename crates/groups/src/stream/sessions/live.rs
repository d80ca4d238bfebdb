//! A live group: its members as the leader sees them now, who of them waits, and every deadline.
//!
//! Invariants:
//! - `statics` names exactly the members that have an instance.
//! - Nobody waits in a sync unless the group is completing a rebalance, nor in a join unless it is preparing one.
//! - Without members the phase is empty or dead; with members it is not.

use std::collections::{BTreeMap, BTreeSet};

use highwater_types::TopicId;

use super::step::Step;
use crate::stream::command::{
    Answer, Context, GroupState, Identity, JoinError, Joined, JoinedMember, MemberError, SyncError, Synced,
};
use crate::stream::ids::{GenerationId, GroupId, InstanceId, MemberId, Moment, ProtocolName, ProtocolType, Ticket};
use crate::stream::image::{Group, GroupsImage};
use crate::stream::limits;
use crate::stream::member::Member;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Empty,
    Preparing(JoinRound),
    Completing,
    Stable,
    /// Deleted, and kept until the image has caught up, so that its generation is not given out twice.
    Dead,
}

/// Members are joining the next generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct JoinRound {
    /// Who has not joined by then is out.
    pub(super) deadline: Moment,
    /// Set while the first members of an empty group are waited for.
    pub(super) delay: Option<InitialDelay>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct InitialDelay {
    pub(super) until: Moment,
    /// Whether somebody else came since the delay began; then it begins again, up to the round's deadline.
    pub(super) has_new: bool,
}

#[derive(Debug)]
pub(super) struct LiveMember {
    pub(super) member: Member,
    /// Counts members in the order in which they joined.
    pub(super) place: u64,
    /// Whether a record names it, so that a record must tell that it is gone.
    pub(super) is_recorded: bool,
    pub(super) session_deadline: Moment,
    pub(super) joining: Option<Ticket>,
    pub(super) syncing: Option<Ticket>,
    /// Whether it knows what it was given in this generation.
    pub(super) has_synced: bool,
    /// When it must have given up what it was not given again.
    pub(super) give_up_deadline: Option<Moment>,
}

impl LiveMember {
    /// When it is out unless it says something; never while it waits for us, but a new one may not wait for ever.
    pub(super) fn deadline(&self) -> Option<Moment> {
        let is_waiting = self.syncing.is_some() || (self.joining.is_some() && self.is_recorded);
        let session = (!is_waiting).then_some(self.session_deadline);
        session.into_iter().chain(self.give_up_deadline).min()
    }

    /// Answers its requests, if it waits.
    pub(super) fn refuse(&mut self, step: &mut Step<'_>, error: &MemberError) {
        if let Some(ticket) = self.joining.take() {
            step.answer(ticket, Answer::Join(Err(error.clone().into())));
        }
        if let Some(ticket) = self.syncing.take() {
            step.answer(ticket, Answer::Sync(Err(error.clone().into())));
        }
    }

    /// It said something. One that is in no generation yet waits for us, and has its own time for that.
    pub(super) fn restart_session(&mut self, now: Moment) {
        if self.is_recorded {
            self.session_deadline = now.plus_ms(self.member.session_timeout_ms.into());
        }
    }
}

#[derive(Debug)]
pub(super) struct LiveGroup {
    pub(super) id: GroupId,
    pub(super) phase: Phase,
    pub(super) generation: GenerationId,
    /// The newest generation that was decided here; the image may not have it yet.
    pub(super) decided: Option<GenerationId>,
    pub(super) protocol_type: Option<ProtocolType>,
    pub(super) protocol: Option<ProtocolName>,
    pub(super) leader: Option<MemberId>,
    pub(super) members: BTreeMap<MemberId, LiveMember>,
    pub(super) statics: BTreeMap<InstanceId, MemberId>,
    /// Ids that are reserved for new members, and until when.
    pub(super) reserved: BTreeMap<MemberId, Moment>,
    /// Who does not know by then what it was given is out.
    pub(super) sync_deadline: Option<Moment>,
    /// Whether some record tells of this group.
    pub(super) is_recorded: bool,
    /// Where it stands on the agenda.
    pub(super) scheduled: Option<Moment>,
    /// When to see whether an empty group is still needed here.
    pub(super) settle_at: Moment,
    next_place: u64,
}

impl LiveGroup {
    /// A group without members, as the image has it or as it begins. Its next generation is above `floor`.
    pub(super) fn load(id: GroupId, image: &GroupsImage, floor: GenerationId) -> Self {
        let known = image.group(&id);
        Self {
            phase: Phase::Empty,
            generation: image.generation(&id).max(floor),
            decided: None,
            protocol_type: known.and_then(|group| group.protocol_type.clone()),
            protocol: None,
            leader: None,
            members: BTreeMap::new(),
            statics: BTreeMap::new(),
            reserved: BTreeMap::new(),
            sync_deadline: None,
            is_recorded: known.is_some(),
            scheduled: None,
            settle_at: Moment::default(),
            next_place: 0,
            id,
        }
    }

    /// A group with members, of which another leader knew more.
    pub(super) fn restore(id: GroupId, group: &Group, context: &Context<'_>) -> Self {
        let now = context.now;
        let mut live = Self {
            id,
            phase: Phase::Stable,
            generation: group.generation,
            decided: None,
            protocol_type: group.protocol_type.clone(),
            protocol: group.protocol.clone(),
            leader: group.leader.clone(),
            members: BTreeMap::new(),
            statics: BTreeMap::new(),
            reserved: BTreeMap::new(),
            sync_deadline: None,
            is_recorded: true,
            scheduled: None,
            settle_at: now,
            next_place: 0,
        };
        for member in &group.members {
            // Whether it knows its assignment is not recorded: who does would never ask again, so all count as knowing.
            let restored = live.add(member.clone(), now);
            (restored.is_recorded, restored.has_synced) = (true, group.is_assigned);
            restored.restart_session(now);
            let must_give_up = restored.member.owned.iter().any(|at| !restored.member.was_given(*at));
            restored.give_up_deadline = must_give_up.then(|| now.plus_ms(restored.member.rebalance_timeout_ms.into()));
        }
        let deadline = live.rebalance_deadline(now);
        let is_whole = !live.is_assigned_by_server() || live.is_whole(context);
        match (group.is_assigned, &group.leader) {
            (true, _) if is_whole => {}
            (false, Some(_)) => (live.phase, live.sync_deadline) = (Phase::Completing, Some(deadline)),
            // Without a leader and without assignments all have to join again: members went, or there was a fence.
            _ => live.phase = Phase::Preparing(JoinRound { deadline, delay: None }),
        }
        live
    }

    /// The number of the next generation.
    pub(super) fn advance(&mut self) {
        self.generation = self.generation.next();
        self.decided = Some(self.generation);
    }

    /// Whether nobody is in it, nor is about to be.
    pub(super) fn is_idle(&self) -> bool {
        matches!(self.phase, Phase::Empty | Phase::Dead) && self.reserved.is_empty()
    }

    /// Whether the image has caught up with what was decided of its members.
    pub(super) fn is_caught_up(&self, known: &Group) -> bool {
        known.members.is_empty() && self.decided.is_none_or(|decided| known.generation >= decided)
    }

    /// A new member, as yet in no generation.
    pub(super) fn add(&mut self, member: Member, now: Moment) -> &mut LiveMember {
        let (id, place) = (member.id.clone(), self.next_place);
        self.next_place += 1;
        self.statics.extend(member.instance.clone().map(|instance| (instance, id.clone())));
        self.members.entry(id).or_insert(LiveMember {
            member,
            place,
            is_recorded: false,
            session_deadline: now.plus_ms(limits::NEW_MEMBER_WAIT_MS),
            joining: None,
            syncing: None,
            has_synced: false,
            give_up_deadline: None,
        })
    }

    /// Takes a member out and answers it, if it waits.
    pub(super) fn take(&mut self, id: &MemberId, step: &mut Step<'_>) -> Option<LiveMember> {
        let mut taken = self.members.remove(id)?;
        if let Some(instance) = &taken.member.instance {
            self.statics.remove(instance);
        }
        let unknown = self.unknown(Some(id), taken.member.instance.as_ref());
        taken.refuse(step, &unknown);
        Some(taken)
    }

    /// Whether the group has a member of that id, and the instance is that member's.
    pub(super) fn identify(&self, member: &MemberId, instance: Option<&InstanceId>) -> Result<(), MemberError> {
        if let Some(instance) = instance {
            match self.statics.get(instance) {
                Some(current) if current == member => {}
                Some(_) => {
                    return Err(MemberError::FencedInstance { group: self.id.clone(), instance: instance.clone() });
                }
                None => return Err(self.unknown(Some(member), Some(instance))),
            }
        }
        match self.members.contains_key(member) {
            true => Ok(()),
            false => Err(self.unknown(Some(member), instance)),
        }
    }

    /// The member that asks, if it is who it says, in this generation.
    pub(super) fn member_of(&mut self, by: &Identity) -> Result<&mut LiveMember, MemberError> {
        self.identify(&by.member, by.instance.as_ref())?;
        let (group, current, given) = (self.id.clone(), self.generation, by.generation);
        match self.members.get_mut(&by.member) {
            Some(member) if current == given => Ok(member),
            _ => Err(MemberError::IllegalGeneration { group, current, given }),
        }
    }

    pub(super) fn unknown(&self, member: Option<&MemberId>, instance: Option<&InstanceId>) -> MemberError {
        MemberError::UnknownMember { group: self.id.clone(), member: member.cloned(), instance: instance.cloned() }
    }

    pub(super) fn has_members(&self) -> bool {
        !self.members.is_empty()
    }

    /// Whether the newest record about its members leaves it some.
    pub(super) fn has_recorded_members(&self) -> bool {
        self.members.values().any(|member| member.is_recorded)
    }

    pub(super) fn is_assigned_by_server(&self) -> bool {
        self.protocol_type.as_ref().is_some_and(ProtocolType::is_session)
    }

    /// Whether the assignments that stand depend on a topic.
    pub(super) fn is_assigned_by_server_for(&self, topic: TopicId) -> bool {
        let is_read = || self.members.values().any(|member| member.member.may_read(topic));
        self.phase == Phase::Stable && self.is_assigned_by_server() && is_read()
    }

    /// Whether the server gave out just the partitions that there are.
    fn is_whole(&self, context: &Context<'_>) -> bool {
        let members = || self.members.values().map(|held| &held.member);
        let held: BTreeSet<_> = members().flat_map(Member::may_hold).collect();
        let read: BTreeSet<_> = members().filter_map(|member| member.subscription.as_ref()).flatten().collect();
        let count = |topic: &TopicId| usize::try_from((context.partitions)(*topic)).unwrap_or(usize::MAX);
        held.len() == read.into_iter().fold(0, |sum: usize, topic| sum.saturating_add(count(topic)))
    }

    /// The slowest member sets how long all are waited for.
    pub(super) fn rebalance_deadline(&self, now: Moment) -> Moment {
        let timeouts = self.members.values().map(|member| member.member.rebalance_timeout_ms);
        now.plus_ms(timeouts.max().unwrap_or(0).into())
    }

    pub(super) fn next_deadline(&self) -> Option<Moment> {
        let of_phase = match self.phase {
            Phase::Preparing(JoinRound { deadline, delay }) => Some(delay.map_or(deadline, |delay| delay.until)),
            Phase::Empty | Phase::Dead => self.reserved.is_empty().then_some(self.settle_at),
            Phase::Completing | Phase::Stable => None,
        };
        let of_members = self.members.values().filter_map(LiveMember::deadline);
        let reserved = self.reserved.values().copied();
        of_phase.into_iter().chain(self.sync_deadline).chain(of_members).chain(reserved).min()
    }

    pub(super) fn state(&self) -> GroupState {
        match self.phase {
            Phase::Empty => GroupState::Empty,
            Phase::Preparing(_) => GroupState::PreparingRebalance,
            Phase::Completing => GroupState::CompletingRebalance,
            Phase::Stable => GroupState::Stable,
            Phase::Dead => GroupState::Dead,
        }
    }

    /// What a member is told of the generation that it is in.
    pub(super) fn joined(&self, member: &MemberId) -> Joined {
        let leads = self.leader.as_ref() == Some(member);
        Joined {
            generation: self.generation,
            protocol_type: self.protocol_type.clone(),
            protocol: self.protocol.clone(),
            leader: self.leader.clone(),
            member: member.clone(),
            skip_assignment: false,
            members: if leads { self.joined_members() } else { Vec::new() },
        }
    }

    pub(super) fn joined_members(&self) -> Vec<JoinedMember> {
        let metadata = |member: &Member| self.protocol.as_ref().map(|name| member.metadata(name)).unwrap_or_default();
        let joined = |LiveMember { member, .. }: &LiveMember| JoinedMember {
            id: member.id.clone(),
            instance: member.instance.clone(),
            metadata: metadata(member),
        };
        self.members.values().map(joined).collect()
    }

    /// What a member is told when the assignments stand.
    pub(super) fn synced(&self, member: &LiveMember) -> Synced {
        Synced {
            generation: self.generation,
            protocol_type: self.protocol_type.clone(),
            protocol: self.protocol.clone(),
            assignment: member.member.assignment.clone(),
        }
    }

    pub(super) fn rebalancing(&self) -> SyncError {
        SyncError::RebalanceInProgress { group: self.id.clone() }
    }

    pub(super) fn superseded(&self) -> JoinError {
        JoinError::Superseded { group: self.id.clone() }
    }

    pub(super) fn into_waiting(self) -> impl Iterator<Item = Ticket> {
        self.members.into_values().flat_map(|member| member.joining.into_iter().chain(member.syncing))
    }
}
