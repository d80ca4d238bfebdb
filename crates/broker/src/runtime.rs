//! What the broker asks of the runtime besides tasks and timers: work that waits for the disk, and dice.
//!
//! Owns: the one place that hands work to blocking threads, and the switch that makes a thread a simulation's. There the
//! same work runs in its turn on that thread, after a delay drawn from the seed, and the threads of a data directory are
//! a task; so that one seed gives one order of events (`docs/adr/075`).
//!
//! Never: simulates unless a test has said so for its thread, with [`simulate`].
#![allow(clippy::disallowed_methods, reason = "this is where blocking threads are asked for")]

use std::cell::Cell;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use highwater_storage::DataDir;
use tokio::task::JoinError;

thread_local! {
    static SIMULATED: Cell<Option<Dice>> = const { Cell::new(None) };
}

/// `SplitMix64`, and how long the simulated disk may take.
#[derive(Clone, Copy, Debug)]
struct Dice {
    state: u64,
    disk_ms_max: u64,
}

/// While this lives, its thread belongs to a simulation.
#[derive(Debug)]
pub struct Simulation(PhantomData<*const ()>);

/// Makes this thread a simulation's; all chance of the broker on this thread comes from `seed`.
#[must_use]
pub fn simulate(seed: u64) -> Simulation {
    SIMULATED.set(Some(Dice { state: seed, disk_ms_max: 1 }));
    Simulation(PhantomData)
}

impl Simulation {
    /// How long a disk may take from now on; each time is drawn anew, in whole milliseconds, at least one.
    pub fn set_disk_delay_max(&self, delay: Duration) {
        let disk_ms_max = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX).max(1);
        SIMULATED.set(SIMULATED.get().map(|dice| Dice { disk_ms_max, ..dice }));
    }
}

impl Drop for Simulation {
    fn drop(&mut self) {
        SIMULATED.set(None);
    }
}

/// Whether this thread is a simulation's.
#[must_use]
pub fn is_simulated() -> bool {
    SIMULATED.get().is_some()
}

/// The next number of this thread's simulation, if it is one's.
pub(crate) fn seeded() -> Option<u64> {
    let mut dice = SIMULATED.get()?;
    dice.state = dice.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    SIMULATED.set(Some(dice));
    let mut mixed = dice.state;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    Some(mixed ^ (mixed >> 31))
}

/// Runs work that waits for the disk or long for the processor, away from the async threads.
///
/// # Errors
/// When the work panicked, or the runtime is stopping.
pub async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, JoinError> {
    match disk_delay() {
        Some(delay) => {
            tokio::time::sleep(delay).await;
            Ok(work())
        }
        None => tokio::task::spawn_blocking(work).await,
    }
}

/// Does what the threads of a data directory do, where it was opened without them: in a simulation.
pub(crate) fn drive(data: &DataDir) {
    if !is_simulated() {
        return;
    }
    let (flusher, background) = (Arc::downgrade(data.flusher()), Arc::downgrade(data.background()));
    tokio::spawn(async move {
        while let Some(delay) = disk_delay() {
            tokio::time::sleep(delay).await;
            let (Some(flusher), Some(background)) = (flusher.upgrade(), background.upgrade()) else { return };
            flusher.run_round();
            background.run_pending();
        }
    });
}

/// How long the simulated disk takes this time; `None` where the disk is not simulated.
fn disk_delay() -> Option<Duration> {
    let most = SIMULATED.get()?.disk_ms_max;
    // Mostly fast, as disks are.
    let number = seeded()?;
    let ms = if number % 4 == 0 { number / 4 % most + 1 } else { 1 };
    Some(Duration::from_millis(ms))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_seed_gives_one_row_of_numbers() {
        let row = |seed| {
            let _simulation = simulate(seed);
            [seeded(), seeded(), seeded()]
        };
        assert_eq!(row(7), row(7));
        assert_ne!(row(7), row(8));
        assert!(!is_simulated());
        assert_eq!(seeded(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn simulated_work_runs_on_this_thread_and_takes_virtual_time() {
        let simulation = simulate(1);
        simulation.set_disk_delay_max(Duration::from_millis(50));
        let (before, here) = (tokio::time::Instant::now(), std::thread::current().id());
        let there = blocking(|| std::thread::current().id()).await.unwrap();
        assert_eq!(there, here);
        assert!(before.elapsed() >= Duration::from_millis(1));
        drop(simulation);
        let there = blocking(|| std::thread::current().id()).await.unwrap();
        assert_ne!(there, here);
    }
}
