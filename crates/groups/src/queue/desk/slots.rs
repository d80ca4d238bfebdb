//! Slots: one for each message that is looked at and not done, in pages, so that neighbours share the cost of an index.
//!
//! Owns: the state of each message, and how many are in which.
//!
//! Invariant: a slot has 64 bytes. A million messages in flight or delayed are a million of these.

use std::collections::BTreeMap;

use highwater_types::{Offset, OffsetRange, Timestamp};

use crate::queue::ids::{KeyHash, Priority, Serial};
use crate::stream::ids::Moment;

/// Which number in [`Workers`](super::workers::Workers) a worker has.
pub(super) type WorkerIndex = u32;

/// Where a message stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// It is deliverable.
    Ready,
    /// Another message holds its key.
    Blocked,
    /// Its date has not come.
    Delayed { until: Timestamp },
    /// It failed, and holds its key until it is tried again.
    Resting { until: Moment },
    /// A worker has it.
    Leased { serial: Serial, worker: WorkerIndex, since: Moment, deadline: Moment },
    /// A record about it is under way. `serial` is that of the lease that ended, `rests_until` what follows.
    Settling { serial: Serial, is_ack: bool, rests_until: Moment },
}

impl State {
    /// Locked by something other than an outcome: no serial is 0.
    pub(super) const LOCKED: Self =
        Self::Settling { serial: Serial::new(0), is_ack: false, rests_until: Moment::new(0) };

    const fn kind(self) -> usize {
        match self {
            Self::Ready => 0,
            Self::Blocked => 1,
            Self::Delayed { .. } => 2,
            Self::Resting { .. } => 3,
            Self::Leased { .. } => 4,
            Self::Settling { .. } => 5,
        }
    }
}

/// How many slots there are in each state: ready, blocked, delayed, resting, leased, settling.
pub(super) type Counts = [usize; 6];

/// A message that is looked at and not done.
#[derive(Clone, Copy, Debug)]
pub(super) struct Slot {
    pub(super) offset: Offset,
    pub(super) key: Option<KeyHash>,
    /// [`Slot::NEVER`] when it does not; an `Option` would cost 8 bytes more.
    expires_at: Timestamp,
    pub(super) state: State,
    pub(super) lane: u16,
    pub(super) priority: Priority,
}

const _: () = assert!(size_of::<Slot>() == 64);

impl Slot {
    const NEVER: Timestamp = Timestamp::from_ms(i64::MAX);

    /// A message that stands nowhere yet.
    pub(super) fn new(message: &crate::queue::message::Message) -> Self {
        Self {
            offset: message.offset,
            key: message.key,
            expires_at: message.expires_at.unwrap_or(Self::NEVER),
            state: State::LOCKED,
            lane: message.tenant.lane(),
            priority: message.priority,
        }
    }

    pub(super) fn expires_at(&self) -> Option<Timestamp> {
        (self.expires_at != Self::NEVER).then_some(self.expires_at)
    }
}

const PAGE_OFFSETS: u64 = 64;

#[derive(Debug, Default)]
pub(super) struct Slots {
    pages: BTreeMap<u64, Vec<Slot>>,
    counts: Counts,
}

impl Slots {
    pub(super) fn len(&self) -> usize {
        self.counts.iter().sum()
    }

    pub(super) fn counts(&self) -> Counts {
        self.counts
    }

    pub(super) fn leased(&self) -> usize {
        let [_, _, _, _, leased, _] = self.counts;
        leased
    }

    pub(super) fn get(&self, offset: Offset) -> Option<&Slot> {
        let page = self.pages.get(&(offset.get() / PAGE_OFFSETS))?;
        page.get(page.binary_search_by_key(&offset, |slot| slot.offset).ok()?)
    }

    /// Gives a message another state. Whoever calls sees to the indexes.
    pub(super) fn set(&mut self, offset: Offset, state: State) {
        let Some(page) = self.pages.get_mut(&(offset.get() / PAGE_OFFSETS)) else { return };
        let Ok(place) = page.binary_search_by_key(&offset, |slot| slot.offset) else { return };
        let Some(slot) = page.get_mut(place) else { return };
        let was = std::mem::replace(&mut slot.state, state);
        self.count(was, false);
        self.count(state, true);
    }

    /// Adds a message, unless it is there.
    pub(super) fn insert(&mut self, slot: Slot) {
        let page = self.pages.entry(slot.offset.get() / PAGE_OFFSETS).or_default();
        if let Err(place) = page.binary_search_by_key(&slot.offset, |slot| slot.offset) {
            page.insert(place, slot);
            self.count(slot.state, true);
        }
    }

    pub(super) fn remove(&mut self, offset: Offset) -> Option<Slot> {
        let number = offset.get() / PAGE_OFFSETS;
        let page = self.pages.get_mut(&number)?;
        let slot = page.remove(page.binary_search_by_key(&offset, |slot| slot.offset).ok()?);
        if page.is_empty() {
            self.pages.remove(&number);
        } else if page.len() * 4 <= page.capacity() {
            // A message here and there must not cost a page each.
            page.shrink_to(page.len() * 2);
        }
        self.count(slot.state, false);
        Some(slot)
    }

    /// The slots in a range, by offset.
    pub(super) fn range(&self, range: OffsetRange) -> impl Iterator<Item = &Slot> {
        let (first, last) = (range.start.get() / PAGE_OFFSETS, range.end.get() / PAGE_OFFSETS);
        self.pages.range(first..=last).flat_map(move |(_, page)| {
            let start = page.partition_point(|slot| slot.offset < range.start);
            page.iter().skip(start).take_while(move |slot| slot.offset < range.end)
        })
    }

    fn count(&mut self, state: State, is_more: bool) {
        if let Some(count) = self.counts.get_mut(state.kind()) {
            *count = if is_more { *count + 1 } else { *count - 1 };
        }
    }
}
