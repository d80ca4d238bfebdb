//! After a seek that was acknowledged, no commit is taken of a member that began to read before the seek was asked for.

use std::collections::BTreeMap;

use super::Invariant;
use crate::history::{By, Event, GroupEvent, Life, Outcome, Partition};

#[derive(Default)]
pub struct SeeksAreNotUndone {
    /// When a member began to read.
    begun: BTreeMap<(Life, Partition), u64>,
    /// The newest seek that was acknowledged: when it was asked for, and when acknowledged.
    sought: BTreeMap<(usize, Partition), (u64, u64)>,
    seeking: BTreeMap<u64, (usize, Vec<Partition>, u64)>,
    /// Commits under way that come too late, and why.
    late: BTreeMap<u64, String>,
}

impl Invariant for SeeksAreNotUndone {
    fn name(&self) -> &'static str {
        "seeks_are_not_undone"
    }

    fn see(&mut self, event: &Event, now: u64) -> Result<(), String> {
        match event {
            Event::Group(GroupEvent::Begun { life, partition, .. }) => {
                self.begun.insert((*life, *partition), now);
            }
            Event::Group(GroupEvent::SetBegan { number, group, by, offsets }) => {
                let partitions: Vec<Partition> = offsets.iter().map(|(partition, _)| *partition).collect();
                match by {
                    By::Seek => drop(self.seeking.insert(*number, (*group, partitions, now))),
                    By::Member { life, .. } => self.look(*number, *life, &partitions, now),
                }
            }
            Event::Group(GroupEvent::SetEnded { number, outcome: Outcome::Done }) => {
                if let Some((group, partitions, since)) = self.seeking.remove(number) {
                    self.sought.extend(partitions.into_iter().map(|partition| ((group, partition), (since, now))));
                }
                if let Some(words) = self.late.remove(number) {
                    return Err(format!("commit {number} was taken: {words}"));
                }
            }
            _ => {}
        }
        Ok(())
    }
}

impl SeeksAreNotUndone {
    fn look(&mut self, number: u64, life: Life, partitions: &[Partition], now: u64) {
        for partition in partitions {
            let Some((since, until)) = self.sought.get(&(life.group, *partition)) else { continue };
            let Some(begun) = self.begun.get(&(life, *partition)) else { continue };
            if begun < since && *until < now {
                let words = format!("{life} read {partition} since {begun} ms, the seek was at {since} to {until} ms");
                self.late.insert(number, words);
            }
        }
    }
}
