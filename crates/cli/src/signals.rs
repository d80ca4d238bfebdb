//! The signals that ask a process to end: Ctrl-C and `SIGTERM`.
//!
//! Invariant: from the moment a [`Signals`] exists until it is dropped, no such signal is lost.

use tokio::signal::unix::{Signal, SignalKind, signal};

/// Listens for both.
#[derive(Debug)]
pub(crate) struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    /// Listens from now on; the process does not end by itself any more.
    pub(crate) fn listen() -> std::io::Result<Self> {
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    /// Resolves at the next of them.
    pub(crate) async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}
