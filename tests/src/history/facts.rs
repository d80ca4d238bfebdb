//! The history by what the anomalies ask for: sends with what became of them, polls with their assignment, positions seen.
//!
//! Owns: pairing calls with answers. Never: judges.

use std::collections::{BTreeMap, BTreeSet};

use super::event::{Answer, Call, Event, Fate, Kind, OpId, Replica, Seen};
use super::value::Value;

/// What became of a call.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// It was done, and the answer stands at this place of the history.
    Done {
        /// The place.
        at: usize,
        /// The answer.
        answer: Answer,
    },
    /// It was definitely not done.
    Failed {
        /// The place.
        at: usize,
    },
    /// Perhaps done; also when there is no answer at all.
    Unknown,
}

/// One call with what became of it.
#[derive(Clone, Debug)]
pub struct Operation<'a> {
    /// What was asked for.
    pub call: &'a Call,
    /// Where the call stands.
    pub invoked: usize,
    /// What became of it.
    pub outcome: Outcome,
}

/// One value on its way into a partition.
#[derive(Clone, Debug)]
pub struct Sent {
    /// Where to.
    pub partition: u32,
    /// Where the call stands.
    pub invoked: usize,
    /// Its offset, and where that was told; without an offset when the server did not tell it.
    pub acked: Option<(usize, Option<u64>)>,
    /// Whether the call definitely failed, and where that was told.
    pub failed: Option<usize>,
}

/// Records that a reader got at once.
#[derive(Clone, Debug)]
pub struct Poll<'a> {
    /// Where it stands.
    pub at: usize,
    /// The reader.
    pub reader: u32,
    /// The partition.
    pub partition: u32,
    /// The records.
    pub records: &'a [(u64, Seen)],
    /// The end that was told along.
    pub high_watermark: Option<u64>,
    /// Where the assignment stands that it belongs to, and the offset that it began with.
    pub assigned: Option<(usize, u64)>,
}

/// Everything that the anomalies look at.
#[derive(Debug, Default)]
pub struct Facts<'a> {
    /// All calls, by their place.
    pub operations: BTreeMap<usize, Operation<'a>>,
    /// All values that were sent.
    pub sent: BTreeMap<Value, Sent>,
    /// All polls in their order.
    pub polls: Vec<Poll<'a>>,
    /// What was polled at each offset of each partition, and where that stands first.
    pub polled: BTreeMap<(u32, u64), BTreeMap<&'a Seen, usize>>,
    /// Where each value was polled or acknowledged: partition and offset, and a place of the history.
    pub places: BTreeMap<Value, BTreeMap<(u32, u64), usize>>,
    /// The replicas' files.
    pub replicas: Vec<(usize, &'a Replica)>,
    /// Who said who leads: (place, asked, partition, leader, epoch).
    pub leaders: Vec<(usize, u64, u32, u64, u64)>,
    /// After the healing: (node, reader, partition, whether it came to the end).
    pub final_reads: Vec<(u64, u32, u32, bool)>,
    /// Where the history says that everything was healed.
    pub healed: Option<usize>,
}

impl<'a> Facts<'a> {
    /// Sorts a history.
    #[must_use]
    pub fn of(events: &'a [Event]) -> Self {
        let mut facts = Self::default();
        let mut open: BTreeMap<OpId, usize> = BTreeMap::new();
        let mut assigned = BTreeMap::new();
        for (at, event) in events.iter().enumerate() {
            match &event.kind {
                Kind::Invoked { op, call } => {
                    open.insert(*op, at);
                    facts.operations.insert(at, Operation { call, invoked: at, outcome: Outcome::Unknown });
                }
                Kind::Done { op, answer } => {
                    facts.settle(open.remove(op), Outcome::Done { at, answer: answer.clone() });
                }
                Kind::Failed { op, .. } => facts.settle(open.remove(op), Outcome::Failed { at }),
                Kind::Unknown { op, .. } => facts.settle(open.remove(op), Outcome::Unknown),
                Kind::Assigned { reader, partition, from } => {
                    assigned.insert((*reader, *partition), (at, *from));
                }
                Kind::Polled { reader, partition, records, high_watermark } => {
                    let (reader, partition, high_watermark) = (*reader, *partition, *high_watermark);
                    let assigned = assigned.get(&(reader, partition)).copied();
                    facts.polls.push(Poll { at, reader, partition, records, high_watermark, assigned });
                }
                Kind::LeaderSeen { asked, partition, leader, epoch } => {
                    facts.leaders.push((at, *asked, *partition, *leader, *epoch));
                }
                Kind::FinalRead { node, reader, partition, complete } => {
                    facts.final_reads.push((*node, *reader, *partition, *complete));
                }
                Kind::ReplicaSeen(replica) => facts.replicas.push((at, replica)),
                Kind::Healed => facts.healed = Some(at),
                Kind::Fault { .. } | Kind::FaultOver { .. } | Kind::Note { .. } => {}
            }
        }
        facts.collect();
        facts
    }

