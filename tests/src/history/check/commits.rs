//! A24: what a group has committed does not go back by itself.

use std::collections::BTreeMap;

use super::{Anomaly, AnomalyKind};
use crate::history::event::{Answer, Call};
use crate::history::facts::{Facts, Outcome};

pub(super) fn find(facts: &Facts<'_>) -> Vec<Anomaly> {
    let mut found = Vec::new();
    // A reset makes everything before it void; where its outcome is not known, so does it.
    let mut floor_of: BTreeMap<(&str, u32), Vec<(usize, u64)>> = BTreeMap::new();
    let mut resets: BTreeMap<(&str, u32), Vec<usize>> = BTreeMap::new();
    for operation in facts.operations.values() {
        let Call::Commit { group, partition, offset, reset } = operation.call else { continue };
        let key = (group.as_str(), *partition);
        if *reset && !matches!(operation.outcome, Outcome::Failed { .. }) {
            resets.entry(key).or_default().push(operation.invoked);
        }
        if let Outcome::Done { at, .. } = operation.outcome {
            floor_of.entry(key).or_default().push((at, *offset));
        }
    }
    for operation in facts.operations.values() {
        let Call::Committed { group, partition } = operation.call else { continue };
        let Outcome::Done { at, answer: Answer::CommittedAt { offset } } = &operation.outcome else { continue };
        let key = (group.as_str(), *partition);
        let since = resets.get(&key).into_iter().flatten().filter(|place| *place < at).max().copied();
        let known = floor_of.get(&key).into_iter().flatten();
        let known = known.filter(|(done, _)| *done < operation.invoked && since.is_none_or(|since| *done > since));
        let Some((place, floor)) = known.max_by_key(|(_, offset)| *offset) else { continue };
        if offset.is_none_or(|offset| offset < *floor) {
            let told = offset.map_or_else(|| "nothing".to_owned(), |offset| offset.to_string());
            let text =
                format!("group {group} had committed {floor} of partition {partition}; asked afterwards: {told}");
            found.push(Anomaly::new(AnomalyKind::CommitRegression, [*place, operation.invoked, *at], text));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use crate::history::check::AnomalyKind;
    use crate::history::check::story::Story;
    use crate::history::event::{Answer, Call};

    fn commit(story: &mut Story, offset: u64, reset: bool) {
        let op = story.invoke(Call::Commit { group: "g".to_owned(), partition: 0, offset, reset });
        story.done(op, Answer::Plain);
    }

    fn committed(story: &mut Story, offset: Option<u64>) {
        let op = story.invoke(Call::Committed { group: "g".to_owned(), partition: 0 });
        story.done(op, Answer::CommittedAt { offset });
    }

    #[test]
    fn a_commit_that_goes_back_is_a_regression() {
        for told in [Some(4), None] {
            let mut story = Story::default();
            commit(&mut story, 5, false);
            committed(&mut story, told);
            story.expect(&[AnomalyKind::CommitRegression]);
        }
    }

    #[test]
    fn a_reset_may_go_back() {
        let mut story = Story::default();
        commit(&mut story, 5, false);
        committed(&mut story, Some(5));
        commit(&mut story, 2, true);
        committed(&mut story, Some(2));
        story.expect(&[]);
    }
}
