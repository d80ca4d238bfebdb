//! What the process shows of itself: its version, and what it has used of the machine.

use std::time::Duration;

use futures_util::future::BoxFuture;
use highwater_types::Timestamp;

use super::{Family, Labels, Source};
use crate::usage::Usage;

/// The process. Several nodes in one process (`highwater dev --nodes 3`) show the same.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ProcessSource {
    started: Timestamp,
}

impl ProcessSource {
    /// A process whose server started then.
    pub(crate) const fn new(started: Timestamp) -> Self {
        Self { started }
    }

    fn families(self) -> Vec<Family> {
        let version = Labels::new([("version", env!("CARGO_PKG_VERSION").to_owned())]);
        let started = Duration::from_millis(u64::try_from(self.started.as_ms()).unwrap_or(0));
        let mut families = vec![
            Family::gauge("build_info", "The version of the process, always 1").with(version, true),
            Family::gauge("process_start_time_seconds", "When the process started, in seconds since 1970")
                .of(started.as_secs_f64()),
        ];
        match Usage::read() {
            Ok(usage) => families.extend([
                Family::counter("process_cpu_seconds", "Processor time that the process has used, user and system")
                    .of(usage.cpu_seconds),
                Family::gauge(
                    "process_resident_memory_bytes",
                    "Memory of the process that is resident, with the pages of mapped segments that are",
                )
                .of(usage.rss_bytes),
            ]),
            Err(error) => tracing::warn!(%error, "a page of metrics lacks what the process uses"),
        }
        families
    }
}

impl Source for ProcessSource {
    fn name(&self) -> &'static str {
        "process"
    }

    fn gather(&self) -> BoxFuture<'_, Vec<Family>> {
        Box::pin(std::future::ready(self.families()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Value;

    #[test]
    fn a_process_says_since_when_it_runs_and_what_it_uses() {
        let families = ProcessSource::new(Timestamp::from_ms(1_500)).families();
        let value = |name| families.iter().find(|family| family.name == name).unwrap().samples[0].value;
        assert_eq!(value("process_start_time_seconds"), Value::Real(1.5));
        assert!(matches!(value("process_resident_memory_bytes"), Value::Whole(1..)));
        assert!(matches!(value("process_cpu_seconds"), Value::Real(0.0..)));
    }
}
