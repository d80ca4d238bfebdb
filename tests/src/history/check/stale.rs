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
    let mut all_known = Known::of(facts);
    for (partition, questions) in questions {
        let known = all_known.entry(partition).or_default();
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
#[derive(Default)]
pub(super) struct Known {
    /// Where it was learnt, and the end, latest first.
    rising: Vec<(usize, u64)>,
    highest: Option<(u64, usize)>,
}

impl Known {
    /// Of every partition, in one pass: an hour has a thousand of them, and a million records.
    pub(super) fn of(facts: &Facts<'_>) -> BTreeMap<u32, Self> {
        let mut all: BTreeMap<u32, Self> = BTreeMap::new();
        let mut learn = |partition: u32, at: usize, end: u64| all.entry(partition).or_default().rising.push((at, end));
        for sent in facts.sent.values() {
            if let Some((at, Some(offset))) = sent.acked {
                learn(sent.partition, at, offset + 1);
            }
        }
        for poll in &facts.polls {
            let last = poll.records.iter().map(|(offset, _)| offset + 1).max();
            if let Some(end) = last.max(poll.high_watermark) {
                learn(poll.partition, poll.at, end);
            }
        }
        for (partition, _, at, (_, end)) in facts.bounds() {
            learn(partition, at, end);
        }
        for known in all.values_mut() {
            known.rising.sort_unstable();
            known.rising.reverse();
        }
        all
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
