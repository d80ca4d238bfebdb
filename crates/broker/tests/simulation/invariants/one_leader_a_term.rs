//! In one term at most one replica of a group leads, and a replica that was away leads again only in another one.

use std::collections::BTreeMap;

use super::Invariant;
use crate::history::{Event, Partition};

#[derive(Default)]
pub struct OneLeaderATerm {
    leaders: BTreeMap<(Partition, u64), (usize, u64)>,
}

impl Invariant for OneLeaderATerm {
    fn name(&self) -> &'static str {
        "one_leader_a_term"
    }

    fn see(&mut self, event: &Event, _: u64) -> Result<(), String> {
        let Event::Replica { partition, machine, life, term, leads: true, .. } = event else { return Ok(()) };
        let leader = *self.leaders.entry((*partition, *term)).or_insert((*machine, *life));
        if leader == (*machine, *life) {
            Ok(())
        } else {
            Err(format!(
                "{partition}: machine {} in its life {} and machine {machine} in its life {life} both lead in term {term}",
                leader.0, leader.1
            ))
        }
    }
}
