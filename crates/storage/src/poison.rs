//! The end of a data directory's trust in its disk.
//!
//! Owns: the one reason why this process stopped writing, and who must hear of it. Never: is cleared. After a failed
//! write or sync nobody knows what the disk holds, and a later sync that says `Ok` proves nothing (the kernel may have
//! dropped the pages); so the directory stays poisoned until the process has gone and recovery has read what is there.
//!
//! Invariants: the first reason wins; every hook runs once, also when it comes late.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use thiserror::Error;

/// Why a data directory takes no more writes. Cheap to clone.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("this data directory takes no more writes until a restart: {reason}")]
pub struct Poisoned {
    reason: Arc<str>,
}

impl Poisoned {
    /// Says why; `reason` names the file and the error.
    #[must_use]
    pub fn new(reason: impl fmt::Display) -> Self {
        Self { reason: reason.to_string().into() }
    }

    /// What failed first.
    #[must_use]
    pub fn reason(&self) -> &str {
        &self.reason
    }
}

/// Told once when the directory is poisoned; must not block.
pub type PoisonHook = Box<dyn FnOnce(&Poisoned) + Send>;

/// The set-once mark that the flusher, the votes and all logs of a data directory share.
#[derive(Default)]
pub struct Poison {
    cause: OnceLock<Poisoned>,
    hooks: Mutex<Vec<PoisonHook>>,
}

impl Poison {
    /// Not poisoned.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Poisons, unless that has happened before; returns the reason that counts.
    pub fn set(&self, reason: impl fmt::Display) -> Poisoned {
        let mut is_first = false;
        let cause = self.cause.get_or_init(|| {
            is_first = true;
            Poisoned::new(reason)
        });
        if is_first {
            tracing::error!(reason = cause.reason(), "the data directory is poisoned: no more writes until a restart");
            self.run_hooks(cause);
        }
        cause.clone()
    }

    /// The reason, once there is one.
    #[must_use]
    pub fn get(&self) -> Option<Poisoned> {
        self.cause.get().cloned()
    }

    /// `Ok` while writing is allowed.
    ///
    /// # Errors
    /// The reason, once poisoned.
    pub fn check(&self) -> Result<(), Poisoned> {
        self.get().map_or(Ok(()), Err)
    }

    /// Runs `hook` when the directory is poisoned; at once when it is already.
    pub fn on_poison(&self, hook: PoisonHook) {
        self.hooks.lock().unwrap_or_else(PoisonError::into_inner).push(hook);
        // Looked at after the push, so that a hook cannot slip between the mark and its run.
        if let Some(cause) = self.cause.get() {
            self.run_hooks(cause);
        }
    }

    fn run_hooks(&self, cause: &Poisoned) {
        let hooks = std::mem::take(&mut *self.hooks.lock().unwrap_or_else(PoisonError::into_inner));
        for hook in hooks {
            // One hook's panic must not keep the others from hearing of it.
            if catch_unwind(AssertUnwindSafe(|| hook(cause))).is_err() {
                tracing::error!("a poison hook panicked");
            }
        }
    }
}

impl fmt::Debug for Poison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Poison").field("cause", &self.cause.get()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn the_first_reason_wins_and_stays() {
        let poison = Poison::new();
        assert_eq!(poison.check(), Ok(()));
        poison.set("sync of a: EIO");
        let cause = poison.set("sync of b: EIO");
        assert_eq!(cause.reason(), "sync of a: EIO");
        assert_eq!(poison.check(), Err(cause));
    }

    #[test]
    fn hooks_run_once_before_or_after_and_survive_a_panic() {
        let poison = Poison::new();
        let (heard, hearing) = mpsc::channel();
        poison.on_poison(Box::new(|_| panic!("a bad hook")));
        let early = heard.clone();
        poison.on_poison(Box::new(move |cause| early.send(cause.reason().to_owned()).unwrap()));
        poison.set("x");
        poison.set("y");
        poison.on_poison(Box::new(move |cause| heard.send(cause.reason().to_owned()).unwrap()));
        assert_eq!(hearing.iter().collect::<Vec<_>>(), ["x", "x"]);
    }
}
