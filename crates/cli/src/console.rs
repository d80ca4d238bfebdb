//! What people see on standard error: remarks, and the progress of long work.
//!
//! Invariant: progress is shown only on a terminal, only after a second, and never on standard output.

use std::fmt;
use std::io::{self, IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

use crate::clock;

/// Between two lines of progress.
const PROGRESS_EVERY: Duration = Duration::from_millis(500);

/// Writes one line. That standard error may be closed is not worth an error of its own.
pub(crate) fn remark(text: impl fmt::Display) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// The progress of work that may take long, in records and bytes.
#[derive(Debug)]
pub(crate) struct Progress {
    verb: &'static str,
    started: Instant,
    next_at: Option<Instant>,
    is_shown: bool,
}

impl Progress {
    /// Work that starts now; `verb` is its past participle, as in "12 records `verb`".
    pub(crate) fn start(verb: &'static str) -> Self {
        let started = clock::now();
        let next_at = io::stderr().is_terminal().then(|| started + 2 * PROGRESS_EVERY);
        Self { verb, started, next_at, is_shown: false }
    }

    /// Shows how far the work is, now and then. Cheap, but not for every record.
    pub(crate) fn show(&mut self, records: u64, bytes: u64) {
        let now = clock::now();
        if self.next_at.is_none_or(|at| now < at) {
            return;
        }
        self.next_at = Some(now + PROGRESS_EVERY);
        self.is_shown = true;
        let summary = summary(self.verb, records, bytes, now - self.started);
        let mut stderr = io::stderr().lock();
        let _ = write!(stderr, "\r\x1b[K{summary}");
        let _ = stderr.flush();
    }

    /// Clears the line and returns what to say at the end: how many, how fast.
    pub(crate) fn finish(&mut self, records: u64, bytes: u64) -> String {
        if self.is_shown {
            let _ = write!(io::stderr().lock(), "\r\x1b[K");
        }
        summary(self.verb, records, bytes, clock::now() - self.started)
    }
}

/// The progress of work on messages, of which only the number counts.
#[derive(Debug)]
pub(crate) struct Counting {
    verb: &'static str,
    started: Instant,
    next_at: Option<Instant>,
    is_shown: bool,
}

impl Counting {
    /// Work that starts now; `verb` is its past participle, as in "12 messages `verb`".
    pub(crate) fn start(verb: &'static str) -> Self {
        let Progress { verb, started, next_at, is_shown } = Progress::start(verb);
        Self { verb, started, next_at, is_shown }
    }

    /// Shows how far the work is, now and then.
    pub(crate) fn show(&mut self, messages: u64) {
        let now = clock::now();
        if self.next_at.is_none_or(|at| now < at) {
            return;
        }
        self.next_at = Some(now + PROGRESS_EVERY);
        self.is_shown = true;
        let seconds = (now - self.started).as_secs_f64().max(1e-9);
        let rate = as_f64(messages) / seconds;
        let mut stderr = io::stderr().lock();
        let _ = write!(stderr, "\r\x1b[K{messages} messages {} in {seconds:.1} s: {rate:.0} messages/s", self.verb);
        let _ = stderr.flush();
    }

    /// Clears the line.
    pub(crate) fn finish(self) {
        if self.is_shown {
            let _ = write!(io::stderr().lock(), "\r\x1b[K");
        }
    }
}

fn summary(verb: &str, records: u64, bytes: u64, elapsed: Duration) -> String {
    let seconds = elapsed.as_secs_f64().max(1e-9);
    let plural = if records == 1 { "" } else { "s" };
    format!(
        "{records} record{plural} ({}) {verb} in {seconds:.2} s: {:.0} records/s, {:.1} MB/s",
        megabytes(bytes),
        as_f64(records) / seconds,
        as_f64(bytes) / 1e6 / seconds
    )
}

fn megabytes(bytes: u64) -> String {
    match bytes {
        0..1_000 => format!("{bytes} B"),
        1_000..1_000_000 => format!("{:.1} kB", as_f64(bytes) / 1e3),
        _ => format!("{:.1} MB", as_f64(bytes) / 1e6),
    }
}

/// A count for arithmetic that need not be exact above 2^53.
pub(crate) fn as_f64(count: u64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "for rates; a rounding in the sixteenth digit does not show")]
    let float = count as f64;
    float
}

/// A length in memory as a count of bytes.
pub(crate) fn byte_count(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_says_how_many_and_how_fast() {
        let text = summary("acknowledged", 2_000, 3_000_000, Duration::from_secs(2));
        assert_eq!(text, "2000 records (3.0 MB) acknowledged in 2.00 s: 1000 records/s, 1.5 MB/s");
        assert!(summary("read", 1, 5, Duration::ZERO).starts_with("1 record (5 B) read"));
    }
}
