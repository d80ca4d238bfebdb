//! A8 to A11: what a member reads of a partition begins where it was told to, and from there no record is jumped over or
//! comes twice, neither inside a poll nor from one to the next, for as long as it holds the partition.

use std::collections::BTreeMap;

use super::Invariant;
use crate::history::{Event, GroupEvent, Life, Partition};

#[derive(Default)]
pub struct PollsAreWhole {
    next: BTreeMap<(Life, Partition), u64>,
}

impl Invariant for PollsAreWhole {
    fn name(&self) -> &'static str {
        "polls_are_whole"
    }

    fn see(&mut self, event: &Event, _: u64) -> Result<(), String> {
        match event {
            Event::Group(GroupEvent::Begun { life, partition, offset }) => {
                self.next.insert((*life, *partition), *offset);
                Ok(())
            }
            Event::Group(GroupEvent::Released { life, partition }) => {
                self.next.remove(&(*life, *partition));
                Ok(())
            }
            Event::Group(GroupEvent::Polled { life, partition, records, next, .. }) => {
                let Some(due) = self.next.get_mut(&(*life, *partition)) else {
                    return Err(format!("{life} read {partition}, which it does not hold"));
                };
                for (offset, _) in records {
                    if offset != due {
                        return Err(format!("{life}: {partition} went on at {offset}, and {due} was next"));
                    }
                    *due += 1;
                }
                match next == due {
                    true => Ok(()),
                    false => Err(format!("{life}: a poll of {partition} ended at {due} and says that {next} is next")),
                }
            }
            _ => Ok(()),
        }
    }
}
