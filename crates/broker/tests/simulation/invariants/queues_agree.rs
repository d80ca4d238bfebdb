//! All replicas of a partition end with the same image of its queues.

use std::collections::BTreeMap;

use highwater_groups::queue::QueuesImage;

use super::Invariant;
use crate::history::{Event, Partition, QueueEvent};

#[derive(Default)]
pub struct QueuesAgree {
    first: BTreeMap<Partition, (usize, QueuesImage)>,
}

impl Invariant for QueuesAgree {
    fn name(&self) -> &'static str {
        "queues_agree"
    }

    fn see(&mut self, event: &Event, _: u64) -> Result<(), String> {
        let Event::Queue(QueueEvent::FinalQueues { partition, machine, image }) = event else { return Ok(()) };
        let (other, first) = self.first.entry(*partition).or_insert_with(|| (*machine, image.clone()));
        if first == image {
            return Ok(());
        }
        Err(format!("{partition}: machine {machine} has {image:?}, machine {other} has {first:?}"))
    }
}
