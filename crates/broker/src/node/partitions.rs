//! The partitions of this node: opened, closed and deleted as the image says.
//!
//! Owns: the table of open partitions that the router reads, and the keeper of each partition. One task changes them.
//!
//! A node starts on the image that it has, which may be older than its logs: the newest changes may not have reached
//! its disk. So until the controller has confirmed that the image is current ([`Partitions::confirm`]), what is there is
//! opened, and nothing is made or deleted.
//!
//! Invariants:
//! - A partition is in the table only while it runs: it enters after it was opened, and leaves before it is closed.
//! - A log is deleted only when a current image wants it on this node no more: its topic is gone, or it has moved away.
//!   A topic that takes the name later has another id, so another log.
//! - A log that this node has voted with is never made anew: if its folder is gone, that is a loss, not a new log.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::{StreamExt, stream};
use highwater_groups::stream::Config;
use highwater_metadata::{MetadataImage, Topic};
use highwater_storage::{DataDir, Log, LogKey, LogOptions};
use highwater_types::{NodeId, TopicPartition};
use tokio::sync::watch;

use super::error::{GroupName, StartError};
use super::keeper::{Kept, PartitionKeeper, StandIn};
use super::supervise::Failures;
use super::wanted::{Beginning, Wanted, log_key, wanted};
use super::{on_disk, open_log};
use crate::clock::Clock;
use crate::controller::METADATA_LOG;
use crate::coordinator::{Coordinator, CoordinatorSpec};
use crate::partition::{ColdReads, Partition, PartitionSpec, ProducerLimits};
use crate::raft::{PeerNetwork, ReplicaError};
use crate::router::{Open, OpenPartitions};
use crate::runtime::blocking;
use crate::shutdown::Shutdown;

/// How many partitions are opened or closed at a time. They wait for the same flush rounds, so many cost as one.
const AT_ONCE: usize = 64;

/// How many reads may wait for the disk at a time.
const COLD_READS_AT_ONCE: usize = 32;

/// How long until what failed is tried again.
const RETRY: Duration = Duration::from_secs(5);

/// How long a group without members may be without a leader before another than its first replica begins it.
const STAND_IN_AFTER: Duration = Duration::from_millis(1_500);

/// How long a new leader is waited for before a partition is shown to clients. They wait for it themselves after that.
const LEADER_PATIENCE: Duration = Duration::from_secs(2);

/// How long the keeper of a partition is waited for when it closes; it has its own, shorter patience inside.
const CLOSE_PATIENCE: Duration = Duration::from_secs(60);

/// How often a long start says how far it is.
const PROGRESS: Duration = Duration::from_secs(2);

/// A partition that runs on this node.
#[derive(Debug)]
struct Running {
    /// Its keeper.
    keeper: Shutdown,
    /// What its log was opened with.
    options: LogOptions,
}

/// Keeps the partitions of this node as the image says.
#[derive(Debug)]
pub(super) struct Partitions {
    node: NodeId,
    data: Arc<DataDir>,
    clock: Clock,
    images: watch::Receiver<Arc<MetadataImage>>,
    table: watch::Sender<OpenPartitions>,
    running: Mutex<BTreeMap<TopicPartition, Running>>,
    failures: Failures,
    maintenance_pause: Duration,
    cold_reads: ColdReads,
    peers: PeerNetwork,
    /// What the operator chose about stream groups.
    groups: Config,
    /// Whether the image is known to hold everything that this node was ever told.
    is_current: watch::Sender<bool>,
}

impl Partitions {
    #[expect(clippy::too_many_arguments, reason = "put together once, by the node")]
    pub(super) fn new(
        node: NodeId,
        data: Arc<DataDir>,
        clock: Clock,
        images: watch::Receiver<Arc<MetadataImage>>,
        table: watch::Sender<OpenPartitions>,
        failures: Failures,
        maintenance_pause: Duration,
        peers: PeerNetwork,
        groups: Config,
    ) -> Self {
        let cold_reads = ColdReads::new(COLD_READS_AT_ONCE);
        let running = Mutex::default();
        let is_current = watch::Sender::new(false);
        Self {
            node,
            data,
            clock,
            images,
            table,
            running,
            failures,
            maintenance_pause,
            cold_reads,
            peers,
            groups,
            is_current,
        }
    }

    /// The image is current from now on.
    pub(super) fn confirm(&self) {
        self.is_current.send_replace(true);
    }

    /// Brings the node to the image at its start. What is damaged or missing stops the start.
    pub(super) async fn start(&self) -> Result<(), StartError> {
        let image = Arc::clone(&self.images.borrow());
        self.reconcile(&image).await.map_or(Ok(()), Err)
    }

