//! Committing: what the desk learns from records that the image has taken in.

use highwater_types::{Offset, OffsetRange};

use super::Desk;
use super::keys::Keys;
use super::slots::State;
use super::step::View;
use crate::queue::command::Context;
use crate::queue::config::Order;
use crate::queue::image::Queue;
use crate::queue::record::{Change, QueueRecord};

impl Desk {
    /// Records are committed and replayed into the queue: messages that were locked go on. Records of other groups are
    /// passed over.
    pub fn committed(&mut self, queue: &Queue, records: &[QueueRecord], context: &Context) {
        let view = View { queue, context };
        for record in records {
            if record.group == self.group {
                self.learn(view, &record.change);
            }
        }
    }

    fn learn(&mut self, view: View<'_>, change: &Change) {
        match change {
            Change::Acked { ranges } | Change::Dropped { ranges, .. } => {
                for range in ranges {
                    self.forget_range(view, *range);
                }
            }
            Change::Trimmed { start } => {
                // Of what is there no more the image knows nothing; what it keeps stands as it did.
                for gone in view.queue.unkept(OffsetRange::new(Offset::ZERO, *start)) {
                    self.forget_range(view, gone);
                    self.revisit.remove(gone);
                }
            }
            Change::Kept { .. } => {}
            Change::Died { offset, .. } => self.forget(view, *offset),
            Change::Failed { offset, .. } => self.go_on(view, *offset),
            Change::Rescheduled { offset, .. } => {
                self.locked.remove(offset);
                self.go_on(view, *offset);
            }
            Change::Redriven { ranges, .. } => {
                for range in ranges {
                    self.look_again(view, *range);
                }
            }
            Change::Paused { pause } => self.breaker.paused(view.queue, pause.as_ref(), view.now()),
            Change::Configured { config, .. } => {
                if config.order != self.order {
                    self.reorder(view, config.order);
                }
            }
            Change::Deleted => {}
        }
    }

    fn forget_range(&mut self, view: View<'_>, range: OffsetRange) {
        let offsets: Vec<_> = self.slots.range(range).map(|slot| slot.offset).collect();
        for offset in offsets {
            self.forget(view, offset);
        }
        self.unlock(range);
    }

    fn unlock(&mut self, range: OffsetRange) {
        while let Some(offset) = self.locked.range(range.start..range.end).next().copied() {
            self.locked.remove(&offset);
        }
    }

    /// What was locked stands where the record says.
    fn go_on(&mut self, view: View<'_>, offset: Offset) {
        if let Some(State::Settling { rests_until, .. }) = self.slots.get(offset).map(|slot| slot.state) {
            self.place(view, offset, None, Some(rests_until));
        }
    }

    /// Messages that were dead have no slots; what their headers say has to be read again.
    fn look_again(&mut self, view: View<'_>, range: OffsetRange) {
        self.unlock(range);
        for (offset, entry) in view.queue.entries(range).filter(|(offset, _)| *offset < self.cursor) {
            if !entry.is_dead() && self.slots.get(offset).is_none() {
                self.revisit.insert(OffsetRange::new(offset, offset.saturating_add(1)));
            }
        }
    }

    /// Other settings, other keys. Messages of one key that are with workers already may be several; from then on each
    /// key waits for the first of them.
    fn reorder(&mut self, view: View<'_>, order: Order) {
        let everything = OffsetRange::new(Offset::ZERO, Offset::MAX);
        let slots: Vec<_> = self.slots.range(everything).copied().collect();
        let is_moved = |state: State| matches!(state, State::Ready | State::Blocked | State::Resting { .. });
        for slot in slots.iter().filter(|slot| is_moved(slot.state)) {
            self.displace(slot.offset, State::LOCKED);
        }
        (self.keys, self.order) = (Keys::default(), order);
        for slot in slots.iter().filter(|slot| matches!(slot.state, State::Leased { .. } | State::Settling { .. })) {
            let key = self.key_of(slot);
            let _ = key.map(|key| self.keys.hold(key, slot.offset));
        }
        for slot in slots.iter().filter(|slot| is_moved(slot.state)) {
            let rests_until = match slot.state {
                State::Resting { until } => until,
                _ => view.now(),
            };
            self.place(view, slot.offset, None, Some(rests_until));
        }
    }
}
