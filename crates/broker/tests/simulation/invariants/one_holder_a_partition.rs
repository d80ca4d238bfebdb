//! In a group, no two members hold the same partition in the same generation. A member holds what it was given until it
//! has joined again without it; one that was thrown out may think that it still does, but proves it in no generation.

use std::collections::BTreeMap;

use super::Invariant;
use crate::history::{Event, GroupEvent, Life, Partition};

#[derive(Default)]
pub struct OneHolderAPartition {
    /// Who is known to have held a partition, and in which generations.
    held: BTreeMap<(usize, Partition), Vec<Holding>>,
}

struct Holding {
    life: Life,
    from: i32,
    to: i32,
    is_over: bool,
}

impl Invariant for OneHolderAPartition {
    fn name(&self) -> &'static str {
        "one_holder_a_partition"
    }

    fn see(&mut self, event: &Event, _: u64) -> Result<(), String> {
        match event {
            Event::Group(GroupEvent::Joined { life, generation, held, given }) => {
                held.iter().chain(given).try_for_each(|partition| self.hold(*life, *partition, *generation))
            }
            Event::Group(GroupEvent::Released { life, partition }) => {
                let all = self.held.entry((life.group, *partition)).or_default();
                all.iter_mut().filter(|holding| holding.life == *life).for_each(|holding| holding.is_over = true);
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

impl OneHolderAPartition {
    fn hold(&mut self, life: Life, partition: Partition, generation: i32) -> Result<(), String> {
        let all = self.held.entry((life.group, partition)).or_default();
        let index = match all.iter().position(|holding| holding.life == life && !holding.is_over) {
            Some(index) => index,
            None => {
                all.push(Holding { life, from: generation, to: generation, is_over: false });
                all.len() - 1
            }
        };
        all[index].to = all[index].to.max(generation);
        let (from, to) = (all[index].from, all[index].to);
        let is_another = |other: &&Holding| other.life.seat != life.seat && other.from <= to && from <= other.to;
        match all.iter().find(is_another) {
            Some(other) => Err(format!(
                "{partition} is held by {life} in the generations {from} to {to}, and by {} in {} to {}",
                other.life, other.from, other.to
            )),
            None => Ok(()),
        }
    }
}
