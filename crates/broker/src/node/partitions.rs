//! The partitions of this node: opened, closed and deleted as the image says.
//!
//! Owns: the table of open partitions that the router reads, and the keeper of each partition. One task changes them.
//!
//! Invariants:
//! - A partition is in the table only while it runs: it enters after it was opened, and leaves before it is closed.
//! - A log is deleted only when the committed image holds its topic no more; a topic that takes the name later has
//!   another id, so another log.
//! - A log that this node has voted with is never made anew: if its folder is gone, that is a loss, not a new log.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::{StreamExt, stream};
use highwater_metadata::{Assignment, MetadataImage, Topic};
use highwater_storage::{DataDir, LogKey, LogOptions};
use highwater_types::{NodeId, TopicId, TopicPartition};
use tokio::sync::watch;

use super::error::{GroupName, StartError};
use super::keeper::keep_partition;
use super::open_log;
use super::supervise::Failures;
use crate::clock::Clock;
use crate::controller::METADATA_LOG;
use crate::partition::{ColdReads, Partition, PartitionSpec, ProducerLimits};
use crate::raft::PeerNetwork;
use crate::router::OpenPartitions;
use crate::runtime::blocking;
use crate::shutdown::Shutdown;

/// How many partitions are opened or closed at a time. They wait for the same flush rounds, so many cost as one.
const AT_ONCE: usize = 64;

/// How many reads may wait for the disk at a time.
const COLD_READS_AT_ONCE: usize = 32;

/// How long until what failed is tried again.
const RETRY: Duration = Duration::from_secs(5);

/// How long a new leader is waited for before a partition is shown to clients. They wait for it themselves after that.
const LEADER_PATIENCE: Duration = Duration::from_secs(2);

/// How long the keeper of a partition is waited for when it closes; it has its own, shorter patience inside.
const CLOSE_PATIENCE: Duration = Duration::from_secs(60);

/// How often a long start says how far it is.
const PROGRESS: Duration = Duration::from_secs(2);

/// A closed segment holds nothing younger than it, so the age of segments follows a short retention, down to this.
const SEGMENT_AGE_MS_MIN: u64 = 1_000;

/// A partition that should run on this node.
struct Wanted {
    id: TopicPartition,
    topic: Arc<Topic>,
    assignment: Assignment,
}

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
}

impl Partitions {
    pub(super) fn new(
        node: NodeId,
        data: Arc<DataDir>,
        clock: Clock,
        images: watch::Receiver<Arc<MetadataImage>>,
        table: watch::Sender<OpenPartitions>,
        failures: Failures,
        maintenance_pause: Duration,
    ) -> Self {
        let cold_reads = ColdReads::new(COLD_READS_AT_ONCE);
        let running = Mutex::default();
        Self { node, data, clock, images, table, running, failures, maintenance_pause, cold_reads }
    }

    /// Brings the node to the image at its start. `logs` are those that were there before. What is damaged or missing
    /// stops the start.
    pub(super) async fn start(&self, logs: &[LogKey]) -> Result<(), StartError> {
        let image = Arc::clone(&self.images.borrow());
        let logs: BTreeSet<LogKey> = logs.iter().copied().filter(|key| *key != METADATA_LOG).collect();
        for key in &logs {
            // Deleted in the metadata, but the node stopped before it came to the log.
            if image.topic_by_id(TopicId::from_bytes(key.group())).is_none() {
                self.delete_log(*key).await;
            }
        }
        let wanted = self.wanted(&image);
        for partition in wanted.values() {
            let key = log_key(partition.id);
            if !logs.contains(&key) && self.data.votes().get(key).is_some() {
                return Err(StartError::LogMissing { of: partition.name(), folder: self.data.log_path(key) });
            }
        }
        self.open_all(wanted).await.map_or(Ok(()), Err)
    }

    /// Follows the image until `stop`.
    pub(super) async fn follow(self: Arc<Self>, stop: impl Future<Output = ()>) {
        tokio::pin!(stop);
        let mut images = self.images.clone();
        loop {
            let image = Arc::clone(&images.borrow_and_update());
            let failed = self.reconcile(&image).await;
            if let Some(error) = &failed {
                tracing::error!(error = error as &dyn Error, "a partition was not opened; trying again soon");
            }
            tokio::select! {
                () = &mut stop => return,
                changed = images.changed() => if changed.is_err() { return },
                () = tokio::time::sleep(RETRY), if failed.is_some() => {},
            }
        }
    }

