//! The keepers: one task for each group of this node that owns it from its opening to its closing.
//!
//! Owns: what is done to a group now and then (closing old segments, checkpoints, retention), noticing that it
//! stopped by itself, and closing it.
//!
//! Never: on the way of a record. What fails here now and then is tried again next time; a disk that fails poisons the
//! data directory by itself.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use highwater_metadata::{MetadataImage, QueueRetention};
use highwater_storage::{Log, RetentionPolicy};
use highwater_types::{NodeId, Offset, TopicId};
use tokio::sync::watch;
use tokio::time::{Interval, MissedTickBehavior, interval};

use super::error::GroupName;
use super::supervise::{Failures, NodeFailure};
use crate::clock::Clock;
use crate::coordinator::Coordinator;
use crate::partition::Partition;
use crate::raft::{Replica, ReplicaError, ReplicaFailure};

/// The metadata's log is cut when it is larger than this, in bytes; the image stands for what is gone.
const METADATA_BYTES_MAX: u64 = 32 << 20;

/// A group that runs on this node until it is closed.
pub(super) trait Kept: Send + Sync + 'static {
    /// Gives the group its first members, unless it has some.
    fn begin(&self, voters: &[NodeId]) -> impl Future<Output = Result<(), ReplicaError>> + Send;

    /// What is done now and then, by what its topic wants to keep.
    fn look_after(
        &self,
        policy: RetentionPolicy,
        queues: QueueRetention,
    ) -> impl Future<Output = Result<(), ReplicaError>> + Send;

    /// Resolves when it stops by itself.
    fn failed(&self) -> impl Future<Output = ReplicaFailure> + Send;

    /// Finishes what it took in, and closes it.
    fn shutdown(self) -> impl Future<Output = ()> + Send;
}

impl Kept for Partition {
    async fn begin(&self, voters: &[NodeId]) -> Result<(), ReplicaError> {
        Self::begin(self, voters).await
    }

    async fn look_after(&self, policy: RetentionPolicy, queues: QueueRetention) -> Result<(), ReplicaError> {
        self.maintain().await?;
        self.retain(policy, &queues).await
    }

    async fn failed(&self) -> ReplicaFailure {
        Self::failed(self).await
    }

    async fn shutdown(self) {
        Self::shutdown(self).await;
    }
}

impl Kept for Coordinator {
    async fn begin(&self, voters: &[NodeId]) -> Result<(), ReplicaError> {
        Self::begin(self, voters).await
    }

    /// What it keeps is its groups; entries go when they are in its image.
    async fn look_after(&self, _: RetentionPolicy, _: QueueRetention) -> Result<(), ReplicaError> {
        self.maintain().await
    }

    async fn failed(&self) -> ReplicaFailure {
        Self::failed(self).await
    }

    async fn shutdown(self) {
        Self::shutdown(self).await;
    }
}

/// Keeps one partition.
pub(super) struct PartitionKeeper<K> {
    pub(super) partition: K,
    pub(super) topic: TopicId,
    pub(super) name: GroupName,
    pub(super) images: watch::Receiver<Arc<MetadataImage>>,
    pub(super) failures: Failures,
    /// Between two looks at what is old.
    pub(super) pause: Duration,
    /// What to do if nobody begins the group.
    pub(super) stand_in: Option<StandIn>,
}

/// A group that this replica begins when nobody else does.
#[derive(Clone, Debug)]
pub(super) struct StandIn {
    /// Its first members.
    pub(super) voters: Vec<NodeId>,
    /// How long the others are waited for.
    pub(super) after: Duration,
}

impl<K: Kept> PartitionKeeper<K> {
    /// Keeps the partition until `closing`, then finishes what it took in and closes it.
    pub(super) async fn run(self, closing: impl Future<Output = ()>) {
        let Self { partition, topic, name, images, failures, pause, stand_in } = self;
        tokio::pin!(closing);
        {
            let mut ticks = ticks(pause);
            let begin = begin_late(&name, &partition, stand_in);
            tokio::pin!(begin);
            let mut has_begun = false;
            loop {
                let look_after = async {
                    ticks.tick().await;
                    let image = Arc::clone(&images.borrow());
                    let policy = image.topic_by_id(topic).map(|topic| RetentionPolicy {
                        age_ms_max: topic.settings.retention_ms(),
                        bytes_max: topic.settings.retention_bytes(),
                    });
                    let queues = image.topic_by_id(topic).map(|topic| topic.settings.retention_queues());
                    partition.look_after(policy.unwrap_or_default(), queues.unwrap_or_default()).await
                };
                tokio::select! {
                    biased;
                    () = &mut closing => break,
                    failure = partition.failed() => {
                        failures.report(NodeFailure::GroupStopped { group: name.clone(), reason: failure.reason });
                        closing.as_mut().await;
                        break;
                    },
                    () = &mut begin, if !has_begun => has_begun = true,
                    kept = look_after => note(&name, kept),
                }
            }
        }
        partition.shutdown().await;
    }
}

/// Begins the group when nobody else has for a while.
async fn begin_late(name: &GroupName, partition: &impl Kept, stand_in: Option<StandIn>) {
    let Some(StandIn { voters, after }) = stand_in else { return };
    loop {
        tokio::time::sleep(after).await;
        match partition.begin(&voters).await {
            Ok(()) => return,
            failed => note(name, failed),
        }
    }
}

/// Keeps the metadata group until `closing`. Who opened it closes it, after its controller.
pub(super) async fn keep_metadata(
    replica: Replica,
    log: Log,
    clock: Clock,
    failures: Failures,
    pause: Duration,
    closing: impl Future<Output = ()>,
) {
    tokio::pin!(closing);
    let mut ticks = ticks(pause);
    loop {
        let look_after = async {
            ticks.tick().await;
            replica.maintain().await?;
            let policy = RetentionPolicy { age_ms_max: None, bytes_max: Some(METADATA_BYTES_MAX) };
            match log.retention_boundary(&policy, clock.now(), Offset::MAX) {
                Some(boundary) => replica.trim(boundary).await,
                None => Ok(()),
            }
        };
        tokio::select! {
            biased;
            () = &mut closing => return,
            failure = replica.failed() => {
                failures.report(NodeFailure::GroupStopped { group: GroupName::Metadata, reason: failure.reason });
                return closing.as_mut().await;
            },
            kept = look_after => note(&GroupName::Metadata, kept),
        }
    }
}

/// The first tick comes after one pause: counted from each group's opening, the ticks are spread over time.
fn ticks(pause: Duration) -> Interval {
    let mut ticks = interval(pause);
    ticks.reset();
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

fn note(name: &GroupName, kept: Result<(), ReplicaError>) {
    if let Err(error) = kept {
        tracing::warn!(group = %name, error = &error as &dyn Error, "maintenance failed; trying again soon");
    }
}
