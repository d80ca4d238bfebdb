//! How long to wait before trying again: doubling, capped, and spread so that clients do not come back in step.
//!
//! Pure: the random number is an argument.

use std::time::Duration;

const FIRST: Duration = Duration::from_millis(20);
const LONGEST: Duration = Duration::from_secs(1);

/// Between half and the whole of a wait, so that clients do not act in step.
pub(crate) fn spread(whole: Duration, chance: u64) -> Duration {
    let half_micros = u64::try_from(whole.as_micros() / 2).unwrap_or(u64::MAX);
    Duration::from_micros(half_micros.saturating_add(chance % half_micros.saturating_add(1)))
}

/// The waits of one thing that is being retried.
#[derive(Clone, Debug, Default)]
pub(crate) struct Backoff {
    failures: u32,
}

impl Backoff {
    /// The wait after one more failure: between half and the whole of 20 ms, 40 ms, 80 ms ... 1 s.
    pub(crate) fn next(&mut self, chance: u64) -> Duration {
        self.next_up_to(LONGEST, chance)
    }

    /// The same, where waits of more than `longest` would be too long.
    pub(crate) fn next_up_to(&mut self, longest: Duration, chance: u64) -> Duration {
        let doublings = self.failures.min(16);
        self.failures = self.failures.saturating_add(1);
        let whole = FIRST.saturating_mul(1 << doublings).min(longest);
        spread(whole, chance)
    }

    /// It worked: the next failure starts from the shortest wait.
    pub(crate) fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_a_second_and_never_leave_their_half() {
        let mut backoff = Backoff::default();
        for whole_ms in [20, 40, 80, 160, 320, 640, 1000, 1000] {
            let mut same = backoff.clone();
            assert_eq!(same.next(0), Duration::from_millis(whole_ms) / 2);
            let wait = backoff.next(u64::MAX);
            assert!(wait >= Duration::from_millis(whole_ms) / 2 && wait <= Duration::from_millis(whole_ms));
        }
        backoff.reset();
        assert!(backoff.next(u64::MAX) <= FIRST);
    }
}
