//! Plain records, for callers without a codec for batches: made into one batch here, uncompressed.

use std::sync::atomic::{AtomicU32, Ordering};

use bytes::Bytes;
use highwater_proto::v1;
use highwater_types::batch::{BatchBuilder, Compression};
use highwater_types::{PartitionId, Timestamp, partitioner};

use crate::front::failure::Failure;

/// What a record costs in a batch beside its own bytes, roughly: lengths, deltas, attributes.
const RECORD_OVERHEAD_BYTES: usize = 32;

/// Makes a batch of records; those without a time get `now`.
pub(super) fn batch_of(records: &[v1::Record], now: Timestamp) -> Result<Bytes, Failure> {
    if records.is_empty() {
        return Err(Failure::invalid("the request holds no records"));
    }
    let bytes = |part: &Option<Bytes>| part.as_ref().map_or(0, Bytes::len);
    let size = records.iter().map(|record| bytes(&record.key) + bytes(&record.value) + RECORD_OVERHEAD_BYTES).sum();
    let mut builder = BatchBuilder::with_capacity(Compression::None, size);
    for record in records {
        let timestamp = record.timestamp_ms.map_or(now, Timestamp::from_ms);
        let headers: Vec<_> = record.headers.iter().map(|header| (&header.name, header.value.as_ref())).collect();
        builder.append(timestamp, record.key.as_deref(), record.value.as_deref(), &headers)?;
    }
    Ok(builder.finish()?)
}

/// Chooses the partition of records that came without one.
#[derive(Debug, Default)]
pub(super) struct Chooser {
    next: AtomicU32,
}

impl Chooser {
    /// By the key that all records share; in turn when none has a key.
    pub(super) fn choose(&self, records: &[v1::Record], partitions: u32) -> Result<PartitionId, Failure> {
        let key = records.first().and_then(|record| record.key.as_ref());
        if records.iter().any(|record| record.key.as_ref() != key) {
            let message = "the records have different keys, so no one partition is right; name one, or send them apart";
            return Err(Failure::invalid(message));
        }
        Ok(match key {
            Some(key) => partitioner::partition_of(key, partitions),
            None => PartitionId::new(self.next.fetch_add(1, Ordering::Relaxed) % partitions.max(1)),
        })
    }
}

#[cfg(test)]
mod tests {
    use highwater_types::batch::{ValidBatch, records};
    use highwater_types::limits;

    use super::*;

    fn record(key: Option<&'static str>, value: &'static str) -> v1::Record {
        v1::Record { key: key.map(Bytes::from), value: Some(Bytes::from(value)), ..v1::Record::default() }
    }

    #[test]
    fn a_batch_of_plain_records_is_one_that_a_broker_takes() {
        let mut first = record(Some("k"), "v");
        first.timestamp_ms = Some(5);
        first.headers = vec![v1::Header { name: "h".to_owned(), value: None }];
        let bytes = batch_of(&[first, record(None, "")], Timestamp::from_ms(9)).unwrap();
        let batch = ValidBatch::check(bytes, limits::BATCH_BYTES_MAX).unwrap();
        let got: Vec<_> = records(batch.into_bytes()).unwrap().map(Result::unwrap).collect();
        assert_eq!((got[0].timestamp.as_ms(), got[1].timestamp.as_ms()), (5, 9));
        assert_eq!((got[0].headers.len(), got[1].key.as_ref()), (1, None));
        assert_eq!(got[1].value, Some(Bytes::new()), "empty is not absent");
        assert!(batch_of(&[], Timestamp::default()).is_err());
    }

    #[test]
    fn records_without_a_partition_go_by_key_or_in_turn() {
        let chooser = Chooser::default();
        let keyed = [record(Some("a"), "1"), record(Some("a"), "2")];
        assert_eq!(chooser.choose(&keyed, 7).unwrap(), partitioner::partition_of(b"a", 7));
        let in_turn: Vec<_> = (0..4).map(|_| chooser.choose(&[record(None, "")], 3).unwrap().get()).collect();
        assert_eq!(in_turn, [0, 1, 2, 0]);
        assert!(chooser.choose(&[record(Some("a"), "1"), record(Some("b"), "2")], 7).is_err());
        assert!(chooser.choose(&[record(Some("a"), "1"), record(None, "2")], 7).is_err());
    }
}
