//! Rebalances: from members that join to a generation in which each knows what it was given.
//!
//! ```text
//!   Empty ──► PreparingRebalance ──► CompletingRebalance ──► Stable        a member of the group assigns
//!                 ▲        └────────────────────────────────►  │           the server assigns
//!                 └────────────────────────────────────────────┘           somebody comes, goes, or has changed
//! ```

use std::collections::{BTreeMap, BTreeSet};

use super::live::{InitialDelay, JoinRound, LiveGroup, LiveMember, Phase};
use super::step::Step;
use crate::stream::assignor::{Assignor, Reader};
use crate::stream::command::Answer;
use crate::stream::ids::{MemberId, ProtocolName};
use crate::stream::limits;
use crate::stream::member::{Assignment, Member};
use crate::stream::record::{Generation, GroupRecord};

/// The next generation is wanted.
pub(super) fn begin(group: &mut LiveGroup, step: &mut Step<'_>) {
    let (now, delay_ms) = (step.now(), step.config.initial_rebalance_delay_ms);
    let deadline = group.rebalance_deadline(now);
    match &mut group.phase {
        Phase::Preparing(JoinRound { delay: Some(delay), .. }) => delay.has_new = true,
        Phase::Preparing(_) => {}
        Phase::Empty | Phase::Dead => {
            let until = now.plus_ms(delay_ms).min(deadline);
            let delay = (delay_ms > 0).then_some(InitialDelay { until, has_new: false });
            group.phase = Phase::Preparing(JoinRound { deadline, delay });
        }
        Phase::Stable | Phase::Completing => {
            stop_syncs(group, step);
            step.decision.began.push(group.id.clone());
            group.phase = Phase::Preparing(JoinRound { deadline, delay: None });
        }
    }
}

fn stop_syncs(group: &mut LiveGroup, step: &mut Step<'_>) {
    let (refused, now) = (group.rebalancing(), step.now());
    for member in group.members.values_mut() {
        if let Some(ticket) = member.syncing.take() {
            member.restart_session(now);
            step.answer(ticket, Answer::Sync(Err(refused.clone())));
        }
        member.give_up_deadline = None;
    }
    group.sync_deadline = None;
}

/// Ends the round if nobody is missing any more.
pub(super) fn try_finish(group: &mut LiveGroup, step: &mut Step<'_>) {
    let Phase::Preparing(JoinRound { delay, .. }) = group.phase else { return };
    let is_complete = group.reserved.is_empty() && group.members.values().all(|member| member.joining.is_some());
    if !group.has_members() || (delay.is_none() && is_complete) {
        finish(group, step);
    }
}

/// Ends the round: who has not joined is out, but for static members, which only their session puts out.
pub(super) fn finish(group: &mut LiveGroup, step: &mut Step<'_>) {
    let is_out = |member: &LiveMember| member.joining.is_none() && member.member.instance.is_none();
    let out = group.members.values().filter(|member| is_out(member)).map(|member| member.member.id.clone());
    let out: Vec<_> = out.collect::<Vec<_>>().iter().filter_map(|id| group.take(id, step)).collect();
    if group.members.values().all(|member| member.joining.is_none()) {
        record_loss(group, step, &out);
        return wait_on(group, step);
    }
    group.advance();
    group.protocol = vote(group);
    group.leader = elect(group);
    match group.is_assigned_by_server() {
        true => assign(group, step),
        false => group.members.values_mut().for_each(|member| member.member.assignment = Assignment::default()),
    }
    start(group, step);
}

/// Nobody has joined: the group is empty, or its static members are away and may come back.
fn wait_on(group: &mut LiveGroup, step: &Step<'_>) {
    let deadline = group.rebalance_deadline(step.now());
    group.settle_at = step.now().plus_ms(limits::SETTLE_MS);
    group.phase = match group.has_members() {
        true => Phase::Preparing(JoinRound { deadline, delay: None }),
        false => Phase::Empty,
    };
}

/// Records that members are gone. When no member on record is left, an empty generation says so and since when; a group
/// that came to nothing before its first generation leaves no record.
pub(super) fn record_loss(group: &mut LiveGroup, step: &mut Step<'_>, taken: &[LiveMember]) {
    let recorded: Vec<_> =
        taken.iter().filter(|taken| taken.is_recorded).map(|taken| taken.member.id.clone()).collect();
    if recorded.is_empty() {
        return;
    }
    if group.has_recorded_members() {
        return step.record(GroupRecord::MembersRemoved { group: group.id.clone(), members: recorded });
    }
    (group.protocol, group.leader, group.sync_deadline) = (None, None, None);
    group.advance();
    step.record(GroupRecord::GenerationStarted(generation(group, step, true)));
}

