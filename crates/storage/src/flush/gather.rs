//! When a flush round waits for more to come.
//!
//! Many logs that are written one small record at a time make many small rounds, and each costs a sync and the waking of
//! those who wait: then a moment's pause lets one round do for several. One log, or a few, gain nothing by it and would only
//! answer later.
//!
//! Owns: the decision, and what it is made from. Never: sleeps, or knows what a log is.

use std::collections::HashSet;
use std::time::Duration;

/// How long a round waits.
///
/// Measured (`groups_bench DIR 100 8 1`, three nodes on two cores): 100 partitions written one record at a time make 4,300
/// to 5,700 acknowledgements a second without, 6,300 with 0.5 ms, and no more with 1, 2 or 4 ms.
const PAUSE: Duration = Duration::from_micros(500);
/// So many logs in the last rounds are many.
const LOGS_MIN: usize = 8;
/// How many rounds are looked at.
const ROUNDS: u32 = 16;
/// After so long without work there is nothing to wait for.
pub(super) const CALM_AFTER: Duration = Duration::from_millis(5);

/// Which logs were in the last rounds.
#[derive(Debug, Default)]
pub(super) struct Gather {
    seen: HashSet<usize>,
    rounds: u32,
    is_busy: bool,
}

impl Gather {
    /// A round has taken these logs.
    pub(super) fn note(&mut self, logs: impl Iterator<Item = usize>) {
        self.seen.extend(logs);
        self.rounds += 1;
        if self.seen.len() >= LOGS_MIN {
            self.is_busy = true;
        } else if self.rounds >= ROUNDS {
            self.is_busy = false;
        }
        if self.rounds >= ROUNDS {
            self.seen.clear();
            self.rounds = 0;
        }
    }

    /// There was nothing to do for a while.
    pub(super) fn calm_down(&mut self) {
        *self = Self::default();
    }

    /// How long the next round waits.
    pub(super) fn pause(&self) -> Option<Duration> {
        self.is_busy.then_some(PAUSE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_busy_log_never_waits() {
        let mut gather = Gather::default();
        for _ in 0..10 * ROUNDS {
            gather.note([1].into_iter());
            assert_eq!(gather.pause(), None);
        }
    }

    #[test]
    fn many_busy_logs_wait_until_they_are_few_or_calm() {
        let mut gather = Gather::default();
        for log in 0..LOGS_MIN {
            assert_eq!(gather.pause(), None);
            gather.note([log].into_iter());
        }
        assert_eq!(gather.pause(), Some(PAUSE));
        for _ in 0..2 * ROUNDS {
            gather.note([1, 2].into_iter());
        }
        assert_eq!(gather.pause(), None, "only a few are left");
        gather.note(0..LOGS_MIN);
        assert_eq!(gather.pause(), Some(PAUSE));
        gather.calm_down();
        assert_eq!(gather.pause(), None);
    }
}
