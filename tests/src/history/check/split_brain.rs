//! A22: after everything is healed all nodes serve the same, and no epoch has two leaders at any time.

use std::collections::BTreeMap;

use super::{Anomaly, AnomalyKind};
use crate::history::event::Seen;
use crate::history::facts::Facts;

pub(super) fn find(facts: &Facts<'_>) -> Vec<Anomaly> {
    let mut found = leaders(facts);
    found.extend(served(facts));
    found
}

fn leaders(facts: &Facts<'_>) -> Vec<Anomaly> {
    let mut found = Vec::new();
    let mut leader_of: BTreeMap<(u32, u64), (u64, u64, usize)> = BTreeMap::new();
    for (at, asked, partition, leader, epoch) in &facts.leaders {
        let (other, teller, place) = *leader_of.entry((*partition, *epoch)).or_insert((*leader, *asked, *at));
        if other != *leader {
            let text = format!(
                "epoch {epoch} of partition {partition}: node {teller} says node {other} leads, node {asked} says {leader}"
            );
            found.push(Anomaly::new(AnomalyKind::SplitBrain, [place, *at], text));
        }
    }
    found
}

fn served(facts: &Facts<'_>) -> Vec<Anomaly> {
    let mut found = Vec::new();
    let nodes: BTreeMap<(u32, u32), u64> =
        facts.final_reads.iter().map(|(node, reader, partition, _)| ((*reader, *partition), *node)).collect();
    let mut at_offset: BTreeMap<(u32, u64), (u64, &Seen, usize)> = BTreeMap::new();
    for poll in facts.polls.iter().filter(|poll| facts.healed.is_some_and(|healed| poll.at > healed)) {
        let Some(node) = nodes.get(&(poll.reader, poll.partition)) else { continue };
        for (offset, seen) in poll.records {
            let key = (poll.partition, *offset);
            let (other_node, other, place) = *at_offset.entry(key).or_insert((*node, seen, poll.at));
            if other != seen && other_node != *node {
                let (partition, offset) = key;
                let text = format!(
                    "offset {offset} of partition {partition}: {other} through node {other_node}, {seen} through {node}"
                );
                found.push(Anomaly::new(AnomalyKind::SplitBrain, [place, poll.at], text));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use crate::history::check::AnomalyKind;
    use crate::history::check::story::{Story, v};
    use crate::history::event::Kind;

    #[test]
    fn two_leaders_of_one_epoch_are_a_split_brain() {
        let mut story = Story::default();
        story.note(Kind::LeaderSeen { asked: 1, partition: 0, leader: 1, epoch: 4 });
        story.note(Kind::LeaderSeen { asked: 2, partition: 0, leader: 2, epoch: 4 });
        story.expect(&[AnomalyKind::SplitBrain]);
    }

    #[test]
    fn different_data_from_two_nodes_after_the_healing_is_a_split_brain() {
        let mut story = Story::default();
        story.unknown(v(0)).unknown(v(1)).note(Kind::Healed);
        story.poll(1, &[(0, v(0))]).poll(2, &[(0, v(1))]);
        story.note(Kind::FinalRead { node: 1, reader: 1, partition: 0, complete: true });
        story.note(Kind::FinalRead { node: 2, reader: 2, partition: 0, complete: true });
        // Two values at one offset are always inconsistent, too.
        story.expect(&[AnomalyKind::InconsistentOffset, AnomalyKind::SplitBrain]);
    }
}
