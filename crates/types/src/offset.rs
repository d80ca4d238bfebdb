//! Offsets: the position of a record in its partition.
//!
//! Invariant: an [`Offset`] never exceeds [`Offset::MAX`], so that it always fits the signed 64 bits of a record batch.

use std::fmt;

/// The position of one record in its partition, counted from 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Offset(u64);

impl Offset {
    /// The first offset of every partition.
    pub const ZERO: Self = Self(0);
    /// The largest offset: a record batch stores it as a signed 64-bit number.
    pub const MAX: Self = Self(i64::MAX as u64);

    /// An offset, or `None` above [`Offset::MAX`].
    #[must_use]
    pub const fn new(value: u64) -> Option<Self> {
        if value <= Self::MAX.0 { Some(Self(value)) } else { None }
    }

    /// An offset from its signed form on the wire; `None` for a negative number, which there means "no offset".
    #[must_use]
    pub const fn from_wire(value: i64) -> Option<Self> {
        if value >= 0 { Some(Self(value.unsigned_abs())) } else { None }
    }

    /// The number of records before this one.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The signed form that a record batch carries.
    #[must_use]
    pub const fn to_wire(self) -> i64 {
        self.0.cast_signed()
    }

    /// The offset `count` records further on; `None` when the log would be full.
    #[must_use]
    pub const fn checked_add(self, count: u64) -> Option<Self> {
        match self.0.checked_add(count) {
            Some(value) => Self::new(value),
            None => None,
        }
    }

    /// The offset `count` records further on, stopping at [`Offset::MAX`].
    #[must_use]
    pub const fn saturating_add(self, count: u64) -> Self {
        match self.checked_add(count) {
            Some(offset) => offset,
            None => Self::MAX,
        }
    }

    /// The offset `count` records earlier, stopping at 0.
    #[must_use]
    pub const fn saturating_sub(self, count: u64) -> Self {
        Self(self.0.saturating_sub(count))
    }

    /// How many records lie from `earlier` up to this one; 0 when `earlier` is later.
    #[must_use]
    pub const fn records_since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

impl fmt::Display for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The offsets from `start` up to but not including `end`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct OffsetRange {
    /// The first offset in the range.
    pub start: Offset,
    /// The first offset after the range; never before `start`.
    pub end: Offset,
}

impl OffsetRange {
    /// A range; one that would end before it starts is empty at `start`.
    #[must_use]
    pub fn new(start: Offset, end: Offset) -> Self {
        Self { start, end: end.max(start) }
    }

    /// How many records the range spans.
    #[must_use]
    pub const fn len(self) -> u64 {
        self.end.records_since(self.start)
    }

    /// Whether the range spans no record.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// Whether `offset` lies in the range.
    #[must_use]
    pub fn contains(self, offset: Offset) -> bool {
        self.start <= offset && offset < self.end
    }
}

impl fmt::Display for OffsetRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}..{}", self.start, self.end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offset_stays_inside_the_signed_range() {
        assert_eq!(Offset::new(u64::MAX), None);
        assert_eq!(Offset::MAX.checked_add(1), None);
        assert_eq!(Offset::MAX.saturating_add(1), Offset::MAX);
        assert_eq!(Offset::from_wire(-1), None);
        assert_eq!(Offset::MAX.to_wire(), i64::MAX);
    }

    #[test]
    fn a_range_never_ends_before_it_starts() {
        let range = OffsetRange::new(Offset(5), Offset(3));
        assert!(range.is_empty());
        assert!(!range.contains(Offset(4)));
        assert!(OffsetRange::new(Offset(3), Offset(5)).contains(Offset(4)));
    }
}
