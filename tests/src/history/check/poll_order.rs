//! A8 to A11: a reader gets every offset from where it began, in order, once; within a poll and from poll to poll.
//!
//! Every offset of a log names a record, so a missing one is a skip whether or not anybody knows what stands there.

use std::collections::BTreeMap;

use super::{Anomaly, AnomalyKind};
use crate::history::facts::Facts;

pub(super) fn find(facts: &Facts<'_>) -> Vec<Anomaly> {
    let mut found = Vec::new();
    // The next offset of each assignment, and where that was learnt.
    let mut next_of: BTreeMap<(u32, u32, Option<usize>), (u64, usize)> = BTreeMap::new();
    for poll in &facts.polls {
        let (reader, partition) = (poll.reader, poll.partition);
        for pair in poll.records.windows(2) {
            let [(before, _), (after, _)] = pair else { continue };
            let kind = match after {
                after if *after <= *before => AnomalyKind::IntNonmonotonicPoll,
                after if *after > before + 1 => AnomalyKind::IntPollSkip,
                _ => continue,
            };
            let text = format!("reader {reader} got {after} of partition {partition} after {before}, in one poll");
            found.push(Anomaly::new(kind, [poll.at], text));
        }
        let (Some((first, _)), Some((last, _))) = (poll.records.first(), poll.records.last()) else { continue };
        let key = (reader, partition, poll.assigned.map(|(at, _)| at));
        let expected = next_of.get(&key).copied().or(poll.assigned.map(|(at, from)| (from, at)));
        if let Some((next, place)) = expected.filter(|(next, _)| next != first) {
            let is_skip = *first > next;
            let kind = if is_skip { AnomalyKind::PollSkip } else { AnomalyKind::NonmonotonicPoll };
            let text = format!("reader {reader} was at {next} of partition {partition}, and got {first}");
            found.push(Anomaly::new(kind, [place, poll.at], text));
        }
        next_of.insert(key, (last + 1, poll.at));
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
        story.assign(9, 0).poll(9, &[(0, v(0)), (1, v(1)), (2, v(2))]);
        story
    }

    #[test]
    fn a_jump_ahead_from_poll_to_poll_is_a_skip() {
        stored().assign(1, 0).poll(1, &[(0, v(0))]).poll(1, &[(2, v(2))]).expect(&[AnomalyKind::PollSkip]);
        stored().assign(1, 0).poll(1, &[(1, v(1))]).expect(&[AnomalyKind::PollSkip]);
    }

    #[test]
    fn a_jump_ahead_within_a_poll_is_an_inner_skip() {
        stored().assign(1, 0).poll(1, &[(0, v(0)), (2, v(2))]).expect(&[AnomalyKind::IntPollSkip]);
    }

    #[test]
    fn a_jump_back_from_poll_to_poll_is_nonmonotonic() {
        stored().assign(1, 1).poll(1, &[(1, v(1))]).poll(1, &[(1, v(1))]).expect(&[AnomalyKind::NonmonotonicPoll]);
        stored().assign(1, 1).poll(1, &[(0, v(0))]).expect(&[AnomalyKind::NonmonotonicPoll]);
    }

    #[test]
    fn a_jump_back_within_a_poll_is_an_inner_one() {
        let story = &mut stored();
        story.assign(1, 0).poll(1, &[(0, v(0)), (1, v(1)), (1, v(1))]).expect(&[AnomalyKind::IntNonmonotonicPoll]);
    }

    #[test]
    fn a_new_assignment_may_begin_anywhere() {
        stored().assign(1, 2).poll(1, &[(2, v(2))]).assign(1, 0).poll(1, &[(0, v(0))]).expect(&[]);
    }
}
