//! A29: a token does nothing once its lease is over: its time was up, its message was settled by it, or the same leader has
//! given the message to another; and it does nothing in the hands of another worker. "Done already" is no change, and has
//! to be true: somebody acked the message or called it off.

use std::collections::{BTreeMap, BTreeSet};

use highwater_groups::queue::{AckToken, Outcome, Settled};

use super::Invariant;
use crate::history::{Event, Operation, Queue, QueueEvent, Said};

/// A lease is over for certain so long after its end, in milliseconds.
const SLACK_MS: u64 = 20;

#[derive(Default)]
pub struct OldTokensDoNothing {
    lease_ms: BTreeMap<usize, u64>,
    tokens: BTreeMap<(Queue, AckToken), Token>,
    /// The newest lease of a message that each leader gave.
    newest: BTreeMap<(Queue, u64, u64), AckToken>,
    settles: BTreeMap<u64, Settle>,
    /// What somebody may have acked or called off.
    maybe_done: BTreeSet<(Queue, u64)>,
    cancels: BTreeMap<u64, (Queue, u64)>,
}

struct Token {
    worker: u64,
    /// The end of its lease, at the latest.
    until: u64,
    /// Why it is over, if that is known.
    over: Option<&'static str>,
}

struct Settle {
    queue: Queue,
    worker: u64,
    outcomes: Vec<(AckToken, Outcome)>,
    /// Why each of them must do nothing.
    idle: Vec<Option<&'static str>>,
    /// The ends of leases before they were to be extended.
    before: Vec<u64>,
}

impl Invariant for OldTokensDoNothing {
    fn name(&self) -> &'static str {
        "old_tokens_do_nothing"
    }

    fn see(&mut self, event: &Event, now: u64) -> Result<(), String> {
        let Event::Queue(event) = event else { return Ok(()) };
        match event {
            QueueEvent::Made { queue, config } => drop(self.lease_ms.insert(queue.group, config.lease_ms)),
            QueueEvent::Leased { queue, worker, leases, .. } => {
                let until = now + self.lease_ms.get(&queue.group).copied().unwrap_or(0);
                for lease in leases {
                    self.tokens.insert((*queue, lease.token), Token { worker: *worker, until, over: None });
                    self.outdate(*queue, lease.token);
                }
            }
            QueueEvent::SettleBegan { number, queue, worker, outcomes } => {
                self.begin(*number, *queue, *worker, outcomes, now);
            }
            QueueEvent::Settled { number, results: Some(results) } => {
                let Some(settle) = self.settles.remove(number) else { return Ok(()) };
                return self.end(&settle, results, now).map_err(|words| format!("settle {number}: {words}"));
            }
            QueueEvent::Settled { number, results: None } => {
                // Whether it has more time is not known for ever.
                drop(self.settles.remove(number));
            }
            QueueEvent::SettleRefused { number } => {
                let Some(settle) = self.settles.remove(number) else { return Ok(()) };
                for ((token, _), until) in settle.outcomes.iter().zip(&settle.before) {
                    if let Some(found) = self.tokens.get_mut(&(settle.queue, *token)) {
                        found.until = *until;
                    }
                }
            }
            QueueEvent::OperationBegan { number, queue, operation: Operation::Cancel(offset) } => {
                self.cancels.insert(*number, (*queue, *offset));
                self.maybe_done.insert((*queue, *offset));
            }
            QueueEvent::OperationEnded { number, said: Said::Answer(_) } => drop(self.cancels.remove(number)),
            _ => {}
        }
        Ok(())
    }
}

impl OldTokensDoNothing {
    /// A leader has given a message again: its former token is over, or this one, if the answers crossed.
    fn outdate(&mut self, queue: Queue, token: AckToken) {
        let newest = self.newest.entry((queue, token.nonce.get(), token.offset.get())).or_insert(token);
        let old = if newest.serial < token.serial { std::mem::replace(newest, token) } else { token };
        if old != *newest
            && let Some(old) = self.tokens.get_mut(&(queue, old))
        {
            old.over.get_or_insert("the message was given to somebody again");
        }
    }

    fn begin(&mut self, number: u64, queue: Queue, worker: u64, outcomes: &[(AckToken, Outcome)], now: u64) {
        let (mut idle, mut before) = (Vec::new(), Vec::new());
        for (token, outcome) in outcomes {
            let Some(found) = self.tokens.get_mut(&(queue, *token)) else {
                idle.push(Some("it is a token of another queue"));
                before.push(0);
                continue;
            };
            idle.push(match found {
                Token { worker: other, .. } if *other != worker => Some("it is the token of another worker"),
                Token { over: Some(why), .. } => Some(*why),
                Token { until, .. } if until.saturating_add(SLACK_MS) < now => Some("the time of its lease was up"),
                _ => None,
            });
            before.push(found.until);
            match outcome {
                // It may be later than that by the time that this is answered.
                Outcome::Extend { .. } if idle.last() == Some(&None) => found.until = u64::MAX,
                Outcome::Ack => drop(self.maybe_done.insert((queue, token.offset.get()))),
                _ => {}
            }
        }
        self.settles.insert(number, Settle { queue, worker, outcomes: outcomes.to_vec(), idle, before });
    }

    fn end(
        &mut self,
        settle: &Settle,
        results: &[Result<Settled, highwater_groups::queue::command::SettleError>],
        now: u64,
    ) -> Result<(), String> {
        let Settle { queue, worker, outcomes, idle, before } = settle;
        for ((((token, outcome), result), idle), before) in outcomes.iter().zip(results).zip(idle).zip(before) {
            if let (Some(why), Ok(settled)) = (idle, result)
                && *settled != Settled::AlreadyDone
            {
                return Err(format!("{queue}: worker {worker}, {token:?}, {outcome:?}: {settled:?}, although {why}"));
            }
            if *result == Ok(Settled::AlreadyDone) && !self.maybe_done.contains(&(*queue, token.offset.get())) {
                return Err(format!("{queue}: {} is told to be done, and nobody did it", token.offset));
            }
            let Some(found) = self.tokens.get_mut(&(*queue, *token)).filter(|_| idle.is_none()) else { continue };
            match (outcome, result) {
                (Outcome::Extend { lease_ms }, Ok(_)) => found.until = now + lease_ms,
                (Outcome::Extend { .. }, Err(_)) => found.until = *before,
                (_, Ok(_)) => drop(found.over.get_or_insert("the message was settled by it")),
                (_, Err(_)) => {}
            }
        }
        Ok(())
    }
}
