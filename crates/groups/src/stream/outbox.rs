//! The outbox: answers that wait until the records they rest on are committed.
//!
//! Owns: the order. Every answer of a coordinator leaves behind the answers that were decided before it, except for
//! those that rest on nothing.
//!
//! Invariant: an answer leaves only when every record that was decided before it, and with it, is committed. A refusal
//! waits as well: it may rest on a record that a crash takes away again.

use super::command::{Decision, Reply};
use super::ids::Ticket;
use super::record::GroupRecord;
use super::sessions::Sessions;
use crate::held::Held;

pub use crate::held::Position;

/// What is to be done at once with a decision.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use = "records are to be proposed, and answers to be sent"]
pub struct Outgoing {
    /// To be proposed behind everything that came earlier, if there is any; then [`Outbox::committed`] is told the
    /// position.
    pub records: Option<(Position, Vec<GroupRecord>)>,
    /// To be sent.
    pub replies: Vec<Reply>,
}

/// Answers in their order.
#[derive(Debug, Default)]
pub struct Outbox(Held<Reply>);

impl Outbox {
    /// Takes in a decision. Decisions come in the order in which they were made.
    pub fn push(&mut self, decision: Decision) -> Outgoing {
        let Decision { records, then, now: mut replies, began: _ } = decision;
        let position = self.0.push(!records.is_empty(), then, &mut replies);
        Outgoing { records: position.map(|position| (position, records)), replies }
    }

    /// The records up to this position are committed and replayed into the image: what may go now, in order.
    pub fn committed(&mut self, position: Position) -> Vec<Reply> {
        self.0.committed(position)
    }

    /// Whether records are proposed and not committed yet.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        self.0.is_busy()
    }

    /// Some records may never be committed: leadership is lost, or a proposal was refused. Takes the sessions away with
    /// it, since they know of what may not happen. To go on, wait until all that was proposed is decided, then make
    /// sessions anew from the image. Returns all who wait; they are told that the outcome is unknown or, in Kafka's
    /// words, that this is not the coordinator.
    #[must_use = "they wait for an answer"]
    pub fn fail(self, sessions: Sessions) -> Vec<Ticket> {
        let held = self.0.into_waiting().map(|reply| reply.to);
        held.chain(sessions.into_waiting()).collect()
    }
}

#[cfg(test)]
mod tests {
    use highwater_types::TopicId;

    use super::*;
    use crate::stream::command::Answer;

    fn decision(has_records: bool, then: u64, now: &[u64]) -> Decision {
        let reply = |ticket| Reply { to: Ticket::new(ticket), answer: Answer::Done };
        let record = GroupRecord::TopicDeleted { topic: TopicId::from_bytes([0; 16]) };
        Decision {
            records: Vec::from_iter(has_records.then_some(record)),
            then: vec![reply(then)],
            now: now.iter().copied().map(reply).collect(),
            began: Vec::new(),
        }
    }

    fn tickets(replies: &[Reply]) -> Vec<u64> {
        replies.iter().map(|reply| reply.to.get()).collect()
    }

    #[test]
    fn an_answer_waits_for_all_records_before_it() {
        let mut outbox = Outbox::default();
        assert_eq!(tickets(&outbox.push(decision(false, 1, &[])).replies), [1], "nothing is under way");
        let first = outbox.push(decision(true, 2, &[3]));
        assert_eq!(tickets(&first.replies), [3]);
        assert!(outbox.push(decision(false, 4, &[])).replies.is_empty(), "it may rest on the records before it");
        let second = outbox.push(decision(true, 5, &[]));
        assert_eq!(tickets(&outbox.committed(first.records.unwrap().0)), [2, 4]);
        assert!(outbox.is_busy());
        assert_eq!(tickets(&outbox.committed(second.records.unwrap().0)), [5]);
        assert!(!outbox.is_busy());
    }
}
