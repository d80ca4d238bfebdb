//! How fast this node brings replicas up to date that are far behind: a new one, one that was down, one that begins anew
//! after damage.
//!
//! Owns: the rate, one for all groups of the node, and the judgement which appends it is for. Never: slows what a replica
//! that keeps up is sent, or holds anything: who has to wait, waits where its bytes are.
//!
//! While producers write, the rate is lower: a quarter, or a little more than what they write if that is more, because what is
//! filled more slowly than it grows is never full.
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

/// Over how long the rate of the producers is measured.
const WINDOW: Duration = Duration::from_secs(1);
/// Producers that write less than this, in bytes a second, are not in the way.
const CALM_BYTES_PER_SECOND: u64 = 1024 * 1024;
/// The part of the rate that is there while producers write.
const BUSY_SHARE: u64 = 4;

/// The rate of a node. Clones are the same.
#[derive(Clone, Debug)]
pub(crate) struct CatchUp(Option<Arc<Inner>>);

#[derive(Debug)]
struct Inner {
    /// With nothing else to do.
    bytes_per_second_max: u64,
    clock: Clock,
    books: Mutex<Books>,
}

#[derive(Debug, Default)]
struct Books {
    /// When all that was let through so far has been sent at the rate.
    paid_until: Option<Instant>,
    live: Live,
}

/// What replicas that keep up are sent: what producers write.
#[derive(Debug, Default)]
struct Live {
    began: Option<Instant>,
    bytes: u64,
    bytes_per_second: u64,
}

impl Live {
    fn note(&mut self, bytes: u64, now: Instant) {
        let took = now.duration_since(*self.began.get_or_insert(now));
        if took >= WINDOW {
            let rate = u128::from(self.bytes) * 1_000_000 / took.as_micros().max(1);
            *self = Self { began: Some(now), bytes: 0, bytes_per_second: u64::try_from(rate).unwrap_or(u64::MAX) };
        }
        self.bytes = self.bytes.saturating_add(bytes);
    }
}

impl CatchUp {
    /// As fast as it goes.
    pub(crate) const fn unlimited() -> Self {
        Self(None)
    }

    /// So many bytes a second.
    pub(crate) fn at(bytes_per_second: u64, clock: Clock) -> Self {
        let bytes_per_second_max = bytes_per_second.max(1);
        Self(Some(Arc::new(Inner { bytes_per_second_max, clock, books: Mutex::default() })))
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
        let mut books = self.books.lock().unwrap_or_else(PoisonError::into_inner);
        books.live.note(0, now);
        let rate = self.rate_beside(books.live.bytes_per_second);
        let rested = now.checked_sub(BURST).unwrap_or(now);
        let turn = books.paid_until.map_or(rested, |paid| paid.max(rested));
        let micros = u128::from(bytes) * 1_000_000 / u128::from(rate);
        books.paid_until = Some(turn + Duration::from_micros(u64::try_from(micros).unwrap_or(u64::MAX)));
        turn
    }

    /// The rate, in bytes a second, while producers write at theirs.
    fn rate_beside(&self, live: u64) -> u64 {
        if live < CALM_BYTES_PER_SECOND {
            return self.bytes_per_second_max;
        }
        let above = live.saturating_add(live / 4);
        above.max(self.bytes_per_second_max / BUSY_SHARE).clamp(1, self.bytes_per_second_max)
    }

    fn note_live(&self, bytes: u64) {
        let now = self.clock.instant();
        self.books.lock().unwrap_or_else(PoisonError::into_inner).live.note(bytes, now);
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
        let bytes = bytes as u64;
        if !is_late {
            self.late_bytes.store(0, Ordering::Relaxed);
            if let Some(inner) = &self.rate.0 {
                inner.note_live(bytes);
            }
            return;
        }
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

    #[test]
    fn producers_are_left_most_of_it_and_filling_still_ends() {
        let rate = CatchUp::at(256 * MIB as u64, Clock::system());
        let inner = rate.0.unwrap();
        let beside = |live: usize| inner.rate_beside(live as u64) / MIB as u64;
        assert_eq!(beside(0), 256);
        assert_eq!(beside(10 * MIB), 64);
        assert_eq!(beside(100 * MIB), 125, "more than what grows meanwhile");
        assert_eq!(beside(1_000 * MIB), 256);
    }

    #[tokio::test(start_paused = true)]
    async fn what_producers_write_is_measured_and_forgotten_again() {
        let rate = CatchUp::at(256 * MIB as u64, Clock::system());
        let live = Progress::new(rate.clone());
        for _ in 0..21 {
            live.send(10 * MIB, false).await;
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let inner = rate.0.clone().unwrap();
        let measured = inner.books.lock().unwrap().live.bytes_per_second / MIB as u64;
        assert!((90..=110).contains(&measured), "{measured} MiB/s of 100");
        tokio::time::sleep(3 * WINDOW).await;
        inner.book(1);
        tokio::time::sleep(2 * WINDOW).await;
        inner.book(1);
        assert_eq!(inner.books.lock().unwrap().live.bytes_per_second, 0);
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
