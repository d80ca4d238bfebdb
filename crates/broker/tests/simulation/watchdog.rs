//! Ends the tests when a run stands still: a node whose tasks keep each other busy lets no virtual time pass, so its run would
//! never end, and nothing would say which one it is.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, Once};
use std::time::Duration;

/// A step takes a millisecond or so. Real time, as virtual time is what stands still.
const PATIENCE: Duration = Duration::from_secs(60);

static STEPS: AtomicU64 = AtomicU64::new(0);
static RUNNING: Mutex<BTreeSet<u64>> = Mutex::new(BTreeSet::new());

/// A run that is watched until this is dropped.
pub struct Watched(u64);

impl Watched {
    pub fn new(seed: u64) -> Self {
        static WATCH: Once = Once::new();
        WATCH.call_once(|| drop(std::thread::spawn(watch)));
        RUNNING.lock().unwrap().insert(seed);
        Self(seed)
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        RUNNING.lock().unwrap().remove(&self.0);
    }
}

/// A millisecond of virtual time has passed in some run.
pub fn stepped() {
    STEPS.fetch_add(1, Ordering::Relaxed);
}

#[allow(clippy::disallowed_methods, reason = "real time is what it watches")]
fn watch() {
    let mut before = STEPS.load(Ordering::Relaxed);
    loop {
        std::thread::sleep(PATIENCE);
        let steps = STEPS.load(Ordering::Relaxed);
        let running = RUNNING.lock().unwrap().clone();
        if steps == before && !running.is_empty() {
            eprintln!("virtual time stands still in seed(s) {running:?}: a node's tasks keep each other busy");
            std::process::abort();
        }
        before = steps;
    }
}
