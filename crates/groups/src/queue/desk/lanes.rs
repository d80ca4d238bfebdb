//! Lanes: what is deliverable, and what of it goes first.
//!
//! Owns: for each priority and tenant lane the deliverable messages by offset, and whose turn it is.
//!
//! Invariants:
//! - A higher priority goes first. Within one, tenants take turns, each with its oldest message.
//! - Asked for the oldest, it gives the oldest of all, so that no priority or tenant starves.

use std::collections::{BTreeMap, BTreeSet};

use highwater_types::Offset;

use super::slots::Slot;

#[derive(Debug, Default)]
struct Tenants {
    lanes: BTreeMap<u16, BTreeSet<Offset>>,
    /// The lane that was served last.
    served: u16,
}

impl Tenants {
    /// The lane whose turn it is.
    fn next(&self) -> Option<u16> {
        let behind = self.served.checked_add(1).and_then(|from| self.lanes.range(from..).next());
        behind.or_else(|| self.lanes.first_key_value()).map(|(lane, _)| *lane)
    }

    fn take(&mut self, lane: u16) -> Option<Offset> {
        let offsets = self.lanes.get_mut(&lane)?;
        let offset = offsets.pop_first();
        if offsets.is_empty() {
            self.lanes.remove(&lane);
        }
        offset
    }
}

#[derive(Debug, Default)]
pub(super) struct Lanes {
    by_priority: [Tenants; 10],
}

impl Lanes {
    pub(super) fn insert(&mut self, slot: &Slot) {
        if let Some(tenants) = self.by_priority.get_mut(usize::from(slot.priority.get())) {
            tenants.lanes.entry(slot.lane).or_default().insert(slot.offset);
        }
    }

    pub(super) fn remove(&mut self, slot: &Slot) {
        let Some(tenants) = self.by_priority.get_mut(usize::from(slot.priority.get())) else { return };
        let Some(offsets) = tenants.lanes.get_mut(&slot.lane) else { return };
        offsets.remove(&slot.offset);
        if offsets.is_empty() {
            tenants.lanes.remove(&slot.lane);
        }
    }

    /// Takes the message that goes next.
    pub(super) fn take_next(&mut self) -> Option<Offset> {
        let tenants = self.by_priority.iter_mut().rev().find(|tenants| !tenants.lanes.is_empty())?;
        let lane = tenants.next()?;
        tenants.served = lane;
        tenants.take(lane)
    }

    /// Takes the oldest message. It looks at each lane that has messages.
    pub(super) fn take_oldest(&mut self) -> Option<Offset> {
        let heads = self.by_priority.iter_mut().filter_map(|tenants| {
            let head = |(lane, offsets): (&u16, &BTreeSet<Offset>)| Some((*offsets.first()?, *lane));
            let (offset, lane) = tenants.lanes.iter().filter_map(head).min()?;
            Some((offset, lane, tenants))
        });
        let (_, lane, tenants) = heads.min_by_key(|(offset, _, _)| *offset)?;
        tenants.take(lane)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queue::ids::{Priority, Tenant};
    use crate::queue::message::Message;

    fn slot(offset: u64, priority: u8, tenant: u64) -> Slot {
        let plain = Message::plain(Offset::new(offset).unwrap());
        Slot::new(&Message { priority: Priority::new(priority), tenant: Tenant::new(tenant), ..plain })
    }

    #[test]
    fn tenants_take_turns_within_a_priority() {
        let mut lanes = Lanes::default();
        for (offset, priority, tenant) in [(1, 4, 0), (2, 4, 0), (3, 4, 7), (4, 9, 7), (5, 4, 1_023), (6, 0, 0)] {
            lanes.insert(&slot(offset, priority, tenant));
        }
        lanes.remove(&slot(6, 0, 0));
        let order: Vec<_> = std::iter::from_fn(|| lanes.take_next()).map(Offset::get).collect();
        assert_eq!(order, [4, 3, 5, 1, 2]);
    }

    #[test]
    fn the_oldest_is_the_oldest_of_all_lanes() {
        let mut lanes = Lanes::default();
        for (offset, priority, tenant) in [(3, 9, 0), (2, 9, 5), (1, 0, 3), (4, 0, 3)] {
            lanes.insert(&slot(offset, priority, tenant));
        }
        let order: Vec<_> = std::iter::from_fn(|| lanes.take_oldest()).map(Offset::get).collect();
        assert_eq!(order, [1, 2, 3, 4]);
    }
}