    /// Follows the image until `stop`.
    pub(super) async fn follow(self: Arc<Self>, stop: impl Future<Output = ()>) {
        tokio::pin!(stop);
        let (mut images, mut is_current) = (self.images.clone(), self.is_current.subscribe());
        loop {
            let image = Arc::clone(&images.borrow_and_update());
            is_current.mark_unchanged();
            let failed = self.reconcile(&image).await;
            if let Some(error) = &failed {
                tracing::error!(error = error as &dyn Error, "a partition was not opened; trying again soon");
            }
            tokio::select! {
                () = &mut stop => return,
                changed = images.changed() => if changed.is_err() { return },
                _confirmed = is_current.changed() => {},
                () = tokio::time::sleep(RETRY), if failed.is_some() => {},
            }
        }
    }

    /// Closes all partitions: what was taken in is finished first.
    pub(super) async fn close_all(&self) {
        let all: Vec<TopicPartition> = self.running().keys().copied().collect();
        stream::iter(all).for_each_concurrent(AT_ONCE, |id| self.close(id)).await;
    }

    /// Deletes what the image does not want here any more, and opens what it wants now, anew what was opened with other
    /// settings. Returns the first failure to open, after all were tried.
    async fn reconcile(&self, image: &MetadataImage) -> Option<StartError> {
        let is_current = *self.is_current.borrow();
        let logs = match self.logs().await {
            Ok(logs) => logs,
            Err(error) => return Some(error),
        };
        let mut to_open = wanted(image, self.node);
        let kept: BTreeSet<LogKey> = to_open.keys().map(|id| log_key(*id)).collect();
        let (mut gone, mut changed) = (Vec::new(), Vec::new());
        for (id, running) in &*self.running() {
            match to_open.get(id) {
                None => gone.push(*id),
                Some(wanted) if wanted.log_options() != running.options => changed.push(*id),
                Some(_) => drop(to_open.remove(id)),
            }
        }
        if is_current {
            stream::iter(gone).for_each_concurrent(AT_ONCE, |id| self.close(id)).await;
            let doomed = logs.difference(&kept).copied();
            stream::iter(doomed).for_each_concurrent(AT_ONCE, |key| self.delete_log(key)).await;
        } else {
            to_open.retain(|id, _| logs.contains(&log_key(*id)));
        }
        let changed_here = changed.into_iter().filter(|id| to_open.contains_key(id));
        stream::iter(changed_here).for_each_concurrent(AT_ONCE, |id| self.close(id)).await;
        // Where there are other replicas, these have what is lost.
        let is_lost =
            |wanted: &&Wanted| wanted.is_alone() && !logs.contains(&wanted.key()) && self.has_voted(wanted.key());
        let lost = to_open.values().find(is_lost);
        if let Some(lost) = lost {
            return Some(StartError::LogMissing { of: lost.name(), folder: self.data.log_path(lost.key()) });
        }
        self.open_all(to_open).await
    }

    /// The logs of partitions in the data directory.
    async fn logs(&self) -> Result<BTreeSet<LogKey>, StartError> {
        let data = Arc::clone(&self.data);
        let logs = on_disk(move || Ok(data.logs()?)).await?;
        Ok(logs.into_iter().filter(|key| *key != METADATA_LOG).collect())
    }

    fn has_voted(&self, key: LogKey) -> bool {
        self.data.votes().get(key).is_some()
    }

    /// Opens partitions, several at a time; returns the first failure, after all were tried.
    async fn open_all(&self, wanted: BTreeMap<TopicPartition, Wanted>) -> Option<StartError> {
        let total = wanted.len();
        let mut opening = stream::iter(wanted.into_values()).map(|wanted| self.open(wanted)).buffer_unordered(AT_ONCE);
        let (mut first_failure, mut done, mut told) = (None, 0, self.clock.instant());
        while let Some(opened) = opening.next().await {
            done += 1;
            if let Err(error) = opened {
                first_failure.get_or_insert(error);
            }
            if self.clock.instant().duration_since(told) >= PROGRESS {
                told = self.clock.instant();
                tracing::info!(done, total, "opening partitions");
            }
        }
        first_failure
    }

    /// Opens a partition. When its group meets damage at its start, where sealed segments are read first, the log is set
    /// aside and the partition begins anew from its other replicas.
    async fn open(&self, wanted: Wanted) -> Result<(), StartError> {
        let (name, key, is_alone) = (wanted.name(), wanted.key(), wanted.is_alone());
        match self.open_as_it_is(wanted.clone()).await {
            Err(error) if !is_alone && self.data.is_marked_damaged(key) => {
                tracing::error!(partition = %name, error = &error as &dyn Error, "its log is damaged; opening it anew");
                self.open_as_it_is(wanted).await
            }
            opened => opened,
        }
    }

