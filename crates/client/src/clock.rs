//! Time and chance: the only file of this crate that reads a clock or a random source.
//!
//! Everything else takes an [`Instant`], a `Timestamp` or a random number as an argument.

#![allow(clippy::disallowed_methods, reason = "this is the clock")]

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::time::{SystemTime, UNIX_EPOCH};

use highwater_types::Timestamp;
pub(crate) use tokio::time::Instant;

/// The monotonic clock, for deadlines.
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// The wall clock, for the timestamps of records.
pub(crate) fn timestamp() -> Timestamp {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_ms(i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX))
}

/// A random number: spreads retries and first choices. Not for secrets.
pub(crate) fn chance() -> u64 {
    // Each RandomState has keys of its own, drawn from the operating system's randomness.
    RandomState::new().build_hasher().finish()
}
