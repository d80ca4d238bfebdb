//! After the healing, all replicas of a partition hold the same records.

use std::collections::BTreeMap;

use super::Invariant;
use crate::history::{Event, Partition};

#[derive(Default)]
pub struct ReplicasAgree {
    first: BTreeMap<Partition, (usize, u64, Vec<(u64, u64)>)>,
}

impl Invariant for ReplicasAgree {
    fn name(&self) -> &'static str {
        "replicas_agree"
    }

    fn see(&mut self, event: &Event, _: u64) -> Result<(), String> {
        let Event::Final { partition, machine, start, records } = event else { return Ok(()) };
        let (other, other_start, others) =
            self.first.entry(*partition).or_insert_with(|| (*machine, *start, records.clone()));
        // Each lets go of old records by itself.
        let common = (*start).max(*other_start);
        let of = |records: &[(u64, u64)]| -> Vec<(u64, u64)> {
            records.iter().copied().filter(|(offset, _)| *offset >= common).collect()
        };
        let (mine, theirs) = (of(records), of(others));
        if mine == theirs {
            return Ok(());
        }
        let at = mine.iter().zip(&theirs).find(|(mine, theirs)| mine != theirs);
        Err(format!(
            "{partition}: machine {machine} has {} records, machine {other} has {}; the first that differ: {at:?}",
            mine.len(),
            theirs.len()
        ))
    }
}
