//! Batches as clients send them: for the tests of both fronts, which take this file in.

use bytes::Bytes;
use highwater_types::batch::{BatchBuilder, Compression, NO_HEADERS, ProducerStamp};
use highwater_types::{ProducerEpoch, ProducerId, Sequence, Timestamp};

/// A batch of one record a value.
pub(crate) fn batch(values: &[&[u8]]) -> Bytes {
    batch_with(values, Compression::None, None)
}

pub(crate) fn batch_with(values: &[&[u8]], compression: Compression, producer: Option<ProducerStamp>) -> Bytes {
    let mut builder = BatchBuilder::new(compression);
    for (value, ms) in values.iter().zip(1_000..) {
        builder.append(Timestamp::from_ms(ms), None, Some(*value), NO_HEADERS).unwrap();
    }
    if let Some(producer) = producer {
        builder.set_producer(producer);
    }
    builder.finish().unwrap()
}

/// A batch of an idempotent producer, of one record, with this sequence.
pub(crate) fn sequenced(producer: i64, epoch: i16, sequence: i32) -> Bytes {
    let stamp = ProducerStamp {
        id: ProducerId::new(producer),
        epoch: ProducerEpoch::new(epoch),
        first_sequence: Sequence::new(sequence),
    };
    batch_with(&[format!("value {sequence}").as_bytes()], Compression::None, Some(stamp))
}
