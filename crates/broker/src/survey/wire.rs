//! The reports of a survey as nodes send them to each other.
//!
//! Never: fails. What is not understood is left out, as if it had not been answered.

use bytes::Bytes;
use highwater_proto::internal::v1::{NodeDescription, PeerDescription, ReplicaDescription};
use highwater_storage::LogKey;
use highwater_storage::log_key::LOG_KEY_BYTES;
use highwater_types::{LogIndex, NodeId, Offset, PartitionId, Term, TopicId, TopicPartition};

use super::{NodeReport, ReplicaReport};
use crate::raft::{Members, PeerProgress};
use crate::usage::Usage;

pub(super) fn key(partition: TopicPartition) -> Bytes {
    let key = LogKey::new(partition.topic.to_bytes(), partition.partition.get());
    Bytes::copy_from_slice(&key.to_bytes())
}

fn partition(key: &[u8]) -> Option<TopicPartition> {
    let key = LogKey::from_bytes(<[u8; LOG_KEY_BYTES]>::try_from(key).ok()?);
    Some(TopicPartition { topic: TopicId::from_bytes(key.group()), partition: PartitionId::new(key.number()) })
}

pub(super) fn node(report: &NodeReport) -> NodeDescription {
    NodeDescription {
        version: report.version.clone(),
        data_free_bytes: report.data_free_bytes,
        data_total_bytes: report.data_total_bytes,
        is_disk_full: report.is_disk_full,
        leaders: report.leaders,
        cpu_seconds: report.usage.cpu_seconds,
        rss_bytes: report.usage.rss_bytes,
        rss_peak_bytes: report.usage.rss_peak_bytes,
        uptime_seconds: report.uptime_seconds,
        process: report.process.clone(),
    }
}

pub(super) fn node_report(node: NodeId, described: NodeDescription, heard_ms: u64) -> NodeReport {
    NodeReport {
        node,
        version: described.version,
        data_free_bytes: described.data_free_bytes,
        data_total_bytes: described.data_total_bytes,
        is_disk_full: described.is_disk_full,
        leaders: described.leaders,
        usage: Usage {
            cpu_seconds: described.cpu_seconds,
            rss_bytes: described.rss_bytes,
            rss_peak_bytes: described.rss_peak_bytes,
        },
        uptime_seconds: described.uptime_seconds,
        process: described.process,
        heard_ms,
    }
}

pub(super) fn replica_report(described: ReplicaDescription) -> Option<(TopicPartition, ReplicaReport)> {
    let nodes = |numbers: &[u64]| numbers.iter().copied().map(NodeId::new).collect();
    let offset = |records: u64| Offset::ZERO.saturating_add(records);
    let peer = |peer: PeerDescription| PeerProgress {
        node: NodeId::new(peer.node),
        is_voter: peer.is_voter,
        matched: peer.matched_index.map(LogIndex::new),
        heard_ms: peer.heard_ms,
    };
    let incoming = &described.incoming;
    let report = ReplicaReport {
        leader: (described.leader != 0).then(|| NodeId::new(described.leader)),
        term: Term::new(described.term),
        serves: described.serves,
        members: Members {
            voters: nodes(&described.voters),
            incoming: (!incoming.is_empty()).then(|| nodes(incoming)),
            learners: nodes(&described.learners),
        },
        last_index: Some(LogIndex::new(described.last_index)),
        log_start: offset(described.log_start),
        high_watermark: offset(described.high_watermark),
        log_end: offset(described.log_end),
        size_bytes: described.size_bytes,
        is_recovering: described.is_recovering,
        peers: described.peers.into_iter().map(peer).collect(),
    };
    Some((partition(&described.key)?, report))
}
