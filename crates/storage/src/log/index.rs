//! The sparse index of a segment: from an entry, an offset or a time to a place near it.
//!
//! Owns: the points, in memory while the segment is active and in the file `.index` once it is sealed. Never: is the
//! truth. It is rebuilt from the frames when its file is missing or does not match.
//!
//! A point is made at the first frame, and then at the first frame that begins at least an interval after the last
//! point. Points are sorted by every field, so each lookup is one binary search.
//!
//! The file, little endian:
//!
//! | at | bytes | field |
//! |---|---|---|
//! | 0 | 8 | magic `HWINDEX_` |
//! | 8 | 2 | version = 1 |
//! | 10 | 2 | zero |
//! | 12 | 4 | CRC-32 of bytes 0 to 11 and of byte 16 to the end |
//! | 16 | 8 | segment number |
//! | 24 | 4 | checksum of the segment's header |
//! | 28 | 4 | end position of the segment when the index was written |
//! | 32 | 8 | index of the segment's first entry |
//! | 40 | 24 each | points: offset, max timestamp of the frames before it, index relative to the first, position |

use std::path::Path;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use highwater_types::{LogIndex, Offset, Timestamp};

use super::file_name::SegmentNumber;
use crate::disk::Disk;
use crate::frame::checksum;

/// The version that is written, and the only one that is read; another is rebuilt.
pub const INDEX_VERSION: u16 = 1;

const MAGIC: [u8; 8] = *b"HWINDEX_";
const CRC_AT: usize = 12;
const HEADER_BYTES: usize = 40;
const POINT_BYTES: usize = 24;
/// "No record before it": no record carries the smallest number.
const NO_TIMESTAMP: i64 = i64::MIN;

/// A frame that can be found without walking to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Point {
    /// The offset of the first record at or after the frame.
    pub offset: Offset,
    /// The largest timestamp of the records before the frame, in the same segment.
    pub max_timestamp_before: Option<Timestamp>,
    /// The index of the frame's entry.
    pub index: LogIndex,
    /// Where the frame begins.
    pub position: u64,
}

/// What the index file belongs to. All must match, or the file is of no use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IndexOwner {
    /// The segment.
    pub number: SegmentNumber,
    /// The checksum of its header.
    pub salt: u32,
    /// The index of its first entry.
    pub base_index: LogIndex,
}

/// Points in order of position: in memory, or as they lie in a verified file.
#[derive(Debug)]
pub enum Index {
    /// Of the active segment, or rebuilt.
    Memory(Vec<Point>),
    /// Of a sealed segment: the points as they lie in the file's map, so that they cost no memory of ours.
    Mapped {
        /// The bytes of the points.
        points: Bytes,
        /// What relative indexes count from.
        base_index: LogIndex,
    },
}

impl Default for Index {
    fn default() -> Self {
        Self::Memory(Vec::new())
    }
}

impl Index {
    fn len(&self) -> usize {
        match self {
            Self::Memory(points) => points.len(),
            Self::Mapped { points, .. } => points.len() / POINT_BYTES,
        }
    }

    fn get(&self, at: usize) -> Option<Point> {
        match self {
            Self::Memory(points) => points.get(at).copied(),
            Self::Mapped { points, base_index } => {
                let start = at.checked_mul(POINT_BYTES)?;
                decode_point(points.get(start..start + POINT_BYTES)?, *base_index)
            }
        }
    }

    /// How many points there are before the first that is not `before`.
    fn partition_point(&self, before: impl Fn(&Point) -> bool) -> usize {
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = low + (high - low) / 2;
            match self.get(middle) {
                Some(point) if before(&point) => low = middle + 1,
                _ => high = middle,
            }
        }
        low
    }

    /// The last point for which `at_or_before` holds; it must hold for a prefix of the points.
    #[must_use]
    pub fn last_where(&self, at_or_before: impl Fn(&Point) -> bool) -> Option<Point> {
        self.get(self.partition_point(at_or_before).checked_sub(1)?)
    }

    /// The same points in memory, to which more can be added.
    #[must_use]
    pub fn into_memory(self) -> Self {
        Self::Memory((0..self.len()).filter_map(|at| self.get(at)).collect())
    }

    /// Adds a point if the last one lies at least `interval_bytes` before it. Does nothing to a mapped index.
    pub fn offer(&mut self, point: Point, interval_bytes: u32) {
        if let Self::Memory(points) = self {
            let due = points.last().is_none_or(|last| point.position - last.position >= u64::from(interval_bytes));
            if due {
                points.push(point);
            }
        }
    }

    /// Forgets the points at and after `position`.
    pub fn cut(&mut self, position: u64) {
        let kept = self.partition_point(|point| point.position < position);
        match self {
            Self::Memory(points) => points.truncate(kept),
            Self::Mapped { points, .. } => points.truncate(kept * POINT_BYTES),
        }
    }

    /// The bytes of the file for a segment that ends at `end_position`.
    #[must_use]
    pub fn encode(&self, owner: IndexOwner, end_position: u64) -> Bytes {
        let mut body = BytesMut::with_capacity(HEADER_BYTES + self.len() * POINT_BYTES);
        body.put_u64_le(owner.number.get());
        body.put_u32_le(owner.salt);
        body.put_u32_le(small(end_position));
        body.put_u64_le(owner.base_index.get());
        for point in (0..self.len()).filter_map(|at| self.get(at)) {
            body.put_u64_le(point.offset.get());
            body.put_i64_le(point.max_timestamp_before.map_or(NO_TIMESTAMP, Timestamp::as_ms));
            body.put_u32_le(small(point.index.get() - owner.base_index.get()));
            body.put_u32_le(small(point.position));
        }
        let mut out = BytesMut::with_capacity(16 + body.len());
        out.put_slice(&MAGIC);
        out.put_u16_le(INDEX_VERSION);
        out.put_u16_le(0);
        out.put_u32_le(checksum(0, &[out.get(..CRC_AT).unwrap_or_default(), &body]));
        out.put_slice(&body);
        out.freeze()
    }

    /// The index in `file`, if it is sound and belongs to `owner` ending at `end_position`. Anything else is `None`:
    /// the caller rebuilds.
    #[must_use]
    pub fn decode(file: &Bytes, owner: IndexOwner, end_position: u64) -> Option<Self> {
        let (front, rest) = file.split_at_checked(CRC_AT)?;
        let (crc, mut body) = rest.split_first_chunk::<4>()?;
        let is_ours = front.starts_with(&MAGIC) && front.get(8..) == Some(&[1, 0, 0, 0]);
        if !is_ours || checksum(0, &[front, body]) != u32::from_le_bytes(*crc) {
            return None;
        }
        let found = IndexOwner {
            number: SegmentNumber::new(body.try_get_u64_le().ok()?),
            salt: body.try_get_u32_le().ok()?,
            base_index: owner.base_index,
        };
        let found_end = u64::from(body.try_get_u32_le().ok()?);
        let base_index = LogIndex::new(body.try_get_u64_le().ok()?);
        let is_whole = !body.is_empty() && body.len().is_multiple_of(POINT_BYTES);
        if found != owner || base_index != owner.base_index || found_end != end_position || !is_whole {
            return None;
        }
        Some(Self::Mapped { points: file.slice(HEADER_BYTES..), base_index })
    }
}

