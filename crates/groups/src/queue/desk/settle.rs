//! Settling: what becomes of messages that workers have.

use highwater_types::Timestamp;

use super::Desk;
use super::breaker::Verdict;
use super::slots::{Slot, State};
use super::step::Step;
use crate::planted::{Bug, is_planted};
use crate::queue::command::{Answer, Outcome, SettleError, Settled, TooLarge};
use crate::queue::entry::{Attempt, DeathCause, Entry};
use crate::queue::ids::{AckToken, Reason, Serial, WorkerId};
use crate::queue::limits;
use crate::queue::record::{Change, Pause, PausedBy};
use crate::stream::ids::{Moment, Ticket};

/// A lease that stands.
#[derive(Clone, Copy)]
pub(super) struct Held {
    pub(super) slot: Slot,
    pub(super) serial: Serial,
    pub(super) since: Moment,
}

/// What a failure comes to.
#[derive(Clone, Copy)]
pub(super) enum Failing {
    /// It is tried again after so many milliseconds, or after what the settings say.
    Rests { after_ms: Option<u64> },
    /// It is dead at once.
    Rejected,
    /// Its worker is gone, or was silent for too long: others may have it at once.
    Unheard,
}

impl Desk {
    pub(super) fn settle(
        &mut self,
        step: &mut Step<'_>,
        ticket: Ticket,
        worker: &WorkerId,
        outcomes: Vec<(AckToken, Outcome)>,
    ) {
        if outcomes.len() > limits::REQUEST_OUTCOMES_MAX {
            let error = TooLarge { found: outcomes.len(), max: limits::REQUEST_OUTCOMES_MAX };
            return step.answer_now(ticket, Answer::Settle(Err(error)));
        }
        let one = |(token, outcome)| self.settle_one(step, worker, token, outcome);
        let results: Vec<_> = outcomes.into_iter().map(one).collect();
        // A release or an extension is promised by the leader alone, and what is refused stays refused, whatever
        // becomes of records that are under way.
        let is_recorded =
            |result: &Result<_, _>| !matches!(result, Err(_) | Ok(Settled::Released | Settled::Extended { .. }));
        if results.iter().any(is_recorded) {
            step.answer(ticket, Answer::Settle(Ok(results)));
        } else {
            step.answer_now(ticket, Answer::Settle(Ok(results)));
        }
    }

    fn settle_one(
        &mut self,
        step: &mut Step<'_>,
        worker: &WorkerId,
        token: AckToken,
        outcome: Outcome,
    ) -> Result<Settled, SettleError> {
        let Some(held) = self.find(step, worker, token, &outcome)? else { return Ok(Settled::AlreadyDone) };
        match outcome {
            Outcome::Ack => {
                self.lock(&held, true, Moment::default());
                step.ack(token.offset);
                self.judge(step, &held.slot, false);
                Ok(Settled::Acked)
            }
            Outcome::Release => {
                self.displace(token.offset, State::LOCKED);
                self.place(step.view, token.offset, None, Some(step.view.now()));
                self.breaker.released(token.offset, step.view.now());
                Ok(Settled::Released)
            }
            Outcome::Fail { reason, retry_after_ms } => {
                Ok(self.fail(step, &held, reason, Failing::Rests { after_ms: retry_after_ms }))
            }
            Outcome::Lost { reason } => Ok(self.fail(step, &held, reason, Failing::Unheard)),
            Outcome::Reject { reason } => Ok(self.fail(step, &held, reason, Failing::Rejected)),
            Outcome::Extend { lease_ms } => self.extend(step, &held, lease_ms),
        }
    }

    /// The lease of a token, or `None` when the message is acked and an ack asks for no more.
    fn find(
        &self,
        step: &Step<'_>,
        worker: &WorkerId,
        token: AckToken,
        outcome: &Outcome,
    ) -> Result<Option<Held>, SettleError> {
        let (queue, is_ack) = (step.view.queue, *outcome == Outcome::Ack);
        if queue.is_done(token.offset) {
            return if is_ack { Ok(None) } else { Err(SettleError::Done) };
        }
        if queue.entry(token.offset).is_some_and(Entry::is_dead) {
            return Err(SettleError::Dead);
        }
        let slot = self.slots.get(token.offset).ok_or(SettleError::Stale)?;
        if let State::Leased { serial, since, .. } = slot.state
            && is_planted(Bug::OldTokenTaken)
        {
            return Ok(Some(Held { slot: *slot, serial, since }));
        }
        if token.nonce != self.nonce {
            return Err(SettleError::Stale);
        }
        match slot.state {
            State::Leased { serial, worker: index, since, deadline } if serial == token.serial => {
                if self.workers.name(index) != Some(worker) {
                    return Err(SettleError::Foreign);
                }
                // What is due is looked at a part at a time; the lease is over whether that has come to it or not.
                if deadline <= step.view.now() {
                    return Err(SettleError::Stale);
                }
                Ok(Some(Held { slot: *slot, serial, since }))
            }
            State::Settling { serial, is_ack: true, .. } if serial == token.serial && is_ack => Ok(None),
            _ => Err(SettleError::Stale),
        }
    }

