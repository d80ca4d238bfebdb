//! The desk: what the leader of a partition knows of one queue beside the image: who has what and until when, and what is
//! known of messages that lie ahead.
//!
//! Owns: a slot for each message that is looked at and not done; the order in which slots are handed out; the agenda of
//! their deadlines; the cursor up to which the log is looked at.
//!
//! Never: attempts, journals, or what is done. These stand in the image alone.
//!
//! Invariants:
//! - A slot is in the one index that its state says: `lanes`, `keys` (waiting), `dated`, or `due`; one that is being
//!   settled is in none.
//! - Leases and rests end by a clock that never goes back; only what has a date looks at the wall clock.
//! - A desk is never taken back in parts: when a record cannot be committed, [`Outbox::fail`](super::Outbox::fail) takes
//!   it away, and [`Desk::new`] makes it anew. All leases end by that.

mod acquire;
mod breaker;
mod clock;
mod commit;
mod inspect;
mod keys;
mod lanes;
mod operate;
mod place;
mod scan;
mod settle;
mod slots;
mod step;
mod tally;
mod workers;

use std::collections::BTreeSet;

use highwater_types::{Offset, Timestamp};

use super::command::{Answer, Command, Context, Decision};
use super::config::Order;
use super::ids::{Nonce, Serial};
use super::image::Queue;
use super::ranges::RangeSet;
use crate::stream::ids::{GroupId, Moment, Ticket};
use breaker::Breaker;
use keys::Keys;
use lanes::Lanes;
use slots::Slots;
use step::Step;
use tally::Tally;
use workers::Workers;

pub use inspect::{MessageState, Stats};

/// What the leader of a partition knows of one queue beside the image.
#[derive(Debug)]
pub struct Desk {
    group: GroupId,
    nonce: Nonce,
    serial: Serial,
    /// By which keys are held at the moment; the settings may be newer by one commit.
    order: Order,
    slots: Slots,
    /// What is deliverable.
    lanes: Lanes,
    /// Which keys are taken, and what waits for them.
    keys: Keys,
    /// Ends of leases and of rests.
    due: BTreeSet<(Moment, Offset)>,
    /// When delayed messages come up.
    dated: BTreeSet<(Timestamp, Offset)>,
    /// When messages that nobody has expire.
    expiries: BTreeSet<(Timestamp, Offset)>,
    workers: Workers,
    tally: Tally,
    breaker: Breaker,
    /// Everything below it is looked at, but for what is in `revisit`.
    cursor: Offset,
    /// What was dead and is redriven: its headers are needed again.
    revisit: RangeSet,
    /// Messages without a slot, not looked at or dead, about which a record is under way.
    locked: BTreeSet<Offset>,
    /// Messages handed out since the last one that went first because it was the oldest.
    turns: u32,
}

impl Desk {
    /// A desk for a queue without leases. The image must hold everything that was committed before this leader, and no
    /// other desk of any queue may have had this nonce: 64 random bits do.
    #[must_use]
    pub fn new(group: GroupId, nonce: Nonce, queue: &Queue, context: &Context) -> Self {
        Self {
            group,
            nonce,
            serial: Serial::default(),
            order: queue.config().order,
            slots: Slots::default(),
            lanes: Lanes::default(),
            keys: Keys::default(),
            due: BTreeSet::new(),
            dated: BTreeSet::new(),
            expiries: BTreeSet::new(),
            workers: Workers::default(),
            tally: Tally::new(queue),
            breaker: Breaker::new(queue, context.now),
            cursor: queue.start(),
            revisit: RangeSet::default(),
            locked: BTreeSet::new(),
            turns: 0,
        }
    }

    /// Decides what a command leads to. The queue is the committed one. What is due by the clock is done first.
    pub fn decide(&mut self, queue: &Queue, ticket: Ticket, command: Command, context: &Context) -> Decision {
        let mut step = Step::new(&self.group, queue, context);
        self.advance(&mut step);
        match command {
            Command::Acquire { worker, max } => {
                let acquired = self.acquire(&mut step, &worker, max);
                step.answer_now(ticket, Answer::Acquire(acquired));
            }
            Command::Settle { worker, outcomes } => self.settle(&mut step, ticket, &worker, outcomes),
            Command::Reschedule { offset, deliver_at } => self.reschedule(&mut step, ticket, offset, deliver_at),
            Command::Cancel { offset } => self.cancel(&mut step, ticket, offset),
            Command::Redrive { ranges } => self.redrive(&mut step, ticket, &ranges),
            Command::DropDead { ranges } => self.drop_dead(&mut step, ticket, &ranges),
            Command::Pause { reason } => operate::pause(&mut step, ticket, reason),
            Command::Resume => operate::resume(&mut step, ticket),
            Command::Configure { config } => operate::configure(&mut step, ticket, config),
            Command::Keep { records } => operate::keep(&mut step, ticket, records),
            Command::Trim { start } => operate::trim(&mut step, ticket, start),
            Command::Delete => operate::delete(&mut step, ticket),
        }
        step.finish()
    }

    /// Does what is due: ends leases and rests, lets delayed messages come up and others expire. It does a bounded part
    /// at a time; when more is due, [`Desk::next_deadline`] is not after `now`.
    pub fn tick(&mut self, queue: &Queue, context: &Context) -> Decision {
        let mut step = Step::new(&self.group, queue, context);
        self.advance(&mut step);
        step.finish()
    }
}
