//! One group while somebody asks for it in this term: its desk, the answers that wait, and the workers that wait for something
//! to get.

use std::collections::{BTreeMap, VecDeque};

use highwater_groups::queue::outbox::{Outgoing, Position};
use highwater_groups::queue::{Answer, Context, Decision, Desk, Outbox, Queue, QueueRecord, Reply, Ticket, WorkerId};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::error::QueueError;

pub(super) type Sender = oneshot::Sender<Result<Answer, QueueError>>;

pub(super) struct Served {
    pub(super) desk: Desk,
    outbox: Outbox,
    /// In order, so that those who are told of the end are told in the order in which they asked.
    waiting: BTreeMap<Ticket, Sender>,
    workers: VecDeque<Waiter>,
    /// Whether a part of the log is being read for it.
    pub(super) is_scanning: bool,
    /// Not read before this, because it could not be read.
    pub(super) scans_after: Option<Instant>,
}

/// Who wants to hear of something to get.
struct Waiter {
    worker: WorkerId,
    wake: oneshot::Sender<()>,
}

impl Served {
    pub(super) fn new(desk: Desk) -> Self {
        Self {
            desk,
            outbox: Outbox::default(),
            waiting: BTreeMap::new(),
            workers: VecDeque::new(),
            is_scanning: false,
            scans_after: None,
        }
    }

    /// Somebody waits for the answer to this ticket.
    pub(super) fn admit(&mut self, ticket: Ticket, sender: Sender) {
        self.waiting.insert(ticket, sender);
    }

    /// Takes in a decision; its records are to be proposed.
    pub(super) fn take_in(&mut self, decision: Decision) -> Option<(Position, Vec<QueueRecord>)> {
        let Outgoing { records, replies } = self.outbox.push(decision);
        self.send(replies);
        records
    }

    /// Records, among them those up to a position of this group, are committed and replayed into the queue.
    pub(super) fn committed(&mut self, queue: &Queue, records: &[QueueRecord], context: &Context) {
        self.desk.committed(queue, records, context);
    }

    /// Who waited for a position hears.
    pub(super) fn release(&mut self, position: Position) {
        let replies = self.outbox.committed(position);
        self.send(replies);
    }

    fn send(&mut self, replies: Vec<Reply>) {
        for Reply { to, answer } in replies {
            if let Some(sender) = self.waiting.remove(&to) {
                // Whoever asked may have gone; what was decided stays.
                let _gone = sender.send(Ok(answer));
            }
        }
    }

    pub(super) fn wait(&mut self, worker: WorkerId, wake: oneshot::Sender<()>) {
        if self.workers.len() == self.workers.capacity() {
            self.workers.retain(|waiter| !waiter.wake.is_closed());
        }
        self.workers.push_back(Waiter { worker, wake });
    }

    /// Wakes as many workers as there are messages, who waited longest first.
    pub(super) fn wake(&mut self, queue: &Queue, context: &Context) {
        let mut left = self.desk.ready_count();
        if left == 0 || self.workers.is_empty() {
            return;
        }
        let mut passed_over = VecDeque::new();
        while let Some(waiter) = self.workers.pop_front() {
            if waiter.wake.is_closed() {
                continue;
            }
            if left > 0 && self.desk.would_give(queue, &waiter.worker, context) {
                left -= 1;
                let _gone = waiter.wake.send(());
            } else {
                passed_over.push_back(waiter);
                if left == 0 {
                    break;
                }
            }
        }
        passed_over.append(&mut self.workers);
        self.workers = passed_over;
    }

    /// The group is no more.
    pub(super) fn deleted(self, error: &QueueError) {
        for sender in self.waiting.into_values() {
            let _gone = sender.send(Err(error.clone()));
        }
    }

    /// The term is over: everybody who waits is told that nobody knows what comes of it.
    pub(super) fn end(self) {
        let _waiting = self.outbox.fail(self.desk);
        for sender in self.waiting.into_values() {
            let _gone = sender.send(Err(QueueError::OutcomeUnknown));
        }
    }
}
