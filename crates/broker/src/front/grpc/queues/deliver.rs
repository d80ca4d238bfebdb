//! From leases to messages: their records, read out of the log.

use std::collections::BTreeMap;

use bytes::Bytes;
use highwater_groups::queue::Lease;
use highwater_proto::v1;
use highwater_types::batch::Record;
use highwater_types::{Offset, PartitionId};

use super::token;
use crate::front::failure::Failure;
use crate::front::grpc::read::message_of;
use crate::partition::PartitionHandle;
use crate::queues::kept_record;

/// Reads what is leased, in the order of the leases; those whose records are not kept any more are missing.
pub(super) async fn deliver(
    handle: &PartitionHandle,
    topic: &str,
    partition: PartitionId,
    leases: Vec<Lease>,
    lease_ms: u64,
) -> Result<Vec<v1::QueueMessage>, Failure> {
    let mut wanted: Vec<Offset> = leases.iter().map(|lease| lease.offset).collect();
    wanted.sort_unstable();
    let mut records = read(handle, &wanted).await?;
    // Beside the records, which are taken out of their places.
    let offsets: Vec<i64> = records.iter().map(|record| record.offset).collect();
    let tokens = token::to_wire(partition, leases.iter().map(|lease| lease.token));
    let message = |(lease, token): (&Lease, Bytes)| {
        let place = offsets.binary_search(&lease.offset.to_wire()).ok()?;
        Some(v1::QueueMessage {
            topic: topic.to_owned(),
            partition: partition.get(),
            // Each is leased once.
            record: records.get_mut(place).map(std::mem::take),
            attempt: lease.attempt,
            token,
            lease_ms,
        })
    };
    Ok(leases.iter().zip(tokens).filter_map(message).collect())
}

/// The records at these offsets, in their order; those that retention took are missing, but for what queues keep.
/// `wanted` is sorted.
pub(super) async fn read(handle: &PartitionHandle, wanted: &[Offset]) -> Result<Vec<v1::Record>, Failure> {
    let found = handle.records(wanted).await?;
    if found.len() == wanted.len() {
        return Ok(found.into_iter().map(message_of).collect());
    }
    let mut found: BTreeMap<Offset, Record> = found.into_iter().map(|record| (record.offset, record)).collect();
    let image = handle.queues().image();
    for offset in wanted {
        let kept = image.kept(*offset).filter(|_| !found.contains_key(offset));
        found.extend(kept.map(kept_record).transpose()?.flatten().map(|record| (*offset, record)));
    }
    Ok(found.into_values().map(message_of).collect())
}

/// The same, by their offsets.
pub(super) async fn read_by_offset(
    handle: &PartitionHandle,
    wanted: &[Offset],
) -> Result<BTreeMap<Offset, v1::Record>, Failure> {
    let found = read(handle, wanted).await?.into_iter();
    Ok(found.filter_map(|record| Some((Offset::from_wire(record.offset)?, record))).collect())
}

/// What a message takes in an answer.
pub(super) fn bytes_of(message: &v1::QueueMessage) -> usize {
    prost::Message::encoded_len(message)
}
