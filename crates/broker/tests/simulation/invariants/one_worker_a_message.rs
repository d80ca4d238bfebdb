//! A27 and A31: while a worker has a message, the leader that gave it to it gives it to nobody else: not before the lease
//! is over, whatever wall clocks say, unless the worker has said what became of it. Leases end with the leader, so tokens of
//! two leaders are not compared.

use std::collections::BTreeMap;

use highwater_groups::queue::{AckToken, Outcome, Settled};

use super::Invariant;
use crate::history::{Event, Queue, QueueEvent};

/// What a machine that was held may be ahead of the others, and what is lost by counting whole milliseconds.
const SLACK_MS: u64 = 5;

#[derive(Default)]
pub struct OneWorkerAMessage {
    lease_ms: BTreeMap<usize, u64>,
    held: BTreeMap<(Queue, u64), Held>,
    /// Those that ask for more time.
    extends: BTreeMap<u64, (Queue, Vec<(AckToken, Option<u64>)>, u64)>,
}

struct Held {
    token: AckToken,
    worker: u64,
    /// Until then it has the message for certain.
    until: u64,
}

impl Invariant for OneWorkerAMessage {
    fn name(&self) -> &'static str {
        "one_worker_a_message"
    }

    fn see(&mut self, event: &Event, now: u64) -> Result<(), String> {
        let Event::Queue(event) = event else { return Ok(()) };
        match event {
            QueueEvent::Made { queue, config } => drop(self.lease_ms.insert(queue.group, config.lease_ms)),
            QueueEvent::Leased { queue, worker, since, leases } => {
                // The lease began after it was asked for.
                let until = (since + self.lease_ms.get(&queue.group).copied().unwrap_or(0)).saturating_sub(SLACK_MS);
                for lease in leases {
                    let next = Held { token: lease.token, worker: *worker, until };
                    let before = self.held.insert((*queue, lease.offset), next);
                    let held = before.filter(|held| held.token.nonce == lease.token.nonce && held.until > now);
                    // Two answers may come in another order than they were given.
                    if let Some(held) = held.filter(|held| held.token.serial < lease.token.serial) {
                        return Err(format!(
                            "{queue}: {} is given to worker {worker}; worker {} has it until {} ms",
                            lease.offset, held.worker, held.until
                        ));
                    }
                }
            }
            QueueEvent::SettleBegan { number, queue, worker, outcomes } => {
                let mut asked = Vec::new();
                for (token, outcome) in outcomes {
                    let held = self.held.get_mut(&(*queue, token.offset.get()));
                    let Some(held) = held.filter(|held| held.token == *token && held.worker == *worker) else {
                        continue;
                    };
                    // An extension may also make it shorter.
                    let extension = match outcome {
                        Outcome::Extend { lease_ms } => Some((now + lease_ms).saturating_sub(SLACK_MS)),
                        _ => None,
                    };
                    held.until = held.until.min(extension.unwrap_or(0));
                    asked.push((*token, extension));
                }
                let is_extension = outcomes.iter().any(|(_, outcome)| matches!(outcome, Outcome::Extend { .. }));
                if is_extension && asked.len() == outcomes.len() {
                    self.extends.insert(*number, (*queue, asked, *worker));
                }
            }
            QueueEvent::Settled { number, results } => {
                let Some((queue, asked, worker)) = self.extends.remove(number) else { return Ok(()) };
                for ((token, extension), result) in asked.into_iter().zip(results.iter().flatten()) {
                    let held = self.held.get_mut(&(queue, token.offset.get()));
                    let held = held.filter(|held| held.token == token && held.worker == worker);
                    if let (Some(held), Some(until), Ok(Settled::Extended { .. })) = (held, extension, result) {
                        held.until = until;
                    }
                }
            }
            QueueEvent::SettleRefused { number } => drop(self.extends.remove(number)),
            _ => {}
        }
        Ok(())
    }
}
