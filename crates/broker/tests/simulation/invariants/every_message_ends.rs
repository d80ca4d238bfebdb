//! A28 and A30: in the end every message of every queue is done or dead, and not both; what is done was acked or called off
//! by somebody, what was confirmed to be is; what is dead has a reason, and the story of its attempts.

use std::collections::{BTreeMap, BTreeSet};

use highwater_groups::queue::{AckToken, DeathCause, Entry, Outcome, QueueConfig, QueuesImage, Settled, Standing};
use highwater_types::Offset;

use super::Invariant;
use crate::history::{Event, Operation, Partition, Queue, QueueEvent, Said};

#[derive(Default)]
pub struct EveryMessageEnds {
    made: BTreeMap<Queue, QueueConfig>,
    /// What may be done, and what is for certain.
    maybe_done: BTreeSet<(Queue, u64)>,
    done: BTreeSet<(Queue, u64)>,
    /// What may have been rejected.
    maybe_rejected: BTreeSet<(Queue, u64)>,
    settles: BTreeMap<u64, (Queue, Vec<(AckToken, Outcome)>)>,
    cancels: BTreeMap<u64, (Queue, u64)>,
    deleted: BTreeSet<[u8; 16]>,
    records: BTreeMap<Partition, Vec<u64>>,
    images: Vec<(Partition, usize, QueuesImage)>,
}

impl Invariant for EveryMessageEnds {
    fn name(&self) -> &'static str {
        "every_message_ends"
    }

    fn see(&mut self, event: &Event, _: u64) -> Result<(), String> {
        match event {
            Event::Deleting { topic } => drop(self.deleted.insert(*topic)),
            Event::Final { partition, records, .. } => {
                self.records.insert(*partition, records.iter().map(|(offset, _)| *offset).collect());
            }
            Event::Queue(event) => self.take(event),
            _ => {}
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<(), String> {
        for (queue, config) in &self.made {
            let images = self.images.iter().filter(|(partition, ..)| *partition == queue.partition);
            for (_, machine, image) in images.filter(|(partition, ..)| !self.deleted.contains(&partition.topic)) {
                self.judge(*queue, config, image).map_err(|words| format!("{queue} on machine {machine}: {words}"))?;
            }
        }
        Ok(())
    }
}

impl EveryMessageEnds {
    fn take(&mut self, event: &QueueEvent) {
        match event {
            QueueEvent::Made { queue, config } => drop(self.made.insert(*queue, *config)),
            QueueEvent::SettleBegan { number, queue, outcomes, .. } => {
                self.settles.insert(*number, (*queue, outcomes.clone()));
            }
            QueueEvent::SettleRefused { number } => drop(self.settles.remove(number)),
            QueueEvent::Settled { number, results } => {
                let Some((queue, outcomes)) = self.settles.remove(number) else { return };
                for (place, (token, outcome)) in outcomes.into_iter().enumerate() {
                    let result = results.as_ref().and_then(|results| results.get(place));
                    let at = (queue, token.offset.get());
                    match (outcome, result) {
                        (_, Some(Err(_))) => {}
                        (Outcome::Ack, Some(Ok(Settled::Acked))) => {
                            self.maybe_done.insert(at);
                            self.done.insert(at);
                        }
                        (Outcome::Ack, None) => drop(self.maybe_done.insert(at)),
                        (Outcome::Reject { .. }, _) => drop(self.maybe_rejected.insert(at)),
                        _ => {}
                    }
                }
            }
            QueueEvent::OperationBegan { number, queue, operation: Operation::Cancel(offset) } => {
                self.cancels.insert(*number, (*queue, *offset));
            }
            QueueEvent::OperationEnded { number, said } => {
                let Some(at) = self.cancels.remove(number) else { return };
                match said {
                    Said::Unknown => drop(self.maybe_done.insert(at)),
                    Said::Answer(highwater_groups::queue::Answer::Move(Ok(()))) => {
                        self.maybe_done.insert(at);
                        self.done.insert(at);
                    }
                    Said::Answer(_) | Said::NotDone => {}
                }
            }
            QueueEvent::FinalQueues { partition, machine, image } => {
                self.images.push((*partition, *machine, image.clone()));
            }
            _ => {}
        }
    }

    fn judge(&self, queue: Queue, config: &QueueConfig, image: &QueuesImage) -> Result<(), String> {
        let mut groups = image.queues().filter(|(group, _)| group.as_str() == format!("queue-{}", queue.group));
        let Some((_, found)) = groups.next() else { return Err("the group is gone".to_owned()) };
        for offset in self.records.get(&queue.partition).into_iter().flatten().copied() {
            let (at, place) = ((queue, offset), Offset::new(offset).unwrap());
            match (found.is_done(place), found.entry(place)) {
                (true, None) if self.maybe_done.contains(&at) => {}
                (true, None) => return Err(format!("{offset} is done, and nobody acked it or called it off")),
                (true, Some(entry)) => return Err(format!("{offset} is done, and has {entry:?}")),
                (false, _) if self.done.contains(&at) => return Err(format!("{offset} was done, and is not")),
                (false, Some(entry)) => {
                    let is_rejected = self.maybe_rejected.contains(&at);
                    judge_dead(entry, config, is_rejected).map_err(|words| format!("{offset}: {words}: {entry:?}"))?;
                }
                (false, None) => return Err(format!("{offset} is neither done nor dead")),
            }
        }
        Ok(())
    }
}

fn judge_dead(entry: &Entry, config: &QueueConfig, is_rejected: bool) -> Result<(), &'static str> {
    let Standing::Dead { cause, .. } = entry.standing else { return Err("it is neither done nor dead") };
    match cause {
        DeathCause::AttemptsSpent if entry.attempts != config.attempts_max => return Err("it died before its limit"),
        DeathCause::Rejected if !is_rejected => return Err("nobody rejected it"),
        DeathCause::Expired => return Err("it had no time to live"),
        _ => {}
    }
    let mut numbers = entry.journal.iter().map(|attempt| attempt.number);
    if !numbers.clone().zip(numbers.clone().skip(1)).all(|(one, next)| next == one + 1) {
        return Err("attempts are missing");
    }
    let told = u32::try_from(entry.journal.len()).unwrap();
    match entry.is_redriven {
        false if told != entry.attempts || numbers.next() != Some(1) => Err("its story is not whole"),
        true if told <= entry.attempts => Err("its former story is gone"),
        _ => Ok(()),
    }
}
