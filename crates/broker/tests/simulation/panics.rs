//! Panics of a run: a task that panics is silent otherwise.
//!
//! openraft's debug assertions stay on in the simulation. One of them is known to be wrong: a deposed leader's
//! replication task may ask for a range that is reversed; in a release build that becomes a heartbeat, which the follower
//! refuses by its vote. It ends that task and nothing else, is counted, and is not held against us.

use std::cell::RefCell;
use std::sync::Once;

const KNOWN: &[&str] = &["stream_state.rs:228"];

thread_local! {
    static SEEN: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
    static WATCHED: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
}

/// While this lives, panics on its thread are collected.
pub struct Watch;

impl Drop for Watch {
    fn drop(&mut self) {
        WATCHED.set(false);
        if std::thread::panicking() {
            // The simulation itself has failed.
            eprintln!("{:#?}", SEEN.take());
        }
    }
}

/// Panics on this thread are collected from now on.
#[must_use]
pub fn watch() -> Watch {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if WATCHED.get() {
                let at = panic.location().map(ToString::to_string).unwrap_or_default();
                let words = panic.payload_as_str().unwrap_or("?").to_owned();
                SEEN.with_borrow_mut(|seen| seen.push(format!("{at}: {words}")));
            } else {
                usual(panic);
            }
        }));
    });
    SEEN.take();
    WATCHED.set(true);
    Watch
}

/// What panicked since the last call: that which counts, and how many that are known to be false alarms.
pub fn take() -> (Vec<String>, u64) {
    let (known, ours): (Vec<String>, Vec<String>) =
        SEEN.take().into_iter().partition(|words| KNOWN.iter().any(|known| words.contains(known)));
    (ours, known.len() as u64)
}
