//! The verdict over a history: its anomalies, and whether it was worth anything.
//!
//! A run in which nothing was stored, a fault never fired, or the end could not be read proves nothing; it fails as one with
//! an anomaly does.
//!
//! Owns: the requirements and the text for people. Never: decides what an anomaly is.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::Serialize;

use super::check::{Anomaly, AnomalyKind, check};
use super::event::{Answer, Call, Event, Kind};
use super::facts::{Facts, Outcome};

/// How many anomalies of a kind are shown.
const EXAMPLES: usize = 3;

/// What a run must have done to prove anything.
#[derive(Clone, Debug, Default)]
pub struct Requirements {
    /// Classes of faults, and how often each must have fired.
    pub faults: BTreeMap<String, u64>,
    /// Records that must have been acknowledged.
    pub acknowledged_min: u64,
    /// Records that must have been acknowledged while a fault of each class was on, one run over all.
    pub acknowledged_during: BTreeMap<String, u64>,
    /// Questions for the end that must have been answered.
    pub end_lookups_min: u64,
    /// (node, partition) that must have been read to the end after the healing: so many at least.
    pub final_reads_min: usize,
    /// Records that must have been acknowledged after the healing.
    pub acknowledged_after_healing: u64,
    /// Records of thin clients that must have been acknowledged.
    pub acknowledged_thin: u64,
    /// Topics that must have been deleted, after everything in them was read.
    pub topics_deleted: u64,
    /// Replicas whose files must have been compared.
    pub replicas_min: usize,
}

/// What a history holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Events.
    pub events: usize,
    /// Records acknowledged.
    pub acknowledged: u64,
    /// Records definitely refused.
    pub failed: u64,
    /// Records whose fate was not told.
    pub unknown: u64,
    /// Records read, every reader counted.
    pub polled: u64,
    /// Questions for the end that were answered.
    pub end_lookups: u64,
    /// Records acknowledged after the healing.
    pub acknowledged_after_healing: u64,
    /// Records of thin clients acknowledged.
    pub acknowledged_thin: u64,
    /// Topics deleted.
    pub topics_deleted: u64,
    /// Faults by class.
    pub faults: BTreeMap<String, u64>,
    /// Records acknowledged while a fault of this class was on.
    pub acknowledged_during: BTreeMap<String, u64>,
    /// Reads to the end after the healing.
    pub final_reads: usize,
    /// Replicas' files looked at.
    pub replicas: usize,
}

/// The verdict.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// What the history holds.
    pub counts: Counts,
    /// What is wrong with it.
    pub anomalies: Vec<Anomaly>,
    /// Why it proves nothing, where it does not.
    pub vacuous: Vec<String>,
    #[serde(skip)]
    context: Vec<String>,
}

/// Judges a history.
#[must_use]
pub fn judge(events: &[Event], requirements: &Requirements) -> Report {
    let counts = count(events);
    let anomalies = check(events);
    let vacuous = vacuous(&counts, events, requirements);
    let context = anomalies.iter().map(|anomaly| context(anomaly, events)).collect();
    Report { counts, anomalies, vacuous, context }
}

fn context(anomaly: &Anomaly, events: &[Event]) -> String {
    let mut text = String::new();
    for place in &anomaly.places {
        let Some(event) = events.get(*place) else { continue };
        let mut line = serde_json::to_string(&event.kind).unwrap_or_default();
        if line.len() > 240 {
            let cut = line.floor_char_boundary(240);
            line.truncate(cut);
            line.push('…');
        }
        let seconds = event.at_us / 1_000_000;
        let _ = writeln!(text, "      #{place} at {seconds}.{:06} s  {line}", event.at_us % 1_000_000);
    }
    text
}

