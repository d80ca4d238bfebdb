//! A30: the attempts of a message never go down, but by a redrive; a message is dead when it has failed as often as it may,
//! and not before.

use std::collections::BTreeMap;

use highwater_groups::queue::{AckToken, DeathCause, Outcome, Settled};

use super::Invariant;
use crate::history::{Event, Operation, Queue, QueueEvent, Said};

#[derive(Default)]
pub struct AttemptsAreCounted {
    limits: BTreeMap<usize, u32>,
    /// Which attempt the lease of a token is.
    attempts: BTreeMap<(Queue, AckToken), u32>,
    /// How often a message has failed at least.
    failed: BTreeMap<(Queue, u64), Failed>,
    settles: BTreeMap<u64, Settle>,
    redrives: BTreeMap<Queue, Vec<Redrive>>,
}

struct Failed {
    attempts: u32,
    /// When it was asked to be told, and when it was.
    from: u64,
    to: u64,
}

struct Settle {
    queue: Queue,
    since: u64,
    outcomes: Vec<(AckToken, Outcome)>,
}

struct Redrive {
    number: u64,
    range: (u64, u64),
    from: u64,
    to: Option<u64>,
}

impl Invariant for AttemptsAreCounted {
    fn name(&self) -> &'static str {
        "attempts_are_counted"
    }

    fn see(&mut self, event: &Event, now: u64) -> Result<(), String> {
        let Event::Queue(event) = event else { return Ok(()) };
        match event {
            QueueEvent::Made { queue, config } => drop(self.limits.insert(queue.group, config.attempts_max)),
            QueueEvent::Leased { queue, since, leases, .. } => {
                for lease in leases {
                    self.attempts.insert((*queue, lease.token), lease.attempt);
                    self.judge(*queue, lease.offset, lease.attempt, *since, now)
                        .map_err(|words| format!("{queue}: {}: {words}", lease.offset))?;
                }
            }
            QueueEvent::SettleBegan { number, queue, outcomes, .. } => {
                let settle = Settle { queue: *queue, since: now, outcomes: outcomes.clone() };
                self.settles.insert(*number, settle);
            }
            QueueEvent::Settled { number, results } => {
                let Some(settle) = self.settles.remove(number) else { return Ok(()) };
                for ((token, outcome), result) in settle.outcomes.iter().zip(results.iter().flatten()) {
                    let Ok(settled) = result else { continue };
                    self.settled(&settle, *token, outcome, *settled, now)
                        .map_err(|words| format!("{}, settle {number}: {token:?}: {words}", settle.queue))?;
                }
            }
            QueueEvent::SettleRefused { number } => drop(self.settles.remove(number)),
            QueueEvent::OperationBegan { number, queue, operation: Operation::Redrive(start, end) } => {
                let redrive = Redrive { number: *number, range: (*start, *end), from: now, to: None };
                self.redrives.entry(*queue).or_default().push(redrive);
            }
            QueueEvent::OperationEnded { number, said } => {
                for redrives in self.redrives.values_mut() {
                    match said {
                        Said::NotDone => redrives.retain(|redrive| redrive.number != *number),
                        Said::Answer(_) => {
                            let ended = redrives.iter_mut().filter(|redrive| redrive.number == *number);
                            ended.for_each(|redrive| redrive.to = Some(now));
                        }
                        // It may be done whenever.
                        Said::Unknown => {}
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }
}

impl AttemptsAreCounted {
    fn judge(&self, queue: Queue, offset: u64, attempt: u32, since: u64, now: u64) -> Result<(), String> {
        let limit = self.limits.get(&queue.group).copied().unwrap_or(u32::MAX);
        if attempt == 0 || attempt > limit {
            return Err(format!("it is given as attempt {attempt} of {limit}"));
        }
        let Some(failed) = self.failed.get(&(queue, offset)).filter(|failed| failed.to < since) else { return Ok(()) };
        let redrives = self.redrives.get(&queue).into_iter().flatten();
        let mut between =
            redrives.filter(|redrive| redrive.to.is_none_or(|to| to >= failed.from) && redrive.from <= now);
        if attempt > failed.attempts || between.any(|redrive| (redrive.range.0..redrive.range.1).contains(&offset)) {
            return Ok(());
        }
        let (attempts, to) = (failed.attempts, failed.to);
        Err(format!("it is given as attempt {attempt}, and had failed {attempts} times at {to} ms"))
    }

    fn settled(
        &mut self,
        settle: &Settle,
        token: AckToken,
        outcome: &Outcome,
        settled: Settled,
        now: u64,
    ) -> Result<(), String> {
        let limit = self.limits.get(&settle.queue.group).copied().unwrap_or(u32::MAX);
        let Some(attempt) = self.attempts.get(&(settle.queue, token)).copied() else { return Ok(()) };
        let wanted = match outcome {
            Outcome::Reject { .. } => Settled::Dead { cause: DeathCause::Rejected },
            Outcome::Fail { .. } | Outcome::Lost { .. } if attempt >= limit => {
                Settled::Dead { cause: DeathCause::AttemptsSpent }
            }
            Outcome::Fail { .. } | Outcome::Lost { .. } => match settled {
                Settled::WillRetry { after_ms, .. } => Settled::WillRetry { attempts: attempt, after_ms },
                _ => Settled::WillRetry { attempts: attempt, after_ms: 0 },
            },
            Outcome::Ack | Outcome::Release | Outcome::Extend { .. } => return Ok(()),
        };
        if settled != wanted {
            return Err(format!("attempt {attempt} of {limit} failed, and came to {settled:?}, not {wanted:?}"));
        }
        if let Settled::WillRetry { attempts, .. } = settled {
            let failed = Failed { attempts, from: settle.since, to: now };
            self.failed.insert((settle.queue, token.offset.get()), failed);
        }
        Ok(())
    }
}
