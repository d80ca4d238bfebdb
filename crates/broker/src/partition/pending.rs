//! The order of answers: a pure queue of what was accepted, refused or repeated, and not yet answered.
//!
//! Owns: the rule that answers leave in the order in which their batches came. Not: where an answer goes.
//!
//! An accepted batch is answered when its entry is committed or given up. A refusal, or the "you sent that already" of
//! a repeated batch, was decided with everything in flight before it taken as done. So it waits until that is so, and
//! when some of it failed, the refusal no longer holds: the batch is answered as not stored, to be sent again.
//!
//! ```text
//!   oldest                                             newest
//!   [accepted 7][refused][accepted 8][repeat of 7][accepted 9]
//!        ▲ commit of 7 answers this and the refusal behind it
//! ```

#[cfg(test)]
mod tests;

use std::collections::VecDeque;

use highwater_types::Offset;

use super::error::AppendError;

/// What a batch is answered with.
pub(super) type Answer = Result<Placed, AppendError>;

/// Where a batch is in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Placed {
    /// The offset of its first record.
    pub(super) base_offset: Offset,
    /// Whether an earlier attempt stored it.
    pub(super) duplicate: bool,
}

/// Batches that wait for their answer; `T` is what the answer goes to.
#[derive(Debug)]
pub(super) struct Pending<T> {
    queue: VecDeque<Waiting<T>>,
    /// The number of the next batch to be accepted.
    next: u64,
    /// How many repeats wait for a batch that is itself in flight.
    repeats: usize,
}

#[derive(Debug)]
struct Waiting<T> {
    ticket: T,
    what: What,
}

#[derive(Debug)]
enum What {
    /// In flight under this number.
    Accepted(u64),
    /// The same batch as the one in flight under this number.
    Repeats(u64),
    /// Decided, and only waiting for its turn.
    Decided(Answer),
}

impl<T> Default for Pending<T> {
    fn default() -> Self {
        Self { queue: VecDeque::new(), next: 0, repeats: 0 }
    }
}

impl<T> Pending<T> {
    /// Whether no batch waits for an answer.
    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// A batch goes on its way, under the number returned.
    pub(super) fn accept(&mut self, ticket: T) -> u64 {
        let number = self.next;
        self.next += 1;
        self.queue.push_back(Waiting { ticket, what: What::Accepted(number) });
        number
    }

    /// A batch is answered without being sent on its way, when all before it are answered; perhaps at once.
    #[must_use = "the answer has to be given"]
    pub(super) fn decide(&mut self, ticket: T, answer: Answer) -> Option<(T, Answer)> {
        if self.queue.is_empty() {
            return Some((ticket, answer));
        }
        self.queue.push_back(Waiting { ticket, what: What::Decided(answer) });
        None
    }

    /// A batch repeats the one in flight under `number` and shares its fate.
    pub(super) fn repeat(&mut self, ticket: T, number: u64) {
        assert!(number < self.next, "batch {number} is not in flight");
        self.repeats += 1;
        self.queue.push_back(Waiting { ticket, what: What::Repeats(number) });
    }

    /// The oldest batch in flight is committed, its first record at `base_offset`. Gives the answers that are due.
    pub(super) fn on_committed(&mut self, base_offset: Offset, answer: impl FnMut(T, Answer)) {
        let stored = Placed { base_offset, duplicate: false };
        self.finish(Ok(stored), Ok(Placed { duplicate: true, ..stored }), answer);
    }

    /// The oldest batch in flight failed. Gives the answers that are due.
    pub(super) fn on_failed(&mut self, error: &AppendError, answer: impl FnMut(T, Answer)) {
        for waiting in &mut self.queue {
            if let What::Decided(Err(refusal)) = &mut waiting.what
                && refusal.rests_on_what_is_in_flight()
            {
                *refusal = AppendError::NotLeader { leader: None };
            }
        }
        self.finish(Err(error.clone()), Err(error.clone()), answer);
    }

    fn finish(&mut self, own: Answer, repeated: Answer, mut answer: impl FnMut(T, Answer)) {
        let Some(Waiting { ticket, what: What::Accepted(number) }) = self.queue.pop_front() else {
            // What is decided never stays in front, and a repeat lies behind what it repeats.
            unreachable!("the oldest waiting batch is always one in flight");
        };
        answer(ticket, own);
        if self.repeats > 0 {
            self.settle_repeats(number, &repeated);
        }
        while let Some(Waiting { what: What::Decided(_), .. }) = self.queue.front() {
            if let Some(Waiting { ticket, what: What::Decided(decided) }) = self.queue.pop_front() {
                answer(ticket, decided);
            }
        }
    }

    fn settle_repeats(&mut self, of: u64, answer: &Answer) {
        for waiting in &mut self.queue {
            if matches!(waiting.what, What::Repeats(number) if number == of) {
                waiting.what = What::Decided(answer.clone());
                self.repeats -= 1;
            }
        }
    }
}