fn count(events: &[Event]) -> Counts {
    let facts = Facts::of(events);
    let mut counts = Counts { events: events.len(), replicas: facts.replicas.len(), ..Counts::default() };
    counts.final_reads = facts.final_reads.iter().filter(|(_, _, _, complete)| *complete).count();
    counts.polled = facts.polls.iter().map(|poll| poll.records.len() as u64).sum();
    counts.end_lookups = facts.bounds().count() as u64;
    let deleted = facts.operations.values().filter(|operation| {
        matches!((operation.call, &operation.outcome), (Call::DeleteTopic { .. }, Outcome::Done { .. }))
    });
    counts.topics_deleted = deleted.count() as u64;
    for (value, sent) in &facts.sent {
        match (sent.acked, sent.failed) {
            (Some((at, _)), _) => {
                counts.acknowledged += 1;
                counts.acknowledged_thin += u64::from(value.is_of_a_thin_client());
                counts.acknowledged_after_healing +=
                    u64::from(facts.healed.is_some_and(|healed| sent.invoked > healed && at > healed));
            }
            (None, Some(_)) => counts.failed += 1,
            (None, None) => counts.unknown += 1,
        }
    }
    let acked: BTreeMap<usize, u64> = facts
        .operations
        .values()
        .filter_map(|operation| match &operation.outcome {
            Outcome::Done { at, answer: Answer::Produced { fates } } => {
                Some((*at, fates.iter().filter(|fate| fate.is_acknowledged()).count() as u64))
            }
            _ => None,
        })
        .collect();
    let mut on: BTreeMap<&str, u64> = BTreeMap::new();
    for (at, event) in events.iter().enumerate() {
        match &event.kind {
            Kind::Fault { class, .. } => {
                *counts.faults.entry(class.clone()).or_default() += 1;
                *on.entry(class).or_default() += 1;
            }
            Kind::FaultOver { class } => {
                on.entry(class).and_modify(|times| *times = times.saturating_sub(1));
            }
            Kind::Healed => on.clear(),
            _ => {
                let Some(records) = acked.get(&at) else { continue };
                for (class, _) in on.iter().filter(|(_, times)| **times > 0) {
                    *counts.acknowledged_during.entry((*class).to_owned()).or_default() += records;
                }
            }
        }
    }
    counts
}

fn vacuous(counts: &Counts, events: &[Event], required: &Requirements) -> Vec<String> {
    let mut why = Vec::new();
    let mut at_least = |what: &str, have: u64, want: u64| {
        if have < want {
            why.push(format!("{what}: {have}, and {want} are wanted"));
        }
    };
    at_least("records acknowledged", counts.acknowledged, required.acknowledged_min);
    at_least("questions for the end answered", counts.end_lookups, required.end_lookups_min);
    let after = counts.acknowledged_after_healing;
    at_least("records acknowledged after the healing", after, required.acknowledged_after_healing);
    at_least("reads to the end after the healing", counts.final_reads as u64, required.final_reads_min as u64);
    at_least("records of thin clients acknowledged", counts.acknowledged_thin, required.acknowledged_thin);
    at_least("topics deleted", counts.topics_deleted, required.topics_deleted);
    at_least("replicas whose files were compared", counts.replicas as u64, required.replicas_min as u64);
    for (class, times) in &required.faults {
        let fired = counts.faults.get(class).copied().unwrap_or(0);
        at_least(&format!("faults of the class {class}"), fired, *times);
    }
    for (class, records) in &required.acknowledged_during {
        let during = counts.acknowledged_during.get(class).copied().unwrap_or(0);
        at_least(&format!("records acknowledged during {class}"), during, *records);
    }
    for event in events {
        if let Kind::FinalRead { node, partition, complete: false, .. } = &event.kind {
            why.push(format!("the final read of partition {partition} through node {node} did not come to the end"));
        }
    }
    why
}

