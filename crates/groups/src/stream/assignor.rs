//! Assignors: who reads which partitions, where the server decides it. Pure functions of members and partitions.
//!
//! | name | what it does |
//! |---|---|
//! | `range` | topic by topic, each member a run of neighbours |
//! | `roundrobin` | all partitions in order, dealt out like cards |
//! | `sticky` | balanced, and of all balanced ways one that moves least |
//! | `cooperative-sticky` | the same; the name under which members of Kafka's clients know it |
//!
//! Whichever it is, what moves stays with nobody until who holds it has given it up: members read on while they join, so
//! two of them would read it, and the one that gives it up might commit behind the other's back.
//!
//! Invariants: a partition goes to one member at most, and only to one that reads its topic; a topic that exists and is
//! read is given out whole, but for what is withheld; equal input gives equal output.

mod deal;
mod sticky;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;

use highwater_types::{PartitionId, TopicId, TopicPartition};

use crate::planted::{Bug, is_planted};

/// A member as an assignor sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reader<'a> {
    /// The topics that it reads, sorted.
    pub topics: &'a [TopicId],
    /// What it had until now, which a sticky assignor leaves with it where it can.
    pub claims: Vec<TopicPartition>,
    /// What it may still be reading, and what nobody else is given before it has given it up.
    pub holds: Vec<TopicPartition>,
}

/// A way to assign.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Assignor {
    /// Topic by topic, each member a run of neighbours.
    Range,
    /// All partitions in order, dealt out like cards.
    RoundRobin,
    /// Balanced, moving least.
    Sticky,
    /// The same, under the name that says that members read on.
    CooperativeSticky,
}

impl Assignor {
    /// Every assignor.
    pub const ALL: [Self; 4] = [Self::Range, Self::RoundRobin, Self::Sticky, Self::CooperativeSticky];

    /// Its name, as members offer it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Range => "range",
            Self::RoundRobin => "roundrobin",
            Self::Sticky => "sticky",
            Self::CooperativeSticky => "cooperative-sticky",
        }
    }

    /// The assignor with this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|assignor| assignor.name() == name)
    }

    /// What each reader is given, in the order of the readers; sorted. A topic that `partitions` does not name has none.
    #[must_use]
    pub fn assign(self, readers: &[Reader<'_>], partitions: &BTreeMap<TopicId, u32>) -> Vec<Vec<TopicPartition>> {
        let mut given = self.deal(readers, partitions);
        if !is_planted(Bug::GivenBeforeReleased) {
            withhold(&mut given, readers);
        }
        given
    }

    /// The same, as it shall be in the end: nothing is withheld.
    fn deal(self, readers: &[Reader<'_>], partitions: &BTreeMap<TopicId, u32>) -> Vec<Vec<TopicPartition>> {
        let mut given = match self {
            Self::Range => deal::range(readers, partitions),
            Self::RoundRobin => deal::round_robin(readers, partitions),
            Self::Sticky | Self::CooperativeSticky => sticky::assign(readers, partitions),
        };
        given.iter_mut().for_each(|partitions| partitions.sort_unstable());
        given
    }
}

impl fmt::Display for Assignor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Takes from each reader what another one may still be reading.
fn withhold(given: &mut [Vec<TopicPartition>], readers: &[Reader<'_>]) {
    // Who holds a partition; `None` when several say so, and then nobody gets it until that is settled.
    let mut holders: BTreeMap<TopicPartition, Option<usize>> = BTreeMap::new();
    for (number, reader) in readers.iter().enumerate() {
        for held in &reader.holds {
            holders
                .entry(*held)
                .and_modify(|holder| *holder = holder.filter(|known| *known == number))
                .or_insert(Some(number));
        }
    }
    for (number, partitions) in given.iter_mut().enumerate() {
        partitions.retain(|partition| holders.get(partition).is_none_or(|holder| *holder == Some(number)));
    }
}

/// The partitions of one topic.
fn partitions_of(topic: TopicId, count: u32) -> impl Iterator<Item = TopicPartition> {
    (0..count).map(move |number| TopicPartition { topic, partition: PartitionId::new(number) })
}

/// The readers of one topic, by number.
fn readers_of(readers: &[Reader<'_>], topic: TopicId) -> Vec<usize> {
    let reads = |(_, reader): &(usize, &Reader<'_>)| reader.topics.binary_search(&topic).is_ok();
    readers.iter().enumerate().filter(reads).map(|(number, _)| number).collect()
}
