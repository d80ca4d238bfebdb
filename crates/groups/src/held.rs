//! Answers that wait until the records they rest on are committed: what the outboxes of stream groups and queues share.
//!
//! Owns: the order. Every answer leaves behind the answers that were decided before it, except for those that rest on
//! nothing.
//!
//! Never: looks into an answer or a record.
//!
//! Invariant: an answer leaves only when every record that was decided before it, and with it, is committed. A refusal
//! waits as well: it may rest on a record that a crash takes away again.

use std::collections::VecDeque;

/// Names the records of one decision, in the order of decisions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position(u64);

/// Answers in their order.
#[derive(Debug)]
pub(crate) struct Held<Reply> {
    proposed: Position,
    committed: Position,
    waiting: VecDeque<(Position, Reply)>,
}

impl<Reply> Default for Held<Reply> {
    fn default() -> Self {
        Self { proposed: Position::default(), committed: Position::default(), waiting: VecDeque::new() }
    }
}

impl<Reply> Held<Reply> {
    /// Takes in the answers of one decision; those that need not wait join `now`. Gives the position of the decision's
    /// records, when it has some.
    pub(crate) fn push(&mut self, has_records: bool, then: Vec<Reply>, now: &mut Vec<Reply>) -> Option<Position> {
        if has_records {
            self.proposed = Position(self.proposed.0 + 1);
        }
        let position = self.proposed;
        if position <= self.committed {
            now.extend(then);
        } else {
            self.waiting.extend(then.into_iter().map(|reply| (position, reply)));
        }
        has_records.then_some(position)
    }

    /// The records up to this position are committed: what may go now, in order.
    pub(crate) fn committed(&mut self, position: Position) -> Vec<Reply> {
        self.committed = self.committed.max(position);
        let ready = self.waiting.iter().take_while(|(position, _)| *position <= self.committed).count();
        self.waiting.drain(..ready).map(|(_, reply)| reply).collect()
    }

    /// Whether records are proposed and not committed yet.
    pub(crate) fn is_busy(&self) -> bool {
        self.committed < self.proposed
    }

    /// All answers that still wait.
    pub(crate) fn into_waiting(self) -> impl Iterator<Item = Reply> {
        self.waiting.into_iter().map(|(_, reply)| reply)
    }
}
