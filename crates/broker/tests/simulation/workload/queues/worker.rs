//! A worker in one of its lives: it asks for messages, has them for a while, and says what became of them. What it should
//! not do stands in `meddling`.

use highwater_groups::queue::{AckToken, Acquired, Answer, Command, Outcome, Reason, WorkerId};
use highwater_types::Offset;

use super::way::Way;
use super::{KnownQueues, LEASE_MS, Place, places};
use crate::dice::Dice;
use crate::history::{Event, Leased, QueueEvent, Said};
use crate::trace::{note, now};
use crate::workload::{Clients, pause};

/// How many of its own tokens it remembers.
const OWN_TOKENS_MAX: usize = 16;

/// How often it is said what became of messages while nobody takes it.
const TRIES: usize = 3;

/// A message that is always failed, as its offset says: every group has some that die.
fn is_poison(offset: Offset) -> bool {
    offset.get() % 41 == 5
}

pub(super) struct Worker {
    pub clients: Clients,
    pub group: KnownQueues,
    pub way: Way,
    pub dice: Dice,
    number: u64,
    id: WorkerId,
    /// Tokens of leases that it has settled, or let go.
    pub old: Vec<(Place, AckToken)>,
}

/// It is gone without a word.
struct Died;

impl Worker {
    pub fn new(clients: &Clients, group: &KnownQueues) -> Self {
        let number = clients.number();
        Self {
            way: Way::new(clients, group),
            dice: clients.dice(),
            number,
            id: WorkerId::new(&format!("worker-{number}")).unwrap(),
            old: Vec::new(),
            clients: clients.clone(),
            group: group.clone(),
        }
    }

    /// Lasts until it dies or everything is done.
    pub async fn live(&mut self) {
        while !self.group.is_over.get() {
            let places = places(&self.clients);
            let place = if places.is_empty() { None } else { Some(self.dice.pick(&places).clone()) };
            let leases = match &place {
                Some(place) => self.acquire(place).await,
                None => Vec::new(),
            };
            let is_idle = leases.is_empty();
            if let Some(place) = &place
                && self.work(place, leases).await.is_err()
            {
                note!("worker {} dies", self.number);
                return;
            }
            if !self.clients.is_ending.get() {
                self.meddle().await;
            }
            pause(&mut self.dice, if is_idle { 50..=400 } else { 20..=200 }).await;
        }
    }

    async fn acquire(&mut self, place: &Place) -> Vec<Leased> {
        let max = if self.clients.is_ending.get() { 100 } else { self.dice.between(1..=30) };
        let since = now();
        let command = Command::Acquire { worker: self.id.clone(), max: usize::try_from(max).unwrap() };
        let Said::Answer(Answer::Acquire(Acquired { leases, .. })) = self.way.ask(place, command).await else {
            return Vec::new();
        };
        let leases = leases.into_iter().map(|lease| Leased {
            offset: lease.offset.get(),
            token: lease.token,
            attempt: lease.attempt,
        });
        let leases: Vec<Leased> = leases.collect();
        if !leases.is_empty() {
            let (queue, worker) = (self.group.at(place), self.number);
            self.tell(QueueEvent::Leased { queue, worker, since, leases: leases.clone() });
        }
        leases
    }

    /// Has messages for a while, and says what became of them.
    async fn work(&mut self, place: &Place, leases: Vec<Leased>) -> Result<(), Died> {
        if leases.is_empty() {
            return Ok(());
        }
        let is_ending = self.clients.is_ending.get();
        let tokens: Vec<AckToken> = leases.iter().map(|lease| lease.token).collect();
        self.group.note(place, *self.dice.pick(&tokens));
        match self.dice.between(0..=99) {
            0..=2 if !is_ending => return Err(Died),
            // Longer than it may.
            3..=6 if !is_ending => pause(&mut self.dice, LEASE_MS - 200..=LEASE_MS + 1_000).await,
            7..=12 => {
                let lease_ms = self.dice.between(300..=2_500);
                let extended = tokens.iter().map(|token| (*token, Outcome::Extend { lease_ms })).collect();
                self.settle(place, extended).await;
                pause(&mut self.dice, 1..=lease_ms).await;
            }
            _ => pause(&mut self.dice, 1..=120).await,
        }
        let outcomes: Vec<(AckToken, Outcome)> =
            tokens.iter().filter_map(|token| Some((*token, self.outcome(*token)?))).collect();
        self.settle(place, outcomes).await;
        self.old.push((place.clone(), *self.dice.pick(&tokens)));
        if self.old.len() > OWN_TOKENS_MAX {
            self.old.remove(0);
        }
        Ok(())
    }

    /// What becomes of a message; nothing when the worker forgets it.
    fn outcome(&mut self, token: AckToken) -> Option<Outcome> {
        let reason = || Reason::new("it went wrong");
        if is_poison(token.offset) {
            let retry_after_ms = self.dice.percent(30).then(|| self.dice.between(0..=300));
            return Some(Outcome::Fail { reason: Reason::new("poison"), retry_after_ms });
        }
        let chance = self.dice.between(0..=199);
        Some(match chance {
            _ if self.clients.is_ending.get() => Outcome::Ack,
            0..=7 => Outcome::Fail { reason: reason(), retry_after_ms: None },
            8..=9 => Outcome::Fail { reason: reason(), retry_after_ms: Some(self.dice.between(0..=600)) },
            10..=19 => Outcome::Release,
            20..=21 => Outcome::Lost { reason: Reason::new("its connection ended") },
            22..=23 => Outcome::Reject { reason: reason() },
            24..=25 => return None,
            _ => Outcome::Ack,
        })
    }

    /// Says what became of messages, until somebody has heard it.
    async fn settle(&mut self, place: &Place, outcomes: Vec<(AckToken, Outcome)>) {
        for _ in 0..TRIES {
            if outcomes.is_empty() || !matches!(self.say(place, outcomes.clone()).await, Said::NotDone) {
                return;
            }
            pause(&mut self.dice, 5..=150).await;
        }
    }

    /// Says it once, whosever tokens these are.
    pub async fn say(&mut self, place: &Place, outcomes: Vec<(AckToken, Outcome)>) -> Said {
        let (number, queue, worker) = (self.clients.number(), self.group.at(place), self.number);
        self.tell(QueueEvent::SettleBegan { number, queue, worker, outcomes: outcomes.clone() });
        let said = self.way.ask(place, Command::Settle { worker: self.id.clone(), outcomes }).await;
        self.tell(match &said {
            Said::Answer(Answer::Settle(Ok(results))) => QueueEvent::Settled { number, results: Some(results.clone()) },
            Said::Answer(other) => {
                self.clients.history.object("workers_may_settle", format!("settle {number}: {other:?}"));
                QueueEvent::Settled { number, results: None }
            }
            Said::Unknown => QueueEvent::Settled { number, results: None },
            Said::NotDone => QueueEvent::SettleRefused { number },
        });
        said
    }

    fn tell(&self, event: QueueEvent) {
        self.clients.history.tell(&Event::Queue(event));
    }
}
