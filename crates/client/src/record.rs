//! A record on its way to a topic.

use bytes::Bytes;
use highwater_types::{PartitionId, Timestamp};

/// A record to be produced: a value, and what may stand beside it.
///
/// Keys and values are [`Bytes`]; anything that turns into those without a copy can be given.
///
/// ```
/// use highwater_client::{Record, Timestamp};
///
/// let record = Record::new("placed")
///     .key("order-17")
///     .header("trace", "4bf92f35")
///     .timestamp(Timestamp::from_ms(1_700_000_000_000));
/// # let _ = record;
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use = "a record goes nowhere until it is given to a producer"]
pub struct Record {
    pub(crate) key: Option<Bytes>,
    pub(crate) value: Option<Bytes>,
    pub(crate) headers: Vec<(String, Option<Bytes>)>,
    pub(crate) timestamp: Option<Timestamp>,
    pub(crate) partition: Option<PartitionId>,
}

impl Record {
    /// A record with this value, no key and no headers. Its time is when it is sent.
    pub fn new(value: impl Into<Bytes>) -> Self {
        Self { value: Some(value.into()), ..Self::default() }
    }

    /// A record without a value, which is not the same as an empty one: compaction takes it as "this key is gone".
    pub fn tombstone(key: impl Into<Bytes>) -> Self {
        Self { key: Some(key.into()), ..Self::default() }
    }

    /// The key. Records with the same key go to the same partition, the one that Kafka's clients choose.
    pub fn key(mut self, key: impl Into<Bytes>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// Adds a header. A name may be given more than once; the order is kept.
    pub fn header(mut self, name: impl Into<String>, value: impl Into<Bytes>) -> Self {
        self.headers.push((name.into(), Some(value.into())));
        self
    }

    /// The time of the record, instead of the time when it is sent.
    pub fn timestamp(mut self, timestamp: Timestamp) -> Self {
        self.timestamp = Some(timestamp);
        self
    }

    /// The partition, instead of the one that the key or the producer chooses.
    pub fn partition(mut self, partition: PartitionId) -> Self {
        self.partition = Some(partition);
        self
    }

    /// What it takes in a batch, in bytes: never too little, and seldom 30 bytes too much.
    pub(crate) fn encoded_bytes_max(&self) -> usize {
        // Length, attributes, two deltas, two lengths, header count: varints, most of them of one or two bytes.
        const FRAMING_BYTES_MAX: usize = 5 + 1 + 10 + 5 + 5 + 5 + 3;
        const HEADER_FRAMING_BYTES_MAX: usize = 5 + 5;
        let length = |bytes: &Option<Bytes>| bytes.as_ref().map_or(0, Bytes::len);
        let headers = self.headers.iter().map(|(name, value)| HEADER_FRAMING_BYTES_MAX + name.len() + length(value));
        FRAMING_BYTES_MAX + length(&self.key) + length(&self.value) + headers.sum::<usize>()
    }
}
