//! What a command finds in its environment about its message.
//!
//! Invariant: a value that an environment cannot hold is left out, so that it keeps no message from being handled.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;

use highwater_client::QueueMessage;

const PREFIX: &str = "HIGHWATER_";
/// Linux takes no variable longer than 128 KiB, and not much more of all together.
const VALUE_BYTES_MAX: usize = 64 * 1024;

/// The variables of a message by name. Of headers that come to one name the first counts.
pub(super) fn variables(message: &QueueMessage) -> BTreeMap<String, OsString> {
    let record = &message.record;
    let mut found = BTreeMap::new();
    for header in &record.headers {
        let Some(value) = header.value.as_deref().and_then(value) else { continue };
        found.entry(format!("{PREFIX}HEADER_{}", name(header.name.as_str()))).or_insert(value);
    }
    if let Some(key) = record.key.as_deref().and_then(value) {
        found.insert(format!("{PREFIX}KEY"), key);
    }
    for (name, value) in [
        ("TOPIC", record.topic.as_str().to_owned()),
        ("PARTITION", record.partition.to_string()),
        ("OFFSET", record.offset.to_string()),
        ("TIMESTAMP", record.timestamp.to_string()),
        ("ATTEMPT", message.attempt.to_string()),
    ] {
        found.insert(format!("{PREFIX}{name}"), value.into());
    }
    found
}

/// A header's name as a variable's: `message-id` is `MESSAGE_ID`.
fn name(header: &str) -> String {
    header.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' }).collect()
}

fn value(bytes: &[u8]) -> Option<OsString> {
    let fits = bytes.len() <= VALUE_BYTES_MAX && !bytes.contains(&0);
    fits.then(|| OsString::from_vec(bytes.to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_becomes_a_name_that_shells_know() {
        assert_eq!(name("message-id"), "MESSAGE_ID");
        assert_eq!(name("x.Trace 9"), "X_TRACE_9");
        assert_eq!(name("größe"), "GR__E");
    }

    #[test]
    fn what_no_environment_holds_is_left_out() {
        assert_eq!(value(b"a\xffb"), Some(OsString::from_vec(b"a\xffb".to_vec())));
        assert_eq!(value(b""), Some(OsString::new()));
        assert_eq!(value(b"a\0b"), None);
        assert_eq!(value(&[b'x'; VALUE_BYTES_MAX + 1]), None);
    }
}
