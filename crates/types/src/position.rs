//! Positions in the Raft log below the records: index, term, and the leader epoch that users see.
//!
//! One *entry* of that log is a record batch or a control entry; control entries hold no records, so an index is not
//! an offset. An index never leaves the cluster; a term does, as the leader epoch.

use std::fmt;

/// A newtype around a plain number: `number! { /// What it is. Name(u64) }`.
#[macro_export]
macro_rules! number {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name($inner);

        impl $name {
            /// Wraps the plain number.
            #[must_use]
            pub const fn new(value: $inner) -> Self {
                Self(value)
            }

            /// The plain number.
            #[must_use]
            pub const fn get(self) -> $inner {
                self.0
            }
        }

        impl ::std::fmt::Display for $name {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                ::std::fmt::Display::fmt(&self.0, f)
            }
        }
    };
}

number! {
    /// The position of an entry in one Raft log, counted from 0.
    LogIndex(u64)
}

number! {
    /// The term of the leader that wrote an entry. Grows with each election.
    Term(u64)
}

number! {
    /// The term as a record batch carries it, in signed 32 bits (`partitionLeaderEpoch`).
    LeaderEpoch(i32)
}

impl LogIndex {
    /// The index after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl From<Term> for LeaderEpoch {
    /// One leader a term, so the term is the epoch. Two thousand million elections fit; past that it stays at the end.
    fn from(term: Term) -> Self {
        Self(i32::try_from(term.0).unwrap_or(i32::MAX))
    }
}

/// The identity of one entry: two logs that hold the same `EntryId` hold the same entry there, and the same before it.
///
/// Ordered by term, then by index.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EntryId {
    /// The term of the leader that wrote it.
    pub term: Term,
    /// Its position in the log.
    pub index: LogIndex,
}

impl EntryId {
    /// An entry id from plain numbers.
    #[must_use]
    pub const fn new(term: u64, index: u64) -> Self {
        Self { term: Term(term), index: LogIndex(index) }
    }
}

impl fmt::Display for EntryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.term, self.index)
    }
}
