//! Which dead messages, as people write it: `--where reason~TEXT`, `age>1h` and the like.
//!
//! Invariant: each kind of condition stands once; two that contradict each other would find nothing, and nobody would know
//! why.

use std::collections::BTreeSet;
use std::time::Duration;

use highwater_client::{DeadFilter, DeathCause, Offset, OffsetRange, PartitionId};

/// One condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Condition {
    Reason(String),
    Key(String),
    Cause(DeathCause),
    OlderThan(Duration),
    YoungerThan(Duration),
    Offsets(OffsetsArg),
    Partition(u32),
}

/// Offsets from the first up to but not including the second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OffsetsArg {
    start: Offset,
    end: Offset,
}

/// Why conditions make no sense together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there are two conditions for the {what}; all conditions have to hold, so give one")]
pub(crate) struct TwoConditions {
    what: &'static str,
}

/// Reads a condition.
pub(super) fn parse_condition(text: &str) -> Result<Condition, String> {
    const FORMS: &str = "it is reason~TEXT, key=KEY, cause=attempts|rejected|expired, age>SPAN, age<SPAN, offset=A..B or \
                         partition=P";
    let place = text.find(['~', '=', '<', '>']).ok_or(FORMS)?;
    let (name, rest) = text.split_at(place);
    let mut signs = rest.chars();
    let sign = signs.next().unwrap_or_default();
    let value = signs.as_str();
    match (name.trim(), sign) {
        ("reason", '~') if !value.is_empty() => Ok(Condition::Reason(value.to_owned())),
        ("key", '=') => Ok(Condition::Key(value.to_owned())),
        ("cause", '=') => cause(value.trim()).map(Condition::Cause),
        ("age", '>') => span(value).map(Condition::OlderThan),
        ("age", '<') => span(value).map(Condition::YoungerThan),
        ("offset", '=') => parse_offsets(value.trim()).map(Condition::Offsets),
        ("partition", '=') => {
            let number = value.trim().parse().map_err(|_| "a partition is a number, from 0".to_owned());
            number.map(Condition::Partition)
        }
        _ => Err(FORMS.to_owned()),
    }
}

fn cause(text: &str) -> Result<DeathCause, String> {
    match text {
        "attempts" => Ok(DeathCause::Attempts),
        "rejected" => Ok(DeathCause::Rejected),
        "expired" => Ok(DeathCause::Expired),
        _ => Err("a cause is attempts, rejected or expired".to_owned()),
    }
}

fn span(text: &str) -> Result<Duration, String> {
    // `age>=1h` says the same.
    let text = text.strip_prefix('=').unwrap_or(text).trim();
    humantime::parse_duration(text).map_err(|error| format!("{text:?} is no time span: {error}"))
}

/// Reads `A..B`, `A..`, `..B` or `A`.
pub(super) fn parse_offsets(text: &str) -> Result<OffsetsArg, String> {
    let offset = |text: &str| {
        let number = text.parse().ok().and_then(Offset::new);
        number.ok_or_else(|| format!("{text:?} is no offset: offsets are numbers, as in 100..200, 100.. or 100"))
    };
    let Some((start, end)) = text.split_once("..") else {
        let start = offset(text)?;
        return Ok(OffsetsArg { start, end: start.saturating_add(1) });
    };
    let start = if start.is_empty() { Offset::ZERO } else { offset(start)? };
    let end = if end.is_empty() { Offset::MAX } else { offset(end)? };
    if start >= end {
        return Err(format!("no offset is in {text}; the second number is the first that is not"));
    }
    Ok(OffsetsArg { start, end })
}

/// All of them together.
pub(super) fn combine(conditions: impl Iterator<Item = Condition>) -> Result<DeadFilter, TwoConditions> {
    let mut seen = BTreeSet::new();
    let mut filter = DeadFilter::new();
    for condition in conditions {
        let what = match condition {
            Condition::Reason(_) => "reason",
            Condition::Key(_) => "key",
            Condition::Cause(_) => "cause",
            Condition::OlderThan(_) => "least age",
            Condition::YoungerThan(_) => "greatest age",
            Condition::Offsets(_) => "offset",
            Condition::Partition(_) => "partition",
        };
        if !seen.insert(what) {
            return Err(TwoConditions { what });
        }
        filter = match condition {
            Condition::Reason(text) => filter.reason(text),
            Condition::Key(key) => filter.key(key),
            Condition::Cause(cause) => filter.cause(cause),
            Condition::OlderThan(span) => filter.dead_for_at_least(span),
            Condition::YoungerThan(span) => filter.dead_for_at_most(span),
            Condition::Offsets(offsets) => filter.offsets(OffsetRange::new(offsets.start, offsets.end)),
            Condition::Partition(partition) => filter.partition(PartitionId::new(partition)),
        };
    }
    Ok(filter)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(conditions: &[&str]) -> Result<DeadFilter, TwoConditions> {
        combine(conditions.iter().map(|text| parse_condition(text).unwrap()))
    }

    fn offsets(start: u64, end: u64) -> OffsetRange {
        OffsetRange::new(Offset::new(start).unwrap(), Offset::new(end).unwrap())
    }

    #[test]
    fn every_condition_reaches_the_filter() {
        let hour = Duration::from_secs(3_600);
        let expected = DeadFilter::new()
            .reason("status = 500")
            .key("a=b")
            .cause(DeathCause::Expired)
            .dead_for_at_least(hour)
            .dead_for_at_most(hour * 48)
            .offsets(offsets(5, 10))
            .partition(PartitionId::new(2));
        let conditions =
            ["reason~status = 500", "key=a=b", "cause=expired", "age>1h", "age<2d", "offset=5..10", "partition=2"];
        assert_eq!(filter(&conditions), Ok(expected));
        assert_eq!(filter(&["age>=1h"]), Ok(DeadFilter::new().dead_for_at_least(hour)));
        assert_eq!(filter(&[]), Ok(DeadFilter::new()));
    }

    #[test]
    fn offsets_are_a_range_or_one() {
        let parsed = |text| parse_offsets(text).map(|found| OffsetRange::new(found.start, found.end));
        assert_eq!(parsed("7"), Ok(offsets(7, 8)));
        assert_eq!(parsed("7..9"), Ok(offsets(7, 9)));
        assert_eq!(parsed("..9"), Ok(offsets(0, 9)));
        assert_eq!(parsed("7.."), Ok(OffsetRange::new(Offset::new(7).unwrap(), Offset::MAX)));
        for text in ["", "9..7", "7..7", "a..b", "-1", "7...9"] {
            assert!(parse_offsets(text).is_err(), "{text}");
        }
    }

    #[test]
    fn what_is_no_condition_is_refused_with_what_would_do() {
        for text in ["", "reason", "reason=x", "reason~", "age=1h", "value=x", "key>1"] {
            assert!(parse_condition(text).unwrap_err().contains("reason~TEXT"), "{text}");
        }
        assert!(parse_condition("cause=bad luck").unwrap_err().contains("rejected"));
        assert!(parse_condition("age>soon").unwrap_err().contains("\"soon\""));
    }

    #[test]
    fn two_of_a_kind_are_refused() {
        let error = filter(&["reason~a", "reason~b"]).unwrap_err();
        assert_eq!(error, TwoConditions { what: "reason" });
        assert!(filter(&["age>1h", "age<2h"]).is_ok());
    }
}
