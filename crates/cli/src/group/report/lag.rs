//! How far a group is behind: in records, in time, and over all partitions.
//!
//! Invariant: a partition whose lag is not known is counted as such, and not as one without lag.

use std::fmt;

use serde::Serialize;

/// A span in its two largest units, rounded down.
pub(crate) fn ago(ms: u64) -> String {
    const UNITS: [(u64, &str); 4] = [(86_400, "d"), (3_600, "h"), (60, "m"), (1, "s")];
    if (1..1_000).contains(&ms) {
        return format!("{ms}ms");
    }
    let seconds = ms / 1_000;
    let Some(first) = UNITS.iter().position(|(size, _)| seconds >= *size) else { return "0s".to_owned() };
    let mut rest = seconds;
    let mut parts = Vec::new();
    for (size, unit) in UNITS.iter().skip(first).take(2) {
        if rest >= *size {
            parts.push(format!("{}{unit}", rest / size));
        }
        rest %= size;
    }
    parts.join(" ")
}

/// The lag of all partitions together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Total {
    /// Of the partitions where it is known.
    pub(super) lag_records: u64,
    /// How long ago the oldest record that was not read was stored.
    pub(super) lag_ms: Option<u64>,
    /// Partitions where it is not known.
    pub(super) unknown_partitions: u64,
}

impl FromIterator<(Option<u64>, Option<u64>)> for Total {
    fn from_iter<I: IntoIterator<Item = (Option<u64>, Option<u64>)>>(lags: I) -> Self {
        lags.into_iter().fold(Self::default(), |total, (records, ms)| Self {
            lag_records: total.lag_records.saturating_add(records.unwrap_or_default()),
            lag_ms: total.lag_ms.max(ms),
            unknown_partitions: total.unknown_partitions + u64::from(records.is_none()),
        })
    }
}

impl fmt::Display for Total {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = |count: u64| if count == 1 { "" } else { "s" };
        let (records, unknown) = (self.lag_records, self.unknown_partitions);
        let least = if unknown > 0 { "at least " } else { "" };
        write!(f, "{least}{records} record{} behind", plural(records))?;
        if let Some(ms) = self.lag_ms.filter(|_| records > 0) {
            write!(f, ", oldest unread {} old", ago(ms))?;
        }
        match unknown {
            0 => Ok(()),
            _ => write!(f, "; {unknown} partition{} not known", plural(unknown)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_have_two_units_at_most() {
        let cases = [
            (0, "0s"),
            (350, "350ms"),
            (1_999, "1s"),
            (192_000, "3m 12s"),
            (180_000, "3m"),
            (3_600_000 + 59_000, "1h"),
            (2 * 3_600_000 + 5 * 60_000, "2h 5m"),
            (86_400_000 * 400 + 3_600_000 * 3, "400d 3h"),
        ];
        for (ms, text) in cases {
            assert_eq!(ago(ms), text);
        }
    }

    #[test]
    fn what_is_not_known_is_said() {
        let total = |lags: &[(Option<u64>, Option<u64>)]| lags.iter().copied().collect::<Total>().to_string();
        assert_eq!(total(&[]), "0 records behind");
        assert_eq!(total(&[(Some(0), Some(0))]), "0 records behind");
        assert_eq!(total(&[(Some(1), Some(5_000))]), "1 record behind, oldest unread 5s old");
        let lags = [(Some(20), Some(5_000)), (None, None), (Some(10), Some(9_000))];
        assert_eq!(total(&lags), "at least 30 records behind, oldest unread 9s old; 1 partition not known");
    }
}
