//! A6 and A7: a producer's records stand in the order in which it sent them, in one send and from send to send.
//!
//! The offsets are those of acknowledgements and those that readers saw, so that sends without an answer count too. A value
//! at two offsets is left out, that is A4, and two values at one offset are A3.

use std::collections::BTreeMap;

use super::{Anomaly, AnomalyKind};
use crate::history::event::Call;
use crate::history::facts::Facts;

pub(super) fn find(facts: &Facts<'_>) -> Vec<Anomaly> {
    let mut found = Vec::new();
    let mut last_of: BTreeMap<(u32, u32), (u64, usize)> = BTreeMap::new();
    for operation in facts.operations.values() {
        let Call::Produce { partition, values } = operation.call else { continue };
        let placed: Vec<_> = values.iter().filter_map(|value| Some((*value, offset_of(facts, *value)?))).collect();
        for pair in placed.windows(2) {
            let [(before, (low, _)), (after, (high, at))] = pair else { continue };
            if low > high {
                let text =
                    format!("{before} stands at {low} of partition {partition}, and {after} behind it at {high}");
                found.push(Anomaly::new(AnomalyKind::IntNonmonotonicSend, [operation.invoked, *at], text));
            }
        }
        let Some((value, (first, at))) = placed.first() else { continue };
        let last = placed.iter().map(|(_, place)| *place).max().unwrap_or((*first, *at));
        let lowest = placed.iter().map(|(_, (offset, _))| *offset).min().unwrap_or(*first);
        let key = (value.producer, *partition);
        if let Some((before, place)) = last_of.get(&key).filter(|(before, _)| *before > lowest) {
            let text = format!(
                "{value} was sent later than what stands at {before} of partition {partition}; it stands at {lowest}"
            );
            found.push(Anomaly::new(AnomalyKind::NonmonotonicSend, [*place, operation.invoked, *at], text));
        }
        let known = last_of.entry(key).or_insert(last);
        *known = last.max(*known);
    }
    found
}

/// Where the value stands, when that is one place only.
fn offset_of(facts: &Facts<'_>, value: crate::history::Value) -> Option<(u64, usize)> {
    let places = facts.places.get(&value)?;
    let ((_, offset), at) = places.first_key_value()?;
    (places.len() == 1).then_some((*offset, *at))
}

#[cfg(test)]
mod tests {
    use crate::history::check::AnomalyKind;
    use crate::history::check::story::{Story, v};

    #[test]
    fn a_later_send_with_the_lower_offset_is_nonmonotonic() {
        let mut story = Story::default();
        let (first, second) = (story.send(&[v(0)]), story.send(&[v(1)]));
        story.ack(second, &[0]).ack(first, &[1]).poll(1, &[(0, v(1)), (1, v(0))]);
        story.expect(&[AnomalyKind::NonmonotonicSend]);
    }

    #[test]
    fn a_send_without_an_answer_has_its_place_too() {
        let mut story = Story::default();
        story.unknown(v(0)).sent(v(1), 0).poll(1, &[(0, v(1)), (1, v(0))]);
        story.expect(&[AnomalyKind::NonmonotonicSend]);
    }

    #[test]
    fn the_order_within_a_send_is_kept() {
        let mut story = Story::default();
        let op = story.send(&[v(0), v(1)]);
        story.ack(op, &[1, 0]).poll(1, &[(0, v(1)), (1, v(0))]);
        story.expect(&[AnomalyKind::IntNonmonotonicSend]);
    }
}
