//! The outbox of a queue: answers that wait until the records they rest on are committed. An ack is confirmed when a
//! majority has it, and not before.
//!
//! Owns: nothing but the order, which it shares with stream groups (`held`).
//!
//! Invariant: an answer leaves only when every record that was decided before it, and with it, is committed.

use super::command::{Decision, Reply};
use super::desk::Desk;
use super::record::QueueRecord;
use crate::held::Held;
use crate::stream::ids::Ticket;

pub use crate::held::Position;

/// What is to be done at once with a decision.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use = "records are to be proposed, and answers to be sent"]
pub struct Outgoing {
    /// To be proposed behind everything that came earlier, if there is any; then [`Outbox::committed`] is told the
    /// position. Several may share an entry of the log: see [`merge`](super::record::merge).
    pub records: Option<(Position, Vec<QueueRecord>)>,
    /// To be sent.
    pub replies: Vec<Reply>,
}

/// Answers in their order.
#[derive(Debug, Default)]
pub struct Outbox(Held<Reply>);

impl Outbox {
    /// Takes in a decision. Decisions come in the order in which they were made.
    pub fn push(&mut self, decision: Decision) -> Outgoing {
        let Decision { records, then, now: mut replies } = decision;
        let position = self.0.push(!records.is_empty(), then, &mut replies);
        Outgoing { records: position.map(|position| (position, records)), replies }
    }

    /// The records up to this position are committed, replayed into the image, and told to the desk: what may go now,
    /// in order.
    pub fn committed(&mut self, position: Position) -> Vec<Reply> {
        self.0.committed(position)
    }

    /// Whether records are proposed and not committed yet.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        self.0.is_busy()
    }

    /// Some records may never be committed. Takes the desk away with it, since it knows of what may not happen. To go
    /// on, wait until all that was proposed is decided, then make a desk anew from the image, with a new nonce. Returns
    /// all who wait; they are told that the outcome is unknown.
    #[must_use = "they wait for an answer"]
    pub fn fail(self, desk: Desk) -> Vec<Ticket> {
        drop(desk);
        self.0.into_waiting().map(|reply| reply.to).collect()
    }
}
