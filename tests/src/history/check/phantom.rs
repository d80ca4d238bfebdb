//! A19: what is read was sent, to that partition, and before it was read.

use super::{Anomaly, AnomalyKind};
use crate::history::event::Seen;
use crate::history::facts::Facts;

pub(super) fn find(facts: &Facts<'_>) -> Vec<Anomaly> {
    let mut found = Vec::new();
    for ((partition, offset), seen) in &facts.polled {
        for (seen, at) in seen {
            let what = match seen {
                Seen::Damaged(what) => what.clone(),
                Seen::Value(value) => match facts.sent.get(value) {
                    None => format!("{value}, which nobody sent"),
                    Some(sent) if sent.partition != *partition => format!("{value}, sent to {}", sent.partition),
                    Some(sent) if sent.invoked > *at => format!("{value}, before it was sent"),
                    Some(_) => continue,
                },
            };
            let text = format!("offset {offset} of partition {partition}: {what}");
            found.push(Anomaly::new(AnomalyKind::Phantom, [*at], text));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use crate::history::check::AnomalyKind;
    use crate::history::check::story::{Story, v};
    use crate::history::event::{Call, Kind, Seen};

    #[test]
    fn what_nobody_sent_is_a_phantom() {
        Story::default().poll(1, &[(0, v(0))]).expect(&[AnomalyKind::Phantom]);
        Story::default().poll(1, &[(0, v(0))]).unknown(v(0)).expect(&[AnomalyKind::Phantom]);
    }

    #[test]
    fn what_was_sent_elsewhere_is_a_phantom() {
        let mut story = Story::default();
        story.invoke(Call::Produce { partition: 7, values: vec![v(0)] });
        story.poll(1, &[(0, v(0))]).expect(&[AnomalyKind::Phantom]);
    }

    #[test]
    fn damaged_bytes_are_reported_as_such() {
        let mut story = Story::default();
        let records = vec![(0, Seen::Damaged("a wrong checksum".to_owned()))];
        story.note(Kind::Polled { reader: 1, partition: 0, records, high_watermark: None });
        story.expect(&[AnomalyKind::Phantom]);
    }
}
