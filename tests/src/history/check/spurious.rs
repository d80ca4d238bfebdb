//! A18: what is stored now does not get an offset that was given long ago. When a record was sent while the end of its
//! partition was known to be `e`, its offset is at least `e`.

use std::collections::BTreeMap;

use super::stale::Known;
use super::{Anomaly, AnomalyKind};
use crate::history::facts::Facts;

pub(super) fn find(facts: &Facts<'_>) -> Vec<Anomaly> {
    let mut found = Vec::new();
    let mut sent: BTreeMap<u32, Vec<_>> = BTreeMap::new();
    for (value, one) in &facts.sent {
        if let Some((acked, Some(offset))) = one.acked {
            sent.entry(one.partition).or_default().push((one.invoked, acked, offset, *value));
        }
    }
    let mut all_known = Known::of(facts);
    for (partition, mut sent) in sent {
        sent.sort_unstable();
        let known = all_known.entry(partition).or_default();
        for (invoked, acked, offset, value) in sent {
            if let Some((end, place)) = known.before(invoked).filter(|(end, _)| offset < *end) {
                let text =
                    format!("{value} was sent when partition {partition} had {end} records, and got offset {offset}");
                found.push(Anomaly::new(AnomalyKind::SpuriousOffset, [place, invoked, acked], text));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use crate::history::check::AnomalyKind;
    use crate::history::check::story::{Story, v};

    #[test]
    fn an_acknowledgement_below_the_known_end_is_spurious() {
        let mut story = Story::default();
        // Nobody sent what stands at 0 and 1, and nobody reads it: all that is known is the end.
        story.assign(1, 2).end(0, 2).sent(v(0), 0).sent(v(1), 2);
        story.poll(1, &[(2, v(1))]).assign(2, 0).poll(2, &[(0, v(0))]);
        story.expect(&[AnomalyKind::SpuriousOffset]);
    }

    #[test]
    fn a_send_that_was_under_way_may_be_acknowledged_below_the_end() {
        let mut story = Story::default();
        let (first, second) = (story.send(&[v(0)]), story.send(&[v(1)]));
        story.ack(second, &[1]).end(0, 2).ack(first, &[0]).poll(1, &[(0, v(0)), (1, v(1))]);
        story.expect(&[]);
    }
}
