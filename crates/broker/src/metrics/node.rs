//! What a node shows of itself: its disk, its budget for records, and the partitions that it holds.
//!
//! Owns: which of the values that the node has anyway are shown, and their names.
//!
//! Never: holds anything up. It takes no lock that a write waits for, and reads many partitions away from the threads that
//! serve.

use futures_util::future::BoxFuture;
use highwater_storage::Identity;
use highwater_types::{LeaderEpoch, PartitionId, TopicName, Watermarks};
use tokio::sync::watch;

use super::{Family, Labels, Source, Value};
use crate::admission::ByteBudget;
use crate::raft::Leadership;
use crate::router::Router;
use crate::runtime;

/// The node below the fronts. Clones are the same.
#[derive(Clone, Debug)]
pub(crate) struct NodeSource {
    identity: Identity,
    router: Router,
    metadata: watch::Receiver<Leadership>,
    produce: ByteBudget,
}

/// Everything that is shown, read at one time.
#[derive(Clone, Debug)]
pub(crate) struct Reading {
    pub(crate) identity: Identity,
    pub(crate) disk_free_bytes: u64,
    pub(crate) disk_size_bytes: u64,
    pub(crate) disk_floor_bytes: u64,
    pub(crate) is_disk_full: bool,
    pub(crate) produce_in_flight_bytes: usize,
    pub(crate) produce_budget_bytes: usize,
    pub(crate) leads_metadata: bool,
    pub(crate) partitions: Vec<PartitionReading>,
}

/// What is shown of a partition that is held here.
#[derive(Clone, Debug)]
pub(crate) struct PartitionReading {
    pub(crate) topic: TopicName,
    pub(crate) partition: PartitionId,
    pub(crate) watermarks: Watermarks,
    pub(crate) size_bytes: u64,
    pub(crate) is_leader: bool,
    pub(crate) epoch: LeaderEpoch,
}

impl NodeSource {
    /// A node, who leads its metadata, and what its clients' records may take of the memory.
    pub(crate) const fn new(
        identity: Identity,
        router: Router,
        metadata: watch::Receiver<Leadership>,
        produce: ByteBudget,
    ) -> Self {
        Self { identity, router, metadata, produce }
    }

    fn read(&self) -> Reading {
        let gate = self.router.disk_gate();
        Reading {
            identity: self.identity,
            disk_free_bytes: gate.free_bytes(),
            disk_size_bytes: gate.total_bytes(),
            disk_floor_bytes: gate.floor_bytes(),
            is_disk_full: gate.check().is_err(),
            produce_in_flight_bytes: self.produce.total().saturating_sub(self.produce.available()),
            produce_budget_bytes: self.produce.total(),
            leads_metadata: self.metadata.borrow().is_leader,
            partitions: self.partitions(),
        }
    }

    fn partitions(&self) -> Vec<PartitionReading> {
        let image = self.router.image();
        let open = self.router.open_partitions().into_iter();
        let readings = open.filter_map(|(id, handle)| {
            // A topic that is being deleted has no name any more.
            let topic = image.topic_by_id(id.topic)?.name.clone();
            let leadership = handle.leadership();
            Some(PartitionReading {
                topic,
                partition: id.partition,
                watermarks: handle.watermarks(),
                size_bytes: handle.size_bytes(),
                is_leader: leadership.is_leader,
                epoch: leadership.epoch,
            })
        });
        readings.collect()
    }
}

impl Source for NodeSource {
    fn name(&self) -> &'static str {
        "node"
    }

    fn gather(&self) -> BoxFuture<'_, Vec<Family>> {
        let source = self.clone();
        // Only a runtime that stops does not do it, and then nobody reads the page.
        Box::pin(async move { runtime::blocking(move || source.read().families()).await.unwrap_or_default() })
    }
}

impl Reading {
    /// As families; those of partitions last.
    pub(crate) fn families(&self) -> Vec<Family> {
        let identity =
            Labels::new([("cluster", self.identity.cluster.to_string()), ("node", self.identity.node.to_string())]);
        let led = self.partitions.iter().filter(|partition| partition.is_leader).count();
        let mut families = vec![
            Family::gauge("node_info", "The node and its cluster, always 1").with(identity, true),
            Family::gauge("data_disk_free_bytes", "Free space of the filesystem that holds the data")
                .of(self.disk_free_bytes),
            Family::gauge("data_disk_size_bytes", "Size of the filesystem that holds the data")
                .of(self.disk_size_bytes),
            Family::gauge("data_disk_floor_bytes", "Free space below which the node refuses records")
                .of(self.disk_floor_bytes),
            Family::gauge("data_disk_full", "1 while the node refuses records because its disk is too full")
                .of(self.is_disk_full),
            Family::gauge(
                "produce_in_flight_bytes",
                "Bytes of produce requests between their first byte and their answer",
            )
            .of(self.produce_in_flight_bytes),
            Family::gauge("produce_in_flight_limit_bytes", "How many of those there may be")
                .of(self.produce_budget_bytes),
            Family::gauge("metadata_is_leader", "1 on the node that leads the metadata, the controller")
                .of(self.leads_metadata),
            Family::gauge("partitions_held", "Partitions of which this node has a replica").of(self.partitions.len()),
            Family::gauge("partitions_led", "Partitions that this node leads").of(led),
        ];
        families.extend(of_partitions(&self.partitions));
        families
    }
}

/// One family for each value of partitions.
fn of_partitions(partitions: &[PartitionReading]) -> [Family; 6] {
    type Read = fn(&PartitionReading) -> Value;
    let families: [(&'static str, &'static str, Read); 6] = [
        ("partition_log_start_offset", "The first offset that is still kept", |at| {
            at.watermarks.log_start.get().into()
        }),
        ("partition_high_watermark", "The first offset that is not committed, as this node knows", |at| {
            at.watermarks.committed.get().into()
        }),
        ("partition_log_end_offset", "The next offset that will be written here", |at| {
            at.watermarks.log_end.get().into()
        }),
        ("partition_size_bytes", "What the replica here takes on disk", |at| at.size_bytes.into()),
        ("partition_is_leader", "1 where this node leads the partition", |at| at.is_leader.into()),
        ("partition_leader_epoch", "The epoch of the partition's leader, which grows with every election", |at| {
            // Never below 0.
            u64::try_from(at.epoch.get()).unwrap_or(0).into()
        }),
    ];
    let named = |partition: &PartitionReading| {
        Labels::new([("topic", partition.topic.to_string()), ("partition", partition.partition.to_string())])
    };
    let labels: Vec<Labels> = partitions.iter().map(named).collect();
    families.map(|(name, help, read)| {
        let mut family = Family::gauge(name, help);
        for (labels, partition) in labels.iter().zip(partitions) {
            family.push(labels.clone(), read(partition));
        }
        family
    })
}
