//! The clock: what becomes due by itself.

use highwater_types::{Offset, Timestamp};

use super::Desk;
use super::settle::{Failing, Held};
use super::slots::State;
use super::step::{Step, View};
use crate::queue::command::Context;
use crate::queue::config::OnExpiry;
use crate::queue::entry::DeathCause;
use crate::queue::ids::Reason;
use crate::queue::image::Queue;
use crate::queue::limits;
use crate::queue::record::Change;
use crate::stream::ids::Moment;

impl Desk {
    /// When [`Desk::tick`] is due, or a paused group may try a message; `None` when nothing is to come. A command may
    /// bring it forward. Where the wall clock counts, it is asked how long that is from now.
    #[must_use]
    pub fn next_deadline(&self, queue: &Queue, context: &Context) -> Option<Moment> {
        let view = View { queue, context };
        let dated = self.dated.first().into_iter();
        let dated = dated.chain(self.expiries.first().filter(|_| can_expire(view))).map(|(at, _)| *at).min();
        let dated = dated.map(|at| context.now.plus_ms(at.ms_since(context.wall)));
        let due = self.due.first().map(|(due, _)| *due);
        let probe = self.breaker.probe_at().filter(|at| *at > context.now);
        [dated, due, probe].into_iter().flatten().min()
    }

    /// Does what is due, a bounded part of it.
    pub(super) fn advance(&mut self, step: &mut Step<'_>) {
        let view = step.view;
        for _ in 0..limits::TICK_EVENTS_MAX {
            if let Some((_, offset)) = self.due.first().filter(|(due, _)| *due <= view.now()).copied() {
                self.fall_due(step, offset);
            } else if let Some((at, offset)) = self.dated.first().filter(|(at, _)| *at <= view.wall()).copied() {
                self.displace(offset, State::LOCKED);
                self.place(view, offset, Some(at), None);
            } else if let Some((_, offset)) = self.next_expired(view) {
                self.expire(step, offset);
            } else {
                break;
            }
        }
    }

    /// A lease or a rest ends.
    fn fall_due(&mut self, step: &mut Step<'_>, offset: Offset) {
        let Some(slot) = self.slots.get(offset).copied() else { return };
        if let State::Leased { serial, since, .. } = slot.state {
            // Whoever had it may be gone; the others should not wait for it longer than the lease.
            let held = Held { slot, serial, since };
            self.fail(step, &held, Reason::new("the lease expired"), Failing::Unheard);
        } else {
            self.displace(offset, State::LOCKED);
            self.place(step.view, offset, None, Some(step.view.now()));
        }
    }

    fn next_expired(&self, view: View<'_>) -> Option<(Timestamp, Offset)> {
        let first = self.expiries.first().filter(|(at, _)| *at <= view.wall());
        first.filter(|_| can_expire(view)).copied()
    }

    /// The time to live of a message that nobody has is over.
    pub(super) fn expire(&mut self, step: &mut Step<'_>, offset: Offset) {
        self.displace(offset, State::LOCKED);
        match step.view.config().on_expiry {
            OnExpiry::Drop => step.drop_expired(offset),
            OnExpiry::Dead => {
                let attempts = step.view.queue.entry(offset).map_or(0, |entry| entry.attempts);
                let (cause, at) = (DeathCause::Expired, step.view.wall());
                step.record(Change::Died { offset, attempts, cause, at, attempt: None });
            }
        }
    }
}

/// Whether there is room for what expires. Until there is, it stays where it is; nothing is handed out either.
fn can_expire(view: View<'_>) -> bool {
    let config = view.config();
    config.on_expiry == OnExpiry::Drop || view.queue.dead_count() < config.dead_max
}
