//! A commit of a generation is refused once any member is known to be in a newer one, and a commit of a member that is
//! gone is refused at all.

use std::collections::{BTreeMap, BTreeSet};

use super::Invariant;
use crate::history::{By, Event, GroupEvent, Life, Outcome};

#[derive(Default)]
pub struct OldGenerationsAreRefused {
    newest: BTreeMap<usize, i32>,
    gone: BTreeSet<Life>,
    /// Commits under way that must not be taken, and why.
    stale: BTreeMap<u64, String>,
}

impl Invariant for OldGenerationsAreRefused {
    fn name(&self) -> &'static str {
        "old_generations_are_refused"
    }

    fn see(&mut self, event: &Event, _: u64) -> Result<(), String> {
        match event {
            Event::Group(GroupEvent::Joined { life, generation, .. }) => {
                let newest = self.newest.entry(life.group).or_default();
                *newest = (*newest).max(*generation);
            }
            Event::Group(GroupEvent::Gone { life }) => drop(self.gone.insert(*life)),
            Event::Group(GroupEvent::SetBegan { number, by: By::Member { life, generation }, .. }) => {
                let newest = self.newest.get(&life.group).copied().unwrap_or(0);
                if generation < &newest {
                    self.stale.insert(*number, format!("{life} in generation {generation}, after {newest} began"));
                } else if self.gone.contains(life) {
                    self.stale.insert(*number, format!("{life}, which was gone"));
                }
            }
            Event::Group(GroupEvent::SetEnded { number, outcome }) => {
                if let Some(words) = self.stale.remove(number).filter(|_| *outcome == Outcome::Done) {
                    return Err(format!("commit {number} was taken, of {words}"));
                }
            }
            _ => {}
        }
        Ok(())
    }
}
