//! Where in a partition to start or stop reading.

use highwater_proto::v1;
use highwater_types::{Offset, Timestamp};

/// A place in a partition, named in one of four ways.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Position {
    /// At the first record that is kept.
    Start,
    /// After the last committed record: only what comes from now on.
    End,
    /// At the record with this offset.
    Offset(Offset),
    /// At the first record whose timestamp is this or later; where there is none, at the end.
    Timestamp(Timestamp),
}

impl From<Offset> for Position {
    fn from(offset: Offset) -> Self {
        Self::Offset(offset)
    }
}

impl From<Timestamp> for Position {
    fn from(timestamp: Timestamp) -> Self {
        Self::Timestamp(timestamp)
    }
}

impl Position {
    pub(crate) fn to_wire(self) -> v1::Position {
        use v1::position::{At, End, Start};
        let at = match self {
            Self::Start => At::Start(Start {}),
            Self::End => At::End(End {}),
            Self::Offset(offset) => At::Offset(offset.to_wire()),
            Self::Timestamp(timestamp) => At::TimestampMs(timestamp.as_ms()),
        };
        v1::Position { at: Some(at) }
    }
}
