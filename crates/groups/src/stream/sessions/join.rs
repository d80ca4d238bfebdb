//! Joining: who may be a member, under which id, and whether that starts a rebalance.

use bytes::Bytes;
use std::collections::BTreeSet;

use super::Sessions;
use super::live::{LiveGroup, Phase};
use super::rebalance;
use super::step::Step;
use crate::stream::assignor::Assignor;
use crate::stream::command::{Answer, InvalidJoin, JoinError, JoinGroup, Joined, MemberError};
use crate::stream::ids::{InstanceId, MemberId, Ticket};
use crate::stream::image::GroupsImage;
use crate::stream::limits;
use crate::stream::member::{Assignment, Member, Protocol};
use crate::stream::record::GroupRecord;

impl Sessions {
    pub(super) fn join(&mut self, image: &GroupsImage, step: &mut Step<'_>, ticket: Ticket, command: JoinGroup) {
        if let Err(refused) = check(step, &command) {
            return step.answer_now(ticket, Answer::Join(Err(refused)));
        }
        let id = command.group.clone();
        let is_known = self.live.contains_key(&id) || image.group(&id).is_some();
        if let (false, Some(member)) = (is_known, &command.member) {
            let (member, instance) = (Some(member.clone()), command.instance.clone());
            let unknown = MemberError::UnknownMember { group: id, member, instance };
            return step.answer(ticket, Answer::Join(Err(unknown.into())));
        }
        if !is_known && self.live.len().max(image.len()) >= limits::COORDINATOR_GROUPS_MAX {
            return step.answer(ticket, Answer::Join(Err(JoinError::TooManyGroups)));
        }
        let group = self.make_live(image, &id);
        if let Err(refused) = join(group, step, ticket, command) {
            step.answer(ticket, Answer::Join(Err(refused)));
        }
        self.reschedule(&id);
    }
}

/// What can be said of a request whatever the group is.
fn check(step: &Step<'_>, command: &JoinGroup) -> Result<(), JoinError> {
    let (given, min) = (command.session_timeout_ms, step.config.session_timeout_ms_min);
    let max = step.config.session_timeout_ms_max;
    if given < min || given > max {
        return Err(JoinError::InvalidSessionTimeout { given, min, max });
    }
    let invalid = |reason| Err(JoinError::Invalid { group: command.group.clone(), reason });
    if command.protocols.is_empty() {
        return invalid(InvalidJoin::NoProtocol);
    }
    if command.protocols.len() > limits::MEMBER_PROTOCOLS_MAX {
        return invalid(InvalidJoin::TooManyProtocols { count: command.protocols.len() });
    }
    if command.protocol_type.is_session() {
        if command.protocols.iter().any(|protocol| Assignor::from_name(protocol.name.as_str()).is_none()) {
            return invalid(InvalidJoin::UnknownAssignor);
        }
        if command.subscription.is_none() {
            return invalid(InvalidJoin::NoSubscription);
        }
    }
    let protocols = command.protocols.iter().map(|protocol| protocol.name.as_str().len() + protocol.metadata.len());
    let topics = command.subscription.as_ref().map_or(0, Vec::len);
    let bytes = protocols.sum::<usize>() + topics * 16 + command.owned.len() * 20;
    match bytes > limits::MEMBER_BYTES_MAX {
        true => invalid(InvalidJoin::TooLarge { bytes }),
        false => Ok(()),
    }
}

fn join(group: &mut LiveGroup, step: &mut Step<'_>, ticket: Ticket, command: JoinGroup) -> Result<(), JoinError> {
    let name = command.instance.as_ref().map_or(command.client.id.as_str(), InstanceId::as_str);
    let fresh = MemberId::fresh(name, step.context.nonce);
    match (&command.member, &command.instance) {
        (Some(id), None) if group.reserved.contains_key(id) => {
            let id = id.clone();
            enter(group, step, ticket, id, command)
        }
        (Some(id), instance) => {
            group.identify(id, instance.as_ref())?;
            let id = id.clone();
            come_again(group, step, ticket, &id, command)
        }
        (None, Some(instance)) => match group.statics.get(instance).cloned() {
            Some(old) => come_back(group, step, ticket, &old, fresh, command),
            None => enter(group, step, ticket, fresh, command),
        },
        (None, None) if command.needs_known_id => {
            check_room(group, step)?;
            check_fit(group, step, None, &member(fresh.clone(), &command), &command)?;
            group.reserved.insert(fresh.clone(), step.now().plus_ms(command.session_timeout_ms.into()));
            Err(JoinError::MemberIdRequired { group: group.id.clone(), member: fresh })
        }
        (None, None) => enter(group, step, ticket, fresh, command),
    }
}

