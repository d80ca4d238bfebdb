//! Watermarks: positions that only move forward.
//!
//! ```text
//!   log_start ≤ committed ≤ flushed ≤ log_end        (one replica that is its own majority)
//!      │           │          │          └ next offset to be written
//!      │           │          └ durable on this disk up to here
//!      │           └ the high watermark: readers stop here
//!      └ first offset still kept
//! ```
//!
//! Lock-free to read, so that a fetch never waits for the writer.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::offset::Offset;

/// One position that only moves forward, shared between one writer and any number of readers.
#[derive(Debug, Default)]
pub struct Watermark(AtomicU64);

impl Watermark {
    /// Starts at `offset`.
    #[must_use]
    pub const fn new(offset: Offset) -> Self {
        Self(AtomicU64::new(offset.get()))
    }

    /// Where it stands. What was written before it was advanced is visible after this.
    #[must_use]
    pub fn get(&self) -> Offset {
        Offset::new(self.0.load(Ordering::Acquire)).unwrap_or(Offset::MAX)
    }

    /// Moves it to `offset` if that is further on; returns whether it moved.
    pub fn advance(&self, offset: Offset) -> bool {
        self.0.fetch_max(offset.get(), Ordering::AcqRel) < offset.get()
    }
}

/// The four positions of a partition, read at one moment.
///
/// Read in the order of the inequality, so a reader may see an older left side, never a newer one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Watermarks {
    /// The first offset still kept.
    pub log_start: Offset,
    /// The high watermark: the first offset that is not committed.
    pub committed: Offset,
    /// The first offset that is not durable on this disk.
    pub flushed: Offset,
    /// The next offset to be written.
    pub log_end: Offset,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_watermark_never_goes_back() {
        let mark = Watermark::default();
        assert!(mark.advance(Offset::ZERO.saturating_add(9)));
        assert!(!mark.advance(Offset::ZERO.saturating_add(4)));
        assert_eq!(mark.get().get(), 9);
    }
}
