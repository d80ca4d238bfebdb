//! What time does: sessions and rounds end, empty groups settle, offsets of groups that nobody uses expire.

use highwater_types::{Timestamp, TopicPartition};

use super::Sessions;
use super::live::{InitialDelay, JoinRound, LiveGroup, LiveMember, Phase};
use super::step::Step;
use super::{member, rebalance};
use crate::stream::ids::{GroupId, Moment};
use crate::stream::image::{Group, GroupsImage};
use crate::stream::limits;
use crate::stream::record::GroupRecord;

impl Sessions {
    /// A group whose deadline is due; it was taken off the agenda.
    pub(super) fn expire_group(&mut self, image: &GroupsImage, step: &mut Step<'_>, id: &GroupId) {
        let Some(group) = self.live.get_mut(id) else { return };
        group.scheduled = None;
        expire(group, step);
        group.settle_at = step.now().plus_ms(limits::SETTLE_MS);
        match is_settled(group, image.group(id)) {
            true => self.forget(image, id),
            false => self.reschedule(id),
        }
    }

    fn forget(&mut self, image: &GroupsImage, id: &GroupId) {
        let decided = self.live.remove(id).and_then(|group| group.decided);
        if let (None, Some(decided)) = (image.group(id), decided) {
            self.floor = self.floor.max(decided);
        }
    }

    /// One part of the sweep: offsets that expired, and groups that have nothing left.
    pub(super) fn sweep(&mut self, image: &GroupsImage, step: &mut Step<'_>) {
        let mut room = limits::EXPIRY_PARTITIONS_MAX;
        let mut last = None;
        let mut groups = image.groups_after(self.swept.as_ref());
        for (id, group) in groups.by_ref().take(limits::SWEEP_GROUPS_MAX) {
            let is_unused = |live: &LiveGroup| live.is_idle() && live.is_caught_up(group);
            let is_unused = group.members.is_empty() && self.live.get(id).is_none_or(is_unused);
            if is_unused {
                room = room.saturating_sub(expire_offsets(step, id, group, room));
            }
            last = Some(id.clone());
            if room == 0 {
                break;
            }
        }
        let is_done = groups.next().is_none();
        drop(groups);
        self.swept = last.filter(|_| !is_done);
        let pause_ms = if is_done { step.config.sweep_interval_ms } else { limits::SWEEP_PAUSE_MS };
        self.sweep_at = step.now().plus_ms(pause_ms);
    }
}

fn expire(group: &mut LiveGroup, step: &mut Step<'_>) {
    let now = step.now();
    group.reserved.retain(|_, until| *until > now);
    let is_sync_over = group.sync_deadline.is_some_and(|deadline| deadline <= now);
    let is_overdue = |held: &LiveMember| {
        held.deadline().is_some_and(|deadline| deadline <= now) || (is_sync_over && !held.has_synced)
    };
    let overdue = group.members.values().filter(|held| is_overdue(held));
    let overdue = overdue.map(|held| held.member.id.clone()).collect();
    if is_sync_over {
        group.sync_deadline = None;
    }
    member::throw_out(group, step, overdue);
    end_round(group, step, now);
}

fn end_round(group: &mut LiveGroup, step: &mut Step<'_>, now: Moment) {
    let Phase::Preparing(JoinRound { deadline, delay }) = group.phase else { return };
    match delay {
        Some(InitialDelay { until, .. }) if now < until => {}
        Some(InitialDelay { has_new: true, until }) if until < deadline => {
            let until = now.plus_ms(step.config.initial_rebalance_delay_ms).min(deadline);
            let delay = Some(InitialDelay { until, has_new: false });
            group.phase = Phase::Preparing(JoinRound { deadline, delay });
        }
        None if now < deadline => {}
        _ => rebalance::finish(group, step),
    }
}

/// Whether the image says all that there is to say of a group.
fn is_settled(group: &LiveGroup, known: Option<&Group>) -> bool {
    let is_caught_up = |known| group.phase != Phase::Dead && group.is_caught_up(known);
    group.is_idle() && known.is_none_or(is_caught_up)
}

/// Returns how many offsets are gone.
fn expire_offsets(step: &mut Step<'_>, id: &GroupId, group: &Group, room: usize) -> usize {
    let expired = group.offsets.expired(step.wall(), group.empty_since(), step.config.offsets_retention_ms);
    let (partitions, times): (Vec<TopicPartition>, Vec<Timestamp>) = expired.take(room).unzip();
    let count = partitions.len();
    if let Some(committed_until) = times.into_iter().max() {
        step.record(GroupRecord::OffsetsExpired { group: id.clone(), committed_until, partitions });
    }
    if count == group.offsets.len() {
        step.record(GroupRecord::GroupExpired { group: id.clone() });
    }
    count
}
