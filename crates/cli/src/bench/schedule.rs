//! When each record of a fixed-rate load is due, and waiting for that in ticks of one millisecond.
//!
//! Latency counts from the time a record was due, not from when it was sent: a server that stalls is charged for the
//! records that waited behind the stall (no coordinated omission).

use std::time::{Duration, Instant};

use tokio::time::{Interval, MissedTickBehavior};

use crate::clock;

/// A load of `total` records at `per_second`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Schedule {
    per_second: u64,
    total: u64,
}

impl Schedule {
    /// `total` records, evenly spread at `per_second` (at least 1).
    pub(crate) fn new(per_second: u64, total: u64) -> Self {
        Self { per_second: per_second.max(1), total }
    }

    /// How many records are due once `elapsed` has passed: the first at once, the others an interval apart.
    pub(crate) fn due(self, elapsed: Duration) -> u64 {
        let intervals = elapsed.as_micros().saturating_mul(u128::from(self.per_second)) / 1_000_000;
        u64::try_from(intervals).unwrap_or(u64::MAX).saturating_add(1).min(self.total)
    }

    /// When the record with this number, counted from 0, is due: microseconds from the start.
    pub(crate) fn due_us(self, record: u64) -> u64 {
        let due = u128::from(record) * 1_000_000 / u128::from(self.per_second);
        u64::try_from(due).unwrap_or(u64::MAX)
    }
}

/// Waits for the records of a schedule to be due.
#[derive(Debug)]
pub(crate) struct Ticks {
    schedule: Schedule,
    base: Instant,
    /// How many records were due at the last look at the clock.
    due: u64,
    interval: Interval,
}

impl Ticks {
    /// The schedule starts now.
    pub(crate) fn start(schedule: Schedule) -> Self {
        Self::start_at(schedule, clock::now())
    }

    /// The schedule starts at `base`.
    pub(crate) fn start_at(schedule: Schedule, base: Instant) -> Self {
        let mut interval = tokio::time::interval(Duration::from_millis(1));
        // A tick that came late is made up for at once, so a pause of this tool does not lower the rate.
        interval.set_missed_tick_behavior(MissedTickBehavior::Burst);
        Self { schedule, base, due: 0, interval }
    }

    /// Waits until the record with this number is due, and returns when it was.
    pub(crate) async fn wait_for(&mut self, record: u64) -> Instant {
        while record >= self.due {
            self.interval.tick().await;
            self.due = self.schedule.due(clock::now() - self.base);
        }
        self.base + Duration::from_micros(self.schedule.due_us(record))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_spread_evenly() {
        let schedule = Schedule::new(1_000, 20);
        assert_eq!(schedule.due(Duration::ZERO), 1, "the first is due at the start");
        assert_eq!(schedule.due(Duration::from_millis(7)), 8);
        assert_eq!(schedule.due(Duration::from_micros(6_999)), 7);
        assert_eq!(schedule.due(Duration::from_secs(60)), 20, "never more than the total");
        assert_eq!(schedule.due_us(7), 7_000);
    }

    #[test]
    fn no_record_is_due_before_its_time() {
        let schedule = Schedule::new(333_333, 1_000_000);
        for record in [0, 1, 999, 123_456] {
            let due = Duration::from_micros(schedule.due_us(record));
            assert!(schedule.due(due) <= record + 1);
        }
    }
}
