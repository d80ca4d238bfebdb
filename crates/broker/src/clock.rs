//! Time and chance: the one place of the broker that asks the machine for either.
//!
//! Owns: the wall clock that stamps records and ages segments, the monotonic clock that deadlines count on, and the
//! random ids that a node makes. Everybody else is given a [`Clock`] or a value that came from one.
//!
//! Invariant: the wall time that one clock (and its clones) tells never goes back, whatever is done to the machine's.
#![allow(clippy::disallowed_methods, reason = "this is the clock")]

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use highwater_types::Timestamp;
use tokio::time::Instant;
use uuid::Uuid;

/// Tells the time. Clones share one clock.
#[derive(Clone, Debug)]
pub struct Clock(Arc<Source>);

#[derive(Debug)]
enum Source {
    /// The machine's clock, and the latest time told from it, in milliseconds since the epoch.
    System { told: AtomicI64 },
    /// A clock that stands still until a test moves it, and the number of ids it has made.
    Manual { now: AtomicI64, ids: AtomicU64 },
    /// A simulated machine's clock, which is set to any time, the latest time told from it, and the seed of its ids.
    Simulated { machine: AtomicI64, told: AtomicI64, ids: AtomicU64, seed: u64 },
}

impl Clock {
    /// The machine's clock.
    #[must_use]
    pub fn system() -> Self {
        Self(Arc::new(Source::System { told: AtomicI64::new(0) }))
    }

    /// A clock that stands at `start` until [`Clock::advance`] moves it; its ids are the same in every run.
    ///
    /// Its monotonic time is the runtime's, which a test can pause and move by itself.
    #[must_use]
    pub fn manual(start: Timestamp) -> Self {
        Self(Arc::new(Source::Manual { now: AtomicI64::new(start.as_ms()), ids: AtomicU64::new(0) }))
    }

    /// The clock of a simulated machine, which [`Clock::set`] sets forward and back; its ids come from `seed`.
    #[must_use]
    pub fn simulated(seed: u64, start: Timestamp) -> Self {
        let (machine, told) = (AtomicI64::new(start.as_ms()), AtomicI64::new(0));
        Self(Arc::new(Source::Simulated { machine, told, ids: AtomicU64::new(0), seed }))
    }

    /// The wall time. Never earlier than what this clock told before.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        match &*self.0 {
            Source::System { told } => tell(told, machine_ms()),
            Source::Simulated { machine, told, .. } => tell(told, machine.load(Ordering::Relaxed)),
            Source::Manual { now, .. } => Timestamp::from_ms(now.load(Ordering::Relaxed)),
        }
    }

    /// The monotonic time, for deadlines and measured durations.
    #[must_use]
    pub fn instant(&self) -> Instant {
        Instant::now()
    }

    /// Moves a manual clock forward. A system clock cannot be moved and stays as it is.
    pub fn advance(&self, by: Duration) {
        if let Source::Manual { now, .. } = &*self.0 {
            now.fetch_add(i64::try_from(by.as_millis()).unwrap_or(i64::MAX), Ordering::Relaxed);
        }
    }

    /// Sets the clock of a simulated machine, as an operator or a time server might. Others stay as they are.
    pub fn set(&self, time: Timestamp) {
        if let Source::Simulated { machine, .. } = &*self.0 {
            machine.store(time.as_ms(), Ordering::Relaxed);
        }
    }

    /// An id that no other node or run has made. From a manual clock: the next of a fixed row.
    #[must_use]
    pub fn unique_id(&self) -> Uuid {
        match &*self.0 {
            Source::System { .. } => Uuid::new_v4(),
            Source::Manual { ids, .. } => {
                let count = ids.fetch_add(1, Ordering::Relaxed);
                uuid::Builder::from_random_bytes(u128::from(count.wrapping_add(1)).to_be_bytes()).into_uuid()
            }
            Source::Simulated { ids, seed, .. } => {
                let count = ids.fetch_add(1, Ordering::Relaxed).wrapping_add(1);
                let bytes = (u128::from(*seed) << 64) | u128::from(count);
                uuid::Builder::from_random_bytes(bytes.to_be_bytes()).into_uuid()
            }
        }
    }
}

/// `now`, unless a later time was told already.
fn tell(told: &AtomicI64, now: i64) -> Timestamp {
    Timestamp::from_ms(told.fetch_max(now, Ordering::Relaxed).max(now))
}

/// Milliseconds since the epoch as the machine has it; 0 when its clock stands before 1970.
fn machine_ms() -> i64 {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wall_time_never_goes_back() {
        let clock = Clock::system();
        let first = clock.now();
        if let Source::System { told } = &*clock.0 {
            // As if the machine's clock had been set back by an hour since then.
            told.fetch_add(3_600_000, Ordering::Relaxed);
        }
        let second = clock.now();
        assert!(second.ms_since(first) >= 3_600_000, "{first} then {second}");
        assert!(clock.clone().now() >= second);
    }

    #[test]
    fn a_simulated_clock_that_is_set_back_goes_on_telling_the_latest_time() {
        let clock = Clock::simulated(1, Timestamp::from_ms(5_000));
        assert_eq!(clock.now(), Timestamp::from_ms(5_000));
        clock.set(Timestamp::from_ms(1_000));
        assert_eq!(clock.now(), Timestamp::from_ms(5_000));
        clock.set(Timestamp::from_ms(9_000));
        assert_eq!(clock.now(), Timestamp::from_ms(9_000));
        assert_ne!(clock.unique_id(), Clock::simulated(2, Timestamp::default()).unique_id());
    }

    #[test]
    fn a_manual_clock_moves_by_hand_only() {
        let clock = Clock::manual(Timestamp::from_ms(1_000));
        assert_eq!(clock.now(), clock.now());
        clock.clone().advance(Duration::from_secs(2));
        assert_eq!(clock.now(), Timestamp::from_ms(3_000));
        let (first, second) = (clock.unique_id(), clock.unique_id());
        assert_ne!(first, second);
        assert_eq!(Clock::manual(Timestamp::default()).unique_id(), first);
    }
}