    fn settle(&mut self, place: Option<usize>, outcome: Outcome) {
        if let Some(operation) = place.and_then(|place| self.operations.get_mut(&place)) {
            operation.outcome = outcome;
        }
    }

    fn collect(&mut self) {
        for operation in self.operations.values() {
            let Call::Produce { partition, values } = operation.call else { continue };
            for (index, value) in values.iter().enumerate() {
                let (mut acked, mut failed) = (None, None);
                match &operation.outcome {
                    Outcome::Done { at, answer: Answer::Produced { fates } } => match fates.get(index) {
                        Some(Fate::At(offset)) => {
                            acked = Some((*at, Some(*offset)));
                            self.places.entry(*value).or_default().entry((*partition, *offset)).or_insert(*at);
                        }
                        Some(Fate::Somewhere) => acked = Some((*at, None)),
                        Some(Fate::Refused) => failed = Some(*at),
                        Some(Fate::Unknown) | None => {}
                    },
                    Outcome::Failed { at } => failed = Some(*at),
                    Outcome::Done { .. } | Outcome::Unknown => {}
                }
                let sent = Sent { partition: *partition, invoked: operation.invoked, acked, failed };
                self.sent.insert(*value, sent);
            }
        }
        for poll in &self.polls {
            for (offset, seen) in poll.records {
                let place = (poll.partition, *offset);
                self.polled.entry(place).or_default().entry(seen).or_insert(poll.at);
                if let Seen::Value(value) = seen {
                    self.places.entry(*value).or_default().entry(place).or_insert(poll.at);
                }
            }
        }
    }

    /// The highest offset that was ever polled of each partition.
    #[must_use]
    pub fn polled_to(&self) -> BTreeMap<u32, u64> {
        let mut to = BTreeMap::new();
        for (partition, offset) in self.polled.keys() {
            to.insert(*partition, *offset);
        }
        to
    }

    /// Every value that was ever polled.
    #[must_use]
    pub fn polled_values(&self) -> BTreeSet<Value> {
        let seen = self.polled.values().flat_map(BTreeMap::keys);
        seen.filter_map(|seen| if let Seen::Value(value) = seen { Some(*value) } else { None }).collect()
    }

    /// For each partition, the offset below which everything is certainly committed: acknowledged, read, or told to be.
    #[must_use]
    pub fn committed(&self) -> BTreeMap<u32, u64> {
        let mut committed: BTreeMap<u32, u64> = BTreeMap::new();
        let mut raise = |partition: u32, end: u64| {
            let known = committed.entry(partition).or_default();
            *known = end.max(*known);
        };
        for sent in self.sent.values() {
            if let Some((_, Some(offset))) = sent.acked {
                raise(sent.partition, offset + 1);
            }
        }
        for poll in &self.polls {
            let last = poll.records.iter().map(|(offset, _)| offset + 1).max();
            raise(poll.partition, last.max(poll.high_watermark).unwrap_or(0));
        }
        for (partition, _, _, bounds) in self.bounds() {
            raise(partition, bounds.1);
        }
        committed
    }

    /// Answers to questions for the end: partition, where asked, where answered, (log start, end).
    pub fn bounds(&self) -> impl Iterator<Item = (u32, usize, usize, (u64, u64))> + '_ {
        self.operations.values().filter_map(|operation| match (operation.call, &operation.outcome) {
            (Call::EndOffset { partition }, Outcome::Done { at, answer: Answer::Bounds { log_start, end } }) => {
                Some((*partition, operation.invoked, *at, (*log_start, *end)))
            }
            _ => None,
        })
    }
}
