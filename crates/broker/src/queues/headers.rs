//! The headers of a record that queues act on.
//!
//! Owns: their names and how their values are read. A value that cannot be read counts as absent: a stream reader may use the
//! name for something else, and a message must not get stuck over it.

use std::time::Duration;

use highwater_groups::queue::{KeyHash, Message, Priority, Tenant};
use highwater_types::Timestamp;
use highwater_types::batch::Record;

/// Not before this date.
const DELIVER_AT: &str = "deliver-at";
/// Not before so long after the record's timestamp.
const DELAY: &str = "delay";
/// Not from so long after the record's timestamp on.
const TTL: &str = "ttl";
/// 0 to 9, 9 first.
const PRIORITY: &str = "priority";
/// Whom it belongs to.
const TENANT: &str = "tenant";
/// What it is found by.
pub(crate) const MESSAGE_ID: &str = "message-id";

/// What a queue needs to know of a record.
pub(super) fn message_of(record: &Record) -> Message {
    let mut message =
        Message { key: record.key.as_deref().map(|key| KeyHash::new(hash(key))), ..Message::plain(record.offset) };
    for header in &record.headers {
        let Some(value) = header.value.as_deref() else { continue };
        let text = std::str::from_utf8(value).map(str::trim).unwrap_or_default();
        let later = |by: u64| record.timestamp.as_ms().checked_add_unsigned(by).map(Timestamp::from_ms);
        match header.name.as_str() {
            DELIVER_AT => message.deliver_at = date_of(text).or(message.deliver_at),
            DELAY => message.deliver_at = span_ms(text).and_then(later).or(message.deliver_at),
            TTL => message.expires_at = span_ms(text).and_then(later).or(message.expires_at),
            PRIORITY => message.priority = text.parse().map(Priority::new).unwrap_or(message.priority),
            TENANT => message.tenant = Tenant::new(hash(value)),
            _ => {}
        }
    }
    message
}

/// Milliseconds, or a span with its unit.
fn span_ms(text: &str) -> Option<u64> {
    if let Ok(ms) = text.parse() {
        return Some(ms);
    }
    humantime::parse_duration(text).ok().and_then(|span: Duration| u64::try_from(span.as_millis()).ok())
}

/// Milliseconds since the epoch, or RFC 3339.
fn date_of(text: &str) -> Option<Timestamp> {
    if let Ok(ms) = text.parse() {
        return Some(Timestamp::from_ms(ms));
    }
    let date = humantime::parse_rfc3339(text).ok()?;
    let since = date.duration_since(std::time::UNIX_EPOCH).ok()?;
    i64::try_from(since.as_millis()).ok().map(Timestamp::from_ms)
}

/// FNV-1a, 64 bits: the same on every node and in every version, which a new leader relies on for nothing, and people who
/// look at two nodes do.
fn hash(bytes: &[u8]) -> u64 {
    const BASIS: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0000_0100_0000_01b3;
    bytes.iter().fold(BASIS, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(PRIME))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use highwater_types::Offset;
    use highwater_types::batch::{BatchBuilder, Compression, records};

    use super::*;

    fn read(headers: &[(&str, &str)]) -> Message {
        let mut builder = BatchBuilder::new(Compression::None);
        let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, Some(value.as_bytes()))).collect();
        builder.append(Timestamp::from_ms(1_000), Some(b"k"), None, &headers).unwrap();
        let record = records(Bytes::from(builder.finish().unwrap().to_vec())).unwrap().next().unwrap().unwrap();
        message_of(&record)
    }

    #[test]
    fn dates_spans_and_priorities() {
        let at = |ms| Some(Timestamp::from_ms(ms));
        assert_eq!(read(&[("delay", "500")]).deliver_at, at(1_500));
        assert_eq!(read(&[("delay", "2m")]).deliver_at, at(121_000));
        assert_eq!(read(&[("deliver-at", "1970-01-01T00:01:00Z")]).deliver_at, at(60_000));
        assert_eq!(read(&[("deliver-at", "77")]).deliver_at, at(77));
        assert_eq!(read(&[("ttl", "1s")]).expires_at, at(2_000));
        assert_eq!(read(&[("priority", "9")]).priority, Priority::MAX);
        assert_ne!(read(&[("tenant", "a")]).tenant, read(&[("tenant", "b")]).tenant);
        assert_eq!(read(&[]).key, Some(KeyHash::new(hash(b"k"))));
    }

    #[test]
    fn what_cannot_be_read_counts_as_absent() {
        let plain = read(&[]);
        for (name, value) in
            [("delay", "soon"), ("deliver-at", "tomorrow"), ("ttl", "-1"), ("priority", "high"), ("Delay", "5")]
        {
            assert_eq!(read(&[(name, value)]), plain, "{name}: {value}");
        }
        assert_eq!(plain.offset, Offset::ZERO);
    }
}