/// The index in the file at `path`, if there is one that belongs to `owner` ending at `end_position`. An unreadable one
/// is as good as none: the caller rebuilds.
pub(super) fn read_file(disk: &dyn Disk, path: &Path, owner: IndexOwner, end_position: u64) -> Option<Index> {
    let file = disk.open_read_only(path).ok()?;
    let size = file.size().ok().filter(|size| *size > 0)?;
    let view = file.map(size).ok()?;
    Index::decode(&view.slice(0..size), owner, end_position)
}

/// Positions and relative indexes fit: a segment is below 4 GiB.
fn small(value: u64) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}

fn decode_point(mut from: &[u8], base_index: LogIndex) -> Option<Point> {
    let offset = Offset::new(from.try_get_u64_le().ok()?)?;
    let max_timestamp = from.try_get_i64_le().ok()?;
    let relative = from.try_get_u32_le().ok()?;
    let position = u64::from(from.try_get_u32_le().ok()?);
    Some(Point {
        offset,
        max_timestamp_before: (max_timestamp != NO_TIMESTAMP).then(|| Timestamp::from_ms(max_timestamp)),
        index: LogIndex::new(base_index.get().checked_add(u64::from(relative))?),
        position,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWNER: IndexOwner = IndexOwner { number: SegmentNumber::new(3), salt: 77, base_index: LogIndex::new(50) };

    fn point(at: u32) -> Point {
        let ms = i64::from(at) * 100 - 250;
        let at = u64::from(at);
        Point {
            offset: Offset::new(500 + at * 7).unwrap(),
            max_timestamp_before: (at > 0).then(|| Timestamp::from_ms(ms)),
            index: LogIndex::new(50 + at),
            position: 112 + at * 64,
        }
    }

    fn sample() -> Index {
        let mut index = Index::default();
        (0..100).for_each(|at| index.offer(point(at), 128));
        index
    }

    #[test]
    fn points_keep_their_distance_and_are_found() {
        let index = sample();
        assert_eq!(index.len(), 50);
        let find =
            |wanted| index.last_where(|point| point.index <= LogIndex::new(wanted)).map(|point| point.index.get());
        assert_eq!(
            (find(49), find(50), find(51), find(52), find(900)),
            (None, Some(50), Some(50), Some(52), Some(148))
        );
    }

    #[test]
    fn the_file_finds_the_same_and_takes_no_copy() {
        let memory = sample();
        let file = memory.encode(OWNER, 9000);
        let mapped = Index::decode(&file, OWNER, 9000).unwrap();
        assert!((0..51).all(|at| memory.get(at) == mapped.get(at)));
        assert!(matches!(&mapped, Index::Mapped { points, .. } if points.as_ptr() == file[HEADER_BYTES..].as_ptr()));
    }

    #[test]
    fn a_cut_forgets_what_lies_after_it() {
        let mut memory = sample();
        let mut mapped = Index::decode(&memory.encode(OWNER, 9000), OWNER, 9000).unwrap();
        memory.cut(112 + 10 * 64);
        mapped.cut(112 + 10 * 64);
        assert_eq!((memory.len(), mapped.len()), (5, 5));
    }

    #[test]
    fn a_file_that_does_not_match_in_every_way_is_of_no_use() {
        let file = sample().encode(OWNER, 9000);
        assert!(Index::decode(&file, OWNER, 8999).is_none());
        assert!(Index::decode(&file, IndexOwner { number: SegmentNumber::new(4), ..OWNER }, 9000).is_none());
        assert!(Index::decode(&file, IndexOwner { salt: 78, ..OWNER }, 9000).is_none());
        assert!(Index::decode(&file, IndexOwner { base_index: LogIndex::new(51), ..OWNER }, 9000).is_none());
        assert!(Index::decode(&file.slice(..file.len() - 1), OWNER, 9000).is_none());
        assert!(Index::decode(&Bytes::new(), OWNER, 9000).is_none());
        for bit in 0..file.len() * 8 {
            let mut flipped = file.to_vec();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(Index::decode(&flipped.into(), OWNER, 9000).is_none(), "bit {bit}");
        }
    }
}
