//! A message of a queue, as the worker has it that it was given to.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use highwater_proto::v1;
use highwater_types::{PartitionId, TopicName};

use super::outcome::{MessageOutcome, Settle};
use crate::reader::ReadRecord;

/// What settles a message, as the server gave it out: worth something for as long as the lease stands.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct MessageToken(pub(crate) Bytes);

impl fmt::Debug for MessageToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MessageToken({} bytes)", self.0.len())
    }
}

/// A message that is with this program: a record, and what settles it.
///
/// ```
/// use highwater_client::QueueMessage;
/// fn describe(message: &QueueMessage) -> String {
///     let record = &message.record;
///     format!("{}-{} {}, attempt {}", record.topic, record.partition, record.offset, message.attempt)
/// }
/// # let _ = describe;
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct QueueMessage {
    /// The record: its place, time, key, value and headers.
    pub record: ReadRecord,
    /// Which attempt of its budget this is, from 1.
    pub attempt: u32,
    /// How long the lease lasts, from when the server sent it.
    pub lease: Duration,
    /// What settles it.
    pub token: MessageToken,
}

impl QueueMessage {
    /// The value; empty where there is none.
    #[must_use]
    pub fn value(&self) -> &[u8] {
        self.record.value.as_deref().unwrap_or_default()
    }

    /// The key, if there is one.
    #[must_use]
    pub fn key(&self) -> Option<&[u8]> {
        self.record.key.as_deref()
    }

    /// The value of the first header of this name.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&[u8]> {
        self.record.header(name)
    }

    /// It is done.
    pub fn ack(&self) -> Settle {
        self.settle(MessageOutcome::Ack)
    }

    /// It goes back, and that is nobody's fault: not counted as an attempt.
    pub fn release(&self) -> Settle {
        self.settle(MessageOutcome::Release)
    }

    /// The attempt failed; it rests as the back-off of the group says, and is tried again or dead.
    pub fn fail(&self, reason: impl fmt::Display) -> Settle {
        self.settle(MessageOutcome::fail(reason))
    }

    /// It need not be tried again: dead at once.
    pub fn reject(&self, reason: impl fmt::Display) -> Settle {
        self.settle(MessageOutcome::reject(reason))
    }

    /// It takes longer: the lease lasts so long from now on.
    pub fn extend(&self, lease: Duration) -> Settle {
        Settle::extend(self.token.clone(), lease)
    }

    /// Whatever a handler came to.
    pub fn settle(&self, outcome: MessageOutcome) -> Settle {
        Settle::new(self.token.clone(), outcome)
    }

    /// `None` where the server left out what belongs to a message.
    pub(crate) fn from_wire(topic: &TopicName, message: v1::QueueMessage) -> Option<Self> {
        Some(Self {
            record: ReadRecord::from_wire(topic, PartitionId::new(message.partition), message.record?)?,
            attempt: message.attempt,
            lease: Duration::from_millis(message.lease_ms),
            token: MessageToken(message.token),
        })
    }
}
