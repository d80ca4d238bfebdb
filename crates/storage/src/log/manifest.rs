//! The manifest: which segments belong to a log, where each ends, and how far the last one is known to be durable.
//!
//! Owns: the payload of the sealed file `manifest`. Never: lists a segment whose header or listed end is not durable.
//!
//! Little endian. An id is its term and its index, 8 bytes each.
//!
//! | bytes | field |
//! |---|---|
//! | 20 | log key |
//! | 8 | the number that the next segment will get |
//! | 1 | tail: 0 sealed, 1 open, 2 closed cleanly |
//! | 1 | bit 0: something was purged; bit 1: there is a membership |
//! | 2 | zero |
//! | 4 | how many segments |
//! | 16 | id of the last purged entry |
//! | 8 | the first offset still kept |
//! | 16 | id of the membership entry; only when no segment is left |
//! | 4 | length of its payload |
//! | n | its payload |
//! | 80 each | segments: number, first index, first offset, end position, id of the last entry, next offset, max timestamp, position of the last membership entry or 0, zero |
//!
//! Invariants, checked when it is read: numbers grow and lie below the next one; each segment begins where the one
//! before ends, in index and in offset; terms do not go back; the purged entry lies before the end of the first segment.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use highwater_types::{EntryId, LogIndex, Offset, Timestamp};

use super::file_name::SegmentNumber;
use super::segment_header::{MEMBERSHIP_BYTES_MAX, SEGMENT_HEADER_BYTES_MIN, get_id, put_id};
use crate::entry::MembershipEntry;
use crate::frame::length_on_disk;
use crate::log_key::{LOG_KEY_BYTES, LogKey};

const HAS_PURGED: u8 = 1;
const HAS_MEMBERSHIP: u8 = 2;
const FIXED_BYTES: usize = LOG_KEY_BYTES + 8 + 4 + 4 + 16 + 8 + 16 + 4;
const SEGMENT_BYTES: usize = 80;

/// Where a segment ends, and what is known of the entries before that end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentEnd {
    /// The first byte after the last frame.
    pub position: u64,
    /// The last entry.
    pub last: EntryId,
    /// The first offset after the last record.
    pub next_offset: Offset,
    /// The largest timestamp of any record; `None` when there are no records.
    pub max_timestamp: Option<Timestamp>,
    /// Where the last membership entry lies, if there is one.
    pub membership_position: Option<u64>,
}

/// A segment as the manifest knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentFacts {
    /// Its number.
    pub number: SegmentNumber,
    /// The index of its first entry.
    pub base_index: LogIndex,
    /// The offset of its first record.
    pub base_offset: Offset,
    /// Where it ends. Of an open segment: how far it is known to be durable.
    pub end: SegmentEnd,
}

/// What may follow the listed end of the last segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tail {
    /// Nothing that counts: the next entry goes to a new segment.
    Sealed,
    /// Perhaps more entries: they must be looked for.
    Open,
    /// Nothing: the log was closed in order. The segment can be appended to.
    Clean,
}

/// What the manifest says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// The log.
    pub key: LogKey,
    /// One more than the largest number of any segment that was ever listed.
    pub next_segment: SegmentNumber,
    /// The last entry that was purged.
    pub purged: Option<EntryId>,
    /// The first offset still kept.
    pub log_start: Offset,
    /// The latest membership, when no segment is left to say it.
    pub membership: Option<MembershipEntry>,
    /// The segments, oldest first.
    pub segments: Vec<SegmentFacts>,
    /// What may follow the last one's end.
    pub tail: Tail,
}

/// Bytes that are not a manifest, although their checksum is right.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadManifest(pub &'static str);

impl Manifest {
    /// The manifest of a log without entries.
    #[must_use]
    pub const fn empty(key: LogKey) -> Self {
        Self {
            key,
            next_segment: SegmentNumber::FIRST,
            purged: None,
            log_start: Offset::ZERO,
            membership: None,
            segments: Vec::new(),
            tail: Tail::Sealed,
        }
    }

