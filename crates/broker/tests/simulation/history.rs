//! What clients did and were told: everything that the invariants judge.

mod groups;
mod queues;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

pub use groups::{By, GroupEvent, Life, Outcome};
pub use queues::{Leased, Operation, Queue, QueueEvent, Said};

use crate::front::Read;
use crate::invariants::{Invariant, Violation, all};
use crate::trace::{note, now};

/// A partition of one incarnation of a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Partition {
    pub topic: [u8; 16],
    pub number: u32,
}

impl std::fmt::Display for Partition {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:02x}{:02x}-{}", self.topic[14], self.topic[15], self.number)
    }
}

/// Something that the world has seen.
#[derive(Clone, Debug)]
pub enum Event {
    /// Values that a producer began to send, in their order. An idempotent one never gives up.
    Sent {
        partition: Partition,
        producer: u64,
        values: Vec<u64>,
        is_idempotent: bool,
    },
    /// They are acknowledged, the first one at `base`.
    Acked {
        partition: Partition,
        producer: u64,
        base: u64,
        values: Vec<u64>,
    },
    /// They are refused for good: they must never be seen.
    NotStored {
        partition: Partition,
        values: Vec<u64>,
    },
    /// A reader got this, having asked for `from` at the time `since`.
    WasRead {
        partition: Partition,
        from: u64,
        read: Read,
        since: u64,
    },
    /// The end of a partition, asked for at `since`.
    End {
        partition: Partition,
        end: u64,
        since: u64,
    },
    /// A replica shows this; `life` counts the starts of its machine.
    Replica {
        partition: Partition,
        machine: usize,
        life: u64,
        term: u64,
        leads: bool,
        start: u64,
        committed: u64,
    },
    /// Creating a topic was confirmed, or deleting one.
    Created {
        topic: [u8; 16],
        name: String,
    },
    /// Its deletion is about to be asked for.
    Deleting {
        topic: [u8; 16],
    },
    Deleted {
        topic: [u8; 16],
    },
    /// Something about stream groups.
    Group(GroupEvent),
    /// Something about queues.
    Queue(QueueEvent),
    /// After the healing: all records that one replica serves.
    Final {
        partition: Partition,
        machine: usize,
        start: u64,
        records: Vec<(u64, u64)>,
    },
    /// After the healing: the topics that a node knows.
    FinalTopics {
        machine: usize,
        topics: Vec<[u8; 16]>,
    },
}

/// Where events go. Clones are the same history.
#[derive(Clone)]
pub struct History(Rc<RefCell<Inner>>);

struct Inner {
    invariants: Vec<Box<dyn Invariant>>,
    violations: Vec<Violation>,
    counts: BTreeMap<&'static str, u64>,
}

impl History {
    pub fn new() -> Self {
        Self(Rc::new(RefCell::new(Inner { invariants: all(), violations: Vec::new(), counts: BTreeMap::new() })))
    }

    pub fn tell(&self, event: &Event) {
        let mut inner = self.0.borrow_mut();
        *inner.counts.entry(event.name()).or_default() += 1;
        if let Event::Acked { partition, producer, base, values } = event {
            note!("{partition}: producer {producer} has {} records at {base}", values.len());
        }
        match event {
            Event::Group(event) => event.note(),
            Event::Queue(event) => event.note(),
            _ => {}
        }
        let Inner { invariants, violations, .. } = &mut *inner;
        for invariant in invariants {
            if let Err(words) = invariant.see(event, now()) {
                note!("VIOLATION of {}: {words}", invariant.name());
                violations.push(Violation { invariant: invariant.name(), at: now(), words });
            }
        }
    }

    /// The run is over: what only then can be judged.
    pub fn finish(&self) {
        let mut inner = self.0.borrow_mut();
        let Inner { invariants, violations, .. } = &mut *inner;
        for invariant in invariants {
            if let Err(words) = invariant.finish() {
                note!("VIOLATION of {}: {words}", invariant.name());
                violations.push(Violation { invariant: invariant.name(), at: now(), words });
            }
        }
    }

    /// Notes what is wrong although no invariant is about it: a panic, a node that cannot go on, no progress.
    pub fn object(&self, invariant: &'static str, words: String) {
        note!("VIOLATION of {invariant}: {words}");
        self.0.borrow_mut().violations.push(Violation { invariant, at: now(), words });
    }

    pub fn violations(&self) -> Vec<Violation> {
        self.0.borrow().violations.clone()
    }

    pub fn is_violated(&self) -> bool {
        !self.0.borrow().violations.is_empty()
    }

    pub fn counts(&self) -> BTreeMap<&'static str, u64> {
        self.0.borrow().counts.clone()
    }
}

impl Event {
    fn name(&self) -> &'static str {
        match self {
            Self::Sent { .. } => "sent",
            Self::Acked { .. } => "acked",
            Self::NotStored { .. } => "not stored",
            Self::WasRead { .. } => "read",
            Self::End { .. } => "end",
            Self::Replica { .. } => "replica",
            Self::Created { .. } => "created",
            Self::Deleting { .. } => "deleting",
            Self::Deleted { .. } => "deleted",
            Self::Group(event) => event.name(),
            Self::Queue(event) => event.name(),
            Self::Final { .. } => "final",
            Self::FinalTopics { .. } => "final topics",
        }
    }
}
