//! A23: whoever asks for the end is told of everything that was known to be committed when he asked.

use std::collections::BTreeMap;

use super::{Anomaly, AnomalyKind};
use crate::history::facts::Facts;

pub(super) fn find(facts: &Facts<'_>) -> Vec<Anomaly> {
    let mut found = Vec::new();
    let mut questions: BTreeMap<u32, Vec<_>> = BTreeMap::new();
    for (partition, asked, answered, (_, end)) in facts.bounds() {
        questions.entry(partition).or_default().push((asked, answered, end));
    }
    for (partition, questions) in questions {
        let mut known = Known::of(facts, partition);
        for (asked, answered, end) in questions {
            if let Some((committed, place)) = known.before(asked).filter(|(committed, _)| end < *committed) {
                let text =
                    format!("partition {partition} was known to reach {committed}; asked for its end it told {end}");
                found.push(Anomaly::new(AnomalyKind::StaleRead, [place, asked, answered], text));
            }
        }
    }
    found
}

/// What was known of the end of a partition, at any place of the history, asked for from its start on.
pub(super) struct Known {
    /// Where it was learnt, and the end, latest first.
    rising: Vec<(usize, u64)>,
    highest: Option<(u64, usize)>,
}

impl Known {
    pub(super) fn of(facts: &Facts<'_>, partition: u32) -> Self {
        let mut rising = Vec::new();
        let of_it = facts.sent.values().filter(|sent| sent.partition == partition);
        rising.extend(of_it.filter_map(|sent| sent.acked).filter_map(|(at, offset)| Some((at, offset? + 1))));
        for poll in facts.polls.iter().filter(|poll| poll.partition == partition) {
            let last = poll.records.iter().map(|(offset, _)| offset + 1).max();
            rising.extend(last.max(poll.high_watermark).map(|end| (poll.at, end)));
        }
        rising.extend(facts.bounds().filter(|bounds| bounds.0 == partition).map(|(_, _, at, (_, end))| (at, end)));
        rising.sort_unstable();
        rising.reverse();
        Self { rising, highest: None }
    }

    /// The highest end that was known before this place, and where it was learnt. The places must rise from call to call.
    pub(super) fn before(&mut self, place: usize) -> Option<(u64, usize)> {
        while let Some((at, end)) = self.rising.pop_if(|(at, _)| *at < place) {
            if self.highest.is_none_or(|(highest, _)| end > highest) {
                self.highest = Some((end, at));
            }
        }
        self.highest
    }
}

#[cfg(test)]
mod tests {
    use crate::history::check::AnomalyKind;
    use crate::history::check::story::{Story, v};
    use crate::history::event::{Answer, Call};

    #[test]
    fn an_end_below_an_acknowledgement_before_it_is_stale() {
        let mut story = Story::default();
        story.sent(v(0), 0).end(0, 0).poll(1, &[(0, v(0))]);
        story.expect(&[AnomalyKind::StaleRead]);
    }

    #[test]
    fn an_end_below_what_was_read_before_it_is_stale() {
        let mut story = Story::default();
        story.unknown(v(0)).poll(1, &[(0, v(0))]).end(0, 0);
        story.expect(&[AnomalyKind::StaleRead]);
    }

    #[test]
    fn what_is_acknowledged_while_the_question_is_under_way_need_not_be_told() {
        let mut story = Story::default();
        let asked = story.invoke(Call::EndOffset { partition: 0 });
        story.sent(v(0), 0).done(asked, Answer::Bounds { log_start: 0, end: 0 }).poll(1, &[(0, v(0))]);
        story.expect(&[]);
    }
}
