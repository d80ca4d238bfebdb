//! Names and numbers of things: topics, partitions, nodes, producers.
//!
//! Every id that came from outside is checked once, where its type is made; code that holds one need not check again.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use uuid::Uuid;

use crate::limits;
use crate::number;

number! {
    /// A partition of a topic, counted from 0.
    PartitionId(u32)
}

number! {
    /// A node of the cluster. Handed out by the cluster, never used again after a wipe.
    NodeId(u64)
}

number! {
    /// An idempotent producer, as a record batch carries it.
    ProducerId(i64)
}

number! {
    /// The incarnation of a producer; a higher one fences a lower one.
    ProducerEpoch(i16)
}

number! {
    /// The sequence number of a record in one partition from one producer; wraps from `i32::MAX` to 0.
    Sequence(i32)
}

impl ProducerId {
    /// "No producer id": the batch is not idempotent.
    pub const NONE: Self = Self::new(-1);
}

impl ProducerEpoch {
    /// "No epoch": goes with [`ProducerId::NONE`].
    pub const NONE: Self = Self::new(-1);
}

impl Sequence {
    /// "No sequence": goes with [`ProducerId::NONE`].
    pub const NONE: Self = Self::new(-1);

    /// The sequence `count` records further on, wrapping from `i32::MAX` to 0 as Kafka's clients do.
    #[must_use]
    pub fn wrapping_add(self, count: u32) -> Self {
        let wide = (i64::from(self.get()) + i64::from(count)) % (i64::from(i32::MAX) + 1);
        Self::new(i32::try_from(wide).unwrap_or(0))
    }
}

macro_rules! unique {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Uuid);

        impl $name {
            /// Wraps a UUID.
            #[must_use]
            pub const fn new(value: Uuid) -> Self {
                Self(value)
            }

            /// From its 16 bytes on disk or on the wire.
            #[must_use]
            pub const fn from_bytes(bytes: [u8; 16]) -> Self {
                Self(Uuid::from_bytes(bytes))
            }

            /// Its 16 bytes on disk or on the wire.
            #[must_use]
            pub const fn to_bytes(self) -> [u8; 16] {
                self.0.into_bytes()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

unique! {
    /// A topic for as long as it exists; a topic created again under the same name has another id.
    TopicId
}

unique! {
    /// The cluster that a data directory belongs to.
    ClusterId
}

unique! {
    /// A data directory: made once, when a node first starts on it.
    NodeUuid
}

/// The name of a topic: 1 to 249 of `a-z A-Z 0-9 . _ -`, and neither `.` nor `..`, as in Kafka.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicName(Arc<str>);

impl TopicName {
    /// Checks and wraps a name.
    ///
    /// # Errors
    /// When the name is empty, too long, a dot name, or holds another character.
    pub fn new(name: &str) -> Result<Self, TopicNameError> {
        if name.is_empty() {
            return Err(TopicNameError::Empty);
        }
        if name.len() > limits::TOPIC_NAME_BYTES_MAX {
            return Err(TopicNameError::TooLong { bytes: name.len() });
        }
        if name == "." || name == ".." {
            return Err(TopicNameError::Dots);
        }
        match name.chars().find(|c| !(c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'))) {
            Some(character) => Err(TopicNameError::BadCharacter { character }),
            None => Ok(Self(Arc::from(name))),
        }
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for TopicName {
    type Err = TopicNameError;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::new(name)
    }
}

impl fmt::Display for TopicName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for TopicName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TopicName({:?})", &*self.0)
    }
}

/// Why a text is no topic name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TopicNameError {
    /// It has no characters.
    #[error("a topic name cannot be empty")]
    Empty,
    /// It has too many characters.
    #[error("a topic name has at most {} characters, this one has {bytes}", limits::TOPIC_NAME_BYTES_MAX)]
    TooLong {
        /// Its length.
        bytes: usize,
    },
    /// It is `.` or `..`.
    #[error("a topic name cannot be '.' or '..'")]
    Dots,
    /// It holds a character that is not allowed.
    #[error("a topic name holds only a-z, A-Z, 0-9, '.', '_' and '-', not {character:?}")]
    BadCharacter {
        /// The first such character.
        character: char,
    },
}

/// One partition of one topic, by id: the name of a log inside the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicPartition {
    /// The topic.
    pub topic: TopicId,
    /// The partition of it.
    pub partition: PartitionId,
}

impl fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.topic, self.partition)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topic_names_are_checked_once() {
        assert!(TopicName::new("orders.v2_eu-west").is_ok());
        assert_eq!(TopicName::new(""), Err(TopicNameError::Empty));
        assert_eq!(TopicName::new(".."), Err(TopicNameError::Dots));
        assert_eq!(TopicName::new("a/b"), Err(TopicNameError::BadCharacter { character: '/' }));
        assert_eq!(TopicName::new(&"x".repeat(250)), Err(TopicNameError::TooLong { bytes: 250 }));
        assert!(TopicName::new(&"x".repeat(249)).is_ok());
    }

    #[test]
    fn a_sequence_wraps_to_zero() {
        assert_eq!(Sequence::new(i32::MAX).wrapping_add(1), Sequence::new(0));
        assert_eq!(Sequence::new(i32::MAX - 1).wrapping_add(3), Sequence::new(1));
        assert_eq!(Sequence::new(7).wrapping_add(0), Sequence::new(7));
    }
}
