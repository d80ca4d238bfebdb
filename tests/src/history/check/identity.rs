//! A3 and A4: an offset names one value, and a value has one offset.

use std::collections::BTreeMap;

use super::{Anomaly, AnomalyKind};
use crate::history::event::Seen;
use crate::history::facts::Facts;
use crate::history::value::Value;

pub(super) fn find(facts: &Facts<'_>) -> Vec<Anomaly> {
    let mut found = Vec::new();
    let mut holders: BTreeMap<(u32, u64), BTreeMap<Value, usize>> = BTreeMap::new();
    for (value, places) in &facts.places {
        for (place, at) in places {
            holders.entry(*place).or_default().insert(*value, *at);
        }
        if places.len() > 1 {
            let offsets: Vec<_> = places.keys().map(|(partition, offset)| format!("{partition}@{offset}")).collect();
            let text = format!("{value} stands at {} places: {}", places.len(), offsets.join(", "));
            found.push(Anomaly::new(AnomalyKind::Duplicate, places.values().copied(), text));
        }
    }
    for ((partition, offset), values) in &holders {
        // Damaged bytes are the business of A19; two different ones at one offset are not told apart here.
        let damaged = facts.polled.get(&(*partition, *offset)).into_iter().flatten();
        let has_damage = damaged.filter(|(seen, _)| matches!(seen, Seen::Damaged(_))).count() > 0;
        if values.len() > 1 && !has_damage {
            let names: Vec<_> = values.keys().map(Value::to_string).collect();
            let text = format!("offset {offset} of partition {partition} holds {}", names.join(" and "));
            found.push(Anomaly::new(AnomalyKind::InconsistentOffset, values.values().copied(), text));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use crate::history::check::AnomalyKind;
    use crate::history::check::story::{Story, v};

    #[test]
    fn two_values_at_one_offset_are_inconsistent() {
        let mut story = Story::default();
        story.sent(v(0), 0).unknown(v(1)).poll(1, &[(0, v(0))]).poll(2, &[(0, v(1))]);
        story.expect(&[AnomalyKind::InconsistentOffset]);
    }

    #[test]
    fn an_acknowledgement_counts_as_one_of_the_two() {
        let mut story = Story::default();
        story.sent(v(0), 0).sent(v(1), 0).poll(1, &[(0, v(0))]).poll(2, &[(0, v(1))]);
        // The second acknowledgement also lies below the end that the first one told.
        story.expect(&[AnomalyKind::InconsistentOffset, AnomalyKind::SpuriousOffset]);
    }

    #[test]
    fn one_value_at_two_offsets_is_a_duplicate() {
        let mut story = Story::default();
        story.sent(v(0), 0).poll(1, &[(0, v(0)), (1, v(0))]);
        story.expect(&[AnomalyKind::Duplicate]);
    }
}
