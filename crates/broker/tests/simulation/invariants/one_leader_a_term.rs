//! In one term at most one replica of a group leads.

use std::collections::BTreeMap;

use super::Invariant;
use crate::history::{Event, Partition};

#[derive(Default)]
pub struct OneLeaderATerm {
    leaders: BTreeMap<(Partition, u64), usize>,
}

impl Invariant for OneLeaderATerm {
    fn name(&self) -> &'static str {
        "one_leader_a_term"
    }

    fn see(&mut self, event: &Event, _: u64) -> Result<(), String> {
        let Event::Replica { partition, machine, term, leads: true, .. } = event else { return Ok(()) };
        let leader = *self.leaders.entry((*partition, *term)).or_insert(*machine);
        if leader == *machine {
            Ok(())
        } else {
            Err(format!("{partition}: machines {leader} and {machine} both lead in term {term}"))
        }
    }
}
