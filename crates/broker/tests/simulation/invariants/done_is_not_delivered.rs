//! A26: what was confirmed to be acked, or called off, is given to nobody who asks after that.

use std::collections::BTreeMap;

use highwater_groups::queue::{AckToken, Answer, Outcome, Settled};

use super::Invariant;
use crate::history::{Event, Operation, Queue, QueueEvent, Said};

#[derive(Default)]
pub struct DoneIsNotDelivered {
    /// Since when it is known that a message is done.
    done: BTreeMap<(Queue, u64), u64>,
    settles: BTreeMap<u64, (Queue, Vec<(AckToken, bool)>)>,
    cancels: BTreeMap<u64, (Queue, u64)>,
}

impl Invariant for DoneIsNotDelivered {
    fn name(&self) -> &'static str {
        "done_is_not_delivered"
    }

    fn see(&mut self, event: &Event, now: u64) -> Result<(), String> {
        let Event::Queue(event) = event else { return Ok(()) };
        match event {
            QueueEvent::SettleBegan { number, queue, outcomes, .. } => {
                let outcomes = outcomes.iter().map(|(token, outcome)| (*token, *outcome == Outcome::Ack)).collect();
                self.settles.insert(*number, (*queue, outcomes));
            }
            QueueEvent::Settled { number, results } => {
                let Some((queue, outcomes)) = self.settles.remove(number) else { return Ok(()) };
                for ((token, is_ack), result) in outcomes.into_iter().zip(results.iter().flatten()) {
                    if is_ack && matches!(result, Ok(Settled::Acked | Settled::AlreadyDone)) {
                        self.done.entry((queue, token.offset.get())).or_insert(now);
                    }
                }
            }
            QueueEvent::SettleRefused { number } => drop(self.settles.remove(number)),
            QueueEvent::OperationBegan { number, queue, operation: Operation::Cancel(offset) } => {
                self.cancels.insert(*number, (*queue, *offset));
            }
            QueueEvent::OperationEnded { number, said } => {
                let cancelled = self.cancels.remove(number);
                if let (Some(at), Said::Answer(Answer::Move(Ok(())))) = (cancelled, said) {
                    self.done.entry(at).or_insert(now);
                }
            }
            QueueEvent::Leased { queue, worker, since, leases } => {
                for lease in leases {
                    let done = self.done.get(&(*queue, lease.offset));
                    if let Some(done) = done.filter(|done| *done < since) {
                        return Err(format!(
                            "{queue}: worker {worker} asked at {since} ms and was given {}, which was done at {done} ms",
                            lease.offset
                        ));
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }
}
