//! Placing: which index a message stands in, and how it leaves it. The only code that touches both slots and indexes.

use highwater_types::{Offset, Timestamp};

use super::Desk;
use super::slots::{Slot, State};
use super::step::View;
use crate::queue::config::Order;
use crate::queue::entry::{Entry, Standing};
use crate::queue::ids::KeyHash;
use crate::stream::ids::Moment;

impl Desk {
    /// What a message holds while it is with a worker, as the order says.
    pub(super) fn key_of(&self, slot: &Slot) -> Option<KeyHash> {
        match self.order {
            Order::None => None,
            Order::Key => slot.key,
            Order::Partition => Some(KeyHash::PARTITION),
        }
    }

    /// Puts a message that is in no index where it belongs. `deliver_at` is what its headers say; what the image says of
    /// it goes before. `rests_until` is the end of its rest, where this leader decided it.
    pub(super) fn place(
        &mut self,
        view: View<'_>,
        offset: Offset,
        deliver_at: Option<Timestamp>,
        rests_until: Option<Moment>,
    ) {
        let Some(slot) = self.slots.get(offset).copied() else { return };
        let entry = view.queue.entry(offset);
        let (deliver_at, rests_until) = match entry.map(|entry| entry.standing) {
            Some(Standing::Scheduled { deliver_at }) => (Some(deliver_at), None),
            // Another leader decided the rest, and had another clock: it is no longer than was meant.
            Some(Standing::Retry { at }) => {
                let left_ms = at.ms_since(view.wall()).min(entry.map_or(0, Entry::rest_ms));
                (None, rests_until.or(Some(view.now().plus_ms(left_ms))))
            }
            Some(Standing::Dead { .. }) => return,
            None => (deliver_at, None),
        };
        self.expiries.extend(slot.expires_at().map(|at| (at, offset)));
        if let Some(until) = deliver_at.filter(|at| *at > view.wall()) {
            self.slots.set(offset, State::Delayed { until });
            self.dated.insert((until, offset));
            self.free_key(view, &slot);
            return;
        }
        if let Some(key) = self.key_of(&slot).filter(|key| !self.keys.hold(*key, offset)) {
            self.slots.set(offset, State::Blocked);
            self.keys.wait(key, offset);
        } else if let Some(until) = rests_until.filter(|until| *until > view.now()) {
            self.slots.set(offset, State::Resting { until });
            self.due.insert((until, offset));
        } else {
            self.slots.set(offset, State::Ready);
            self.lanes.insert(&slot);
        }
    }

    /// Takes a message out of its index. Its key stays with it.
    pub(super) fn displace(&mut self, offset: Offset, state: State) {
        let Some(slot) = self.slots.get(offset).copied() else { return };
        match slot.state {
            State::Ready => self.lanes.remove(&slot),
            State::Blocked => {
                if let Some(key) = self.key_of(&slot) {
                    self.keys.stop_waiting(key, offset);
                }
            }
            State::Delayed { until } => drop(self.dated.remove(&(until, offset))),
            State::Resting { until } => drop(self.due.remove(&(until, offset))),
            State::Leased { worker, deadline, .. } => {
                self.due.remove(&(deadline, offset));
                self.workers.release(worker, 1);
            }
            State::Settling { .. } => {}
        }
        if let Some(at) = slot.expires_at() {
            self.expiries.remove(&(at, offset));
        }
        self.slots.set(offset, state);
    }

    /// Forgets a message that is done, dead or gone.
    pub(super) fn forget(&mut self, view: View<'_>, offset: Offset) {
        self.displace(offset, State::LOCKED);
        if let Some(slot) = self.slots.remove(offset) {
            self.breaker.released(offset, view.now());
            self.free_key(view, &slot);
        }
    }

    /// What waits for the key of a message goes on.
    pub(super) fn free_key(&mut self, view: View<'_>, slot: &Slot) {
        let Some(key) = self.key_of(slot) else { return };
        if !self.keys.free(key, slot.offset) {
            return;
        }
        // The first may have another date by now and not take the key; then the next does.
        while let Some(next) = self.keys.next(key).filter(|_| !self.keys.is_held(key)) {
            self.displace(next, State::LOCKED);
            self.place(view, next, None, None);
        }
    }
}
