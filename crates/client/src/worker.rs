//! Working on a queue: a handler for each message, and everything around it.
//!
//! ```text
//!   stream from the server ── messages ──► a task each, at most so many ── outcomes ──► gathered ──► stream to the server
//!                                             └─ meanwhile its lease is extended
//! ```
//! Owns one stream and the tasks of the handlers. What is in hand, what is to be told and when, decides `hands`; `session`
//! does it.
//!
//! Invariants: no more handlers run than the concurrency allows; a message is acked only after its handler said so; every
//! outcome is told until it is answered. Delivery is *at least once*: what was under way when a stream breaks goes to
//! another worker too.

mod config;
mod emptiness;
mod error;
mod handle;
mod hands;
mod session;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use crate::queue::{IntoOutcome, MessageOutcome, QueueMessage};

use self::handle::Shared;
use self::session::Session;

pub use config::WorkerBuilder;
pub use error::WorkError;
pub use handle::{SettledMessage, WorkerHandle, WorkerStats};

/// What a handler is to the session.
type Handler = Arc<dyn Fn(QueueMessage) -> Pin<Box<dyn Future<Output = MessageOutcome> + Send>> + Send + Sync>;

/// Works on the messages of a queue group. Made by [`Client::worker`](crate::Client::worker).
///
/// A message is with one worker at a time. What its handler returns decides what becomes of it: `Ok(())` acks it, an error
/// fails it with the error's text as the reason, and a [`MessageOutcome`] says more. A handler that panics fails its
/// message; the worker goes on.
///
/// ```no_run
/// # async fn charge(order: &[u8]) -> Result<(), std::io::Error> { Ok(()) }
/// # async fn example(client: highwater_client::Client) -> Result<(), highwater_client::WorkError> {
/// let worker = client.worker("orders", "billing").concurrency(8).build();
/// let handle = worker.handle();
/// tokio::spawn(async move {
///     let _ = tokio::signal::ctrl_c().await;
///     handle.stop();
/// });
/// let stats = worker.run(|message| async move { charge(message.value()).await }).await?;
/// println!("{} messages are done", stats.acked);
/// # Ok(())
/// # }
/// ```
///
/// While a handler runs its lease is extended. When the connection breaks, the worker goes on at another server; the
/// messages that it had are with others then, so their handlers' outcomes count for nothing ([`WorkerStats::lost`]). Make
/// handling a message twice harmless, for example by its topic, partition and offset.
///
/// Dropping the future of [`Worker::run`] ends the handlers where they are, and the server gives their messages to others at
/// once, as failed attempts. [`WorkerHandle::stop`] is the graceful way.
#[derive(Debug)]
pub struct Worker {
    settings: WorkerBuilder,
    shared: Arc<Shared>,
}

impl Worker {
    fn new(settings: WorkerBuilder) -> Self {
        Self { settings, shared: Arc::default() }
    }

    /// What stops this worker, and tells how it fares.
    #[must_use]
    pub fn handle(&self) -> WorkerHandle {
        WorkerHandle::new(Arc::clone(&self.shared))
    }

    /// Works until it is stopped, or cannot go on; with [`WorkerBuilder::exit_when_empty`] until there is nothing to do.
    ///
    /// Each message has a task of its own, so handlers run beside each other on the threads of the runtime.
    ///
    /// # Errors
    /// When a setting makes no sense, there is no such topic or group, this client may not work on it, or no server was
    /// reached for as long as the retry timeout.
    pub async fn run<H, F>(self, handler: H) -> Result<WorkerStats, WorkError>
    where
        H: Fn(QueueMessage) -> F + Send + Sync + 'static,
        F: Future<Output: IntoOutcome> + Send + 'static,
    {
        let handler: Handler = Arc::new(move |message| {
            let handling = handler(message);
            Box::pin(async move { handling.await.into_outcome() })
        });
        Session::new(self.settings, self.shared, handler)?.run().await
    }
}
