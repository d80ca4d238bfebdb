//! How many messages may go now, when so many a second may.
//!
//! Pure: time is an argument. What was not used does not add up beyond a second.

use std::time::Duration;

/// The most in one request, so that progress shows and Ctrl-C is heard.
const STEP_MAX: u64 = 1_000;
/// The shortest time between two requests.
const STEP_TIME: Duration = Duration::from_millis(100);

/// A bound on messages a second; none without a rate.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    rate: Option<u64>,
}

/// What to do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// So many may go.
    Go(u32),
    /// Nothing may go before this has passed.
    Wait(Duration),
}

impl Pace {
    pub(super) fn new(rate: Option<u64>) -> Self {
        Self { rate }
    }

    /// What may go when so many have gone in so long a time, and at most so many are to go yet.
    pub(super) fn step(self, elapsed: Duration, gone: u64, left: u64) -> Step {
        let Some(rate) = self.rate else {
            return Step::Go(u32::try_from(left.min(STEP_MAX)).unwrap_or(u32::MAX));
        };
        let due = u128::from(rate).saturating_mul(elapsed.as_millis()) / 1_000;
        // The first goes at once.
        let due = u64::try_from(due).unwrap_or(u64::MAX).saturating_add(1);
        let may_go = due.saturating_sub(gone).min(left).min(STEP_MAX).min(rate);
        if may_go > 0 {
            return Step::Go(u32::try_from(may_go).unwrap_or(u32::MAX));
        }
        let next_ms = u128::from(gone).saturating_mul(1_000).div_ceil(u128::from(rate.max(1)));
        let next = Duration::from_millis(u64::try_from(next_ms).unwrap_or(u64::MAX));
        Step::Wait(next.saturating_sub(elapsed).max(STEP_TIME))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// How many have gone after a time, when each request takes none.
    fn gone_after(rate: u64, limit: Duration) -> u64 {
        let (pace, mut now, mut gone) = (Pace::new(Some(rate)), Duration::ZERO, 0);
        while now < limit {
            match pace.step(now, gone, u64::MAX) {
                Step::Go(count) => gone += u64::from(count),
                Step::Wait(wait) => now += wait,
            }
        }
        gone
    }

    #[test]
    fn no_more_go_than_the_rate_says() {
        for rate in [1, 3, 10, 999, 5_000] {
            let gone = gone_after(rate, 20 * SECOND);
            assert!(gone <= 20 * rate + 1 && gone >= 19 * rate, "{rate}: {gone}");
        }
    }

    #[test]
    fn without_a_rate_they_go_in_large_steps() {
        assert_eq!(Pace::new(None).step(Duration::ZERO, 0, u64::MAX), Step::Go(1_000));
        assert_eq!(Pace::new(None).step(Duration::ZERO, 10, 3), Step::Go(3));
    }

    #[test]
    fn what_was_not_used_does_not_add_up() {
        assert_eq!(Pace::new(Some(5)).step(60 * SECOND, 0, u64::MAX), Step::Go(5), "a slow server is not flooded then");
    }
}
