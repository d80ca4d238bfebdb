//! What settles a message, as a worker carries it: the partition and the engine's own token.

use bytes::{BufMut, Bytes, BytesMut};
use highwater_groups::queue::AckToken;
use highwater_types::PartitionId;

use crate::front::failure::Failure;

const PARTITION_BYTES: usize = 4;

/// Tokens with their partition, so that they find their way by themselves, in their order: slices of one piece of memory.
pub(super) fn to_wire(
    partition: PartitionId,
    tokens: impl ExactSizeIterator<Item = AckToken>,
) -> impl Iterator<Item = Bytes> {
    const TOKEN_BYTES: usize = PARTITION_BYTES + AckToken::BYTES;
    let mut bytes = BytesMut::with_capacity(TOKEN_BYTES * tokens.len());
    for token in tokens {
        bytes.put_u32_le(partition.get());
        bytes.put_slice(&token.to_bytes());
    }
    let mut left = bytes.freeze();
    std::iter::from_fn(move || (!left.is_empty()).then(|| left.split_to(TOKEN_BYTES.min(left.len()))))
}

/// A token that came back.
pub(super) fn from_wire(bytes: &[u8]) -> Result<(PartitionId, AckToken), Failure> {
    let parts = bytes.split_first_chunk::<PARTITION_BYTES>();
    let parts = parts.and_then(|(partition, rest)| Some((u32::from_le_bytes(*partition), AckToken::from_bytes(rest)?)));
    match parts {
        Some((partition, token)) => Ok((PartitionId::new(partition), token)),
        None => Err(Failure::invalid("this is no token of a message: send back the one that came with it")),
    }
}
