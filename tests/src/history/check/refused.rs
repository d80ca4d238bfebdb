//! A5 and A32: what was definitely refused did not happen. A record is looked for in what readers got (A5) and in the
//! files of the replicas (A32); a topic among those that are listed (A32).

use std::collections::{BTreeMap, BTreeSet};

use super::{Anomaly, AnomalyKind};
use crate::history::event::{Answer, Call};
use crate::history::facts::{Facts, Outcome};

pub(super) fn find(facts: &Facts<'_>) -> Vec<Anomaly> {
    let mut found = records(facts);
    found.extend(topics(facts));
    found
}

fn records(facts: &Facts<'_>) -> Vec<Anomaly> {
    let committed = facts.committed();
    let mut stored: BTreeMap<_, Vec<usize>> = BTreeMap::new();
    for (at, replica) in &facts.replicas {
        let end = committed.get(&replica.partition).copied().unwrap_or(0);
        let entries = replica.entries.iter().filter(|entry| entry.base_offset + u64::from(entry.records) <= end);
        for value in entries.flat_map(|entry| &entry.values) {
            stored.entry(*value).or_default().push(*at);
        }
    }
    let mut found = Vec::new();
    for (value, sent) in &facts.sent {
        let Some(failed) = sent.failed else { continue };
        let partition = sent.partition;
        if let Some(places) = facts.places.get(value) {
            let read: Vec<_> = places.keys().map(|(partition, offset)| format!("{partition}@{offset}")).collect();
            let text = format!("{value} for partition {partition} was refused, and read at {}", read.join(", "));
            found.push(Anomaly::new(
                AnomalyKind::AbortedRead,
                [failed].into_iter().chain(places.values().copied()),
                text,
            ));
        } else if let Some(replicas) = stored.get(value) {
            let text = format!("{value} for partition {partition} was refused, and is committed on {}", replicas.len());
            found.push(Anomaly::new(
                AnomalyKind::FalseRefusal,
                [failed].into_iter().chain(replicas.iter().copied()),
                text,
            ));
        }
    }
    found
}

/// A topic whose every creation was refused, and that is listed.
fn topics(facts: &Facts<'_>) -> Vec<Anomaly> {
    let mut refused: BTreeMap<&str, usize> = BTreeMap::new();
    let mut possible = BTreeSet::new();
    for operation in facts.operations.values() {
        let Call::CreateTopic { name } = operation.call else { continue };
        match operation.outcome {
            Outcome::Failed { at } => drop(refused.insert(name, at)),
            Outcome::Done { .. } | Outcome::Unknown => drop(possible.insert(name.as_str())),
        }
    }
    let mut found = Vec::new();
    for operation in facts.operations.values() {
        let Outcome::Done { at, answer: Answer::Topics { names } } = &operation.outcome else { continue };
        for name in names.iter().filter(|name| !possible.contains(name.as_str())) {
            if let Some(failed) = refused.remove(name.as_str()) {
                let text = format!("topic {name} was refused, and is listed");
                found.push(Anomaly::new(AnomalyKind::FalseRefusal, [failed, *at], text));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use crate::history::check::AnomalyKind;
    use crate::history::check::story::{Story, v};
    use crate::history::event::{Answer, Call, Kind};

    #[test]
    fn a_refused_record_that_is_read_is_an_aborted_read() {
        let mut story = Story::default();
        story.sent(v(0), 0).refused(v(1)).poll(1, &[(0, v(0)), (1, v(1))]);
        story.expect(&[AnomalyKind::AbortedRead]);
    }

    #[test]
    fn a_refused_record_that_is_committed_is_a_false_refusal() {
        let mut story = Story::default();
        story.sent(v(0), 0).refused(v(1)).end(0, 2).poll(1, &[(0, v(0))]).replica(1, &[v(0), v(1)]);
        story.expect(&[AnomalyKind::FalseRefusal]);
    }

    #[test]
    fn a_refused_record_beyond_what_is_committed_may_stand_in_a_file() {
        let mut story = Story::default();
        story.sent(v(0), 0).refused(v(1)).poll(1, &[(0, v(0))]).replica(1, &[v(0), v(1)]);
        story.expect(&[]);
    }

    #[test]
    fn a_refused_topic_that_is_listed_is_a_false_refusal() {
        let mut story = Story::default();
        let op = story.invoke(Call::CreateTopic { name: "t".to_owned() });
        story.note(Kind::Failed { op, error: "too few nodes".to_owned() });
        let listed = story.invoke(Call::ListTopics);
        story.done(listed, Answer::Topics { names: vec!["t".to_owned()] });
        story.expect(&[AnomalyKind::FalseRefusal]);
        let mut tried_again = Story::default();
        let op = tried_again.invoke(Call::CreateTopic { name: "t".to_owned() });
        tried_again.note(Kind::Failed { op, error: "too few nodes".to_owned() });
        let op = tried_again.invoke(Call::CreateTopic { name: "t".to_owned() });
        tried_again.note(Kind::Unknown { op, error: "timed out".to_owned() });
        let listed = tried_again.invoke(Call::ListTopics);
        tried_again.done(listed, Answer::Topics { names: vec!["t".to_owned()] });
        tried_again.expect(&[]);
    }
}
