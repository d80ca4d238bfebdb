//! Where a group keeps the order of each key: of one key at most one message is with a worker, as far as one leader gives
//! them; and none goes before an older one of its key that is neither done nor dead, unless somebody put that off.

use std::collections::{BTreeMap, BTreeSet};

use highwater_groups::queue::{AckToken, GroupId, Order, Outcome};
use highwater_types::{Offset, OffsetRange};

use super::Invariant;
use crate::history::{Event, Operation, Partition, Queue, QueueEvent, Said};
use crate::workload::producer::{is_delayed, key_of};

#[derive(Default)]
pub struct KeysKeepTheirOrder {
    made: BTreeMap<Queue, (u32, u64)>,
    given: BTreeMap<Queue, Vec<Given>>,
    /// From when on a message may have been at its end.
    ends: BTreeMap<(Queue, u64), u64>,
    /// Messages whose order is their own by now.
    moved: BTreeSet<(Queue, u64)>,
    redrives: BTreeMap<Queue, Vec<Redrive>>,
    /// What is dead in the end.
    dead: BTreeSet<(Queue, u64)>,
    attempts: BTreeMap<(Queue, AckToken), u32>,
    operations: BTreeMap<u64, (Queue, u64)>,
    deleted: BTreeSet<[u8; 16]>,
    values: BTreeMap<Partition, BTreeMap<u64, u64>>,
}

struct Redrive {
    number: u64,
    from: u64,
    to: Option<u64>,
}

#[derive(Clone, Copy)]
struct Given {
    offset: u64,
    at: u64,
}

impl Invariant for KeysKeepTheirOrder {
    fn name(&self) -> &'static str {
        "keys_keep_their_order"
    }

    fn see(&mut self, event: &Event, now: u64) -> Result<(), String> {
        match event {
            Event::Deleting { topic } => drop(self.deleted.insert(*topic)),
            Event::Final { partition, records, .. } => {
                self.values.insert(*partition, records.iter().copied().collect());
            }
            Event::Queue(event) => self.take(event, now),
            _ => {}
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<(), String> {
        for (queue, given) in &self.given {
            let values = self.values.get(&queue.partition).filter(|_| !self.deleted.contains(&queue.partition.topic));
            if let Some(values) = values {
                self.judge(*queue, values, given)?;
            }
        }
        Ok(())
    }
}

impl KeysKeepTheirOrder {
    fn take(&mut self, event: &QueueEvent, now: u64) {
        match event {
            QueueEvent::Made { queue, config } if config.order == Order::Key => {
                self.made.insert(*queue, (config.attempts_max, config.lease_ms));
            }
            QueueEvent::Leased { queue, since, leases, .. } => {
                let Some((attempts_max, lease_ms)) = self.made.get(queue).copied() else { return };
                for lease in leases {
                    self.given.entry(*queue).or_default().push(Given { offset: lease.offset, at: now });
                    self.attempts.insert((*queue, lease.token), lease.attempt);
                    // Its last attempt may end without a word; an extension is not counted on, as it may be refused.
                    if lease.attempt >= attempts_max {
                        self.may_end((*queue, lease.offset), since + lease_ms.min(300));
                    }
                }
            }
            QueueEvent::SettleBegan { queue, outcomes, .. } if self.made.contains_key(queue) => {
                for (token, outcome) in outcomes {
                    let is_last = match outcome {
                        Outcome::Ack | Outcome::Reject { .. } => true,
                        Outcome::Fail { .. } | Outcome::Lost { .. } => {
                            let attempt = self.attempts.get(&(*queue, *token)).copied().unwrap_or(u32::MAX);
                            self.made.get(queue).is_some_and(|(limit, _)| attempt >= *limit)
                        }
                        Outcome::Release | Outcome::Extend { .. } => false,
                    };
                    if is_last {
                        self.may_end((*queue, token.offset.get()), now);
                    }
                }
            }
            QueueEvent::OperationBegan { number, queue, operation } if self.made.contains_key(queue) => match operation
            {
                Operation::Cancel(offset) => self.may_end((*queue, *offset), now),
                Operation::Reschedule(offset) => {
                    self.moved.insert((*queue, *offset));
                    self.operations.insert(*number, (*queue, *offset));
                }
                Operation::Redrive(..) => {
                    let redrive = Redrive { number: *number, from: now, to: None };
                    self.redrives.entry(*queue).or_default().push(redrive);
                }
                Operation::Pause | Operation::Resume => {}
            },
            QueueEvent::OperationEnded { number, said } => {
                let redrives = self.redrives.values_mut().flatten().filter(|redrive| redrive.number == *number);
                redrives.for_each(|redrive| redrive.to = Some(now).filter(|_| !matches!(said, Said::Unknown)));
                if !matches!(said, Said::NotDone) {
                    return;
                }
                // Taken at its word, unless it was also asked for before.
                let Some(at) = self.operations.remove(number) else { return };
                if !self.operations.values().any(|other| *other == at) {
                    self.moved.remove(&at);
                }
            }
            QueueEvent::FinalQueues { partition, image, .. } => {
                for queue in self.made.keys().filter(|queue| queue.partition == *partition) {
                    let group = GroupId::new(&format!("queue-{}", queue.group)).unwrap();
                    let everything = OffsetRange::new(Offset::ZERO, Offset::MAX);
                    let dead = image.queue(&group).into_iter().flat_map(|image| image.dead(everything));
                    self.dead.extend(dead.map(|(offset, _)| (*queue, offset.get())));
                }
            }
            _ => {}
        }
    }

    /// Whether it may have been dead at a time before it came to its end: nobody was told of the attempts whose leases were
    /// lost on their way.
    fn may_have_been_dead(&self, queue: Queue, offset: u64, at: u64, ended: Option<u64>) -> bool {
        let between = |redrive: &&Redrive| {
            redrive.to.is_none_or(|to| to >= at) && ended.is_none_or(|ended| redrive.from <= ended)
        };
        self.dead.contains(&(queue, offset)) || self.redrives.get(&queue).into_iter().flatten().any(|it| between(&it))
    }

    fn may_end(&mut self, at: (Queue, u64), now: u64) {
        let end = self.ends.entry(at).or_insert(now);
        *end = now.min(*end);
    }

    fn judge(&self, queue: Queue, values: &BTreeMap<u64, u64>, given: &[Given]) -> Result<(), String> {
        // What stands first of each key: older ones than what is given must have come to their end.
        let mut of_key: BTreeMap<u64, Vec<(u64, Option<u64>)>> = BTreeMap::new();
        for (offset, value) in values {
            let Some(key) = key_of(*value) else { continue };
            if !is_delayed(*value) && !self.moved.contains(&(queue, *offset)) {
                of_key.entry(key).or_default().push((*offset, self.ends.get(&(queue, *offset)).copied()));
            }
        }
        for Given { offset, at } in given {
            let Some(key) = values.get(offset).and_then(|value| key_of(*value)) else { continue };
            let older = of_key.get(&key).into_iter().flatten().take_while(|(older, _)| older < offset);
            for (older, ended) in older {
                if ended.is_none_or(|ended| ended > *at) && !self.may_have_been_dead(queue, *older, *at, *ended) {
                    return Err(format!(
                        "{queue}: {offset} was given at {at} ms, and {older} of the same key ended at {ended:?}"
                    ));
                }
            }
        }
        Ok(())
    }
}
