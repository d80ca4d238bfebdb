//! Time: the one place of the command line tool that asks the machine for it.
//!
//! Owns: the monotonic clock that measurements and progress count on, the date that `15m ago` counts from, and names that no
//! other run has.
//!
//! Never: stamps records. They get their time from the client, and a server has its own clock.
#![allow(clippy::disallowed_methods, reason = "this is the clock")]

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use highwater_types::Timestamp;

/// The monotonic time.
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// The date and time of this machine.
pub(crate) fn wall() -> Timestamp {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_ms(i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX))
}

/// A name that starts with `prefix` and that no other run on this machine makes.
pub(crate) fn unique_name(prefix: &str) -> String {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    format!("{prefix}-{}-{}", since_epoch.as_millis(), std::process::id())
}
