//! A25: a topic that was made, and that nobody deleted, is there.

use std::collections::BTreeMap;

use super::{Anomaly, AnomalyKind};
use crate::history::event::{Answer, Call};
use crate::history::facts::{Facts, Outcome};

pub(super) fn find(facts: &Facts<'_>) -> Vec<Anomaly> {
    let mut found = Vec::new();
    let mut made: BTreeMap<&str, usize> = BTreeMap::new();
    let mut deleted: BTreeMap<&str, usize> = BTreeMap::new();
    for operation in facts.operations.values() {
        match (operation.call, &operation.outcome) {
            (Call::CreateTopic { name }, Outcome::Done { at, .. }) => drop(made.insert(name, *at)),
            (Call::DeleteTopic { name }, Outcome::Done { .. } | Outcome::Unknown) => {
                deleted.entry(name).or_insert(operation.invoked);
            }
            _ => {}
        }
    }
    for operation in facts.operations.values() {
        let Outcome::Done { at, answer: Answer::Topics { names } } = &operation.outcome else { continue };
        for (name, place) in &made {
            let is_expected = *place < operation.invoked && deleted.get(name).is_none_or(|deleted| deleted > at);
            if is_expected && !names.iter().any(|listed| listed == name) {
                let text = format!("topic {name} was made, nobody deleted it, and it is not listed");
                found.push(Anomaly::new(AnomalyKind::TopicGone, [*place, operation.invoked, *at], text));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use crate::history::check::AnomalyKind;
    use crate::history::check::story::Story;
    use crate::history::event::{Answer, Call};

    fn made() -> Story {
        let mut story = Story::default();
        let op = story.invoke(Call::CreateTopic { name: "t".to_owned() });
        story.done(op, Answer::Plain);
        story
    }

    fn listed(story: &mut Story, names: &[&str]) {
        let op = story.invoke(Call::ListTopics);
        story.done(op, Answer::Topics { names: names.iter().map(|name| (*name).to_owned()).collect() });
    }

    #[test]
    fn a_topic_that_vanishes_is_reported() {
        let mut story = made();
        listed(&mut story, &["other"]);
        story.expect(&[AnomalyKind::TopicGone]);
    }

    #[test]
    fn a_topic_that_was_deleted_may_be_gone() {
        let mut story = made();
        listed(&mut story, &["t"]);
        let op = story.invoke(Call::DeleteTopic { name: "t".to_owned() });
        story.done(op, Answer::Plain);
        listed(&mut story, &[]);
        story.expect(&[]);
    }
}
