//! The node: everything that one process runs below its fronts, put together in one place.
//!
//! Owns: the order of starting and stopping, the identity of the node, and what ends the process.
//!
//! ```text
//!   start:  data directory ─► identity ─► metadata group ─► partitions of the image ─► tasks ─► (fronts)
//!   stop:   (fronts) ─► tasks ─► partitions: drain, close ─► controller ─► metadata group ─► flusher ─► lock
//! ```
//!
//! Invariant: a node that cannot vouch for its data does not run. It does not start on what is damaged or missing
//! (and names it), and it resolves [`Node::failed`] when its disk or one of its groups fails.

mod disk_watch;
mod error;
mod identity;
mod keeper;
mod metadata;
mod partitions;
mod supervise;

#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use highwater_metadata::Policy;
use highwater_storage::disk::{Disk, os::OsDisk};
use highwater_storage::{DataDir, DataDirOptions, DataDirReport, Identity, Log, LogKey, LogOptions};
use tokio::sync::watch;

use crate::clock::Clock;
use crate::controller::ControllerHandle;
use crate::disk_gate::DiskGate;
use crate::raft::Leadership;
use crate::router::{OpenPartitions, Router};
use crate::runtime;
use crate::shutdown::Shutdown;

pub use error::{GroupName, StartError};
pub use supervise::NodeFailure;

use metadata::Metadata;
use partitions::Partitions;
use supervise::Failures;

/// What a node is started with.
#[derive(Clone, Debug)]
pub struct NodeOptions {
    /// The disk.
    pub disk: Arc<dyn Disk>,
    /// The data directory.
    pub data_dir: PathBuf,
    /// Where clients reach this node, as `HOST:PORT`.
    pub address: String,
    /// What the operator configured about topics.
    pub policy: Policy,
    /// Records are refused while the disk has fewer free bytes. `None`: 5% of the filesystem, at least 1 GiB.
    pub free_bytes_min: Option<u64>,
    /// How long a stopping node waits for what is under way.
    pub shutdown_grace: Duration,
    /// The pause between two looks at each partition for what is old: segments to close, records to let go.
    pub maintenance_pause: Duration,
    /// The time.
    pub clock: Clock,
}

impl NodeOptions {
    /// A node on the machine's disk and clock, with the defaults for the rest.
    #[must_use]
    pub fn new(data_dir: impl Into<PathBuf>, address: impl Into<String>) -> Self {
        Self {
            disk: Arc::new(OsDisk::new()),
            data_dir: data_dir.into(),
            address: address.into(),
            policy: Policy::default(),
            free_bytes_min: None,
            shutdown_grace: Duration::from_secs(30),
            maintenance_pause: Duration::from_secs(5),
            clock: Clock::system(),
        }
    }
}

/// A running node. To be ended with [`Node::shutdown`]; without that its end is that of a killed process.
#[derive(Debug)]
pub struct Node {
    identity: Identity,
    data: Arc<DataDir>,
    router: Router,
    metadata: Metadata,
    partitions: Arc<Partitions>,
    failures: Failures,
    /// The tasks that look after the partitions.
    tasks: Shutdown,
    grace: Duration,
}

impl Node {
    /// Starts a node on its data directory, a new one or an old one. When it returns, every partition of this node is
    /// open.
    ///
    /// # Errors
    /// [`StartError`]; it names what is wrong. Nothing goes on running then.
    pub async fn start(options: NodeOptions) -> Result<Self, StartError> {
        let (data, logs) = open_data(&options).await?;
        let failures = Failures::new();
        failures.watch_disk(data.flusher());
        let identity = identity::establish(&data, &options.clock)?;
        let gate = DiskGate::new(options.free_bytes_min, data.space()?);
        let metadata = Metadata::open(&data, identity.node, &logs, options.policy, &options.clock, &failures).await?;
        let table = watch::Sender::new(OpenPartitions::new());
        let router = Router::new(identity.node, metadata.image.clone(), table.subscribe(), gate);
        let tasks = Shutdown::new();
        let partitions = Partitions::new(
            identity.node,
            Arc::clone(&data),
            options.clock.clone(),
            metadata.image.clone(),
            table,
            failures.clone(),
            options.maintenance_pause,
        );
        let partitions = Arc::new(partitions);
        let grace = options.shutdown_grace;
        let node = Self { identity, data, router, metadata, partitions, failures, tasks, grace };
        if let Err(error) = node.enter(options.address, &logs).await {
            node.stop().await;
            return Err(error);
        }
        node.start_tasks(options.clock, options.maintenance_pause);
        tracing::info!(node = %identity.node, cluster = %identity.cluster, "the node is up");
        Ok(node)
    }

