//! What stops a worker from outside, and what it counts.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use highwater_types::{Offset, PartitionId};
use tokio_util::sync::CancellationToken;

use crate::error::ServerError;
use crate::queue::Settled;

/// What a worker and its handles share.
#[derive(Debug, Default)]
pub(super) struct Shared {
    pub(super) stop: CancellationToken,
    counters: Counters,
}

#[derive(Debug, Default)]
struct Counters {
    received: AtomicU64,
    acked: AtomicU64,
    released: AtomicU64,
    failed: AtomicU64,
    dead: AtomicU64,
    lost: AtomicU64,
    panicked: AtomicU64,
    reconnects: AtomicU64,
}

/// What a worker has done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct WorkerStats {
    /// Messages that were given to the handler.
    pub received: u64,
    /// Acks that the server has confirmed.
    pub acked: u64,
    /// Messages that went back, not counted as an attempt.
    pub released: u64,
    /// Failed attempts after which the message is tried again.
    pub failed: u64,
    /// Messages that are dead by what this worker said.
    pub dead: u64,
    /// Outcomes that counted for nothing: the lease was over, and the message somebody else's.
    pub lost: u64,
    /// Handlers that panicked; they count as failed, too.
    pub panicked: u64,
    /// Streams that broke.
    pub reconnects: u64,
}

/// What the server made of a message that a worker had.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SettledMessage {
    /// The partition.
    pub partition: PartitionId,
    /// The offset.
    pub offset: Offset,
    /// How long it took from when the message came to when this was answered.
    pub took: Duration,
    /// What became of it; with an error, what the handler came to counts for nothing.
    pub result: Result<Settled, ServerError>,
}

/// What is counted beside the server's answers.
#[derive(Clone, Copy, Debug)]
pub(super) enum Event {
    Received,
    Lost,
    Panicked,
    Reconnected,
}

impl Shared {
    pub(super) fn count(&self, event: Event) {
        let counters = &self.counters;
        let counter = match event {
            Event::Received => &counters.received,
            Event::Lost => &counters.lost,
            Event::Panicked => &counters.panicked,
            Event::Reconnected => &counters.reconnects,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn count_settled(&self, settled: Settled) {
        let counters = &self.counters;
        let counter = match settled {
            Settled::Acked | Settled::AlreadyDone => &counters.acked,
            Settled::Released => &counters.released,
            Settled::WillRetry { .. } => &counters.failed,
            Settled::Dead => &counters.dead,
            Settled::Extended { .. } => return,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn stats(&self) -> WorkerStats {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let counters = &self.counters;
        WorkerStats {
            received: read(&counters.received),
            acked: read(&counters.acked),
            released: read(&counters.released),
            failed: read(&counters.failed),
            dead: read(&counters.dead),
            lost: read(&counters.lost),
            panicked: read(&counters.panicked),
            reconnects: read(&counters.reconnects),
        }
    }
}

/// Stops a [`Worker`](crate::Worker), and tells how it fares. Made by [`Worker::handle`](crate::Worker::handle); cheap to
/// clone, and it does not keep the worker alive.
#[derive(Clone, Debug)]
pub struct WorkerHandle {
    shared: Arc<Shared>,
}

impl WorkerHandle {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// Takes no more messages. Running handlers may end within the drain timeout; what is left then goes back. `run` returns
    /// when all of it is told to the server.
    pub fn stop(&self) {
        self.shared.stop.cancel();
    }

    /// Whether it was told to stop.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.shared.stop.is_cancelled()
    }

    /// What the worker has done so far.
    #[must_use]
    pub fn stats(&self) -> WorkerStats {
        self.shared.stats()
    }
}
