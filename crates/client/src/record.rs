//! A record on its way to a topic.

use std::time::Duration;

use bytes::Bytes;
use highwater_types::{PartitionId, Timestamp};

/// Headers that queues act on; everybody else sees them as any other.
const DELAY: &str = "delay";
const DELIVER_AT: &str = "deliver-at";
const TTL: &str = "ttl";
const PRIORITY: &str = "priority";
const TENANT: &str = "tenant";
const MESSAGE_ID: &str = "message-id";
/// The highest priority.
const PRIORITY_MAX: u8 = 9;

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

    /// Queues hand it out not before so long after its timestamp. Streams see it at once. As the header `delay`.
    ///
    /// ```
    /// use std::time::Duration;
    /// use highwater_client::Record;
    /// let reminder = Record::new("how was it?").delay(Duration::from_secs(3 * 86_400)).ttl(Duration::from_secs(7 * 86_400));
    /// # let _ = reminder;
    /// ```
    pub fn delay(self, delay: Duration) -> Self {
        self.set_header(DELAY, delay.as_millis().to_string())
    }

    /// Queues hand it out not before this time: a [`Timestamp`] or a [`SystemTime`](std::time::SystemTime). Streams see it
    /// at once. As the header `deliver-at`.
    pub fn deliver_at(self, at: impl Into<Timestamp>) -> Self {
        self.set_header(DELIVER_AT, at.into().as_ms().to_string())
    }

    /// Queues do not hand it out any more from so long after its timestamp on; it is dead or dropped then, as the group is
    /// set. Streams see it for as long as it is kept. As the header `ttl`.
    pub fn ttl(self, ttl: Duration) -> Self {
        self.set_header(TTL, ttl.as_millis().to_string())
    }

    /// Queues hand out what has a higher priority first: 0 to 9, more counts as 9; what has none has 4. As the header
    /// `priority`.
    pub fn priority(self, priority: u8) -> Self {
        self.set_header(PRIORITY, priority.min(PRIORITY_MAX).to_string())
    }

    /// For whom it is: queues take turns among tenants, so that one with many messages does not hold up the others. As the
    /// header `tenant`.
    pub fn tenant(self, tenant: impl Into<Bytes>) -> Self {
        self.set_header(TENANT, tenant)
    }

    /// What it is found by later, with [`Admin::locate`](crate::Admin::locate) or `highwater message where --id`. As the
    /// header `message-id`.
    pub fn message_id(self, id: impl Into<Bytes>) -> Self {
        self.set_header(MESSAGE_ID, id)
    }

    /// Once, whatever was said before.
    fn set_header(mut self, name: &str, value: impl Into<Bytes>) -> Self {
        self.headers.retain(|(known, _)| known != name);
        self.header(name, value)
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

#[cfg(test)]
mod tests {
    use std::time::{SystemTime, UNIX_EPOCH};

    use super::*;

    #[test]
    fn what_queues_act_on_stands_in_headers_once() {
        let at = UNIX_EPOCH + Duration::from_millis(1_700_000_000_123);
        let record = Record::new("x")
            .delay(Duration::from_secs(1))
            .delay(Duration::from_millis(90_500))
            .deliver_at(at)
            .ttl(Duration::from_secs(60))
            .priority(12)
            .tenant("acme")
            .message_id("m-1");
        let headers: Vec<_> = record.headers.iter().map(|(name, value)| (name.as_str(), value.as_deref())).collect();
        let expected: [(&str, &[u8]); 6] = [
            ("delay", b"90500"),
            ("deliver-at", b"1700000000123"),
            ("ttl", b"60000"),
            ("priority", b"9"),
            ("tenant", b"acme"),
            ("message-id", b"m-1"),
        ];
        assert_eq!(headers, expected.map(|(name, value)| (name, Some(value))));
        assert_eq!(Record::new("x").deliver_at(Timestamp::from_ms(7)), Record::new("x").header("deliver-at", "7"));
        assert_eq!(Timestamp::from(SystemTime::UNIX_EPOCH - Duration::from_millis(5)), Timestamp::from_ms(-5));
    }
}
