//! Plain records, for callers without a codec for batches: made into one batch here, uncompressed.

use std::sync::atomic::{AtomicU32, Ordering};

use bytes::Bytes;
use highwater_proto::v1;
use highwater_types::batch::{BatchBuilder, Compression};
use highwater_types::{ErrorCode, PartitionId, Timestamp, partitioner};
use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field};

use crate::front::failure::Failure;

/// What a record costs in a batch beside its own bytes, roughly: lengths, deltas, attributes.
const RECORD_OVERHEAD_BYTES: usize = 32;

/// The most records and headers in one request. In memory each takes many times the two bytes that it may have in the
/// message, and only the message was admitted.
const PARTS_MAX: usize = 65_536;

/// Refuses a message whose plain records would be far larger in memory than they are on the wire, before they are decoded.
pub(super) fn check(message: &[u8]) -> Result<(), Failure> {
    let mut parts = 0;
    each_field(message, REQUEST_RECORDS_TAG, &mut |plain| {
        each_field(plain, PLAIN_RECORD_TAG, &mut |record| {
            parts += 1;
            each_field(record, RECORD_HEADER_TAG, &mut |_header| {
                parts += 1;
                Ok(())
            })
        })
    })
    .map_err(|Malformed| Failure::invalid("not a produce request: a field is longer than what holds it"))?;
    if parts > PARTS_MAX {
        let message =
            format!("{parts} records and headers in one request, at most {PARTS_MAX} are taken: send several");
        return Err(Failure::new(ErrorCode::BatchTooLarge, message));
    }
    Ok(())
}

/// `ProduceRequest.records`, `PlainRecords.records`, `Record.headers`.
const REQUEST_RECORDS_TAG: u32 = 6;
const PLAIN_RECORD_TAG: u32 = 1;
const RECORD_HEADER_TAG: u32 = 5;

/// A message that does not follow the rules of protobuf.
#[derive(Debug)]
struct Malformed;

/// Hands out the fields of a message that have this tag and hold bytes.
fn each_field(
    mut message: &[u8],
    tag: u32,
    each: &mut dyn FnMut(&[u8]) -> Result<(), Malformed>,
) -> Result<(), Malformed> {
    while !message.is_empty() {
        let (found, wire_type) = decode_key(&mut message).map_err(|_| Malformed)?;
        if found != tag || wire_type != WireType::LengthDelimited {
            skip_field(wire_type, found, &mut message, DecodeContext::default()).map_err(|_| Malformed)?;
            continue;
        }
        let length = decode_varint(&mut message).map_err(|_| Malformed)?;
        let length = usize::try_from(length).map_err(|_| Malformed)?;
        let (field, rest) = message.split_at_checked(length).ok_or(Malformed)?;
        each(field)?;
        message = rest;
    }
    Ok(())
}

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
    fn what_grows_too_much_in_memory_is_refused_before_it_is_decoded() {
        use prost::Message;
        let request = |records: Vec<v1::Record>| {
            let payload = Some(v1::produce_request::Payload::Records(v1::PlainRecords { records }));
            v1::ProduceRequest { topic: "orders".to_owned(), payload, ..Default::default() }.encode_to_vec()
        };
        assert!(check(&request(vec![record(Some("k"), "v"); PARTS_MAX])).is_ok());
        let refusal = check(&request(vec![v1::Record::default(); PARTS_MAX + 1])).unwrap_err();
        assert_eq!(refusal.code, ErrorCode::BatchTooLarge, "{refusal}");
        let headers = vec![v1::Header::default(); PARTS_MAX];
        assert!(check(&request(vec![v1::Record { headers, ..Default::default() }])).is_err());
        // The same field twice is taken together.
        let half = request(vec![v1::Record::default(); PARTS_MAX / 2 + 1]);
        assert!(check(&[half.clone(), half].concat()).is_err());
        assert!(check(b"\x32\x05\x0a").is_err(), "cut off");
        let batch = Some(v1::produce_request::Payload::Batch(vec![0x32; 1_000].into()));
        assert!(check(&v1::ProduceRequest { payload: batch, ..Default::default() }.encode_to_vec()).is_ok());
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