    /// Who this node is.
    #[must_use]
    pub fn identity(&self) -> Identity {
        self.identity
    }

    /// What opening the data directory found.
    #[must_use]
    pub fn data_report(&self) -> &DataDirReport {
        self.data.report()
    }

    /// Finds partitions.
    #[must_use]
    pub fn router(&self) -> &Router {
        &self.router
    }

    /// Changes what the cluster is.
    #[must_use]
    pub fn controller(&self) -> &ControllerHandle {
        &self.metadata.controller
    }

    /// Who leads the metadata group, now and from now on.
    #[must_use]
    pub fn controller_leadership(&self) -> watch::Receiver<Leadership> {
        self.metadata.replica.leadership()
    }

    /// Resolves when the node cannot go on: its disk failed, or a part of it stopped. The process should end with an
    /// error then; what was acknowledged is on the disk.
    pub async fn failed(&self) -> NodeFailure {
        self.failures.first().await
    }

    /// Stops the node in order: what was taken in is finished, the logs are closed, the lock is given back. The fronts
    /// are to be stopped before.
    ///
    /// # Errors
    /// The [`NodeFailure`] that happened before or meanwhile.
    pub async fn shutdown(self) -> Result<(), NodeFailure> {
        self.stop().await;
        self.failures.noted().map_or(Ok(()), Err)
    }

    /// Joins the cluster and opens what the node holds of it.
    async fn enter(&self, address: String, logs: &[LogKey]) -> Result<(), StartError> {
        self.metadata.join(self.identity, address, logs).await?;
        self.partitions.start(logs).await
    }

    fn start_tasks(&self, clock: Clock, maintenance_pause: Duration) {
        let (tasks, failures) = (&self.tasks, &self.failures);
        let follow = Arc::clone(&self.partitions).follow(tasks.requested());
        failures.spawn_vital(tasks, "partitions", follow);
        let gate = self.router.disk_gate().clone();
        let watch = disk_watch::run(Arc::clone(&self.data), gate, tasks.requested());
        failures.spawn_vital(tasks, "disk watch", watch);
        let Metadata { replica, log, .. } = &self.metadata;
        let keep = keeper::keep_metadata(
            replica.clone(),
            log.clone(),
            clock,
            failures.clone(),
            maintenance_pause,
            tasks.requested(),
        );
        failures.spawn_vital(tasks, "metadata", keep);
    }

    /// Stops what runs, in the order in which nothing is asked of what has stopped.
    async fn stop(&self) {
        if let Err(still_running) = self.tasks.finish(self.grace).await {
            tracing::warn!(%still_running, "stopping without waiting longer for the tasks of the node");
        }
        if tokio::time::timeout(self.grace, self.partitions.close_all()).await.is_err() {
            tracing::warn!("stopping without waiting longer for the partitions; the next start recovers them");
        }
        self.metadata.close(self.grace).await;
        let flusher = Arc::clone(self.data.flusher());
        if let Err(error) = runtime::blocking(move || flusher.stop()).await {
            tracing::error!(%error, "the flusher did not stop well");
        }
        tracing::info!(node = %self.identity.node, "the node is down");
    }
}

/// Opens the data directory, and lists its logs as they are before anything is changed.
async fn open_data(options: &NodeOptions) -> Result<(Arc<DataDir>, Vec<LogKey>), StartError> {
    let (disk, path) = (Arc::clone(&options.disk), options.data_dir.clone());
    on_disk(move || {
        let options = DataDirOptions { starts_flusher: !runtime::is_simulated(), ..DataDirOptions::default() };
        let data = DataDir::open(disk, &path, options)?;
        let logs = data.logs()?;
        runtime::drive(&data);
        Ok((Arc::new(data), logs))
    })
    .await
}

/// Opens a log, and says what was found if that is not just what was left.
async fn open_log(data: &Arc<DataDir>, key: LogKey, options: LogOptions, of: GroupName) -> Result<Log, StartError> {
    let data = Arc::clone(data);
    on_disk(move || match data.open_log(key, options) {
        Ok((log, report)) => {
            for name in &report.foreign {
                tracing::warn!(name = %name.display(), "not made by highwater; left alone");
            }
            tracing::debug!(log = %key, ?report, "opened the log of {of}");
            Ok(log)
        }
        Err(cause) => Err(StartError::Log { of, cause: Box::new(cause) }),
    })
    .await
}

/// Runs what waits for the disk where it may.
async fn on_disk<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StartError> + Send + 'static,
) -> Result<T, StartError> {
    runtime::blocking(work).await.unwrap_or(Err(StartError::Interrupted))
}
