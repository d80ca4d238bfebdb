//! P1: what was acknowledged is there after everything has healed, where the acknowledgement said.

use std::collections::{BTreeMap, BTreeSet};

use super::Invariant;
use crate::history::{Event, Partition};

#[derive(Default)]
pub struct AckedIsKept {
    acked: BTreeMap<Partition, BTreeMap<u64, u64>>,
    deleted: BTreeSet<[u8; 16]>,
    judged: BTreeSet<Partition>,
}

impl Invariant for AckedIsKept {
    fn name(&self) -> &'static str {
        "acked_is_kept"
    }

    fn see(&mut self, event: &Event, _: u64) -> Result<(), String> {
        match event {
            Event::Acked { partition, base, values, .. } => {
                self.acked.entry(*partition).or_default().extend((*base..).zip(values.iter().copied()));
            }
            Event::Deleted { topic } => drop(self.deleted.insert(*topic)),
            Event::Final { partition, machine, start, records } => {
                self.judged.insert(*partition);
                let kept: BTreeMap<u64, u64> = records.iter().copied().collect();
                let acked = self.acked.get(partition);
                for (offset, value) in acked.into_iter().flatten().filter(|(offset, _)| *offset >= start) {
                    let found = kept.get(offset);
                    if found != Some(value) {
                        return Err(format!(
                            "{partition}: value {value} was acknowledged at {offset}; machine {machine} has {found:?} \
                             there, and {} records up to {:?}",
                            records.len(),
                            records.last()
                        ));
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<(), String> {
        let is_owed = |partition: &&Partition| !self.deleted.contains(&partition.topic);
        match self.acked.keys().filter(is_owed).find(|partition| !self.judged.contains(partition)) {
            Some(partition) => Err(format!("{partition} has acknowledged records, and nobody served it in the end")),
            None => Ok(()),
        }
    }
}
