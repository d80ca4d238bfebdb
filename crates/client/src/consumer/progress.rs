//! Whether the program makes progress, or hangs.
//!
//! Pure: time is an argument. It is looked at with every heartbeat, so a program that hangs is noticed one heartbeat late.

use std::time::Duration;

use crate::clock::Instant;

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct Progress {
    timeout: Duration,
    /// How often the program had asked for more when this was looked at last.
    asks: u64,
    since: Instant,
    is_stalled: bool,
}

impl Progress {
    pub(super) fn new(timeout: Duration, now: Instant) -> Self {
        Self { timeout, asks: 0, since: now, is_stalled: false }
    }

    /// Whether the program has let records wait for too long.
    pub(super) fn look(&mut self, asks: u64, is_waited_for: bool, now: Instant) -> bool {
        if asks != self.asks || !is_waited_for {
            (self.asks, self.since) = (asks, now);
        }
        self.is_stalled = now.duration_since(self.since) >= self.timeout;
        self.is_stalled
    }

    /// What was found last, and how often the program had asked then.
    pub(super) fn stalled_at(&self) -> Option<u64> {
        self.is_stalled.then_some(self.asks)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    #[test]
    fn a_program_hangs_that_lets_records_wait_and_does_not_ask() {
        let (start, second) = (clock::now(), Duration::from_secs(1));
        let mut progress = Progress::new(10 * second, start);
        assert!(!progress.look(1, true, start + 9 * second));
        assert!(!progress.look(1, true, start + 18 * second), "since it asked last");
        assert!(progress.look(1, true, start + 19 * second));
        assert_eq!(progress.stalled_at(), Some(1));
        assert!(!progress.look(2, true, start + 20 * second), "it is back");
        assert!(!progress.look(2, false, start + 60 * second), "nothing waits for it");
        assert!(!progress.look(2, true, start + 61 * second));
    }
}
