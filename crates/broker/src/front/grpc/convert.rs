//! Between the messages of the API and the node's own types. Nothing here decides or fails late: what cannot be
//! converted is refused where it stands.

use std::time::Duration;

use highwater_metadata::{Assignment, Topic};
use highwater_proto::v1;
use highwater_types::{ErrorCode, NodeId, Offset, PartitionId, Timestamp, TopicPartition, limits};

use crate::front::failure::Failure;
use crate::partition::{Acks, AppendAck, Position};
use crate::survey::{Replicas, Role};

/// The durability asked for; quorum unless said.
pub(super) fn acks_of(acks: v1::Acks) -> Acks {
    match acks {
        v1::Acks::None => Acks::None,
        v1::Acks::Leader => Acks::Leader,
        v1::Acks::Unspecified | v1::Acks::Quorum => Acks::Quorum,
    }
}

/// The same on the wire.
pub(super) fn wire_acks_of(acks: Acks) -> v1::Acks {
    match acks {
        Acks::None => v1::Acks::None,
        Acks::Leader => v1::Acks::Leader,
        Acks::Quorum => v1::Acks::Quorum,
    }
}

/// An acknowledgement.
pub(super) fn ack_of(partition: PartitionId, ack: &AppendAck) -> v1::ProduceAck {
    v1::ProduceAck {
        partition: partition.get(),
        base_offset: ack.base_offset.map_or(-1, Offset::to_wire),
        timestamp_ms: ack.timestamp.as_ms(),
        record_count: ack.record_count,
        duplicate: ack.duplicate,
        durability: wire_acks_of(ack.acks).into(),
        leader_epoch: ack.leader_epoch.get(),
    }
}

/// A position to read from.
pub(super) fn position_of(position: Option<v1::Position>) -> Result<Position, Failure> {
    match position.and_then(|position| position.at) {
        Some(v1::position::At::Offset(offset)) => match Offset::from_wire(offset) {
            Some(offset) => Ok(Position::Offset(offset)),
            None => Err(Failure::new(ErrorCode::OffsetOutOfRange, format!("offset {offset} is below 0"))),
        },
        Some(v1::position::At::TimestampMs(ms)) => Ok(Position::Timestamp(Timestamp::from_ms(ms))),
        Some(v1::position::At::Start(_)) => Ok(Position::Start),
        Some(v1::position::At::End(_)) => Ok(Position::End),
        None => Err(Failure::invalid("the request does not say where to read from")),
    }
}

/// How long a reader waits: what it asks for, and no longer than anybody may.
pub(super) fn wait_of(ms: u32) -> Duration {
    Duration::from_millis(u64::from(ms).min(limits::READ_WAIT_MS_MAX))
}

/// A size asked for, where 0 leaves it to us; never more than `most`.
pub(super) fn bytes_of(asked: u32, unless: usize, most: usize) -> usize {
    match usize::try_from(asked) {
        Ok(0) => unless,
        Ok(bytes) => bytes.min(most),
        Err(_) => most,
    }
}

/// A topic, with what is known of its partitions; with `has_status`, of each replica.
pub(super) fn topic_of(topic: &Topic, replicas: &Replicas, has_status: bool) -> v1::Topic {
    let partition = |(partition, assignment): (PartitionId, &Assignment)| {
        let key = TopicPartition { topic: topic.id, partition };
        partition_of(key, assignment, replicas, has_status)
    };
    v1::Topic {
        name: topic.name.to_string(),
        id: topic.id.to_string(),
        replicas: topic.replicas,
        partitions: topic.numbered_partitions().map(partition).collect(),
    }
}

fn partition_of(key: TopicPartition, held: &Assignment, replicas: &Replicas, has_status: bool) -> v1::Partition {
    let leader = replicas.leader(key);
    let best = replicas.best(key);
    let numbers = |nodes: &[NodeId]| nodes.iter().map(|node| node.get()).collect::<Vec<_>>();
    let status = |node: NodeId| replica_status_of(key, node, replicas);
    let others = held.added();
    v1::Partition {
        partition: key.partition.get(),
        leader: leader.map(|(leader, _)| leader.get()),
        leader_epoch: leader.map_or(-1, |(_, epoch)| epoch.get()),
        replicas: numbers(&held.replicas),
        log_start: best.map(|report| report.log_start.to_wire()),
        high_watermark: best.map(|report| report.high_watermark.to_wire()),
        size_bytes: best.map(|report| report.size_bytes),
        replica_status: match has_status {
            true => held.replicas.iter().copied().chain(others).map(status).collect(),
            false => Vec::new(),
        },
        preferred_leader: held.preferred_leader().map(NodeId::get),
        target: numbers(held.target.as_deref().unwrap_or_default()),
    }
}

fn replica_status_of(key: TopicPartition, node: NodeId, replicas: &Replicas) -> v1::ReplicaStatus {
    let standing = replicas.standing(key, node);
    let role = match standing.role {
        None => v1::ReplicaRole::Unspecified,
        Some(Role::Leader) => v1::ReplicaRole::Leader,
        Some(Role::Follower) => v1::ReplicaRole::Follower,
        Some(Role::Learner) => v1::ReplicaRole::Learner,
    };
    v1::ReplicaStatus {
        node: node.get(),
        role: role.into(),
        is_voter: standing.is_voter,
        in_sync: standing.is_in_sync,
        lag_entries: standing.lag_entries,
        lag_records: standing.lag_records,
        size_bytes: standing.size_bytes,
        is_recovering: standing.is_recovering,
    }
}
