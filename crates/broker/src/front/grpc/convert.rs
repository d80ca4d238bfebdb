//! Between the messages of the API and the node's own types. Nothing here decides or fails late: what cannot be
//! converted is refused where it stands.

use std::time::Duration;

use highwater_metadata::Topic;
use highwater_proto::v1;
use highwater_types::{ErrorCode, Offset, PartitionId, Timestamp, TopicPartition, limits};

use crate::front::failure::Failure;
use crate::partition::{Acks, AppendAck, PartitionHandle, Position};
use crate::router::Router;

/// The durability asked for; quorum unless said.
pub(super) fn acks_of(acks: v1::Acks) -> Acks {
    match acks {
        v1::Acks::None => Acks::None,
        v1::Acks::Leader => Acks::Leader,
        v1::Acks::Unspecified | v1::Acks::Quorum => Acks::Quorum,
    }
}

/// An acknowledgement.
pub(super) fn ack_of(partition: PartitionId, ack: &AppendAck) -> v1::ProduceAck {
    let durability = match ack.acks {
        Acks::None => v1::Acks::None,
        Acks::Leader => v1::Acks::Leader,
        Acks::Quorum => v1::Acks::Quorum,
    };
    v1::ProduceAck {
        partition: partition.get(),
        base_offset: ack.base_offset.map_or(-1, Offset::to_wire),
        timestamp_ms: ack.timestamp.as_ms(),
        record_count: ack.record_count,
        duplicate: ack.duplicate,
        durability: durability.into(),
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

/// A topic, with what this node knows of its partitions.
pub(super) fn topic_of(topic: &Topic, router: &Router) -> v1::Topic {
    let partition = |(partition, assignment): (PartitionId, &highwater_metadata::Assignment)| {
        let handle = router.open_partition(TopicPartition { topic: topic.id, partition });
        let replicas = assignment.replicas.iter().map(|node| node.get()).collect();
        partition_of(partition, replicas, handle.as_ref())
    };
    v1::Topic {
        name: topic.name.to_string(),
        id: topic.id.to_string(),
        replicas: topic.replicas,
        partitions: topic.numbered_partitions().map(partition).collect(),
    }
}

fn partition_of(partition: PartitionId, replicas: Vec<u64>, handle: Option<&PartitionHandle>) -> v1::Partition {
    let leadership = handle.map(PartitionHandle::leadership);
    let watermarks = handle.map(PartitionHandle::watermarks);
    v1::Partition {
        partition: partition.get(),
        leader: leadership.as_ref().and_then(|leadership| leadership.leader).map(highwater_types::NodeId::get),
        leader_epoch: leadership.map_or(-1, |leadership| leadership.epoch.get()),
        replicas,
        log_start: watermarks.map(|marks| marks.log_start.to_wire()),
        high_watermark: watermarks.map(|marks| marks.committed.to_wire()),
        size_bytes: handle.map(PartitionHandle::size_bytes),
    }
}
