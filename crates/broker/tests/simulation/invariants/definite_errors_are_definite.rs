//! P8: what was refused for good is never seen; nor is anything that nobody sent.

use std::collections::BTreeSet;

use super::Invariant;
use crate::history::Event;

#[derive(Default)]
pub struct DefiniteErrorsAreDefinite {
    sent: BTreeSet<u64>,
    not_stored: BTreeSet<u64>,
}

impl Invariant for DefiniteErrorsAreDefinite {
    fn name(&self) -> &'static str {
        "definite_errors_are_definite"
    }

    fn see(&mut self, event: &Event, _: u64) -> Result<(), String> {
        let (partition, records) = match event {
            Event::Sent { values, .. } => {
                self.sent.extend(values);
                return Ok(());
            }
            Event::NotStored { values, .. } => {
                self.not_stored.extend(values);
                return Ok(());
            }
            Event::WasRead { partition, read, .. } => (partition, &read.records),
            Event::Final { partition, records, .. } => (partition, records),
            _ => return Ok(()),
        };
        for (offset, value) in records {
            if !self.sent.contains(value) {
                return Err(format!("{partition}: value {value} at {offset} was never sent"));
            }
            if self.not_stored.contains(value) {
                return Err(format!("{partition}: value {value} at {offset} had been refused for good"));
            }
        }
        Ok(())
    }
}
