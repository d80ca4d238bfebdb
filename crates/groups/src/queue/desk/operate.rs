//! Operating: what people do to a queue and its messages.

use std::collections::BTreeSet;

use bytes::Bytes;
use highwater_types::{Offset, OffsetRange, Timestamp};

use super::Desk;
use super::slots::State;
use super::step::Step;
use crate::queue::command::{Answer, MoveError, Moved, TooLarge};
use crate::queue::config::QueueConfig;
use crate::queue::entry::{DropCause, Entry};
use crate::queue::ids::Reason;
use crate::queue::limits;
use crate::queue::ranges::from_sorted;
use crate::queue::record::{Change, Pause, PausedBy};
use crate::stream::ids::Ticket;

impl Desk {
    pub(super) fn reschedule(&mut self, step: &mut Step<'_>, ticket: Ticket, offset: Offset, deliver_at: Timestamp) {
        let needs_room = step.view.queue.entry(offset).is_none();
        match self.lock_still(step, offset, needs_room) {
            Ok(()) => {
                step.record(Change::Rescheduled { offset, deliver_at });
                step.answer(ticket, Answer::Move(Ok(())));
            }
            Err(error) => step.answer(ticket, Answer::Move(Err(error))),
        }
    }

    pub(super) fn cancel(&mut self, step: &mut Step<'_>, ticket: Ticket, offset: Offset) {
        match self.lock_still(step, offset, false) {
            Ok(()) => {
                let ranges = vec![OffsetRange::new(offset, offset.saturating_add(1))];
                step.record(Change::Dropped { cause: DropCause::Cancelled, ranges });
                step.answer(ticket, Answer::Move(Ok(())));
            }
            Err(error) => step.answer(ticket, Answer::Move(Err(error))),
        }
    }

    pub(super) fn redrive(&mut self, step: &mut Step<'_>, ticket: Ticket, ranges: &[OffsetRange]) {
        let at = step.view.wall();
        self.move_dead(step, ticket, ranges, |ranges| Change::Redriven { ranges, at });
    }

    pub(super) fn drop_dead(&mut self, step: &mut Step<'_>, ticket: Ticket, ranges: &[OffsetRange]) {
        self.move_dead(step, ticket, ranges, |ranges| Change::Dropped { cause: DropCause::Discarded, ranges });
    }

    /// Moves the dead ones of some ranges that are not being moved already: one that is redriven may be with a worker
    /// by the time that another record about it is committed.
    fn move_dead(
        &mut self,
        step: &mut Step<'_>,
        ticket: Ticket,
        ranges: &[OffsetRange],
        change: impl FnOnce(Vec<OffsetRange>) -> Change,
    ) {
        if ranges.len() > limits::REQUEST_RANGES_MAX {
            let error = TooLarge { found: ranges.len(), max: limits::REQUEST_RANGES_MAX };
            return step.answer_now(ticket, Answer::Dead(Err(error)));
        }
        let queue = step.view.queue;
        let dead = ranges.iter().flat_map(|range| queue.dead(*range)).map(|(offset, _)| offset);
        let mut still = dead.filter(|offset| !self.locked.contains(offset));
        // Ranges may overlap, so that some are found twice.
        let found: BTreeSet<_> = still.by_ref().take(limits::REQUEST_DEAD_MAX).collect();
        let has_more = still.next().is_some();
        let messages = found.len();
        if messages > 0 {
            step.record(change(from_sorted(found.iter().copied())));
        }
        self.locked.extend(found);
        step.answer(ticket, Answer::Dead(Ok(Moved { messages, has_more })));
    }

    /// Locks a message that nobody has, whether it is looked at or not.
    fn lock_still(&mut self, step: &Step<'_>, offset: Offset, needs_room: bool) -> Result<(), MoveError> {
        let queue = step.view.queue;
        if queue.is_done(offset) {
            return Err(MoveError::Done);
        }
        if queue.entry(offset).is_some_and(Entry::is_dead) {
            return Err(MoveError::Dead);
        }
        if offset >= step.view.context.log_end {
            return Err(MoveError::Ahead);
        }
        if needs_room && self.is_full(step.view) {
            return Err(MoveError::Full);
        }
        match self.slots.get(offset).map(|slot| slot.state) {
            Some(State::Leased { .. }) => Err(MoveError::Leased),
            Some(State::Settling { .. }) => Err(MoveError::Busy),
            Some(_) => {
                self.displace(offset, State::LOCKED);
                Ok(())
            }
            None if self.locked.insert(offset) => Ok(()),
            None => Err(MoveError::Busy),
        }
    }
}

pub(super) fn pause(step: &mut Step<'_>, ticket: Ticket, reason: Reason) {
    let pause = Pause { by: PausedBy::Operator, at: step.view.wall(), reason };
    step.record(Change::Paused { pause: Some(pause) });
    step.answer(ticket, Answer::Done);
}

pub(super) fn resume(step: &mut Step<'_>, ticket: Ticket) {
    step.record(Change::Paused { pause: None });
    step.answer(ticket, Answer::Done);
}

pub(super) fn configure(step: &mut Step<'_>, ticket: Ticket, config: QueueConfig) {
    let checked = config.check();
    if checked.is_err() {
        return step.answer_now(ticket, Answer::Configure(checked));
    }
    step.record(Change::Configured { config, start: step.view.queue.start() });
    step.answer(ticket, Answer::Configure(Ok(())));
}

pub(super) fn keep(step: &mut Step<'_>, ticket: Ticket, records: Vec<(Offset, Bytes)>) {
    let queue = step.view.queue;
    let mut room = limits::KEPT_BYTES_MAX.saturating_sub(queue.kept_bytes());
    for (offset, record) in records {
        let is_wanted = queue.entry(offset).is_some_and(Entry::is_dead) && queue.kept(offset).is_none();
        if is_wanted && record.len() <= room {
            room -= record.len();
            step.record(Change::Kept { offset, record });
        }
    }
    step.answer(ticket, Answer::Done);
}

pub(super) fn trim(step: &mut Step<'_>, ticket: Ticket, start: Offset) {
    if start > step.view.queue.first_in_log() {
        step.record(Change::Trimmed { start });
    }
    step.answer(ticket, Answer::Done);
}

pub(super) fn delete(step: &mut Step<'_>, ticket: Ticket) {
    step.record(Change::Deleted);
    step.answer(ticket, Answer::Done);
}