    /// Closes all partitions: what was taken in is finished first.
    pub(super) async fn close_all(&self) {
        let all: Vec<TopicPartition> = self.running().keys().copied().collect();
        stream::iter(all).for_each_concurrent(AT_ONCE, |id| self.close(id)).await;
    }

    /// Deletes what the image does not hold any more, and opens what it holds now, anew what was opened with other
    /// settings. Returns the first failure to open, after all were tried.
    async fn reconcile(&self, image: &MetadataImage) -> Option<StartError> {
        let mut to_open = self.wanted(image);
        let (mut gone, mut changed) = (Vec::new(), Vec::new());
        for (id, running) in &*self.running() {
            match to_open.get(id) {
                None => gone.push(*id),
                Some(wanted) if wanted.log_options() != running.options => changed.push(*id),
                Some(_) => drop(to_open.remove(id)),
            }
        }
        stream::iter(changed).for_each_concurrent(AT_ONCE, |id| self.close(id)).await;
        let delete = async |id| {
            self.close(id).await;
            self.delete_log(log_key(id)).await;
        };
        stream::iter(gone).for_each_concurrent(AT_ONCE, delete).await;
        self.open_all(to_open).await
    }

    fn wanted(&self, image: &MetadataImage) -> BTreeMap<TopicPartition, Wanted> {
        let mut wanted = BTreeMap::new();
        for topic in image.topics() {
            for (partition, assignment) in topic.numbered_partitions() {
                if assignment.replicas.contains(&self.node) {
                    let id = TopicPartition { topic: topic.id, partition };
                    let (topic, assignment) = (Arc::clone(topic), assignment.clone());
                    wanted.insert(id, Wanted { id, topic, assignment });
                }
            }
        }
        wanted
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

    async fn open(&self, wanted: Wanted) -> Result<(), StartError> {
        let began = self.clock.instant();
        let (id, name, options) = (wanted.id, wanted.name(), wanted.log_options());
        let log = open_log(&self.data, log_key(id), options.clone(), name.clone()).await?;
        let opened = Partition::open(PartitionSpec {
            name: name.to_string(),
            key: log_key(id),
            log,
            votes: Arc::clone(self.data.votes()),
            node: self.node,
            first_voters: wanted.assignment.replicas,
            network: PeerNetwork::alone(),
            clock: self.clock.clone(),
            producers: ProducerLimits::default(),
            cold_reads: self.cold_reads.clone(),
        });
        let partition = opened.await.map_err(|cause| StartError::Group { of: name.clone(), cause: Box::new(cause) })?;
        // Who does not serve by then is shown as it is: clients are told to try again.
        let _served = tokio::time::timeout(LEADER_PATIENCE, partition.wait_until_serving()).await;
        let handle = partition.handle();
        let keeper = Shutdown::new();
        let (images, failures, pause) = (self.images.clone(), self.failures.clone(), self.maintenance_pause);
        let keep = keep_partition(partition, id.topic, name.clone(), images, failures, pause, keeper.requested());
        self.failures.spawn_vital(&keeper, "partition keeper", keep);
        self.running().insert(id, Running { keeper, options });
        self.table.send_modify(|table| drop(table.insert(id, handle)));
        let took_ms = self.clock.instant().duration_since(began).as_millis();
        tracing::debug!(partition = %name, log = %log_key(id), took_ms, "opened");
        Ok(())
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
            Ok(Ok(())) => tracing::info!(log = %key, "deleted the log of a deleted partition"),
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

impl Wanted {
    fn name(&self) -> GroupName {
        GroupName::Partition { topic: self.topic.name.clone(), id: self.id }
    }

    fn log_options(&self) -> LogOptions {
        let settings = &self.topic.settings;
        let retention_ms = settings.retention_ms().unwrap_or(u64::MAX);
        LogOptions {
            segment_bytes_max: settings.segment_bytes(),
            segment_age_ms_max: settings.segment_ms().min(retention_ms).max(SEGMENT_AGE_MS_MIN),
            ..LogOptions::default()
        }
    }
}

/// The log of a partition.
fn log_key(id: TopicPartition) -> LogKey {
    LogKey::new(id.topic.to_bytes(), id.partition.get())
}
