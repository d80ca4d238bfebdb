//! How fast this node brings replicas up to date that are far behind: a new one, one that was down, one that begins anew
//! after damage.
//!
//! Owns: the rate, one for all groups of the node, and the judgement which appends it is for. Never: slows what a replica
//! that keeps up is sent, or holds anything: who has to wait, waits where its bytes are.
//!
//! An append counts as catching up once more than [`GRACE_BYTES`] went to the same replica, one after the other, that the
//! group had committed already without it. A replica that keeps up gets entries before they are committed; one that
//! is just a little slower than the others stays within the grace.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::clock::Clock;

/// What a replica may lack without being far behind: a few times what is in flight to it.
const GRACE_BYTES: u64 = 16 * 1024 * 1024;

/// What may go out at once after a rest.
const BURST: Duration = Duration::from_millis(100);

/// The rate of a node. Clones are the same.
#[derive(Clone, Debug)]
pub(crate) struct CatchUp(Option<Arc<Inner>>);

#[derive(Debug)]
struct Inner {
    bytes_per_second: u64,
    clock: Clock,
    /// When all that was let through so far has been sent at the rate.
    paid_until: Mutex<Option<Instant>>,
}

impl CatchUp {
    /// As fast as it goes.
    pub(crate) const fn unlimited() -> Self {
        Self(None)
    }

    /// So many bytes a second.
    pub(crate) fn at(bytes_per_second: u64, clock: Clock) -> Self {
        Self(Some(Arc::new(Inner { bytes_per_second: bytes_per_second.max(1), clock, paid_until: Mutex::default() })))
    }

    /// Waits until so many bytes may be sent. Whoever asks first goes first.
    async fn pass(&self, bytes: u64) {
        let Some(inner) = &self.0 else { return };
        let turn = inner.book(bytes);
        if turn > inner.clock.instant() {
            tokio::time::sleep_until(turn).await;
        }
    }
}

impl Inner {
    /// Takes the next free time for so many bytes; gives when that begins.
    fn book(&self, bytes: u64) -> Instant {
        let now = self.clock.instant();
        let mut paid_until = self.paid_until.lock().unwrap_or_else(PoisonError::into_inner);
        let rested = now.checked_sub(BURST).unwrap_or(now);
        let turn = paid_until.map_or(rested, |paid| paid.max(rested));
        let micros = u128::from(bytes) * 1_000_000 / u128::from(self.bytes_per_second);
        *paid_until = Some(turn + Duration::from_micros(u64::try_from(micros).unwrap_or(u64::MAX)));
        turn
    }
}

/// What one replica was sent, as it bears on whether it catches up.
#[derive(Debug)]
pub(super) struct Progress {
    rate: CatchUp,
    /// Sent one after the other, and committed before that.
    late_bytes: AtomicU64,
}

impl Progress {
    pub(super) const fn new(rate: CatchUp) -> Self {
        Self { rate, late_bytes: AtomicU64::new(0) }
    }

    /// An append of so many bytes is about to go out; `is_late`: the group has committed all of it. Waits for its turn.
    pub(super) async fn send(&self, bytes: usize, is_late: bool) {
        if !is_late {
            self.late_bytes.store(0, Ordering::Relaxed);
            return;
        }
        let bytes = bytes as u64;
        if self.late_bytes.fetch_add(bytes, Ordering::Relaxed) + bytes > GRACE_BYTES {
            self.rate.pass(bytes).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: usize = 1024 * 1024;

    fn late(progress: &Progress, bytes: usize) -> impl Future<Output = ()> + '_ {
        progress.send(bytes, true)
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_far_behind_goes_at_the_rate_whoever_sends_it() {
        let rate = CatchUp::at(10 * MIB as u64, Clock::system());
        let (one, other) = (Progress::new(rate.clone()), Progress::new(rate));
        let began = Clock::system().instant();
        for _ in 0..16 {
            late(&one, MIB).await;
            late(&other, MIB).await;
        }
        assert!(began.elapsed() < Duration::from_millis(10), "within the grace: {:?}", began.elapsed());
        for _ in 0..50 {
            late(&one, MIB).await;
            late(&other, MIB).await;
        }
        let took = began.elapsed().as_secs_f64();
        assert!((9.5..=10.1).contains(&took), "100 MiB at 10 MiB/s took {took} s");
    }

    #[tokio::test(start_paused = true)]
    async fn a_replica_that_keeps_up_never_waits() {
        let progress = Progress::new(CatchUp::at(1, Clock::system()));
        let began = Clock::system().instant();
        for _ in 0..1_000 {
            for _ in 0..15 {
                late(&progress, MIB).await;
            }
            progress.send(MIB, false).await;
        }
        assert_eq!(began.elapsed(), Duration::ZERO);
    }
}