/// A new member.
fn enter(
    group: &mut LiveGroup,
    step: &mut Step<'_>,
    ticket: Ticket,
    id: MemberId,
    command: JoinGroup,
) -> Result<(), JoinError> {
    if !group.reserved.contains_key(&id) {
        check_room(group, step)?;
    }
    let mut member = member(id.clone(), &command);
    // It holds nothing that the server gave it under this name.
    member.owned.clear();
    check_fit(group, step, None, &member, &command)?;
    group.reserved.remove(&id);
    group.protocol_type = Some(command.protocol_type);
    group.add(member, step.now()).joining = Some(ticket);
    rebalance::begin(group, step);
    rebalance::try_finish(group, step);
    Ok(())
}

/// A member that is known by its id: for the next generation, or because it lost the answer to its last request.
fn come_again(
    group: &mut LiveGroup,
    step: &mut Step<'_>,
    ticket: Ticket,
    id: &MemberId,
    command: JoinGroup,
) -> Result<(), JoinError> {
    let new = member(id.clone(), &command);
    check_fit(group, step, Some(id), &new, &command)?;
    let leads = group.leader.as_ref() == Some(id);
    let Some(held) = group.members.get(id) else { return Ok(()) };
    let has_changed = held.member.protocols != new.protocols
        || held.member.subscription != new.subscription
        || held.member.has_given_up(&new.owned);
    let wants_rebalance = match group.phase {
        Phase::Stable => has_changed || leads,
        Phase::Completing => has_changed,
        Phase::Preparing(_) | Phase::Empty | Phase::Dead => true,
    };
    if !wants_rebalance {
        let joined = group.joined(id);
        if let Some(held) = group.members.get_mut(id) {
            held.restart_session(step.now());
        }
        step.answer(ticket, Answer::Join(Ok(joined)));
        return Ok(());
    }
    wait_for_next(group, step, ticket, id, new);
    Ok(())
}

/// A static member that starts again, under a new id. Whoever still has the old one is fenced.
fn come_back(
    group: &mut LiveGroup,
    step: &mut Step<'_>,
    ticket: Ticket,
    old: &MemberId,
    fresh: MemberId,
    command: JoinGroup,
) -> Result<(), JoinError> {
    let new = member(fresh.clone(), &command);
    check_fit(group, step, Some(old), &new, &command)?;
    let Some(held) = group.members.get(old) else { return Ok(()) };
    // What it says to the assignor may differ in what it holds, so that is not compared: what it reads counts.
    let is_same = held.member.subscription == new.subscription && !held.member.has_given_up(&new.owned);
    let led = group.leader.as_ref() == Some(old);
    rename(group, step, old, new.clone());
    if group.phase == Phase::Stable && is_same && rebalance::vote(group) == group.protocol {
        let joined = joined_in_place(group, old, &fresh, led, command.can_skip_assignment);
        step.answer(ticket, Answer::Join(Ok(joined)));
        return Ok(());
    }
    wait_for_next(group, step, ticket, &fresh, new);
    Ok(())
}

/// One who led must not assign again. Who understands that is told so; to others the old id leads.
fn joined_in_place(group: &LiveGroup, old: &MemberId, new: &MemberId, led: bool, can_skip: bool) -> Joined {
    match (led, can_skip) {
        (true, true) => Joined { skip_assignment: true, ..group.joined(new) },
        (true, false) => Joined { leader: Some(old.clone()), members: Vec::new(), ..group.joined(new) },
        (false, _) => group.joined(new),
    }
}

