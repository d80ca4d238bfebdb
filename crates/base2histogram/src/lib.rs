//! A histogram of powers of two, in half a kilobyte.
//!
//! Owns: the part of the `base2histogram` crate's interface that openraft compiles against. That crate prepares tables
//! for sixteen resolutions at the first use, 26 MB that stay in memory, more than the rest of an idle node; openraft
//! records the sizes of its replication batches in one histogram a group, which nothing reads unless its
//! `runtime-stats` feature is on. `docs/adr/013` has the measurement.
//!
//! Never: resolves finer than a power of two, or holds a table.

use std::fmt;
use std::marker::PhantomData;

/// Zero, and one bucket for each power of two.
const BUCKETS: usize = u64::BITS as usize + 1;

/// Counts values by their power of two. `T` is there for the signature's sake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Histogram<T = ()> {
    /// The values that need exactly so many bits.
    counts: [u64; BUCKETS],
    metadata: PhantomData<T>,
}

impl<T> Default for Histogram<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Histogram<T> {
    /// An empty histogram.
    #[must_use]
    pub const fn new() -> Self {
        Self { counts: [0; BUCKETS], metadata: PhantomData }
    }

    /// Counts one value.
    pub fn record(&mut self, value: u64) {
        self.record_n(value, 1);
    }

    /// Counts one value `count` times.
    pub fn record_n(&mut self, value: u64, count: u64) {
        let bits = (u64::BITS - value.leading_zeros()) as usize;
        if let Some(counted) = self.counts.get_mut(bits) {
            *counted = counted.saturating_add(count);
        }
    }

    /// How many values were counted.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.counts.iter().fold(0, |total, count| total.saturating_add(*count))
    }

    /// The smallest value of the bucket in which the value at `permille` of all lies; 0 when nothing was counted.
    #[must_use]
    pub fn permille(&self, permille: u64) -> u64 {
        let rank = (u128::from(self.total()) * u128::from(permille)).div_ceil(1000).max(1);
        let mut below = 0;
        let bucket = self.counts.iter().position(|count| {
            below += u128::from(*count);
            below >= rank
        });
        bucket.and_then(|bits| bits.checked_sub(1)).map_or(0, |shift| 1 << shift)
    }

    /// The percentiles that reports show.
    #[must_use]
    pub fn percentile_stats(&self) -> PercentileStats {
        PercentileStats {
            samples: self.total(),
            p0_1: self.permille(1),
            p1: self.permille(10),
            p5: self.permille(50),
            p10: self.permille(100),
            p50: self.permille(500),
            p90: self.permille(900),
            p99: self.permille(990),
            p99_9: self.permille(999),
        }
    }
}

/// Percentiles of one histogram, each rounded down to a power of two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PercentileStats {
    /// How many values were counted.
    pub samples: u64,
    /// One value in a thousand is at most about this.
    pub p0_1: u64,
    /// One in a hundred.
    pub p1: u64,
    /// One in twenty.
    pub p5: u64,
    /// One in ten.
    pub p10: u64,
    /// The median.
    pub p50: u64,
    /// Nine in ten.
    pub p90: u64,
    /// 99 in a hundred.
    pub p99: u64,
    /// 999 in a thousand.
    pub p99_9: u64,
}

impl fmt::Display for PercentileStats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} counted, p50 {}, p99 {}", self.samples, self.p50, self.p99)
    }
}

/// Several histograms, shown one below the other.
#[derive(Clone, Debug, Default)]
pub struct AsciiChart(Vec<(String, PercentileStats)>);

impl AsciiChart {
    /// A chart of nothing.
    #[must_use]
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// Adds a histogram under a name.
    #[must_use]
    #[allow(clippy::should_implement_trait, reason = "the name is the caller's")]
    pub fn add(mut self, name: &str, histogram: Histogram) -> Self {
        self.0.push((name.to_owned(), histogram.percentile_stats()));
        self
    }
}

impl fmt::Display for AsciiChart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|(name, stats)| writeln!(f, "{name}: {stats}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_counted_under_its_power_of_two() {
        let mut histogram = Histogram::new();
        [0, 1, 2, 3, 4].into_iter().for_each(|value| histogram.record(value));
        histogram.record_n(u64::MAX, 5);
        assert_eq!(histogram.total(), 10);
        assert_eq!([1, 200, 400, 500, 501, 1000].map(|at| histogram.permille(at)), [0, 1, 2, 4, 1 << 63, 1 << 63]);
        let chart = AsciiChart::new().add("sizes", histogram);
        assert_eq!(chart.to_string(), "sizes: 10 counted, p50 4, p99 9223372036854775808\n");
        assert_eq!(Histogram::<()>::new().percentile_stats().p99, 0);
    }
}
