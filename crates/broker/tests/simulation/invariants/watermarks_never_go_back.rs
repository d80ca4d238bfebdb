//! A replica's watermarks only go forward while it lives; and a reader that waits for one answer before it asks again
//! never sees the high watermark of the committed log go below what it has read.

use std::collections::BTreeMap;

use super::Invariant;
use crate::history::{Event, Partition};

#[derive(Default)]
pub struct WatermarksNeverGoBack {
    replicas: BTreeMap<(Partition, usize, u64), (u64, u64, u64)>,
}

impl Invariant for WatermarksNeverGoBack {
    fn name(&self) -> &'static str {
        "watermarks_never_go_back"
    }

    fn see(&mut self, event: &Event, _: u64) -> Result<(), String> {
        match event {
            Event::Replica { partition, machine, life, term, start, committed, .. } => {
                let seen = (*term, *start, *committed);
                let before = self.replicas.insert((*partition, *machine, *life), seen).unwrap_or_default();
                // The term of a replica that stops is shown as nothing.
                let is_term_fine = *term == 0 || *term >= before.0;
                if !is_term_fine || *start < before.1 || *committed < before.2 {
                    return Err(format!(
                        "{partition} on machine {machine}: (term, start, committed) was {before:?} and is {seen:?}"
                    ));
                }
            }
            Event::WasRead { partition, read, .. } if read.start > read.high_watermark => {
                return Err(format!("{partition}: begins at {} and ends at {}", read.start, read.high_watermark));
            }
            _ => {}
        }
        Ok(())
    }
}