/// Puts a static member under its new id, with what it was given.
fn rename(group: &mut LiveGroup, step: &mut Step<'_>, old: &MemberId, new: Member) {
    let Some(mut held) = group.members.remove(old) else { return };
    let instance = new.instance.clone();
    if let Some(instance) = &instance {
        let (group, instance) = (group.id.clone(), instance.clone());
        held.refuse(step, &MemberError::FencedInstance { group, instance });
    }
    let id = new.id.clone();
    held.member.id = id.clone();
    held.member.update(new);
    held.give_up_deadline = None;
    held.restart_session(step.now());
    if group.leader.as_ref() == Some(old) {
        group.leader = Some(id.clone());
    }
    if held.is_recorded {
        let (group, old, member) = (group.id.clone(), old.clone(), held.member.clone());
        step.record(GroupRecord::MemberReplaced { group, old, member });
    }
    group.statics.extend(instance.map(|instance| (instance, id.clone())));
    group.members.insert(id, held);
}

fn wait_for_next(group: &mut LiveGroup, step: &mut Step<'_>, ticket: Ticket, id: &MemberId, new: Member) {
    rebalance::begin(group, step);
    let superseded = group.superseded();
    if let Some(held) = group.members.get_mut(id) {
        held.member.update(new);
        held.give_up_deadline = None;
        if let Some(earlier) = held.joining.replace(ticket) {
            step.answer(earlier, Answer::Join(Err(superseded)));
        }
    }
    rebalance::try_finish(group, step);
}

fn check_room(group: &LiveGroup, step: &Step<'_>) -> Result<(), JoinError> {
    let max = step.config.members_max;
    match group.members.len() + group.reserved.len() < max {
        true => Ok(()),
        false => Err(JoinError::GroupFull { group: group.id.clone(), max }),
    }
}

/// Whether it has a protocol in common with the others, and whether what all bring together is not too much.
fn check_fit(
    group: &LiveGroup,
    step: &Step<'_>,
    replaces: Option<&MemberId>,
    new: &Member,
    command: &JoinGroup,
) -> Result<(), JoinError> {
    let id = || group.id.clone();
    let others = || group.members.values().map(|held| &held.member).filter(|other| Some(&other.id) != replaces);
    let is_same_type = !group.has_members() || group.protocol_type.as_ref() == Some(&command.protocol_type);
    let is_common = |protocol: &Protocol| others().all(|other| other.offers(&protocol.name));
    if !is_same_type || !new.protocols.iter().any(is_common) {
        return Err(JoinError::InconsistentProtocol { group: id() });
    }
    let bytes = others().chain([new]).map(Member::weight_bytes).sum::<usize>();
    if bytes > limits::GROUP_MEMBERS_BYTES_MAX {
        return Err(JoinError::GroupTooLarge { group: id() });
    }
    if command.protocol_type.is_session() {
        let topics: BTreeSet<_> =
            others().chain([new]).filter_map(|member| member.subscription.as_ref()).flatten().collect();
        let partitions = |topic| usize::try_from((step.context.partitions)(topic)).unwrap_or(usize::MAX);
        let count = topics.into_iter().fold(0, |sum: usize, topic| sum.saturating_add(partitions(*topic)));
        if count > limits::GROUP_PARTITIONS_MAX {
            return Err(JoinError::TooManyPartitions { group: id(), count });
        }
    }
    Ok(())
}

/// The member that a request describes. It copies what it keeps: a slice would keep the whole request in memory.
fn member(id: MemberId, command: &JoinGroup) -> Member {
    let copy = |protocol: &Protocol| Protocol {
        name: protocol.name.clone(),
        metadata: Bytes::copy_from_slice(&protocol.metadata),
    };
    let mut subscription = command.subscription.clone();
    if let Some(topics) = &mut subscription {
        topics.sort_unstable();
        topics.dedup();
    }
    let (mut owned, is_session) = (Vec::new(), command.protocol_type.is_session());
    if is_session {
        owned.clone_from(&command.owned);
        owned.sort_unstable();
        owned.dedup();
    }
    Member {
        id,
        instance: command.instance.clone(),
        client: command.client.clone(),
        session_timeout_ms: command.session_timeout_ms,
        rebalance_timeout_ms: command.rebalance_timeout_ms.max(limits::REBALANCE_TIMEOUT_MS_MIN),
        protocols: command.protocols.iter().map(copy).collect(),
        subscription,
        owned,
        assignment: if is_session { Assignment::Partitions(Vec::new()) } else { Assignment::default() },
    }
}
