//! The settings of a worker.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use super::Worker;
use super::error::WorkError;
use super::handle::{SettledMessage, WorkerStats};
use crate::client::Client;
use crate::queue::{IntoOutcome, QueueMessage};

/// Settings of a [`Worker`]; made by [`Client::worker`].
///
/// ```no_run
/// # async fn example(client: highwater_client::Client) -> Result<(), highwater_client::WorkError> {
/// use std::time::Duration;
/// use highwater_client::MessageOutcome;
///
/// client
///     .worker("orders", "billing")
///     .name("billing-1")
///     .concurrency(4)
///     .drain_timeout(Duration::from_secs(10))
///     .run(|message| async move {
///         match message.header("currency") {
///             Some(b"EUR") => MessageOutcome::Ack,
///             Some(_) => MessageOutcome::fail_for("no rate yet", Duration::from_secs(60)),
///             None => MessageOutcome::reject("an order without a currency"),
///         }
///     })
///     .await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until `run` is called"]
pub struct WorkerBuilder {
    pub(super) client: Client,
    pub(super) topic: String,
    pub(super) group: String,
    pub(super) name: String,
    pub(super) concurrency: usize,
    pub(super) extends_leases: bool,
    pub(super) drain_timeout: Duration,
    pub(super) retry_timeout: Option<Duration>,
    pub(super) exits_when_empty: bool,
    pub(super) observer: Option<Observer>,
}

/// Who hears what became of each message.
#[derive(Clone)]
pub(super) struct Observer(pub(super) Arc<dyn Fn(&SettledMessage) + Send + Sync>);

impl fmt::Debug for Observer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Observer")
    }
}

impl WorkerBuilder {
    pub(crate) fn new(client: Client, topic: String, group: String) -> Self {
        Self {
            client,
            topic,
            group,
            name: String::new(),
            concurrency: 16,
            extends_leases: true,
            drain_timeout: Duration::from_secs(30),
            retry_timeout: None,
            exits_when_empty: false,
            observer: None,
        }
    }

    /// What the worker is called: journals name it, and caps of messages in flight count by it. Default: what the server
    /// makes up.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// How many messages are worked on at the same time; the server sends no more ahead. Default 16.
    pub fn concurrency(mut self, handlers: usize) -> Self {
        self.concurrency = handlers;
        self
    }

    /// Whether a lease is extended, each time it is half over, for as long as the handler runs. Without it, a handler that
    /// takes longer than the group's lease loses its message to another worker. Default true.
    pub fn extend_leases(mut self, extend: bool) -> Self {
        self.extends_leases = extend;
        self
    }

    /// How long running handlers may take to end when the worker is stopped. Then they are ended where they are and their
    /// messages go back, not counted as attempts. Default 30 seconds.
    pub fn drain_timeout(mut self, timeout: Duration) -> Self {
        self.drain_timeout = timeout;
        self
    }

    /// How long no server can be reached before the worker ends with an error; `None`: it tries for ever. Default `None`.
    pub fn retry_timeout(mut self, timeout: Option<Duration>) -> Self {
        self.retry_timeout = timeout;
        self
    }

    /// Whether the worker ends by itself when the queue has nothing more for anybody: nothing is deliverable, resting,
    /// waiting for its key or with another worker. Messages that are not due yet do not keep it; what a paused group holds
    /// back does. Default false.
    pub fn exit_when_empty(mut self, exit: bool) -> Self {
        self.exits_when_empty = exit;
        self
    }

    /// Who hears what the server made of each message, for figures and logs. Called on the worker's own task: it should
    /// not take long. Default: nobody.
    pub fn on_settled(mut self, observer: impl Fn(&SettledMessage) + Send + Sync + 'static) -> Self {
        self.observer = Some(Observer(Arc::new(observer)));
        self
    }

    /// The worker, to be run.
    #[must_use = "a worker does nothing until `run` is called"]
    pub fn build(self) -> Worker {
        Worker::new(self)
    }

    /// Builds the worker and runs it; see [`Worker::run`].
    ///
    /// # Errors
    /// As [`Worker::run`].
    pub async fn run<H, F>(self, handler: H) -> Result<WorkerStats, WorkError>
    where
        H: Fn(QueueMessage) -> F + Send + Sync + 'static,
        F: Future<Output: IntoOutcome> + Send + 'static,
    {
        self.build().run(handler).await
    }
}
