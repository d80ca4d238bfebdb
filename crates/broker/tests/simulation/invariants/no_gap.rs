//! P3: readers get every offset from where they asked, in order, and nothing at or above the high watermark.

use super::Invariant;
use crate::history::Event;

#[derive(Default)]
pub struct NoGap;

impl Invariant for NoGap {
    fn name(&self) -> &'static str {
        "no_gap"
    }

    fn see(&mut self, event: &Event, _: u64) -> Result<(), String> {
        let (partition, records) = match event {
            Event::WasRead { partition, from, read, .. } => {
                if let Some((first, _)) = read.records.first()
                    && first > from
                {
                    return Err(format!("{partition}: a reader asked for {from} and got {first} as the first"));
                }
                if let Some((last, _)) = read.records.last()
                    && (last + 1 != read.next || *last >= read.high_watermark)
                {
                    return Err(format!(
                        "{partition}: a read ended at {last}, with {} as the next and {} as the high watermark",
                        read.next, read.high_watermark
                    ));
                }
                (partition, &read.records)
            }
            Event::Final { partition, records, .. } => (partition, records),
            _ => return Ok(()),
        };
        match records.windows(2).find(|pair| pair[0].0 + 1 != pair[1].0) {
            Some(pair) => Err(format!("{partition}: offset {} is followed by {}", pair[0].0, pair[1].0)),
            None => Ok(()),
        }
    }
}
