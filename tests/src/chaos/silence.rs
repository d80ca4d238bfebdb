//! How long a partition was silent after something was done to its leader: the longest time without an acknowledgement.
//!
//! The longest gap, and not the time to the first acknowledgement: that one may have left the old leader already.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::history::event::{Answer, Call, Event, Fate, Kind, OpId};

/// One thing that was done to a leader.
#[derive(Clone, Debug)]
pub struct Blow {
    /// Its class.
    pub class: String,
    /// When it was done, in microseconds of the history.
    pub at_us: u64,
    /// The partitions that were led there.
    pub partitions: Vec<u32>,
}

/// The silences after blows of one class.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Silences {
    /// How many blows.
    pub blows: usize,
    /// The median, in milliseconds.
    pub p50_ms: f64,
    /// The 99th percentile: the longest, for fewer than a hundred blows.
    pub p99_ms: f64,
    /// The longest.
    pub max_ms: f64,
}

/// The longest silence after each blow, of the partitions that it hit, within `window_us` and before the next blow; by class.
#[must_use]
pub fn measure(events: &[Event], blows: &[Blow], window_us: u64) -> BTreeMap<String, Silences> {
    let acks = acknowledgements(events);
    let mut by_class: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for (at, blow) in blows.iter().enumerate() {
        let next = blows.get(at + 1).map_or(u64::MAX, |next| next.at_us);
        let longest = blow.partitions.iter().filter_map(|partition| {
            let times = acks.get(partition)?;
            longest_gap(times, blow.at_us, next.min(blow.at_us + window_us))
        });
        if let Some(longest) = longest.max() {
            by_class.entry(blow.class.clone()).or_default().push(longest);
        }
    }
    by_class.into_iter().map(|(class, gaps)| (class, summary(gaps))).collect()
}

/// When records of each partition were acknowledged.
fn acknowledgements(events: &[Event]) -> BTreeMap<u32, Vec<u64>> {
    let mut partition_of: BTreeMap<OpId, u32> = BTreeMap::new();
    let mut acks: BTreeMap<u32, Vec<u64>> = BTreeMap::new();
    for event in events {
        match &event.kind {
            Kind::Invoked { op, call: Call::Produce { partition, .. } } => drop(partition_of.insert(*op, *partition)),
            Kind::Done { op, answer: Answer::Produced { fates } }
                if fates.iter().any(|fate| Fate::is_acknowledged(*fate)) =>
            {
                if let Some(partition) = partition_of.remove(op) {
                    acks.entry(partition).or_default().push(event.at_us);
                }
            }
            _ => {}
        }
    }
    acks
}

/// The longest time without an acknowledgement that begins between `from` and `to`; until the next one, whenever it comes.
fn longest_gap(times: &[u64], from: u64, to: u64) -> Option<u64> {
    let mut last = from;
    let mut longest = None;
    for time in times.iter().copied().filter(|time| *time > from) {
        longest = longest.max(Some(time - last));
        last = time;
        if time >= to {
            break;
        }
    }
    longest
}

fn summary(mut gaps: Vec<u64>) -> Silences {
    gaps.sort_unstable();
    let at = |share: f64| {
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "a rank"
        )]
        let rank = ((gaps.len() as f64 * share).ceil() as usize).clamp(1, gaps.len().max(1)) - 1;
        #[allow(clippy::cast_precision_loss, reason = "microseconds of a test")]
        gaps.get(rank).map_or(0.0, |gap| *gap as f64 / 1000.0)
    };
    Silences { blows: gaps.len(), p50_ms: at(0.5), p99_ms: at(0.99), max_ms: at(1.0) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::Value;

    #[test]
    fn the_longest_gap_after_a_blow_counts() {
        let mut events = Vec::new();
        for (number, at_us) in [500, 1_010, 1_020, 3_000, 3_100, 90_000].into_iter().enumerate() {
            let op = OpId(number as u64);
            let values = vec![Value::new(1, number as u64)];
            events.push(Event {
                at_us: at_us - 1,
                kind: Kind::Invoked { op, call: Call::Produce { partition: 0, values } },
            });
            let fates = vec![Fate::At(number as u64)];
            events.push(Event { at_us, kind: Kind::Done { op, answer: Answer::Produced { fates } } });
        }
        let blow = |at_us| Blow { class: "kill".to_owned(), at_us, partitions: vec![0, 9] };
        let found = measure(&events, &[blow(1_000)], 2_000);
        let expected = Silences { blows: 1, p50_ms: 1.98, p99_ms: 1.98, max_ms: 1.98 };
        assert_eq!(found.get("kill"), Some(&expected));
        let never_again = measure(&events, &[blow(3_050)], 2_000);
        assert_eq!(never_again.get("kill").map(|silences| silences.max_ms), Some(86.9), "until the next one");
    }

    #[test]
    fn percentiles_are_ranks() {
        let silences = summary((1..=20).map(|ms| ms * 1000).collect());
        assert_eq!((silences.p50_ms, silences.p99_ms, silences.max_ms), (10.0, 20.0, 20.0));
    }
}