/// The members of a new generation are told.
fn start(group: &mut LiveGroup, step: &mut Step<'_>) {
    let now = step.now();
    let is_assigned = group.is_assigned_by_server();
    let mut joined = Vec::new();
    for (id, member) in &mut group.members {
        member.is_recorded = true;
        // One who is away does not have to ask what it was given before its session ends.
        member.has_synced = member.joining.is_none();
        if let Some(ticket) = member.joining.take() {
            member.restart_session(now);
            joined.push((ticket, id.clone()));
        }
    }
    group.is_recorded = true;
    group.phase = if is_assigned { Phase::Stable } else { Phase::Completing };
    group.sync_deadline = Some(group.rebalance_deadline(now));
    step.record(GroupRecord::GenerationStarted(generation(group, step, is_assigned)));
    for (ticket, id) in joined {
        step.answer(ticket, Answer::Join(Ok(group.joined(&id))));
    }
}

/// Ends a generation although nobody came or went: what is committed in it from now on is refused, and all have to join
/// again.
pub(super) fn fence(group: &mut LiveGroup, step: &mut Step<'_>) {
    if !group.has_recorded_members() {
        return;
    }
    begin(group, step);
    group.advance();
    group.leader = None;
    step.record(GroupRecord::GenerationStarted(generation(group, step, false)));
}

fn generation(group: &LiveGroup, step: &Step<'_>, is_assigned: bool) -> Generation {
    let mut members: Vec<_> = group.members.values().filter(|member| member.is_recorded).collect();
    members.sort_by_key(|member| member.place);
    Generation {
        group: group.id.clone(),
        generation: group.generation,
        protocol_type: group.protocol_type.clone(),
        protocol: group.protocol.clone(),
        leader: group.leader.clone(),
        is_assigned,
        started_at: step.wall(),
        members: members.into_iter().map(|member| member.member.clone()).collect(),
    }
}

/// Of what all members offer, what most of them prefer; where it is even, what the oldest member prefers.
pub(super) fn vote(group: &LiveGroup) -> Option<ProtocolName> {
    let members = || group.members.values().map(|member| &member.member);
    let oldest = group.members.values().min_by_key(|member| member.place)?;
    let is_common = |name: &ProtocolName| members().all(|member| member.offers(name));
    let names = oldest.member.protocols.iter().map(|protocol| &protocol.name);
    let common: Vec<_> = names.filter(|name| is_common(name)).collect();
    let choice = |member: &Member| {
        member.protocols.iter().find_map(|protocol| common.iter().position(|name| **name == protocol.name))
    };
    let mut votes = vec![0_usize; common.len()];
    members().filter_map(choice).for_each(|chosen| {
        if let Some(count) = votes.get_mut(chosen) {
            *count += 1;
        }
    });
    // The last of equal ones is the maximum, hence from behind.
    let (chosen, _) = votes.iter().enumerate().rev().max_by_key(|(_, count)| **count)?;
    common.get(chosen).map(|name| (*name).clone())
}

/// The leader stays if it joined again; otherwise the oldest member that did.
fn elect(group: &LiveGroup) -> Option<MemberId> {
    if group.is_assigned_by_server() {
        return None;
    }
    let stays = |leader: &&MemberId| group.members.get(*leader).is_some_and(|member| member.joining.is_some());
    let joined = group.members.values().filter(|member| member.joining.is_some());
    let oldest = || joined.min_by_key(|member| member.place).map(|member| member.member.id.clone());
    group.leader.as_ref().filter(stays).cloned().or_else(oldest)
}

/// The server gives each member its partitions.
fn assign(group: &mut LiveGroup, step: &Step<'_>) {
    let name = group.protocol.as_ref().map_or("", ProtocolName::as_str);
    let Some(assignor) = Assignor::from_name(name) else { return };
    let read: BTreeSet<_> =
        group.members.values().filter_map(|held| held.member.subscription.as_ref()).flatten().collect();
    let counts: BTreeMap<_, _> = read.into_iter().map(|topic| (*topic, (step.context.partitions)(*topic))).collect();
    let given = assignor.assign(&readers(group), &counts);
    for (held, partitions) in group.members.values_mut().zip(given) {
        if held.joining.is_none() {
            held.member.owned = held.member.may_hold();
        }
        held.member.assignment = Assignment::Partitions(partitions);
        let must_give_up = held.member.owned.iter().any(|at| !held.member.was_given(*at));
        let deadline = step.now().plus_ms(held.member.rebalance_timeout_ms.into());
        held.give_up_deadline = must_give_up.then_some(deadline);
    }
}

fn readers(group: &LiveGroup) -> Vec<Reader<'_>> {
    group.members.values().map(reader).collect()
}

fn reader(held: &LiveMember) -> Reader<'_> {
    let claims = held.member.may_hold();
    // It just said what it holds; who is away may hold all that it ever may.
    let holds = if held.joining.is_some() { held.member.owned.clone() } else { claims.clone() };
    Reader { topics: held.member.subscription.as_deref().unwrap_or_default(), claims, holds }
}