    /// A lease ends, and a record about its message is under way.
    fn lock(&mut self, held: &Held, is_ack: bool, rests_until: Moment) {
        self.displace(held.slot.offset, State::Settling { serial: held.serial, is_ack, rests_until });
    }

    /// An attempt failed.
    pub(super) fn fail(&mut self, step: &mut Step<'_>, held: &Held, reason: Reason, failing: Failing) -> Settled {
        let (view, offset) = (step.view, held.slot.offset);
        let entry = view.queue.entry(offset);
        let attempts = self.tally.attempts(view.queue, offset).saturating_add(1);
        let attempt = self.attempt(step, held, entry.map_or(1, Entry::next_number), reason);
        let after_ms = match failing {
            Failing::Rests { after_ms } if attempts < view.config().attempts_max => {
                Some(after_ms.unwrap_or(view.config().backoff.after_ms(attempts)).min(limits::BACKOFF_MS_MAX))
            }
            Failing::Unheard if attempts < view.config().attempts_max => Some(0),
            _ => None,
        };
        self.lock(held, false, view.now().plus_ms(after_ms.unwrap_or(0)));
        let settled = if let Some(after_ms) = after_ms {
            let retry_at = later(view.wall(), after_ms);
            step.record(Change::Failed { offset, attempts, retry_at, attempt });
            Settled::WillRetry { attempts, after_ms }
        } else {
            let is_rejected = matches!(failing, Failing::Rejected);
            let cause = if is_rejected { DeathCause::Rejected } else { DeathCause::AttemptsSpent };
            step.record(Change::Died { offset, attempts, cause, at: view.wall(), attempt: Some(attempt) });
            Settled::Dead { cause }
        };
        match failing {
            // That says something of the worker, and one that dies may have had very many messages.
            Failing::Unheard => self.breaker.unheard(view.queue, offset, view.now()),
            Failing::Rests { .. } | Failing::Rejected => self.judge(step, &held.slot, true),
        }
        settled
    }

    fn attempt(&self, step: &Step<'_>, held: &Held, number: u32, reason: Reason) -> Attempt {
        let duration_ms = step.view.now().get().saturating_sub(held.since.get());
        let worker = match held.slot.state {
            State::Leased { worker, .. } => self.workers.name(worker).cloned(),
            _ => None,
        };
        let started_at = earlier(step.view.wall(), duration_ms);
        Attempt { number, worker: worker.unwrap_or_else(WorkerId::nobody), started_at, duration_ms, reason }
    }

    /// The breaker hears of an outcome.
    fn judge(&mut self, step: &mut Step<'_>, slot: &Slot, is_failure: bool) {
        let (queue, now) = (step.view.queue, step.view.now());
        match self.breaker.outcome(queue, slot.offset, is_failure, now) {
            Verdict::Nothing => {}
            Verdict::Resume => step.record(Change::Paused { pause: None }),
            Verdict::Trip { failures, outcomes } => {
                let reason = Reason::new(&format!("{failures} of {outcomes} attempts failed"));
                let pause = Pause { by: PausedBy::Breaker, at: step.view.wall(), reason };
                step.record(Change::Paused { pause: Some(pause) });
            }
        }
    }

    fn extend(&mut self, step: &Step<'_>, held: &Held, lease_ms: u64) -> Result<Settled, SettleError> {
        let (now, max_ms) = (step.view.now(), step.view.config().lease_total_ms_max);
        let left_ms = held.since.plus_ms(max_ms).get().saturating_sub(now.get());
        if lease_ms > left_ms {
            return Err(SettleError::TooLong { max_ms, left_ms });
        }
        let State::Leased { serial, worker, since, deadline: was } = held.slot.state else {
            return Err(SettleError::Stale);
        };
        let (offset, deadline) = (held.slot.offset, now.plus_ms(lease_ms));
        self.due.remove(&(was, offset));
        self.due.insert((deadline, offset));
        self.slots.set(offset, State::Leased { serial, worker, since, deadline });
        Ok(Settled::Extended { deadline })
    }
}

fn later(at: Timestamp, ms: u64) -> Timestamp {
    Timestamp::from_ms(at.as_ms().saturating_add(i64::try_from(ms).unwrap_or(i64::MAX)))
}

fn earlier(at: Timestamp, ms: u64) -> Timestamp {
    Timestamp::from_ms(at.as_ms().saturating_sub(i64::try_from(ms).unwrap_or(i64::MAX)))
}
