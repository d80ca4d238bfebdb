//! The result of a benchmark: seven figures whose names are a contract.
//!
//! Owns: turning counts, times and the server's own account into those figures.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::console::as_f64;
use crate::error::CliError;
use crate::output::{Report, Table};

const BYTES_PER_GIB: f64 = 1_073_741_824.0;
const BYTES_PER_MIB: f64 = 1_048_576.0;
const LATENCY_US_MAX: u64 = 600_000_000;

/// Latencies, in microseconds up to ten minutes, to three digits.
#[derive(Debug)]
pub(crate) struct Latencies(Histogram<u64>);

impl Latencies {
    /// None yet.
    pub(crate) fn new() -> Result<Self, CliError> {
        Histogram::new_with_bounds(1, LATENCY_US_MAX, 3).map(Self).map_err(|_| CliError::Histogram)
    }

    /// Counts one.
    pub(crate) fn record(&mut self, latency: Duration) {
        let us = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
        self.0.saturating_record(us.clamp(1, LATENCY_US_MAX));
    }

    /// Adds those of others.
    pub(crate) fn add(&mut self, others: &Self) {
        // The bounds are the same, so nothing of it is out of them.
        let _ = self.0.add(&others.0);
    }

    /// How many there are.
    pub(crate) fn count(&self) -> u64 {
        self.0.len()
    }

    /// The latency, in milliseconds, that this share of all stayed under; `None` when there are none.
    fn quantile_ms(&self, share: f64) -> Option<f64> {
        (self.count() > 0).then(|| as_f64(self.0.value_at_quantile(share)) / 1_000.0)
    }
}

/// What the server says it used between two moments.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ServerCost {
    /// Processor seconds, user and system.
    pub(crate) cpu_seconds: f64,
    /// The most memory it had resident since it started, in bytes.
    pub(crate) rss_peak_bytes: u64,
}

/// The figures of one run.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct BenchReport {
    records_per_s: f64,
    /// Of values, in millions of bytes.
    mb_per_s: f64,
    p50_ms: Option<f64>,
    p99_ms: Option<f64>,
    p999_ms: Option<f64>,
    server_cpu_s_per_gib: f64,
    server_rss_peak_mib: f64,
}

impl BenchReport {
    /// Puts together what was measured.
    pub(crate) fn new(records: u64, bytes: u64, elapsed: Duration, latencies: &Latencies, server: ServerCost) -> Self {
        let seconds = elapsed.as_secs_f64().max(1e-9);
        Self {
            records_per_s: rounded(as_f64(records) / seconds, 1.0),
            mb_per_s: rounded(as_f64(bytes) / 1e6 / seconds, 100.0),
            p50_ms: latencies.quantile_ms(0.5),
            p99_ms: latencies.quantile_ms(0.99),
            p999_ms: latencies.quantile_ms(0.999),
            server_cpu_s_per_gib: rounded(server.cpu_seconds / (as_f64(bytes.max(1)) / BYTES_PER_GIB), 1_000.0),
            server_rss_peak_mib: rounded(as_f64(server.rss_peak_bytes) / BYTES_PER_MIB, 10.0),
        }
    }
}

/// Digits beyond these are noise.
fn rounded(value: f64, steps: f64) -> f64 {
    (value * steps).round() / steps
}

impl Report for BenchReport {
    fn table(&self) -> String {
        let ms = |latency: Option<f64>| latency.map_or_else(|| "-".to_owned(), |ms| format!("{ms:.3}"));
        let mut table = Table::plain();
        table.row(["records/s".to_owned(), format!("{:.0}", self.records_per_s)]);
        table.row(["MB/s".to_owned(), format!("{:.1}", self.mb_per_s)]);
        table.row(["p50 ms".to_owned(), ms(self.p50_ms)]);
        table.row(["p99 ms".to_owned(), ms(self.p99_ms)]);
        table.row(["p99.9 ms".to_owned(), ms(self.p999_ms)]);
        table.row(["server CPU s/GiB".to_owned(), format!("{:.3}", self.server_cpu_s_per_gib)]);
        table.row(["server peak RSS MiB".to_owned(), format!("{:.1}", self.server_rss_peak_mib)]);
        table.render()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_of_the_figures_are_a_contract() {
        let mut latencies = Latencies::new().unwrap();
        latencies.record(Duration::from_millis(2));
        let cost = ServerCost { cpu_seconds: 1.0, rss_peak_bytes: 64 << 20 };
        let report = BenchReport::new(1_000_000, 1 << 30, Duration::from_secs(2), &latencies, cost);
        let json = serde_json::to_string(&report).unwrap();
        let expected = concat!(
            r#"{"records_per_s":500000.0,"mb_per_s":536.87,"p50_ms":2.0,"p99_ms":2.0,"p999_ms":2.0,"#,
            r#""server_cpu_s_per_gib":1.0,"server_rss_peak_mib":64.0}"#
        );
        assert_eq!(json, expected);
    }

    #[test]
    fn no_latency_is_none_and_not_zero() {
        let cost = ServerCost { cpu_seconds: 0.0, rss_peak_bytes: 0 };
        let report = BenchReport::new(0, 0, Duration::ZERO, &Latencies::new().unwrap(), cost);
        assert!(serde_json::to_string(&report).unwrap().contains(r#""p50_ms":null"#));
        assert!(report.table().contains("p99 ms"));
    }
}
