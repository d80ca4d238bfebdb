//! What the engine is told of a message, and what it asks to be told: the seam between the log and the queue.
//!
//! The caller reads the log ahead of the workers, a part at a time, and offers what a queue needs of each message's
//! headers. The engine says which part it wants next ([`Desk::wanted`](super::Desk::wanted)): past what it has looked
//! at, never what is done, and again what was dead and is redriven. Of a message that is done nothing is kept.

use highwater_types::{Offset, OffsetRange, Timestamp};

use super::ids::{KeyHash, Priority, Tenant};

/// What the engine is told of a message. Times are absolute: a delay counts from the timestamp of the record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message {
    /// Where it is.
    pub offset: Offset,
    /// Its key.
    pub key: Option<KeyHash>,
    /// Which goes first.
    pub priority: Priority,
    /// Whom it belongs to.
    pub tenant: Tenant,
    /// Not before this.
    pub deliver_at: Option<Timestamp>,
    /// Not from this on.
    pub expires_at: Option<Timestamp>,
}

impl Message {
    /// A message that says nothing.
    #[must_use]
    pub fn plain(offset: Offset) -> Self {
        Self {
            offset,
            key: None,
            priority: Priority::DEFAULT,
            tenant: Tenant::default(),
            deliver_at: None,
            expires_at: None,
        }
    }
}

/// A part of the log, read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scan {
    /// From where to where. It may be shorter than what was wanted, and starts where that did.
    pub range: OffsetRange,
    /// The messages in it, by offset. An offset that is not among them holds no message.
    pub messages: Vec<Message>,
}
