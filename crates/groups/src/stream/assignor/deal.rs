//! The assignors that remember nothing: range and round-robin.

use std::collections::BTreeMap;

use highwater_types::{TopicId, TopicPartition};

use super::{Reader, partitions_of, readers_of};

/// Topic by topic: each reader of it a run of neighbours, the first ones one more where it does not come out even.
pub(super) fn range(readers: &[Reader<'_>], partitions: &BTreeMap<TopicId, u32>) -> Vec<Vec<TopicPartition>> {
    let mut given = vec![Vec::new(); readers.len()];
    for (topic, count) in partitions {
        let takers = readers_of(readers, *topic);
        let mut left = partitions_of(*topic, *count);
        for (place, taker) in takers.iter().enumerate() {
            let share = share(*count, takers.len(), place);
            if let Some(given) = given.get_mut(*taker) {
                given.extend(left.by_ref().take(share));
            }
        }
    }
    given
}

/// How many of `count` things the taker at `place` gets of `takers`.
pub(super) fn share(count: u32, takers: usize, place: usize) -> usize {
    let count = usize::try_from(count).unwrap_or(usize::MAX);
    count / takers + usize::from(place < count % takers)
}

/// All partitions in order, each to the next reader in the circle that reads its topic.
pub(super) fn round_robin(readers: &[Reader<'_>], partitions: &BTreeMap<TopicId, u32>) -> Vec<Vec<TopicPartition>> {
    let mut given = vec![Vec::new(); readers.len()];
    let mut next = 0;
    for (topic, count) in partitions {
        let takers = readers_of(readers, *topic);
        if takers.is_empty() {
            continue;
        }
        let mut place = takers.partition_point(|taker| *taker < next);
        for partition in partitions_of(*topic, *count) {
            place %= takers.len();
            let taker = takers.get(place).copied().unwrap_or_default();
            if let Some(given) = given.get_mut(taker) {
                given.push(partition);
            }
            place += 1;
            next = taker + 1;
        }
    }
    given
}
