//! The end of a partition that is asked for after an acknowledgement lies beyond what was acknowledged.

use std::collections::BTreeMap;

use super::Invariant;
use crate::history::{Event, Partition};

#[derive(Default)]
pub struct NoStaleEnd {
    /// The highest end that was told or follows from an acknowledgement, by the time when it was known.
    known: BTreeMap<Partition, BTreeMap<u64, u64>>,
}

impl Invariant for NoStaleEnd {
    fn name(&self) -> &'static str {
        "no_stale_end"
    }

    fn see(&mut self, event: &Event, now: u64) -> Result<(), String> {
        match event {
            Event::Acked { partition, base, values, .. } => self.know(*partition, base + values.len() as u64, now),
            Event::End { partition, end, since } => {
                // What became known in the same millisecond may have been after the question.
                let known = self.known.get(partition).and_then(|known| known.range(..since).next_back());
                if let Some((at, known)) = known
                    && end < known
                {
                    return Err(format!(
                        "{partition}: asked for at {since} ms, the end was {end}; but it was known to be {known} at {at} ms"
                    ));
                }
                self.know(*partition, *end, now);
            }
            _ => {}
        }
        Ok(())
    }
}

impl NoStaleEnd {
    fn know(&mut self, partition: Partition, end: u64, now: u64) {
        let known = self.known.entry(partition).or_default();
        let highest = known.values().next_back().copied().unwrap_or(0);
        if end > highest {
            known.insert(now, end);
        }
    }
}
