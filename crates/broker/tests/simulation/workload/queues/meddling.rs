//! What a worker does that it should not: it shows tokens of leases that are over, and tokens of others.

use highwater_groups::queue::{AckToken, Outcome, Reason};

use super::Place;
use super::worker::Worker;

impl Worker {
    /// Now and then.
    pub async fn meddle(&mut self) {
        let (place, token) = match self.dice.between(0..=99) {
            0..=9 if !self.old.is_empty() => self.dice.pick(&self.old).clone(),
            10..=16 if !self.group.tokens.borrow().is_empty() => {
                let tokens: Vec<(Place, AckToken)> = self.group.tokens.borrow().iter().cloned().collect();
                self.dice.pick(&tokens).clone()
            }
            _ => return,
        };
        if place.topic.is_going.get() {
            return;
        }
        let reason = Reason::new("it was not mine");
        let outcome = match self.dice.between(0..=4) {
            0 => Outcome::Fail { reason, retry_after_ms: None },
            1 => Outcome::Release,
            2 => Outcome::Extend { lease_ms: self.dice.between(1..=3_000) },
            _ => Outcome::Ack,
        };
        self.say(&place, vec![(token, outcome)]).await;
    }
}
