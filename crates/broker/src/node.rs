//! The node: everything that one process runs below its fronts, put together in one place.
//!
//! Owns: the order of starting and stopping, the identity of the node, and what ends the process.
//!
//! ```text
//!   start:  data directory ─► peers ─► identity (formation) ─► metadata group ─► partitions ─► tasks ─► ready ─► (fronts)
//!   stop:   (fronts) ─► tasks ─► partitions: drain, close ─► controller ─► metadata group ─► peers ─► flusher ─► lock
//! ```
//!
//! A node that has its place needs nobody to open what it holds: it does so from the image on its disk, and is there for
//! the others at once. It is **ready** when the cluster has heard where it is and its image is known to be current; only
//! then are logs made and deleted, and clients served. So a whole cluster may be started in any order.
//!
//! Invariant: a node that cannot vouch for its data does not run. It does not start on what is damaged or missing
//! (and names it), and it resolves [`Node::failed`] when its disk or one of its groups fails.

mod address_book;
mod desk;
mod disk_watch;
mod duties;
mod error;
mod formation;
mod inventory;
mod keeper;
mod metadata;
mod network;
mod partitions;
mod shepherd;
mod standing;
mod supervise;
mod wanted;

#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use highwater_metadata::Policy;
use highwater_storage::disk::{Disk, os::OsDisk};
use highwater_storage::{DataDir, DataDirOptions, DataDirReport, Identity, Log, LogKey, LogOptions};
use highwater_types::NodeUuid;
use tokio::sync::watch;

use crate::clock::Clock;
use crate::controller::ControllerHandle;
use crate::disk_gate::DiskGate;
use crate::peer::Peers;
use crate::raft::{self, Leadership, PeerNetwork, Replica};
use crate::router::{OpenPartitions, Router};
use crate::runtime;
use crate::shutdown::Shutdown;
use crate::survey::Survey;

pub use duties::Duties;
pub use error::{GroupName, StartError};
pub use formation::{ClusterOptions, FormationError};
pub use network::{Listen, NodeNetwork};
pub use supervise::NodeFailure;

use desk::{Desk, DeskService, Running};
use formation::{FOUNDER, Role, role};
use metadata::{Metadata, MetadataSpec};
use partitions::Partitions;
use supervise::Failures;

/// How long a stopping node tries to hand over what it leads.
const HAND_OVER_PATIENCE: Duration = Duration::from_secs(10);

/// What a node is started with.
#[derive(Clone, Debug)]
pub struct NodeOptions {
    /// The disk.
    pub disk: Arc<dyn Disk>,
    /// The data directory.
    pub data_dir: PathBuf,
    /// Where clients reach this node, as `HOST:PORT`.
    pub address: String,
    /// How it is part of a cluster.
    pub cluster: ClusterOptions,
    /// The way to other nodes and from them.
    pub network: NodeNetwork,
    /// What the operator configured about topics.
    pub policy: Policy,
    /// Records are refused while the disk has fewer free bytes. `None`: 5% of the filesystem, at least 1 GiB.
    pub free_bytes_min: Option<u64>,
    /// How fast replicas that are far behind are brought up to date, all together.
    pub catch_up_bytes_per_second: u64,
    /// How long a stopping node waits for what is under way.
    pub shutdown_grace: Duration,
    /// The pause between two looks at each partition for what is old: segments to close, records to let go.
    pub maintenance_pause: Duration,
    /// What the operator chose about stream groups.
    pub groups: highwater_groups::stream::Config,
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
            cluster: ClusterOptions::default(),
            network: NodeNetwork::none(),
            policy: Policy::default(),
            free_bytes_min: None,
            catch_up_bytes_per_second: 256 << 20,
            shutdown_grace: Duration::from_secs(30),
            maintenance_pause: Duration::from_secs(5),
            groups: highwater_groups::stream::Config {
                // Kafka waits for 3 s. Members that come later cost little here: sharing anew stops nobody who keeps what
                // it has.
                initial_rebalance_delay_ms: 500,
                ..highwater_groups::stream::Config::default()
            },
            clock: Clock::system(),
        }
    }
}

/// A running node. To be ended with [`Node::shutdown`]; without that its end is that of a killed process.
#[derive(Debug)]
pub struct Node {
    identity: Identity,
    data: Arc<DataDir>,
    desk: Arc<Desk>,
    peers: Peers,
    network: PeerNetwork,
    /// What takes the links that others dial.
    listening: Shutdown,
    router: Router,
    survey: Survey,
    metadata: Arc<Metadata>,
    partitions: Arc<Partitions>,
    duties: Duties,
    failures: Failures,
    /// The tasks that look after the partitions.
    tasks: Shutdown,
    /// Whether the cluster has taken the node in.
    is_ready: watch::Sender<bool>,
    grace: Duration,
}

