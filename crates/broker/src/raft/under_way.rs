//! Entries under way: proposed, and not decided yet.
//!
//! Owns: their order, how many bytes they take that are not in the log yet, and how long is hoped for one.
//!
//! Never: knows what an entry is for; whoever proposes it gets that back with the outcome.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Poll, ready};
use std::time::Duration;

use tokio::time::Instant;

use super::ticket::{Committed, ProposeError, ProposeTicket};

/// How long an entry may be undecided while this node does not hear from a majority of the replicas. About as long as it
/// takes the others to have a leader, to whom whoever waits can go.
const OUT_OF_TOUCH_PATIENCE: Duration = Duration::from_millis(1_500);

/// How long an entry may be undecided at all: disks may be slow.
const UNDECIDED_PATIENCE: Duration = Duration::from_secs(20);

/// Entries under way, the oldest first.
#[derive(Debug)]
pub(crate) struct UnderWay<T> {
    entries: VecDeque<Entry<T>>,
    bytes: u64,
}

#[derive(Debug)]
struct Entry<T> {
    ticket: ProposeTicket,
    what: T,
    bytes: u64,
    since: Instant,
}

impl<T> Default for UnderWay<T> {
    fn default() -> Self {
        Self { entries: VecDeque::new(), bytes: 0 }
    }
}

impl<T> UnderWay<T> {
    /// One more; `bytes` is what it takes in the log.
    pub(crate) fn push(&mut self, ticket: ProposeTicket, what: T, bytes: u64, since: Instant) {
        self.bytes = self.bytes.saturating_add(bytes);
        self.entries.push_back(Entry { ticket, what, bytes, since });
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// What they take in the log, as far as they are not in it yet.
    pub(crate) const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// How long the entry number `nth`, counted from the oldest, has waited, when that is longer than there is hope.
    pub(crate) fn hopeless(&self, nth: usize, now: Instant, is_in_touch: bool) -> Option<Duration> {
        let waited = now.duration_since(self.entries.get(nth)?.since);
        let is_hopeless = waited >= UNDECIDED_PATIENCE || (waited >= OUT_OF_TOUCH_PATIENCE && !is_in_touch);
        is_hopeless.then_some(waited)
    }

    /// Waits until the oldest is decided; for ever when there is none. Dropping the future loses nothing.
    pub(crate) async fn next(&mut self) -> (T, Result<Committed, ProposeError>) {
        std::future::poll_fn(|cx| {
            let Some(oldest) = self.entries.front_mut() else { return Poll::Pending };
            let outcome = ready!(Pin::new(&mut oldest.ticket).poll(cx));
            match self.entries.pop_front() {
                Some(Entry { what, bytes, .. }) => {
                    self.bytes = self.bytes.saturating_sub(bytes);
                    Poll::Ready((what, outcome))
                }
                None => Poll::Pending,
            }
        })
        .await
    }
}
