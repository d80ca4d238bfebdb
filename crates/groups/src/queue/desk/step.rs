//! One step: a command or a look at the clock on its way to a decision.

use highwater_types::{Offset, Timestamp};

use crate::queue::command::{Answer, Context, Decision, Reply};
use crate::queue::config::QueueConfig;
use crate::queue::entry::DropCause;
use crate::queue::image::Queue;
use crate::queue::ranges::from_sorted;
use crate::queue::record::{Change, QueueRecord};
use crate::stream::ids::{GroupId, Moment, Ticket};

/// What is committed, and what time it is.
#[derive(Clone, Copy)]
pub(super) struct View<'a> {
    pub(super) queue: &'a Queue,
    pub(super) context: &'a Context,
}

impl View<'_> {
    pub(super) fn config(&self) -> &QueueConfig {
        self.queue.config()
    }

    pub(super) fn now(&self) -> Moment {
        self.context.now
    }

    pub(super) fn wall(&self) -> Timestamp {
        self.context.wall
    }
}

pub(super) struct Step<'a> {
    pub(super) view: View<'a>,
    group: GroupId,
    decision: Decision,
    acked: Vec<Offset>,
    expired: Vec<Offset>,
}

impl<'a> Step<'a> {
    pub(super) fn new(group: &GroupId, queue: &'a Queue, context: &'a Context) -> Self {
        Self {
            view: View { queue, context },
            group: group.clone(),
            decision: Decision::default(),
            acked: Vec::new(),
            expired: Vec::new(),
        }
    }

    /// To be persisted.
    pub(super) fn record(&mut self, change: Change) {
        self.decision.records.push(QueueRecord { group: self.group.clone(), change });
    }

    /// To be persisted as done, with all others of this step in one record.
    pub(super) fn ack(&mut self, offset: Offset) {
        self.acked.push(offset);
    }

    /// To be persisted as dropped because its time to live was over, with all others of this step in one record.
    pub(super) fn drop_expired(&mut self, offset: Offset) {
        self.expired.push(offset);
    }

    /// To be told when the records are committed.
    pub(super) fn answer(&mut self, to: Ticket, answer: Answer) {
        self.decision.then.push(Reply { to, answer });
    }

    /// To be told at once, because no record that is not committed could change it.
    pub(super) fn answer_now(&mut self, to: Ticket, answer: Answer) {
        self.decision.now.push(Reply { to, answer });
    }

    pub(super) fn finish(mut self) -> Decision {
        let (mut acked, mut expired) = (std::mem::take(&mut self.acked), std::mem::take(&mut self.expired));
        if !acked.is_empty() {
            acked.sort_unstable();
            self.record(Change::Acked { ranges: from_sorted(acked) });
        }
        if !expired.is_empty() {
            expired.sort_unstable();
            self.record(Change::Dropped { cause: DropCause::Expired, ranges: from_sorted(expired) });
        }
        self.decision
    }
}
