//! The breaker: a group that mostly fails stops, because a downstream that is out would else drain the whole topic into
//! the dead letters.
//!
//! Owns: the outcomes of the last while, and whether a single message is being tried.
//!
//! Never: pauses by itself. It gives a verdict, which becomes a record.

use crate::queue::config::BreakerConfig;
use crate::queue::image::Queue;
use crate::queue::record::{Pause, PausedBy};
use crate::stream::ids::Moment;
use highwater_types::Offset;

/// What follows from an outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Nothing,
    /// So many of so many failed.
    Trip {
        failures: u32,
        outcomes: u32,
    },
    Resume,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Phase {
    #[default]
    Closed,
    /// A record of a pause or of its end is under way.
    Changing,
    Open {
        probe_at: Moment,
    },
    Probing {
        offset: Offset,
    },
}

#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    outcomes: u32,
    failures: u32,
}

#[derive(Debug, Default)]
pub(super) struct Breaker {
    phase: Phase,
    /// Half a window each, so that an outcome counts for between half a window and a whole one.
    before: Tally,
    current: Tally,
    current_ends: Moment,
}

impl Breaker {
    pub(super) fn new(queue: &Queue, now: Moment) -> Self {
        let mut breaker = Self::default();
        breaker.paused(queue, queue.pause(), now);
        breaker
    }

    /// A pause, or its end, is committed.
    pub(super) fn paused(&mut self, queue: &Queue, pause: Option<&Pause>, now: Moment) {
        *self = Self::default();
        if pause.is_some_and(|pause| pause.by == PausedBy::Breaker) {
            self.phase = Phase::Open { probe_at: probe_at(queue.config().breaker, now) };
        }
    }

    /// How many messages may be handed out now: all, one that is a probe, or none and why.
    pub(super) fn permits(&self, queue: &Queue, now: Moment) -> Result<Permit, PausedBy> {
        match (queue.pause().map(|pause| pause.by), self.phase) {
            (Some(PausedBy::Operator), _) => Err(PausedBy::Operator),
            (Some(PausedBy::Breaker), Phase::Open { probe_at }) if probe_at <= now => Ok(Permit::Probe),
            (Some(PausedBy::Breaker), _) | (None, Phase::Changing) => Err(PausedBy::Breaker),
            (None, _) => Ok(Permit::All),
        }
    }

    pub(super) fn probes(&mut self, offset: Offset) {
        self.phase = Phase::Probing { offset };
    }

    /// A message went back without an outcome; if it was the probe, another may be tried.
    pub(super) fn released(&mut self, offset: Offset, now: Moment) {
        if self.phase == (Phase::Probing { offset }) {
            self.phase = Phase::Open { probe_at: now };
        }
    }

    /// Nobody told what became of a message. That is no outcome; if it was the probe, another is tried after the pause.
    pub(super) fn unheard(&mut self, queue: &Queue, offset: Offset, now: Moment) {
        if self.phase == (Phase::Probing { offset }) {
            self.phase = Phase::Open { probe_at: probe_at(queue.config().breaker, now) };
        }
    }

    /// When a probe may be handed out.
    pub(super) fn probe_at(&self) -> Option<Moment> {
        match self.phase {
            Phase::Open { probe_at } => Some(probe_at),
            _ => None,
        }
    }

    pub(super) fn outcome(&mut self, queue: &Queue, offset: Offset, is_failure: bool, now: Moment) -> Verdict {
        let config = queue.config().breaker;
        match (self.phase, config) {
            (Phase::Probing { offset: probe }, _) if probe == offset => {
                self.phase = if is_failure { Phase::Open { probe_at: probe_at(config, now) } } else { Phase::Changing };
                if is_failure { Verdict::Nothing } else { Verdict::Resume }
            }
            (Phase::Closed, Some(config)) if queue.pause().is_none() => self.count(config, is_failure, now),
            _ => Verdict::Nothing,
        }
    }

    fn count(&mut self, config: BreakerConfig, is_failure: bool, now: Moment) -> Verdict {
        let half_ms = config.window_ms / 2;
        if now >= self.current_ends {
            let is_recent = now < self.current_ends.plus_ms(half_ms);
            self.before = if is_recent { self.current } else { Tally::default() };
            (self.current, self.current_ends) = (Tally::default(), now.plus_ms(half_ms));
        }
        self.current.outcomes = self.current.outcomes.saturating_add(1);
        self.current.failures = self.current.failures.saturating_add(u32::from(is_failure));
        let outcomes = self.before.outcomes.saturating_add(self.current.outcomes);
        let failures = self.before.failures.saturating_add(self.current.failures);
        let share = u64::from(failures) * 100;
        if outcomes < config.outcomes_min || share < u64::from(config.failures_percent) * u64::from(outcomes) {
            return Verdict::Nothing;
        }
        self.phase = Phase::Changing;
        Verdict::Trip { failures, outcomes }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Permit {
    All,
    Probe,
}

fn probe_at(config: Option<BreakerConfig>, now: Moment) -> Moment {
    now.plus_ms(config.map_or(0, |config| config.probe_after_ms))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queue::config::QueueConfig;

    #[test]
    fn outcomes_count_for_a_window_and_no_longer() {
        let config = BreakerConfig { failures_percent: 50, outcomes_min: 4, window_ms: 2_000, probe_after_ms: 100 };
        let queue = Queue::new(QueueConfig { breaker: Some(config), ..QueueConfig::default() }, Offset::ZERO);
        let mut breaker = Breaker::new(&queue, Moment::new(0));
        let mut fail = |ms| breaker.outcome(&queue, Offset::ZERO, true, Moment::new(ms));
        assert_eq!([fail(0), fail(1), fail(2)], [Verdict::Nothing; 3]);
        // A window later they count no more.
        assert_eq!([fail(2_000), fail(2_900)], [Verdict::Nothing; 2]);
        // Half a window later they do.
        assert_eq!(fail(3_500), Verdict::Nothing);
        assert_eq!(fail(3_600), Verdict::Trip { failures: 4, outcomes: 4 });
        assert_eq!(fail(3_601), Verdict::Nothing, "one record is enough");
        assert_eq!(breaker.permits(&queue, Moment::new(3_602)), Err(PausedBy::Breaker));
    }
}
