//! A8 over rebalances: nobody begins behind a record that the group has not read, and in the end each group has read
//! every record of every partition, and its offsets say so. Seeks of the workload only go back.

use std::collections::{BTreeMap, BTreeSet};

use super::Invariant;
use crate::history::{Event, GroupEvent, Partition};

#[derive(Default)]
pub struct NothingIsSkipped {
    read: BTreeMap<(usize, Partition), Read>,
    ends: BTreeMap<Partition, u64>,
    drained: BTreeMap<usize, BTreeMap<Partition, Option<u64>>>,
    deleted: BTreeSet<[u8; 16]>,
}

/// What a group has read: everything below `whole`, and this.
#[derive(Default)]
struct Read {
    whole: u64,
    beyond: BTreeSet<u64>,
}

impl Read {
    fn add(&mut self, offset: u64) {
        if offset >= self.whole {
            self.beyond.insert(offset);
        }
        while self.beyond.remove(&self.whole) {
            self.whole += 1;
        }
    }
}

impl Invariant for NothingIsSkipped {
    fn name(&self) -> &'static str {
        "nothing_is_skipped"
    }

    fn see(&mut self, event: &Event, _: u64) -> Result<(), String> {
        match event {
            Event::Group(GroupEvent::Polled { life, partition, records, .. }) => {
                let read = self.read.entry((life.group, *partition)).or_default();
                records.iter().for_each(|(offset, _)| read.add(*offset));
            }
            Event::Group(GroupEvent::Begun { life, partition, offset }) => {
                let whole = self.read.entry((life.group, *partition)).or_default().whole;
                if *offset > whole {
                    return Err(format!("{life} begins {partition} at {offset}, and the group has read up to {whole}"));
                }
            }
            Event::Group(GroupEvent::Drained { group, offsets }) => {
                self.drained.insert(*group, offsets.iter().copied().collect());
            }
            Event::Deleted { topic } => drop(self.deleted.insert(*topic)),
            Event::Final { partition, records, .. } => {
                let end = self.ends.entry(*partition).or_default();
                *end = (*end).max(records.last().map_or(0, |(offset, _)| offset + 1));
            }
            _ => {}
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<(), String> {
        for (group, offsets) in &self.drained {
            for (partition, end) in self.ends.iter().filter(|(partition, _)| !self.deleted.contains(&partition.topic)) {
                let whole = self.read.get(&(*group, *partition)).map_or(0, |read| read.whole);
                let committed = offsets.get(partition).copied().flatten().unwrap_or(0);
                if whole < *end || committed != *end {
                    return Err(format!(
                        "group {group}: {partition} ends at {end}, was read up to {whole}, and {committed} is committed"
                    ));
                }
            }
        }
        Ok(())
    }
}