    /// The payload of the sealed file.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let (membership_id, membership) = self.membership.clone().unwrap_or_default();
        let mut out = BytesMut::with_capacity(FIXED_BYTES + membership.len() + self.segments.len() * SEGMENT_BYTES);
        let mut flags = if self.purged.is_some() { HAS_PURGED } else { 0 };
        flags |= if self.membership.is_some() { HAS_MEMBERSHIP } else { 0 };
        out.put_slice(&self.key.to_bytes());
        out.put_u64_le(self.next_segment.get());
        out.put_u8(match self.tail {
            Tail::Sealed => 0,
            Tail::Open => 1,
            Tail::Clean => 2,
        });
        out.put_slice(&[flags, 0, 0]);
        out.put_u32_le(length_on_disk(self.segments.len()));
        put_id(&mut out, self.purged.unwrap_or_default());
        out.put_u64_le(self.log_start.get());
        put_id(&mut out, membership_id);
        out.put_u32_le(length_on_disk(membership.len()));
        out.put_slice(&membership);
        for segment in &self.segments {
            segment.encode(&mut out);
        }
        out.freeze()
    }

    /// Back from [`Self::encode`].
    ///
    /// # Errors
    /// What makes no sense in it.
    pub fn decode(payload: &[u8]) -> Result<Self, BadManifest> {
        let manifest = Self::decode_fields(payload).ok_or(BadManifest("a field of the manifest makes no sense"))?;
        manifest.check()?;
        Ok(manifest)
    }

    fn decode_fields(payload: &[u8]) -> Option<Self> {
        let (key, mut rest) = payload.split_first_chunk::<LOG_KEY_BYTES>()?;
        let next_segment = SegmentNumber::new(rest.try_get_u64_le().ok()?);
        let tail = match rest.try_get_u8().ok()? {
            0 => Tail::Sealed,
            1 => Tail::Open,
            2 => Tail::Clean,
            _ => return None,
        };
        let flags = rest.try_get_u8().ok()?;
        let zero = rest.try_get_u16_le().ok()?;
        let count = rest.try_get_u32_le().ok()? as usize;
        let purged = get_id(&mut rest)?;
        let log_start = Offset::new(rest.try_get_u64_le().ok()?)?;
        let membership_id = get_id(&mut rest)?;
        let membership_bytes = rest.try_get_u32_le().ok()? as usize;
        let (membership, mut rest) = rest.split_at_checked(membership_bytes)?;
        let is_whole = count.checked_mul(SEGMENT_BYTES) == Some(rest.len());
        if zero != 0 || flags > HAS_PURGED | HAS_MEMBERSHIP || membership_bytes > MEMBERSHIP_BYTES_MAX || !is_whole {
            return None;
        }
        let segments = std::iter::from_fn(|| rest.has_remaining().then(|| SegmentFacts::decode(&mut rest)))
            .collect::<Option<Vec<_>>>()?;
        Some(Self {
            key: LogKey::from_bytes(*key),
            next_segment,
            purged: (flags & HAS_PURGED != 0).then_some(purged),
            log_start,
            membership: (flags & HAS_MEMBERSHIP != 0).then(|| (membership_id, Bytes::copy_from_slice(membership))),
            segments,
            tail,
        })
    }

    /// The invariants of the module's doc.
    fn check(&self) -> Result<(), BadManifest> {
        for segment in &self.segments {
            segment.check()?;
        }
        for (one, next) in self.segments.iter().zip(self.segments.iter().skip(1)) {
            if next.number <= one.number {
                return Err(BadManifest("its segments are out of order"));
            }
            if next.base_index != one.end.last.index.next() || next.base_offset != one.end.next_offset {
                return Err(BadManifest("there is a gap between two of its segments"));
            }
            if next.end.last.term < one.end.last.term {
                return Err(BadManifest("a later segment has an earlier term"));
            }
        }
        if self.segments.last().is_some_and(|last| last.number >= self.next_segment) {
            return Err(BadManifest("it lists a segment above its own next number"));
        }
        match self.segments.first() {
            None if self.tail != Tail::Sealed => Err(BadManifest("it has an open segment but no segments")),
            Some(first) if self.log_start > first.end.next_offset || self.log_start < first.base_offset => {
                Err(BadManifest("its first offset is not in its first segment"))
            }
            Some(first) if self.purged.is_some_and(|purged| !first.continues(purged)) => {
                Err(BadManifest("its last purged entry does not fit its first segment"))
            }
            _ => Ok(()),
        }
    }
}

impl SegmentFacts {
    fn encode(&self, out: &mut BytesMut) {
        out.put_u64_le(self.number.get());
        out.put_u64_le(self.base_index.get());
        out.put_u64_le(self.base_offset.get());
        out.put_u64_le(self.end.position);
        put_id(out, self.end.last);
        out.put_u64_le(self.end.next_offset.get());
        // No record can carry the smallest number, so it can stand for "no records".
        out.put_i64_le(self.end.max_timestamp.map_or(i64::MIN, Timestamp::as_ms));
        out.put_u64_le(self.end.membership_position.unwrap_or(0));
        out.put_u64_le(0);
    }

    fn decode(from: &mut &[u8]) -> Option<Self> {
        let number = SegmentNumber::new(from.try_get_u64_le().ok()?);
        let base_index = LogIndex::new(from.try_get_u64_le().ok()?);
        let base_offset = Offset::new(from.try_get_u64_le().ok()?)?;
        let position = from.try_get_u64_le().ok()?;
        let last = get_id(from)?;
        let next_offset = Offset::new(from.try_get_u64_le().ok()?)?;
        let max_timestamp = from.try_get_i64_le().ok()?;
        let membership_position = from.try_get_u64_le().ok()?;
        let zero = from.try_get_u64_le().ok()?;
        let end = SegmentEnd {
            position,
            last,
            next_offset,
            max_timestamp: (max_timestamp != i64::MIN).then(|| Timestamp::from_ms(max_timestamp)),
            membership_position: (membership_position != 0).then_some(membership_position),
        };
        (zero == 0).then_some(Self { number, base_index, base_offset, end })
    }

    fn check(&self) -> Result<(), BadManifest> {
        let end = &self.end;
        let smallest = SEGMENT_HEADER_BYTES_MIN as u64;
        if end.position < smallest || end.position > u64::from(u32::MAX) {
            return Err(BadManifest("a segment ends where none can end"));
        }
        if end.last.index < self.base_index || end.next_offset < self.base_offset {
            return Err(BadManifest("a segment ends before it begins"));
        }
        if end.membership_position.is_some_and(|at| at < smallest || at >= end.position) {
            return Err(BadManifest("a membership entry lies outside its segment"));
        }
        Ok(())
    }

    /// Whether a log whose last purged entry is `purged` can go on in this segment.
    fn continues(&self, purged: EntryId) -> bool {
        purged.index.next() >= self.base_index
            && purged.index < self.end.last.index
            && purged.term <= self.end.last.term
    }
}

#[cfg(test)]
#[path = "manifest/tests.rs"]
mod tests;
