//! What replicas this node has and how they are, for other nodes that ask.
//!
//! Never: asks anybody else. What only a leader knows is in the answer of the leader only.

use std::collections::BTreeMap;

use highwater_proto::internal::v1::{PeerDescription, ReplicaDescription, ReplicasDescribed};
use highwater_storage::LogKey;
use highwater_storage::log_key::LOG_KEY_BYTES;
use highwater_types::{LogIndex, NodeId, TopicPartition};
use tokio::sync::watch;

use crate::controller::METADATA_LOG;
use crate::raft::{Members, PeerProgress, Replica, ReplicaStatus};
use crate::router::{Open, OpenPartitions};

/// The replicas of this node.
#[derive(Clone, Debug)]
pub(super) struct Inventory {
    metadata: Replica,
    partitions: watch::Receiver<OpenPartitions>,
}

impl Inventory {
    pub(crate) fn new(metadata: Replica, partitions: watch::Receiver<OpenPartitions>) -> Self {
        Self { metadata, partitions }
    }

    /// Describes the replicas with these keys that this node has; all of them when no key is named.
    pub(crate) fn describe(&self, keys: &[bytes::Bytes]) -> ReplicasDescribed {
        let is_asked = |key: &[u8]| keys.is_empty() || keys.iter().any(|asked| asked[..] == *key);
        let mut replicas = BTreeMap::new();
        let key = METADATA_LOG.to_bytes();
        if is_asked(&key) {
            replicas.insert(key, describe(key, &self.metadata.status()));
        }
        for (id, handle) in self.partitions.borrow().iter() {
            let key = log_key(*id).to_bytes();
            if is_asked(&key) {
                replicas.insert(key, with_records(describe(key, &handle.replica().status()), handle));
            }
        }
        ReplicasDescribed { replicas: replicas.into_values().collect(), node: None }
    }

    /// The members of the metadata group, as this node knows.
    pub(crate) fn metadata_members(&self) -> Members {
        self.metadata.status().members
    }

    /// How many partitions this node holds, and how many of them it leads.
    pub(crate) fn counts(&self) -> (u32, u32) {
        let partitions = self.partitions.borrow();
        let leads = partitions.values().filter(|open| open.replica().leadership().borrow().is_leader).count();
        let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        (count(partitions.len()), count(leads))
    }
}

/// The log of a partition.
fn log_key(id: TopicPartition) -> LogKey {
    LogKey::new(id.topic.to_bytes(), id.partition.get())
}

fn describe(key: [u8; LOG_KEY_BYTES], status: &ReplicaStatus) -> ReplicaDescription {
    let nodes = |nodes: &std::collections::BTreeSet<NodeId>| nodes.iter().map(|node| node.get()).collect();
    let end = |index: Option<LogIndex>| index.map_or(0, LogIndex::get);
    let led = status.leadership;
    ReplicaDescription {
        key: bytes::Bytes::copy_from_slice(&key),
        leader: led.leader.map_or(0, NodeId::get),
        term: led.term.get(),
        is_leader: led.is_leader,
        serves: led.serves_writes,
        voters: nodes(&status.members.voters),
        learners: nodes(&status.members.learners),
        incoming: status.members.incoming.as_ref().map(nodes).unwrap_or_default(),
        last_index: end(status.last_index),
        committed_index: end(status.committed_index),
        applied_index: end(status.applied_index),
        is_recovering: status.is_recovering,
        peers: status.peers.iter().map(|peer| describe_peer(status, peer)).collect(),
        ..ReplicaDescription::default()
    }
}

fn describe_peer(status: &ReplicaStatus, peer: &PeerProgress) -> PeerDescription {
    PeerDescription {
        node: peer.node.get(),
        is_voter: peer.is_voter,
        matched_index: peer.matched.map(LogIndex::get),
        lag: status.lag_of(peer),
        heard_ms: peer.heard_ms,
    }
}

fn with_records(description: ReplicaDescription, open: &Open) -> ReplicaDescription {
    let size_bytes = open.size_bytes();
    let Some(handle) = open.partition() else { return ReplicaDescription { size_bytes, ..description } };
    let watermarks = handle.watermarks();
    ReplicaDescription {
        log_start: watermarks.log_start.get(),
        high_watermark: watermarks.committed.get(),
        log_end: watermarks.log_end.get(),
        size_bytes,
        ..description
    }
}
