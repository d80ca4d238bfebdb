//! Entries: what a log holds, one after another, without gaps in their index.
//!
//! Owns: the kinds of entries and the values that go in and come out. Never: looks into a payload, but for the header
//! of a record batch.

use bytes::Bytes;
use highwater_types::{EntryId, LeaderEpoch, Offset};

/// What an entry is. The numbers are on disk for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
#[non_exhaustive]
pub enum EntryKind {
    /// One record batch. The only kind that holds records and so moves offsets.
    Data = 1,
    /// Nothing: a new leader's first entry.
    Blank = 2,
    /// The members of the group from here on.
    Membership = 3,
    /// A change of the cluster's metadata.
    Metadata = 4,
    /// A change of a queue's state.
    GroupDelta = 5,
    /// A change of stream groups.
    Groups = 6,
    /// Where the records of a partition begin from here on.
    RecordsDeleted = 7,
}

impl EntryKind {
    /// The kind with this number, if there is one.
    #[must_use]
    pub const fn from_number(number: u8) -> Option<Self> {
        match number {
            1 => Some(Self::Data),
            2 => Some(Self::Blank),
            3 => Some(Self::Membership),
            4 => Some(Self::Metadata),
            5 => Some(Self::GroupDelta),
            6 => Some(Self::Groups),
            7 => Some(Self::RecordsDeleted),
            _ => None,
        }
    }

    /// Its number on disk.
    #[must_use]
    pub const fn number(self) -> u8 {
        self as u8
    }
}

/// An entry to be appended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewEntry {
    /// Its identity: the index after the log's last, a term not below the log's last.
    pub id: EntryId,
    /// What it is.
    pub kind: EntryKind,
    /// For [`EntryKind::Data`] exactly one record batch. Its base offset and leader epoch are stamped on the way to
    /// the disk; these bytes are not changed.
    pub payload: Bytes,
    /// The base offset that the leader gave this batch, if known. The log derives its own and refuses to differ.
    pub expected_base_offset: Option<Offset>,
}

/// An entry as it is in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its identity.
    pub id: EntryId,
    /// What it is.
    pub kind: EntryKind,
    /// The offset of its first record; for an entry without records, of the next record after it.
    pub base_offset: Offset,
    /// How many offsets it takes.
    pub record_count: u32,
    /// What was appended, stamped if it is a batch. A slice of the segment's map: no copy, and it keeps the map alive.
    pub payload: Bytes,
}

impl Entry {
    /// The leader epoch that its batch carries.
    #[must_use]
    pub fn leader_epoch(&self) -> LeaderEpoch {
        self.id.term.into()
    }

    /// The first offset after it.
    #[must_use]
    pub fn next_offset(&self) -> Offset {
        self.base_offset.saturating_add(u64::from(self.record_count))
    }
}

/// The membership of the group as the log knows it: the entry that set it and that entry's payload.
pub type MembershipEntry = (EntryId, Bytes);

/// A place in the log between two entries, with all that must be known to start after it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Boundary {
    /// The last entry before the boundary.
    pub id: EntryId,
    /// The offset of the first record after it.
    pub next_offset: Offset,
    /// The latest membership entry at or before `id`.
    pub membership: Option<MembershipEntry>,
}
