//! Records as they come from the server: checked, and turned into batches.
//!
//! Never: knows of a group. What cannot be read is told in its place, after what came before it.

use highwater_proto::v1;
use highwater_types::Offset;

use super::rebalance::TopicPartitionName;
use super::state::Received;
use crate::reader::{ReadBatch, ReadError};

/// Checks the batches of one message that are to go on at a position.
pub(super) fn check(
    name: &TopicPartitionName,
    position: Offset,
    response: v1::ReadResponse,
    verify_checksums: bool,
) -> Received {
    let bytes = bytes(&response);
    let mut received = Received { batches: Vec::new(), next: position, bytes, error: None };
    for batch in response.batches {
        match ReadBatch::check(&name.topic, name.partition, batch, received.next, None, verify_checksums) {
            Ok(Some(batch)) => {
                received.next = batch.next_offset();
                received.batches.push(batch);
            }
            Ok(None) => {}
            Err(source) => {
                let (topic, partition) = (name.topic.clone(), name.partition);
                received.error = Some(ReadError::Batch { topic, partition, offset: received.next, source });
                return received;
            }
        }
    }
    // Further on than the last batch where offsets are taken by what is not for readers.
    received.next = Offset::from_wire(response.next_offset).map_or(received.next, |next| next.max(received.next));
    received
}

/// What a message costs of the credit.
pub(super) fn bytes(response: &v1::ReadResponse) -> usize {
    response.batches.iter().map(bytes::Bytes::len).sum()
}
