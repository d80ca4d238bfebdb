//! Walking from frame to frame in a segment's map.
//!
//! Owns: the checks that a frame passes before anything of it is served. Never: reads beyond the end that it was given,
//! or touches a payload that was verified before.

use std::sync::Arc;

use bytes::Bytes;
use highwater_types::batch::BatchHeader;
use highwater_types::{LogIndex, Offset, Timestamp};

use super::error::{Corrupt, CorruptCause, ReadError};
use super::index::Point;
use super::segment::Segment;
use crate::disk::FileView;
use crate::entry::{Entry, EntryKind};
use crate::frame::{FRAME_HEADER_BYTES, FrameError, FrameHeader};

/// A frame that a cursor has passed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Frame {
    pub(super) header: FrameHeader,
    /// Where it begins in the segment.
    pub(super) position: u64,
    /// The offset of its first record, or of the next record if it has none.
    pub(super) base_offset: Offset,
}

impl Frame {
    pub(super) fn end(&self) -> u64 {
        self.position + self.header.aligned_bytes()
    }

    pub(super) fn next_offset(&self) -> Offset {
        self.base_offset.saturating_add(u64::from(self.header.record_count))
    }
}

/// A place between two frames of a segment.
pub(super) struct Cursor<'segment> {
    segment: &'segment Segment,
    view: Arc<dyn FileView>,
    /// The bytes from `start` to `end` of the segment.
    bytes: Bytes,
    start: u64,
    end: u64,
    position: u64,
    /// What the next frame must have.
    index: LogIndex,
    offset: Offset,
}

impl<'segment> Cursor<'segment> {
    /// From an indexed frame up to `end`, which must have been published.
    pub(super) fn at(segment: &'segment Segment, point: Point, end: u64) -> Result<Self, ReadError> {
        let start = point.position.min(end);
        let view = segment.view()?;
        let bytes = view.slice(start..end);
        Ok(Self { segment, view, bytes, start, end, position: start, index: point.index, offset: point.offset })
    }

    /// From the first frame up to `end`.
    pub(super) fn first(segment: &'segment Segment, end: u64) -> Result<Self, ReadError> {
        let point = Point {
            offset: segment.header.base_offset,
            max_timestamp_before: None,
            index: segment.header.base_index,
            position: segment.first_position,
        };
        Self::at(segment, point, end)
    }

    fn corrupt(&self, cause: CorruptCause) -> ReadError {
        Corrupt::new(&self.segment.path, self.position, cause).into()
    }

    fn within(&self, position: u64, length: u64) -> Option<Bytes> {
        let from = usize::try_from(position.checked_sub(self.start)?).ok()?;
        let to = from.checked_add(usize::try_from(length).ok()?)?;
        (to <= self.bytes.len()).then(|| self.bytes.slice(from..to))
    }

    /// The next frame; `None` at the end.
    #[allow(clippy::should_implement_trait)] // fallible, and borrows nothing
    pub(super) fn next(&mut self) -> Result<Option<Frame>, ReadError> {
        if self.position >= self.end {
            return Ok(None);
        }
        let from = usize::try_from(self.position - self.start).unwrap_or(usize::MAX);
        let rest = self.bytes.get(from..).unwrap_or_default();
        self.view.will_touch(self.position..self.position + FRAME_HEADER_BYTES as u64);
        let header = FrameHeader::read(rest);
        let trusted =
            header.is_ok_and(|header| self.segment.is_trusted(self.position, self.position + header.aligned_bytes()));
        if let (Ok(header), false) = (&header, trusted) {
            self.view.will_touch(self.position..self.position.saturating_add(header.aligned_bytes()));
        }
        let header = if trusted { header } else { verify(rest, self.segment.salt) };
        let header = header.map_err(|error| self.corrupt(CorruptCause::Frame(error)))?;
        let frame = Frame { header, position: self.position, base_offset: self.offset };
        if frame.end() > self.end {
            return Err(self.corrupt(CorruptCause::WrongEnd { expected: self.end }));
        }
        if header.id.index != self.index {
            return Err(self.corrupt(CorruptCause::Gap { expected: self.index, found: header.id.index }));
        }
        if !trusted {
            self.segment.note_verified(self.position, frame.end());
        }
        self.position = frame.end();
        self.index = self.index.next();
        self.offset = frame.next_offset();
        Ok(Some(frame))
    }

    /// The payload of a frame that this cursor has passed.
    pub(super) fn payload(&self, frame: &Frame) -> Bytes {
        let from = frame.position + FRAME_HEADER_BYTES as u64;
        self.view.will_touch(from..frame.end());
        self.within(from, u64::from(frame.header.payload_bytes)).unwrap_or_default()
    }

    /// The whole entry of a frame that this cursor has passed.
    pub(super) fn entry(&self, frame: &Frame) -> Entry {
        Entry {
            id: frame.header.id,
            kind: frame.header.kind,
            base_offset: frame.base_offset,
            record_count: frame.header.record_count,
            payload: self.payload(frame),
        }
    }

    /// The largest timestamp of a frame's records; `None` when it has none.
    pub(super) fn max_timestamp(&self, frame: &Frame) -> Result<Option<Timestamp>, ReadError> {
        if frame.header.kind != EntryKind::Data {
            return Ok(None);
        }
        match BatchHeader::read(&self.payload(frame)) {
            Ok(batch) => Ok(Some(batch.max_timestamp)),
            Err(_) => Err(Corrupt::new(&self.segment.path, frame.position, CorruptCause::NotABatch).into()),
        }
    }
}

/// A frame that nobody of this process has seen: its checksum, and that nothing hides in the padding behind it.
fn verify(bytes: &[u8], salt: u32) -> Result<FrameHeader, FrameError> {
    let header = FrameHeader::verify(bytes, salt)?;
    let from = usize::try_from(header.frame_bytes()).unwrap_or(usize::MAX);
    let to = usize::try_from(header.aligned_bytes()).unwrap_or(usize::MAX);
    let padding = bytes.get(from..to).ok_or(FrameError::Short)?;
    if padding.iter().all(|byte| *byte == 0) { Ok(header) } else { Err(FrameError::BadChecksum) }
}
