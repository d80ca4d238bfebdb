//! Acquiring: who gets which messages.

use highwater_types::Offset;

use super::Desk;
use super::breaker::Permit;
use super::slots::{Slot, State};
use super::step::{Step, View};
use crate::queue::command::{Acquired, Context, Lease, Stall};
use crate::queue::ids::{AckToken, Serial, WorkerId};
use crate::queue::image::Queue;
use crate::queue::limits;
use crate::queue::record::PausedBy;

impl Desk {
    /// How many messages are deliverable, as far as the log is looked at.
    #[must_use]
    pub fn ready_count(&self) -> usize {
        let [ready, ..] = self.slots.counts();
        ready
    }

    /// Whether a worker would get something now: for those who wait, so that nobody is woken for nothing.
    #[must_use]
    pub fn would_give(&self, queue: &Queue, worker: &WorkerId, context: &Context) -> bool {
        let has_room = |((room, _), _): ((usize, Stall), Permit)| room > 0;
        self.ready_count() > 0 && self.room(View { queue, context }, worker).is_ok_and(has_room)
    }

    /// Hands out messages. Rests on what is committed alone, since what is not is locked: so it needs no record.
    pub(super) fn acquire(&mut self, step: &mut Step<'_>, worker: &WorkerId, max: usize) -> Acquired {
        let view = step.view;
        let max = max.min(limits::ACQUIRE_MAX);
        let (room, stall) = match self.room(view, worker) {
            Ok((room, Permit::All)) => room,
            Ok((room, Permit::Probe)) => (room.0.min(1), Stall::Paused(PausedBy::Breaker)),
            Err(stall) => return Acquired { leases: Vec::new(), stall: Some(stall) },
        };
        let is_probe = matches!(stall, Stall::Paused(_));
        let (mut offsets, mut expired) = (Vec::new(), 0);
        // What expired is passed over, a bounded number at a time; the rest is due at once.
        while offsets.len() < max.min(room) && expired < limits::TICK_EVENTS_MAX {
            let Some(offset) = self.take(view) else { break };
            if self.slots.get(offset).and_then(Slot::expires_at).is_some_and(|at| at <= view.wall()) {
                self.expire(step, offset);
                expired += 1;
            } else {
                offsets.push(offset);
            }
        }
        if let Some(offset) = offsets.first().filter(|_| is_probe) {
            self.breaker.probes(*offset);
        }
        let stall = match offsets.len() {
            got if got == max => None,
            got if got == room => Some(stall),
            _ => Some(self.why_empty(view)),
        };
        let leases = self.lease(view, worker, &offsets);
        Acquired { leases, stall }
    }

    /// How many messages may go, and what keeps it from being more.
    fn room(&self, view: View<'_>, worker: &WorkerId) -> Result<((usize, Stall), Permit), Stall> {
        let config = view.config();
        if view.queue.dead_count() >= config.dead_max {
            return Err(Stall::DeadFull);
        }
        let permit = self.breaker.permits(view.queue, view.now()).map_err(Stall::Paused)?;
        let of_group = config.in_flight_max.saturating_sub(self.slots.leased());
        let of_worker = config.worker_in_flight_max.saturating_sub(self.workers.in_flight(worker));
        let room = if of_group <= of_worker { (of_group, Stall::GroupCap) } else { (of_worker, Stall::WorkerCap) };
        Ok((room, permit))
    }

    /// Takes the message that goes next out of its lane.
    fn take(&mut self, view: View<'_>) -> Option<Offset> {
        let every = view.config().oldest_every;
        self.turns = self.turns.saturating_add(1);
        if every > 0 && self.turns >= every {
            self.turns = 0;
            self.lanes.take_oldest()
        } else {
            self.lanes.take_next()
        }
    }

    fn lease(&mut self, view: View<'_>, worker: &WorkerId, offsets: &[Offset]) -> Vec<Lease> {
        if offsets.is_empty() {
            return Vec::new();
        }
        let index = self.workers.add(worker, offsets.len());
        let (since, deadline) = (view.now(), view.now().plus_ms(view.config().lease_ms));
        let lease = |offset: &Offset| {
            let offset = *offset;
            self.serial = Serial::new(self.serial.get() + 1);
            let serial = self.serial;
            if let Some(at) = self.slots.get(offset).and_then(Slot::expires_at) {
                self.expiries.remove(&(at, offset));
            }
            self.slots.set(offset, State::Leased { serial, worker: index, since, deadline });
            self.due.insert((deadline, offset));
            let attempt = self.tally.attempts(view.queue, offset).saturating_add(1);
            Lease { offset, token: AckToken { offset, nonce: self.nonce, serial }, attempt, deadline }
        };
        offsets.iter().map(lease).collect()
    }

    /// Why nothing is deliverable.
    fn why_empty(&self, view: View<'_>) -> Stall {
        if self.wanted(view.queue, view.context).is_some() {
            Stall::Unscanned
        } else if self.is_full(view) && self.cursor < view.context.log_end {
            Stall::WindowFull
        } else {
            Stall::Empty
        }
    }
}
