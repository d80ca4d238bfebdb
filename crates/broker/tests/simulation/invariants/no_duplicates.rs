//! P5: what an idempotent producer sent is stored once, and in the order in which it was sent.

use std::collections::BTreeMap;

use super::Invariant;
use crate::history::{Event, Partition};

#[derive(Default)]
pub struct NoDuplicates {
    /// Values of idempotent producers: whose, and the how-many-eth of that producer in that partition.
    sent: BTreeMap<u64, (u64, u64)>,
    counts: BTreeMap<(Partition, u64), u64>,
    places: BTreeMap<(Partition, u64), u64>,
}

impl Invariant for NoDuplicates {
    fn name(&self) -> &'static str {
        "no_duplicates"
    }

    fn see(&mut self, event: &Event, _: u64) -> Result<(), String> {
        match event {
            Event::Sent { partition, producer, values, is_idempotent: true } => {
                let count = self.counts.entry((*partition, *producer)).or_default();
                for value in values {
                    self.sent.insert(*value, (*producer, *count));
                    *count += 1;
                }
            }
            Event::WasRead { partition, read, .. } => {
                for (offset, value) in &read.records {
                    self.place(*partition, *value, *offset)?;
                }
            }
            Event::Acked { partition, base, values, .. } => {
                for (offset, value) in (*base..).zip(values) {
                    self.place(*partition, *value, offset)?;
                }
            }
            Event::Final { partition, records, .. } => {
                let mut newest: BTreeMap<u64, u64> = BTreeMap::new();
                for (offset, value) in records {
                    self.place(*partition, *value, *offset)?;
                    let Some((producer, count)) = self.sent.get(value) else { continue };
                    if newest.insert(*producer, *count).is_some_and(|before| before >= *count) {
                        return Err(format!(
                            "{partition}: value {value} of producer {producer} stands after a later one"
                        ));
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }
}

impl NoDuplicates {
    fn place(&mut self, partition: Partition, value: u64, offset: u64) -> Result<(), String> {
        if !self.sent.contains_key(&value) {
            return Ok(());
        }
        match self.places.insert((partition, value), offset) {
            Some(other) if other != offset => {
                Err(format!("{partition}: value {value} was sent once and stands at {other} and at {offset}"))
            }
            _ => Ok(()),
        }
    }
}
