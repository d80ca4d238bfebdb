//! Inspection: where a message is, what lies ahead, and how the queue is doing. Changes nothing and needs no record.

use highwater_types::{Offset, OffsetRange, Timestamp};

use super::Desk;
use super::slots::{Slot, State};
use super::step::View;
use crate::queue::command::Context;
use crate::queue::entry::{DeathCause, Entry, Standing};
use crate::queue::ids::{Priority, WorkerId};
use crate::queue::image::Queue;

/// Where a message is. Its attempts and their journal are in [`Queue::entry`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MessageState {
    /// It is acked, dropped, or gone with the start of the log.
    Done,
    /// It is dead.
    Dead {
        /// Why.
        cause: DeathCause,
        /// Since when.
        at: Timestamp,
    },
    /// Nobody has looked at it yet.
    Unseen,
    /// It is deliverable.
    Ready,
    /// Another message holds its key.
    WaitsForKey,
    /// Its date has not come.
    Delayed {
        /// When it does.
        until: Timestamp,
    },
    /// It failed, and is tried again.
    Resting {
        /// In how long, in milliseconds.
        left_ms: u64,
    },
    /// A worker has it.
    Leased {
        /// Who.
        worker: WorkerId,
        /// For how long, in milliseconds.
        held_ms: u64,
        /// For how much longer, in milliseconds.
        left_ms: u64,
    },
    /// It is just being settled or moved.
    Settling,
}

/// How a queue is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Deliverable, among what is looked at.
    pub ready: usize,
    /// Waiting for their key.
    pub blocked: usize,
    /// Waiting for their date.
    pub delayed: usize,
    /// Waiting to be tried again.
    pub resting: usize,
    /// With workers.
    pub leased: usize,
    /// Being settled.
    pub settling: usize,
    /// Dead.
    pub dead: usize,
    /// Offsets from the cursor to the end of the log.
    pub unseen: u64,
    /// Workers that have messages.
    pub workers: usize,
    /// Ranges of done messages in the window.
    pub done_ranges: usize,
    /// Acked since the group began.
    pub acked: u64,
    /// Dropped since the group began.
    pub dropped: u64,
    /// Taken by retention before they were done.
    pub trimmed: u64,
    /// Whether the window has no room.
    pub is_full: bool,
}

impl Desk {
    /// Where a message is.
    #[must_use]
    pub fn state_of(&self, queue: &Queue, offset: Offset, context: &Context) -> MessageState {
        if queue.is_done(offset) {
            return MessageState::Done;
        }
        if let Some(Entry { standing: Standing::Dead { cause, at }, .. }) = queue.entry(offset) {
            return MessageState::Dead { cause: *cause, at: *at };
        }
        self.slots.get(offset).map_or(MessageState::Unseen, |slot| self.describe(slot, context))
    }

    /// The messages that are looked at and not done, from an offset on.
    #[must_use]
    pub fn peek(&self, from: Offset, max: usize, context: &Context) -> Vec<(Offset, Priority, MessageState)> {
        let slots = self.slots.range(OffsetRange::new(from, Offset::MAX)).take(max);
        slots.map(|slot| (slot.offset, slot.priority, self.describe(slot, context))).collect()
    }

    /// How the queue is doing.
    #[must_use]
    pub fn stats(&self, queue: &Queue, context: &Context) -> Stats {
        let [ready, blocked, delayed, resting, leased, settling] = self.slots.counts();
        let (acked, dropped, trimmed) = queue.counts();
        Stats {
            ready,
            blocked,
            delayed,
            resting,
            leased,
            settling,
            dead: queue.dead_count(),
            unseen: context.log_end.records_since(self.cursor.max(queue.start())),
            workers: self.workers.len(),
            done_ranges: queue.done().len(),
            acked,
            dropped,
            trimmed,
            is_full: self.is_full(View { queue, context }),
        }
    }

    fn describe(&self, slot: &Slot, context: &Context) -> MessageState {
        let since = |earlier: u64, later: u64| later.saturating_sub(earlier);
        match slot.state {
            State::Ready => MessageState::Ready,
            State::Blocked => MessageState::WaitsForKey,
            State::Delayed { until } => MessageState::Delayed { until },
            State::Resting { until } => MessageState::Resting { left_ms: since(context.now.get(), until.get()) },
            State::Leased { worker, since: from, deadline, .. } => MessageState::Leased {
                worker: self.workers.name(worker).cloned().unwrap_or_else(WorkerId::nobody),
                held_ms: since(from.get(), context.now.get()),
                left_ms: since(context.now.get(), deadline.get()),
            },
            State::Settling { .. } => MessageState::Settling,
        }
    }
}