impl Node {
    /// Starts a node on its data directory, a new one or an old one, and gives it its place in a cluster. When it
    /// returns, what the node has on its disk is open; see [`Node::until_ready`].
    ///
    /// # Errors
    /// [`StartError`]; it names what is wrong. Nothing goes on running then.
    pub async fn start(options: NodeOptions) -> Result<Self, StartError> {
        let (data, logs) = open_data(&options).await?;
        let failures = Failures::new();
        failures.watch_disk(data.flusher());
        let new_uuid = NodeUuid::new(options.clock.unique_id());
        let desk = Arc::new(Desk::new(Arc::clone(&data), options.cluster.clone(), options.address.clone(), new_uuid));
        let peers = Peers::new(Arc::clone(&options.network.transport), desk.hello(), options.clock.clone());
        peers.on_request(Arc::new(DeskService::new(&desk)));
        let listening = Shutdown::new();
        (options.network.listen)(peers.clone(), &listening);
        let seats = (Arc::clone(&desk), peers.clone(), listening.clone());
        let started = Self::start_with(options, data, &logs, &failures, seats).await;
        if started.is_err() {
            listening.request();
            peers.shutdown().await;
        }
        started
    }

    async fn start_with(
        options: NodeOptions,
        data: Arc<DataDir>,
        logs: &[LogKey],
        failures: &Failures,
        (desk, peers, listening): (Arc<Desk>, Peers, Shutdown),
    ) -> Result<Self, StartError> {
        let identity = tokio::select! {
            identity = formation::establish(&desk, &peers, &options.clock) => identity?,
            failure = failures.first() => return Err(StartError::Failed(failure)),
        };
        peers.set_me(desk.hello());
        peers.set_addresses(address_book::of_first_voters(desk.options()));
        let gate = DiskGate::new(options.free_bytes_min, data.space()?);
        let network = PeerNetwork::new(peers.clone()).with_catch_up_rate(options.catch_up_bytes_per_second);
        let spec = MetadataSpec {
            data: &data,
            node: identity.node,
            has_peers: identity.node != FOUNDER || role(desk.options())? != Role::Alone,
            logs,
            policy: options.policy,
            clock: &options.clock,
            peers: &peers,
            network: network.clone(),
        };
        let metadata = Arc::new(Metadata::open(spec).await?);
        let (replica, image, controller) =
            (metadata.replica.clone(), metadata.image.clone(), metadata.controller.clone());
        let table = watch::Sender::new(OpenPartitions::new());
        let duties = Duties::new(controller.clone(), replica.clone(), table.subscribe(), options.clock.clone());
        desk.open(Running { replica, image: image.clone(), controller, duties: duties.clone() });
        let router = Router::new(identity.node, image.clone(), table.subscribe(), gate);
        let survey = Survey::new(router.clone(), duties.clone(), peers.clone(), options.clock.clone());
        desk.open_survey(survey.clone());
        let partitions = Partitions::new(
            identity.node,
            Arc::clone(&data),
            options.clock.clone(),
            image,
            table,
            failures.clone(),
            options.maintenance_pause,
            network.clone(),
            options.groups,
        );
        let (partitions, failures) = (Arc::new(partitions), failures.clone());
        let (tasks, is_ready, grace) = (Shutdown::new(), watch::Sender::new(false), options.shutdown_grace);
        let node = Self {
            identity,
            data,
            desk,
            peers,
            network,
            listening,
            router,
            survey,
            metadata,
            partitions,
            duties,
            failures,
            tasks,
            is_ready,
            grace,
        };
        // Before anything is opened that may have to elect a leader.
        let pulse = node.network.clone().keep_pulse(options.clock.clone(), node.tasks.requested());
        node.failures.spawn_vital(&node.tasks, "pulse", pulse);
        if let Err(error) = node.enter(logs).await {
            node.stop().await;
            return Err(error);
        }
        node.start_tasks(options.clock, options.maintenance_pause);
        tracing::info!(node = %identity.node, cluster = %identity.cluster, "the node is up");
        Ok(node)
    }

