//! A topic whose creation was confirmed exists until it is deleted, and one whose deletion was confirmed does not.

use std::collections::{BTreeMap, BTreeSet};

use super::Invariant;
use crate::history::Event;

#[derive(Default)]
pub struct TopicsAreNotForgotten {
    created: BTreeMap<[u8; 16], String>,
    deleted: BTreeSet<[u8; 16]>,
}

impl Invariant for TopicsAreNotForgotten {
    fn name(&self) -> &'static str {
        "topics_are_not_forgotten"
    }

    fn see(&mut self, event: &Event, _: u64) -> Result<(), String> {
        match event {
            Event::Created { topic, name } => drop(self.created.insert(*topic, name.clone())),
            Event::Deleted { topic } => drop(self.deleted.insert(*topic)),
            Event::FinalTopics { machine, topics } => {
                for (topic, name) in &self.created {
                    if topics.contains(topic) == self.deleted.contains(topic) {
                        let was =
                            if self.deleted.contains(topic) { "deleted and is there" } else { "created and is gone" };
                        return Err(format!("machine {machine}: topic {name} was {was}"));
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }
}
