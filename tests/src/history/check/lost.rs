//! A1 and A2: what was acknowledged is read.

use super::{Anomaly, AnomalyKind};
use crate::history::facts::Facts;

pub(super) fn find(facts: &Facts<'_>) -> Vec<Anomaly> {
    let polled = facts.polled_values();
    let reached = facts.polled_to();
    let mut found = Vec::new();
    for (value, sent) in &facts.sent {
        let Some((acked, offset)) = sent.acked else { continue };
        if polled.contains(value) {
            continue;
        }
        let partition = sent.partition;
        let passed = offset.filter(|offset| reached.get(&partition).is_some_and(|reached| reached > offset));
        let at = offset.map_or_else(|| "an offset that was not told".to_owned(), |offset| format!("offset {offset}"));
        let (kind, text) = match passed {
            Some(_) => (AnomalyKind::LostWrite, "readers went past it and nobody read it"),
            None => (AnomalyKind::Unseen, "nobody had read it at the end"),
        };
        let text = format!("{value} was acknowledged at {at} of partition {partition}; {text}");
        found.push(Anomaly::new(kind, [sent.invoked, acked], text));
    }
    found
}

#[cfg(test)]
mod tests {
    use crate::history::check::AnomalyKind;
    use crate::history::check::story::{Story, v};
    use crate::history::event::{Answer, Fate};

    #[test]
    fn an_acknowledged_value_that_readers_pass_is_lost() {
        let mut story = Story::default();
        story.sent(v(0), 0).sent(v(1), 1).sent(v(2), 2);
        // The reader of offset 1 is told nothing of it: an assignment of its own, so that only the loss is seen.
        story.poll(1, &[(0, v(0))]).assign(2, 2).poll(2, &[(2, v(2))]);
        story.expect(&[AnomalyKind::LostWrite]);
    }

    #[test]
    fn an_acknowledged_value_beyond_all_polls_is_unseen() {
        let mut story = Story::default();
        story.sent(v(0), 0).sent(v(1), 1).poll(1, &[(0, v(0))]);
        story.expect(&[AnomalyKind::Unseen]);
    }

    #[test]
    fn a_value_acknowledged_without_an_offset_is_to_be_read_too() {
        let mut story = Story::default();
        let op = story.send(&[v(0)]);
        story.done(op, Answer::Produced { fates: vec![Fate::Somewhere] });
        story.expect(&[AnomalyKind::Unseen]);
        story.poll(1, &[(0, v(0))]).expect(&[]);
    }
}
