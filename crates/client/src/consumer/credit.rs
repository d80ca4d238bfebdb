//! How many bytes the server may send ahead.
//!
//! Owns: the count of what was taken and not given back. Pure.
//!
//! Invariant: credit that is out, bytes that wait and bytes to be given back add up to the window, so what is held never
//! exceeds it by more than the last batch.

/// The credit of one stream after the other.
#[derive(Debug)]
pub(super) struct Credit {
    window: i64,
    /// Taken, and not given back yet; below zero where more waits than the window holds.
    owed: i64,
}

impl Credit {
    pub(super) fn new(window_bytes: usize) -> Self {
        Self { window: i64::try_from(window_bytes).unwrap_or(i64::MAX), owed: 0 }
    }

    /// The credit that a new stream begins with, while so many bytes of the one before wait.
    pub(super) fn begin(&mut self, waiting_bytes: usize) -> u64 {
        let room = self.window - i64::try_from(waiting_bytes).unwrap_or(i64::MAX);
        self.owed = room.min(0);
        room.max(0).unsigned_abs()
    }

    /// So many bytes were taken by the program, or dropped.
    pub(super) fn take(&mut self, bytes: usize) {
        self.owed = self.owed.saturating_add(i64::try_from(bytes).unwrap_or(i64::MAX));
    }

    pub(super) fn is_due(&self) -> bool {
        // Half a window at a time: often enough that the server never waits, seldom enough to cost nothing.
        self.owed > 0 && self.owed.saturating_mul(2) >= self.window
    }

    /// The credit to give back now.
    pub(super) fn give_back(&mut self) -> Option<u64> {
        self.is_due().then(|| std::mem::take(&mut self.owed).unsigned_abs())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_a_window_is_given_back_when_it_was_taken() {
        let mut credit = Credit::new(100);
        assert_eq!(credit.begin(0), 100);
        credit.take(49);
        assert_eq!(credit.give_back(), None);
        credit.take(1);
        assert_eq!((credit.give_back(), credit.give_back()), (Some(50), None));
    }

    #[test]
    fn what_waits_is_counted_when_a_stream_begins() {
        let mut credit = Credit::new(100);
        assert_eq!(credit.begin(60), 40);
        credit.take(60);
        assert_eq!(credit.give_back(), Some(60), "all of the window is out again");
        assert_eq!(credit.begin(1_000), 0, "a batch larger than the window waits");
        credit.take(1_000);
        assert_eq!(credit.give_back(), Some(100), "and the window does not grow by it");
    }
}
