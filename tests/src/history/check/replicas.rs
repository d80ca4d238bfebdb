//! A20 and A21: each replica has every committed entry, and where two have an entry it is the same to the byte.

use std::collections::BTreeMap;

use super::{Anomaly, AnomalyKind};
use crate::history::event::{Replica, ReplicaEntry};
use crate::history::facts::Facts;

pub(super) fn find(facts: &Facts<'_>) -> Vec<Anomaly> {
    let committed = facts.committed();
    let mut found = Vec::new();
    let mut first_of: BTreeMap<(u32, u64), (usize, u64, &ReplicaEntry)> = BTreeMap::new();
    for (at, replica) in &facts.replicas {
        let end = committed.get(&replica.partition).copied().unwrap_or(0);
        found.extend(holes(*at, replica, end));
        for entry in replica.entries.iter().filter(|entry| is_committed(entry, end)) {
            let key = (replica.partition, entry.index);
            let (other_at, other_node, other) = *first_of.entry(key).or_insert((*at, replica.node, entry));
            if (other.term, &other.kind, other.base_offset, other.records, other.crc)
                != (entry.term, &entry.kind, entry.base_offset, entry.records, entry.crc)
            {
                let text = format!(
                    "entry {} of partition {}: node {other_node} has {}, node {} has {}",
                    entry.index,
                    replica.partition,
                    describe(other),
                    replica.node,
                    describe(entry)
                );
                found.push(Anomaly::new(AnomalyKind::Divergence, [other_at, *at], text));
                // One such entry is followed by many.
                break;
            }
        }
    }
    found
}

/// Certainly committed: a data entry whose last record lies below what is known to be committed, or an entry before one.
fn is_committed(entry: &ReplicaEntry, end: u64) -> bool {
    let next = entry.base_offset + u64::from(entry.records);
    next < end || (entry.records > 0 && next <= end)
}

fn describe(entry: &ReplicaEntry) -> String {
    let (next, crc) = (entry.base_offset + u64::from(entry.records), entry.crc);
    format!("{} of term {}, offsets {} to {next}, checksum {crc:08x}", entry.kind, entry.term, entry.base_offset)
}

fn holes(at: usize, replica: &Replica, committed: u64) -> Vec<Anomaly> {
    let (node, partition) = (replica.node, replica.partition);
    let mut found = Vec::new();
    let mut hole = |text: String| {
        let text = format!("partition {partition} on node {node}: {text}");
        found.push(Anomaly::new(AnomalyKind::AckedHole, [at], text));
    };
    for pair in replica.entries.windows(2) {
        let [before, after] = pair else { continue };
        let next = before.base_offset + u64::from(before.records);
        if after.index != before.index + 1 {
            hole(format!("entry {} follows entry {}", after.index, before.index));
        } else if after.base_offset != next {
            hole(format!("entry {} begins at offset {}, not {next}", after.index, after.base_offset));
        }
    }
    let end = replica.entries.last().map_or(replica.log_start, |last| last.base_offset + u64::from(last.records));
    if end < committed {
        hole(format!("its log ends at offset {end}, and everything below {committed} is committed"));
    }
    found
}

#[cfg(test)]
mod tests {
    use crate::history::check::AnomalyKind;
    use crate::history::check::story::{Story, v};

    fn stored() -> Story {
        let mut story = Story::default();
        story.sent(v(0), 0).sent(v(1), 1).sent(v(2), 2);
        story.poll(9, &[(0, v(0)), (1, v(1)), (2, v(2))]).replica(1, &[v(0), v(1), v(2)]);
        story
    }

    #[test]
    fn a_missing_entry_is_a_hole() {
        let mut story = stored();
        story.replica(2, &[v(0), v(1), v(2)]).last_replica().entries.remove(1);
        story.expect(&[AnomalyKind::AckedHole]);
    }

    #[test]
    fn a_replica_that_ends_early_has_a_hole() {
        stored().replica(2, &[v(0), v(1)]).expect(&[AnomalyKind::AckedHole]);
    }

    #[test]
    fn offsets_that_do_not_join_are_a_hole() {
        let mut story = stored();
        story.replica(2, &[v(0), v(1), v(2)]).last_replica().entries.remove(1);
        let replica = story.last_replica();
        replica.entries.iter_mut().skip(1).for_each(|entry| entry.index = 7);
        replica.entries.iter_mut().for_each(|entry| entry.index += 100);
        story.expect(&[AnomalyKind::AckedHole]);
    }

    #[test]
    fn other_bytes_are_a_divergence() {
        let mut story = stored();
        story.replica(2, &[v(0), v(1), v(2)]).last_replica().entries[1].crc ^= 1;
        story.expect(&[AnomalyKind::Divergence]);
    }

    #[test]
    fn another_term_is_a_divergence() {
        let mut story = stored();
        story.replica(2, &[v(0), v(1), v(2)]).last_replica().entries[1].term = 2;
        story.expect(&[AnomalyKind::Divergence]);
    }

    #[test]
    fn beyond_what_is_committed_replicas_may_differ() {
        let mut story = stored();
        story.replica(2, &[v(0), v(1), v(2), v(3)]).replica(3, &[v(0), v(1), v(2), v(4)]).expect(&[]);
    }
}
