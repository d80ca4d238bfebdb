//! A24: the offset that a group is told is never below one that was acknowledged before it asked, unless a seek came in
//! between; and it is one that somebody set, and that nobody had set anew before.

use std::collections::BTreeMap;

use super::Invariant;
use crate::history::{By, Event, GroupEvent, Outcome, Partition};

#[derive(Default)]
pub struct CommitsNeverGoBack {
    sets: BTreeMap<(usize, Partition), Vec<Set>>,
    under_way: BTreeMap<u64, (usize, Vec<Partition>)>,
}

/// An offset that somebody set, between `from` and `to`.
#[derive(Debug)]
struct Set {
    number: u64,
    offset: u64,
    is_seek: bool,
    from: u64,
    to: Option<u64>,
    is_done: bool,
}

impl Invariant for CommitsNeverGoBack {
    fn name(&self) -> &'static str {
        "commits_never_go_back"
    }

    fn see(&mut self, event: &Event, now: u64) -> Result<(), String> {
        match event {
            Event::Group(GroupEvent::SetBegan { number, group, by, offsets }) => {
                for (partition, offset) in offsets {
                    self.sets.entry((*group, *partition)).or_default().push(Set {
                        number: *number,
                        offset: *offset,
                        is_seek: *by == By::Seek,
                        from: now,
                        to: None,
                        is_done: false,
                    });
                }
                self.under_way.insert(*number, (*group, offsets.iter().map(|(partition, _)| *partition).collect()));
            }
            Event::Group(GroupEvent::SetEnded { number, outcome }) => self.end(*number, *outcome, now),
            Event::Group(GroupEvent::Fetched { group, since, offsets }) => {
                for (partition, offset) in offsets {
                    let sets = self.sets.entry((*group, *partition)).or_default();
                    judge(sets, *offset, *since)
                        .map_err(|words| format!("group {group}, {partition}, asked at {since} ms: {words}"))?;
                }
            }
            Event::Deleting { topic } => self.sets.retain(|(_, partition), _| partition.topic != *topic),
            _ => {}
        }
        Ok(())
    }
}

impl CommitsNeverGoBack {
    fn end(&mut self, number: u64, outcome: Outcome, now: u64) {
        let Some((group, partitions)) = self.under_way.remove(&number) else { return };
        for partition in partitions {
            let Some(sets) = self.sets.get_mut(&(group, partition)) else { continue };
            match outcome {
                Outcome::Refused => sets.retain(|set| set.number != number),
                // Whoever gave up is answered by nobody any more, and what is asked later is decided later.
                Outcome::Done | Outcome::Unknown => {
                    sets.iter_mut().filter(|set| set.number == number).for_each(|set| {
                        (set.to, set.is_done) = (Some(now), outcome == Outcome::Done);
                    });
                }
            }
        }
    }
}

fn judge(sets: &[Set], told: Option<u64>, since: u64) -> Result<(), String> {
    let is_before = |set: &Set, time: u64| set.to.is_some_and(|to| to < time);
    let seeks = || sets.iter().filter(|set| set.is_seek);
    let acked = sets.iter().filter(|set| set.is_done && is_before(set, since));
    let highest =
        acked.filter(|set| !set.is_seek && seeks().all(|seek| is_before(seek, set.from))).max_by_key(|set| set.offset);
    if let Some(highest) = highest.filter(|highest| told.is_none_or(|told| told < highest.offset)) {
        return Err(format!("{told:?} was told, although {highest:?} was acknowledged"));
    }
    let is_over = |set: &&Set| {
        let later = |later: &Set| later.is_done && is_before(set, later.from) && is_before(later, since);
        sets.iter().any(later)
    };
    match told {
        Some(told) => match sets.iter().filter(|set| set.offset == told).find(|set| !is_over(set)) {
            Some(_) => Ok(()),
            None => Err(format!("{told} was told, which nobody had set, or others had set anew: {:?}", newest(sets))),
        },
        None => match sets.iter().find(|set| set.is_done && is_before(set, since)) {
            Some(set) => Err(format!("nothing was told, although {set:?} was acknowledged")),
            None => Ok(()),
        },
    }
}

fn newest(sets: &[Set]) -> &[Set] {
    &sets[sets.len().saturating_sub(6)..]
}
