//! A17: the start and the end of a log never go back. Answers to questions are compared in real time; the high watermark
//! that comes along with records, for each assignment of a reader.

use std::collections::BTreeMap;

use super::{Anomaly, AnomalyKind};
use crate::history::facts::Facts;

pub(super) fn find(facts: &Facts<'_>) -> Vec<Anomaly> {
    let mut found = answers(facts, "log start", |(log_start, _)| log_start);
    found.extend(answers(facts, "end", |(_, end)| end));
    let mut seen: BTreeMap<(u32, u32), (u64, usize)> = BTreeMap::new();
    for poll in &facts.polls {
        let Some(high) = poll.high_watermark else { continue };
        let (reader, partition) = (poll.reader, poll.partition);
        let before = seen.entry((reader, partition)).or_insert((high, poll.at));
        if high < before.0 {
            let text = format!(
                "reader {reader} saw the high watermark of partition {partition} at {}, then at {high}",
                before.0
            );
            found.push(Anomaly::new(AnomalyKind::Regression, [before.1, poll.at], text));
        }
        *before = (high, poll.at).max(*before);
    }
    found
}

/// An answer must not be lower than one that was there before the question.
fn answers(facts: &Facts<'_>, what: &str, of: fn((u64, u64)) -> u64) -> Vec<Anomaly> {
    let mut found = Vec::new();
    let mut by_partition: BTreeMap<u32, Vec<_>> = BTreeMap::new();
    for (partition, asked, answered, bounds) in facts.bounds() {
        by_partition.entry(partition).or_default().push((asked, answered, of(bounds)));
    }
    for (partition, mut questions) in by_partition {
        let mut answers = questions.clone();
        answers.sort_by_key(|(_, answered, _)| *answered);
        questions.sort_by_key(|(asked, _, _)| *asked);
        let mut answers = answers.into_iter().peekable();
        let mut highest: Option<(u64, usize)> = None;
        for (asked, answered, value) in questions {
            while let Some((_, place, value)) = answers.next_if(|(_, answered, _)| *answered < asked) {
                highest = highest.max(Some((value, place)));
            }
            if let Some((before, place)) = highest.filter(|(before, _)| value < *before) {
                let text =
                    format!("the {what} of partition {partition} was {before}, and {value} when asked afterwards");
                found.push(Anomaly::new(AnomalyKind::Regression, [place, asked, answered], text));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use crate::history::check::AnomalyKind;
    use crate::history::check::story::{Story, v};
    use crate::history::event::{Answer, Call, Kind, Seen};

    #[test]
    fn a_log_start_that_goes_back_is_a_regression() {
        Story::default().end(5, 9).end(4, 9).expect(&[AnomalyKind::Regression]);
    }

    #[test]
    fn a_high_watermark_that_goes_back_for_one_reader_is_a_regression() {
        let mut story = Story::default();
        story.unknown(v(0)).unknown(v(1));
        let polled = |offset, high| Kind::Polled {
            reader: 1,
            partition: 0,
            records: vec![(offset, Seen::Value(v(offset)))],
            high_watermark: Some(high),
        };
        story.note(polled(0, 5)).note(polled(1, 4));
        story.expect(&[AnomalyKind::Regression]);
    }

    #[test]
    fn answers_to_questions_under_way_together_may_come_in_any_order() {
        let mut story = Story::default();
        let slow = story.invoke(Call::EndOffset { partition: 0 });
        story.end(0, 9);
        story.done(slow, Answer::Bounds { log_start: 0, end: 4 }).expect(&[]);
    }

    #[test]
    fn an_end_that_goes_back_is_a_regression_and_stale() {
        Story::default().end(0, 9).end(0, 8).expect(&[AnomalyKind::Regression, AnomalyKind::StaleRead]);
    }
}
