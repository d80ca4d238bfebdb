//! P2: an offset names one record for ever, whoever is asked and whenever.

use std::collections::BTreeMap;

use super::Invariant;
use crate::history::{Event, Partition};

#[derive(Default)]
pub struct OneValueAnOffset {
    values: BTreeMap<(Partition, u64), u64>,
}

impl Invariant for OneValueAnOffset {
    fn name(&self) -> &'static str {
        "one_value_an_offset"
    }

    fn see(&mut self, event: &Event, _: u64) -> Result<(), String> {
        match event {
            Event::Acked { partition, base, values, .. } => (*base..)
                .zip(values)
                .try_for_each(|(offset, value)| self.hold(*partition, offset, *value, "acknowledged")),
            Event::WasRead { partition, read, .. } => {
                read.records.iter().try_for_each(|(offset, value)| self.hold(*partition, *offset, *value, "read"))
            }
            Event::Final { partition, records, .. } => {
                records.iter().try_for_each(|(offset, value)| self.hold(*partition, *offset, *value, "read in the end"))
            }
            _ => Ok(()),
        }
    }
}

impl OneValueAnOffset {
    fn hold(&mut self, partition: Partition, offset: u64, value: u64, how: &str) -> Result<(), String> {
        let first = *self.values.entry((partition, offset)).or_insert(value);
        if first == value {
            Ok(())
        } else {
            Err(format!("{partition}: offset {offset} held {first}, and {value} was {how} there"))
        }
    }
}