    /// Waits until the cluster has taken the node in: it may serve clients from then on. A cluster of one does so in its
    /// start.
    ///
    /// # Errors
    /// The [`NodeFailure`] that happened instead.
    pub async fn until_ready(&self) -> Result<(), NodeFailure> {
        let mut is_ready = self.is_ready.subscribe();
        tokio::select! {
            biased;
            failure = self.failures.first() => Err(failure),
            // The sender is here, so this ends only well.
            _ready = is_ready.wait_for(|is_ready| *is_ready) => Ok(()),
        }
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

    /// The other nodes.
    #[must_use]
    pub fn peers(&self) -> &Peers {
        &self.peers
    }

    /// The replica of the metadata group on this node.
    #[must_use]
    pub fn metadata(&self) -> &Replica {
        &self.metadata.replica
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

    /// What the nodes say of themselves and of their replicas.
    pub(crate) fn survey(&self) -> Survey {
        self.survey.clone()
    }

    /// Resolves when the node cannot go on: its disk failed, or a part of it stopped. The process should end with an
    /// error then; what was acknowledged is on the disk.
    pub async fn failed(&self) -> NodeFailure {
        self.failures.first().await
    }

    /// Hands over everything that this node leads and another can, and takes none again: the first step of stopping.
    pub async fn hand_over(&self) {
        // A node whose disk failed leads nothing that it could hand over in order.
        if self.failures.noted().is_some() {
            return;
        }
        let left = self.duties.hand_over_all(HAND_OVER_PATIENCE.min(self.grace)).await;
        if left > 0 {
            tracing::warn!(left, "groups are left that other nodes could lead; they will elect leaders");
        }
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

    /// Opens what the node holds. A cluster of one is made or found before; others are waited for by a task.
    async fn enter(&self, logs: &[LogKey]) -> Result<(), StartError> {
        if self.metadata.is_alone(&self.desk, self.identity).await? {
            self.metadata.enter_alone(&self.desk, self.identity, logs, &self.failures).await?;
            self.partitions.confirm();
            self.is_ready.send_replace(true);
        }
        self.partitions.start().await
    }

    /// Takes the node's place among the others, then lasts until it is asked to stop.
    fn join_others(&self) -> impl Future<Output = ()> + Send + 'static {
        let (metadata, desk, partitions) =
            (Arc::clone(&self.metadata), Arc::clone(&self.desk), Arc::clone(&self.partitions));
        let (failures, is_ready, stop) = (self.failures.clone(), self.is_ready.clone(), self.tasks.requested());
        let identity = self.identity;
        async move {
            tokio::pin!(stop);
            if !*is_ready.borrow() {
                tokio::select! {
                    () = &mut stop => return,
                    entered = metadata.enter(&desk, identity) => match entered {
                        Ok(()) => {
                            partitions.confirm();
                            is_ready.send_replace(true);
                            tracing::info!(node = %identity.node, "the cluster knows this node, and its metadata is current");
                        }
                        Err(error) => failures.report(NodeFailure::Refused { reason: error.to_string() }),
                    },
                }
            }
            stop.await;
        }
    }

    fn start_tasks(&self, clock: Clock, maintenance_pause: Duration) {
        let (tasks, failures) = (&self.tasks, &self.failures);
        let follow = Arc::clone(&self.partitions).follow(tasks.requested());
        failures.spawn_vital(tasks, "partitions", follow);
        failures.spawn_vital(tasks, "place in the cluster", self.join_others());
        let book = address_book::keep(
            self.identity.node,
            self.desk.options().clone(),
            self.metadata.image.clone(),
            self.peers.clone(),
            failures.clone(),
            tasks.requested(),
        );
        failures.spawn_vital(tasks, "address book", book);
        let standing = standing::watch(
            self.identity.node,
            self.metadata.image.clone(),
            self.peers.clone(),
            failures.clone(),
            tasks.requested(),
        );
        failures.spawn_vital(tasks, "standing", standing);
        let moves = self.survey.follow_moves(self.metadata.image.clone(), tasks.requested());
        failures.spawn_vital(tasks, "moves", moves);
        let gate = self.router.disk_gate().clone();
        let watch = disk_watch::run(Arc::clone(&self.data), gate, tasks.requested());
        failures.spawn_vital(tasks, "disk watch", watch);
        let Metadata { replica, log, .. } = &*self.metadata;
        let keep = keeper::keep_metadata(
            replica.clone(),
            log.clone(),
            clock,
            failures.clone(),
            maintenance_pause,
            tasks.requested(),
        );
        failures.spawn_vital(tasks, "metadata", keep);
        self.duties.start(self.identity, self.router.disk_gate().clone(), tasks, failures);
    }

    /// Stops what runs, in the order in which nothing is asked of what has stopped.
    async fn stop(&self) {
        self.hand_over().await;
        if let Err(still_running) = self.tasks.finish(self.grace).await {
            tracing::warn!(%still_running, "stopping without waiting longer for the tasks of the node");
        }
        if tokio::time::timeout(self.grace, self.partitions.close_all()).await.is_err() {
            tracing::warn!("stopping without waiting longer for the partitions; the next start recovers them");
        }
        self.metadata.close(self.grace).await;
        self.listening.request();
        if tokio::time::timeout(self.grace, self.peers.shutdown()).await.is_err() {
            tracing::warn!("stopping without waiting longer for the connections to other nodes");
        }
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

/// Opens a log, and says what was found if that is not just what was left. A damaged one of a group that `has_peers`
/// begins anew from them.
async fn open_log(
    data: &Arc<DataDir>,
    key: LogKey,
    options: LogOptions,
    of: GroupName,
    has_peers: bool,
) -> Result<Log, StartError> {
    let data = Arc::clone(data);
    on_disk(move || match raft::open_log(&data, key, &options, &of.to_string(), has_peers) {
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