    async fn open_as_it_is(&self, wanted: Wanted) -> Result<(), StartError> {
        let began = self.clock.instant();
        let (id, name, options) = (wanted.id, wanted.name(), wanted.log_options());
        let log = open_log(&self.data, wanted.key(), options.clone(), name.clone(), !wanted.is_alone()).await?;
        let is_alone = wanted.is_alone();
        let (first_voters, stand_in) = match wanted.beginning {
            Beginning::Begins(voters) => (voters, None),
            Beginning::StandsIn(voters) => (Vec::new(), Some(StandIn { voters, after: STAND_IN_AFTER })),
            Beginning::Waits => (Vec::new(), None),
        };
        let keeper = Shutdown::new();
        let opened = match wanted.topic.is_internal() {
            true => self.open_coordinator(&wanted.topic, id, log, first_voters, stand_in, &keeper).await,
            false => self.open_partition(&name, id, log, first_voters, stand_in, &keeper).await,
        };
        let open = opened.map_err(|cause| StartError::Group { of: name.clone(), cause: Box::new(cause) })?;
        if is_alone {
            // Who does not serve by then is shown as it is: clients are told to try again.
            let _served = tokio::time::timeout(LEADER_PATIENCE, open.replica().wait_until_serving()).await;
        }
        self.running().insert(id, Running { keeper, options });
        self.table.send_modify(|table| drop(table.insert(id, open)));
        let took_ms = self.clock.instant().duration_since(began).as_millis();
        tracing::debug!(partition = %name, log = %log_key(id), took_ms, "opened");
        Ok(())
    }

    async fn open_partition(
        &self,
        name: &GroupName,
        id: TopicPartition,
        log: Log,
        first_voters: Vec<NodeId>,
        stand_in: Option<StandIn>,
        keeper: &Shutdown,
    ) -> Result<Open, ReplicaError> {
        let partition = Partition::open(PartitionSpec {
            name: name.to_string(),
            key: log_key(id),
            log,
            votes: Arc::clone(self.data.votes()),
            node: self.node,
            first_voters,
            clock: self.clock.clone(),
            producers: ProducerLimits::default(),
            cold_reads: self.cold_reads.clone(),
            network: self.peers.clone(),
        })
        .await?;
        let handle = partition.handle();
        self.keep(partition, name.clone(), id, stand_in, keeper);
        Ok(Open::Partition(handle))
    }

    async fn open_coordinator(
        &self,
        topic: &Topic,
        id: TopicPartition,
        log: Log,
        first_voters: Vec<NodeId>,
        stand_in: Option<StandIn>,
        keeper: &Shutdown,
    ) -> Result<Open, ReplicaError> {
        let name = GroupName::Partition { topic: topic.name.clone(), id };
        let coordinator = Coordinator::open(CoordinatorSpec {
            name: name.to_string(),
            key: log_key(id),
            log,
            votes: Arc::clone(self.data.votes()),
            node: self.node,
            first_voters,
            network: self.peers.clone(),
            clock: self.clock.clone(),
            images: self.images.clone(),
            config: self.groups,
        })
        .await?;
        let handle = coordinator.handle();
        self.keep(coordinator, name, id, stand_in, keeper);
        Ok(Open::Coordinator(handle))
    }

    /// Starts the task that looks after it until it is closed.
    fn keep(&self, kept: impl Kept, name: GroupName, id: TopicPartition, stand_in: Option<StandIn>, keeper: &Shutdown) {
        let keep = PartitionKeeper {
            partition: kept,
            topic: id.topic,
            name,
            images: self.images.clone(),
            failures: self.failures.clone(),
            pause: self.maintenance_pause,
            stand_in,
        };
        self.failures.spawn_vital(keeper, "partition keeper", keep.run(keeper.requested()));
    }

    async fn close(&self, id: TopicPartition) {
        self.table.send_modify(|table| drop(table.remove(&id)));
        let leaving = self.running().remove(&id);
        if let Some(Running { keeper, .. }) = leaving
            && let Err(still_running) = keeper.finish(CLOSE_PATIENCE).await
        {
            tracing::error!(log = %log_key(id), %still_running, "a partition did not close");
        }
    }

    async fn delete_log(&self, key: LogKey) {
        let data = Arc::clone(&self.data);
        match blocking(move || data.delete_log(key)).await {
            Ok(Ok(())) => tracing::info!(log = %key, "deleted the log of a partition that is here no more"),
            // What is left is found by the next start.
            Ok(Err(error)) => tracing::error!(log = %key, %error, "a log was not deleted; the next start tries again"),
            Err(error) => tracing::error!(log = %key, %error, "a log was not deleted; the next start tries again"),
        }
    }

    fn running(&self) -> std::sync::MutexGuard<'_, BTreeMap<TopicPartition, Running>> {
        // Changed in single steps only, so a panic elsewhere leaves it whole.
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
