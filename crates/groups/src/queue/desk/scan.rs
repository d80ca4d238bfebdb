//! Scanning: which part of the log is to be looked at next, and what was found there.

use std::collections::BTreeSet;

use highwater_types::{Offset, OffsetRange};

use super::Desk;
use super::slots::Slot;
use super::step::{Step, View};
use crate::queue::command::{Context, Decision};
use crate::queue::entry::{DropCause, Entry};
use crate::queue::image::Queue;
use crate::queue::limits;
use crate::queue::message::{Message, Scan};
use crate::queue::ranges::from_sorted;
use crate::queue::record::Change;

impl Desk {
    /// Which part of the log to look at next; `None` while enough is deliverable, the window is full, or the log has no
    /// more. What is done is passed over, however much it is.
    #[must_use]
    pub fn wanted(&self, queue: &Queue, context: &Context) -> Option<OffsetRange> {
        let view = View { queue, context };
        if let Some(first) = self.revisit.first() {
            let end = first.end.min(first.start.saturating_add(limits::SCAN_OFFSETS_MAX));
            return Some(OffsetRange::new(first.start, end));
        }
        let (start, room) = (self.next_unseen(queue), self.room_to_look(view));
        if room == 0 || start >= context.log_end {
            return None;
        }
        let next_done = queue.done().next_after(start).map_or(Offset::MAX, |range| range.start);
        let room = u64::try_from(room).unwrap_or(u64::MAX).min(limits::SCAN_OFFSETS_MAX);
        Some(OffsetRange::new(start, start.saturating_add(room).min(context.log_end).min(next_done)))
    }

    /// How many messages may be looked at now: up to the look-ahead once half of it is used up, and what the window has
    /// room for.
    fn room_to_look(&self, view: View<'_>) -> usize {
        let ([ready, ..], look_ahead) = (self.slots.counts(), view.config().look_ahead);
        if ready.saturating_mul(2) > look_ahead || self.is_full(view) {
            return 0;
        }
        let reserve = Self::reserve(view).saturating_sub(self.slots.len());
        let of_window = view.config().entries_max.saturating_sub(self.weight(view)).max(reserve);
        of_window.min(look_ahead - ready)
    }

    /// Takes in a part of the log. One that was not wanted any more changes nothing.
    pub fn offer(&mut self, queue: &Queue, scan: &Scan, context: &Context) -> Decision {
        let mut step = Step::new(&self.group, queue, context);
        let next = self.next_unseen(queue);
        let end = scan.range.end.min(next.saturating_add(limits::SCAN_OFFSETS_MAX)).min(context.log_end);
        let mut accepted: Vec<OffsetRange> = self.revisited(scan.range);
        for range in &accepted {
            self.revisit.remove(*range);
        }
        if scan.range.start <= next && next < end {
            accepted.push(OffsetRange::new(next, end));
            self.cursor = end;
        }
        let mut absent: BTreeSet<Offset> = BTreeSet::new();
        for range in accepted {
            let inside = scan.messages.iter().filter(|message| range.contains(message.offset));
            // What is taken for absent is dropped, so the order of the caller is not relied on.
            let mut present: Vec<_> = inside.clone().map(|message| message.offset).collect();
            present.sort_unstable();
            let mut expected = range.start;
            for offset in present {
                absent.extend(offsets(expected, offset));
                expected = offset.saturating_add(1);
            }
            absent.extend(offsets(expected, range.end));
            inside.for_each(|message| self.look_at(step.view, message));
        }
        absent.retain(|offset| !queue.is_done(*offset));
        if !absent.is_empty() {
            step.record(Change::Dropped { cause: DropCause::Absent, ranges: from_sorted(absent) });
        }
        step.finish()
    }

    fn look_at(&mut self, view: View<'_>, message: &Message) {
        let offset = message.offset;
        let is_dead = view.queue.entry(offset).is_some_and(Entry::is_dead);
        if is_dead || view.queue.is_done(offset) || self.slots.get(offset).is_some() {
            return;
        }
        let is_redriven = view.queue.entry(offset).is_some_and(|entry| entry.is_redriven);
        let expires_at = message.expires_at.filter(|_| !is_redriven);
        self.slots.insert(Slot::new(&Message { expires_at, ..*message }));
        // Where a record is under way its commit places the message.
        if !self.locked.remove(&offset) {
            self.place(view, offset, message.deliver_at, None);
        }
    }

    /// The parts of a range that were to be looked at again.
    fn revisited(&self, range: OffsetRange) -> Vec<OffsetRange> {
        let inside = self.revisit.iter().take_while(|revisit| revisit.start < range.end);
        let cut = inside.map(|revisit| OffsetRange::new(revisit.start.max(range.start), revisit.end.min(range.end)));
        cut.filter(|range| !range.is_empty()).collect()
    }

    /// The first offset that is neither looked at nor done.
    fn next_unseen(&self, queue: &Queue) -> Offset {
        let cursor = self.cursor.max(queue.start());
        queue.done().range_of(cursor).map_or(cursor, |range| range.end)
    }

    /// Whether the window has no room. A few messages always have, since without any that are acked the ranges between
    /// them could never become fewer.
    pub(super) fn is_full(&self, view: View<'_>) -> bool {
        let entries_max = view.config().entries_max;
        let least = limits::SCAN_OFFSETS_MIN.min(entries_max / 8);
        self.weight(view).saturating_add(least) >= entries_max && self.slots.len() >= Self::reserve(view)
    }

    /// What the window costs: messages that are looked at, entries of those that are not dead (these have a cap of their
    /// own), and ranges of what is done.
    fn weight(&self, view: View<'_>) -> usize {
        let queue = view.queue;
        self.slots.len() + queue.entries_count() - queue.dead_count() + queue.done().len()
    }

    fn reserve(view: View<'_>) -> usize {
        limits::SLOTS_MIN.min(view.config().entries_max / 2).max(1)
    }
}

fn offsets(start: Offset, end: Offset) -> impl Iterator<Item = Offset> {
    (start.get()..end.get()).filter_map(Offset::new)
}