impl Report {
    /// Whether the run shows what it is to show.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.anomalies.is_empty() && self.vacuous.is_empty()
    }

    /// The verdict for people: how much there was, each kind of anomaly with its first examples.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        let counts = &self.counts;
        let _ = writeln!(
            text,
            "history: {} events; records: {} acknowledged, {} refused, {} unknown, {} read; {} ends asked for",
            counts.events, counts.acknowledged, counts.failed, counts.unknown, counts.polled, counts.end_lookups
        );
        let _ = writeln!(
            text,
            "thin clients: {} acknowledged; {} topics made, written, read and deleted",
            counts.acknowledged_thin, counts.topics_deleted
        );
        let _ = writeln!(
            text,
            "after the healing: {} acknowledged, {} reads to the end, {} replicas compared",
            counts.acknowledged_after_healing, counts.final_reads, counts.replicas
        );
        for (class, times) in &counts.faults {
            let during = counts.acknowledged_during.get(class).copied().unwrap_or(0);
            let _ = writeln!(text, "fault {class}: {times} times, {during} records acknowledged meanwhile");
        }
        let _ = writeln!(text, "{} anomalies", self.anomalies.len());
        for kind in AnomalyKind::ALL {
            let of_kind = || self.anomalies.iter().zip(&self.context).filter(|(anomaly, _)| anomaly.kind == *kind);
            let count = of_kind().count();
            if count > 0 {
                let _ = writeln!(text, "  {kind}: {count}");
            }
            for (anomaly, context) in of_kind().take(EXAMPLES) {
                let _ = write!(text, "    {}\n{context}", anomaly.text);
            }
        }
        for why in &self.vacuous {
            let _ = writeln!(text, "PROVES NOTHING: {why}");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::event::{Call, Fate, Seen};
    use crate::history::{Recorder, Value};

    /// Three records, the second during a kill, all read after the healing.
    fn run() -> Recorder {
        let recorder = Recorder::default();
        let send = |number: u64| {
            let op = recorder.invoke(Call::Produce { partition: 0, values: vec![Value::new(1, number)] });
            recorder.note(Kind::Done { op, answer: Answer::Produced { fates: vec![Fate::At(number)] } });
        };
        send(0);
        recorder.note(Kind::Fault { class: "kill".to_owned(), target: "node 1".to_owned() });
        send(1);
        recorder.note(Kind::FaultOver { class: "kill".to_owned() });
        recorder.note(Kind::Healed);
        send(2);
        let records = (0..3).map(|number| (number, Seen::Value(Value::new(1, number)))).collect();
        recorder.note(Kind::Polled { reader: 1, partition: 0, records, high_watermark: Some(3) });
        recorder.note(Kind::FinalRead { node: 1, reader: 1, partition: 0, complete: true });
        recorder
    }

    fn required() -> Requirements {
        Requirements {
            faults: BTreeMap::from([("kill".to_owned(), 1)]),
            acknowledged_min: 3,
            acknowledged_during: BTreeMap::from([("kill".to_owned(), 1)]),
            final_reads_min: 1,
            acknowledged_after_healing: 1,
            ..Requirements::default()
        }
    }

    #[test]
    fn a_run_that_did_what_it_should_is_good() {
        let report = judge(&run().events(), &required());
        assert!(report.is_good(), "{}", report.text());
        assert!(report.text().contains("fault kill: 1 times, 1 records acknowledged meanwhile"), "{}", report.text());
    }

    #[test]
    fn a_run_that_did_not_is_not() {
        let more = |change: fn(&mut Requirements)| {
            let mut wanted = required();
            change(&mut wanted);
            let report = judge(&run().events(), &wanted);
            assert!(!report.is_good() && report.anomalies.is_empty());
            assert_eq!(report.vacuous.len(), 1, "{}", report.text());
        };
        more(|wanted| wanted.acknowledged_min = 4);
        more(|wanted| wanted.faults.extend([("pause".to_owned(), 1)]));
        more(|wanted| wanted.faults.extend([("kill".to_owned(), 2)]));
        more(|wanted| wanted.acknowledged_during.extend([("kill".to_owned(), 2)]));
        more(|wanted| wanted.end_lookups_min = 1);
        more(|wanted| wanted.final_reads_min = 2);
        more(|wanted| wanted.acknowledged_after_healing = 2);
        more(|wanted| wanted.acknowledged_thin = 1);
        more(|wanted| wanted.topics_deleted = 1);
        more(|wanted| wanted.replicas_min = 1);
        let recorder = run();
        recorder.note(Kind::FinalRead { node: 2, reader: 2, partition: 0, complete: false });
        assert!(!judge(&recorder.events(), &required()).is_good());
    }

    #[test]
    fn an_anomaly_is_shown_with_the_events_that_contradict_each_other() {
        let recorder = run();
        let op = recorder.invoke(Call::EndOffset { partition: 0 });
        recorder.note(Kind::Done { op, answer: Answer::Bounds { log_start: 0, end: 1 } });
        let report = judge(&recorder.events(), &required());
        let text = report.text();
        assert!(!report.is_good());
        assert!(text.contains("A23 stale read: 1") && text.contains("\"end\":1"), "{text}");
    }
}
