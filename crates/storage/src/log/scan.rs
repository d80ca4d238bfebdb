//! Looking through a segment's file as it lies on the disk, before anything of it is believed.
//!
//! Owns: telling a torn tail from damage. Never: maps the file (an error of the disk must be an error here, not a
//! signal), or changes it.
//!
//! The rule: what follows the last good frame is a torn tail, never acknowledged, unless it lies below the mark in the
//! manifest, or a good frame further on says that this place was durable when that frame was written. Then it is
//! damage, and nothing is dropped.

use std::path::Path;

use bytes::Bytes;
use highwater_types::batch::BatchHeader;
use highwater_types::{EntryId, LogIndex, Offset};

use super::error::CorruptCause;
use super::index::{Index, Point};
use super::manifest::SegmentEnd;
use super::segment_header::{SEGMENT_HEADER_BYTES_MIN, SegmentHeader, SegmentHeaderError};
use crate::disk::DiskFile;
use crate::entry::{EntryKind, MembershipEntry};
use crate::error::{FileError, FileStep};
use crate::frame::{self, FRAME_ALIGN, FRAME_HEADER_BYTES, FrameError, FrameHeader, align};
use crate::planted::{Bug, is_planted};

/// How much is read at a time.
const WINDOW_BYTES: usize = 1024 * 1024;
/// How much is read at a time where only the header of a segment is wanted: a log can have thousands of them.
const HEADER_WINDOW_BYTES: usize = 4096;

/// What a window has read.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    start: u64,
    bytes: Vec<u8>,
}

/// A file, read piece by piece into memory of bounded size.
pub(crate) struct Window<'file> {
    file: &'file dyn DiskFile,
    path: &'file Path,
    size: u64,
    /// How much is read at least.
    step: usize,
    start: u64,
    bytes: Vec<u8>,
}

impl<'file> Window<'file> {
    pub(crate) fn new(file: &'file dyn DiskFile, path: &'file Path) -> Result<Self, FileError> {
        Self::resume(file, path, Seen::default())
    }

    /// Goes on with what an earlier window on the same file has read.
    pub(crate) fn resume(file: &'file dyn DiskFile, path: &'file Path, seen: Seen) -> Result<Self, FileError> {
        let size = file.size().map_err(FileError::io(FileStep::Read, path))?;
        Ok(Self { file, path, size, step: WINDOW_BYTES, start: seen.start, bytes: seen.bytes })
    }

    /// For the header of a segment.
    pub(super) fn of_header(file: &'file dyn DiskFile, path: &'file Path) -> Result<Self, FileError> {
        Ok(Self { step: HEADER_WINDOW_BYTES, ..Self::new(file, path)? })
    }

    pub(crate) fn into_seen(self) -> Seen {
        Seen { start: self.start, bytes: self.bytes }
    }

    /// Reads again what was read: somebody may have written meanwhile.
    pub(crate) fn forget(&mut self) {
        self.bytes.clear();
    }

    pub(crate) const fn size(&self) -> u64 {
        self.size
    }

    /// The `length` bytes from `position` on; fewer at the end of the file.
    pub(crate) fn get(&mut self, position: u64, length: usize) -> Result<&[u8], FileError> {
        let left = usize::try_from(self.size.saturating_sub(position)).unwrap_or(usize::MAX);
        let length = length.min(left);
        let is_inside = position >= self.start && position + length as u64 <= self.start + self.bytes.len() as u64;
        if !is_inside {
            self.bytes.resize(length.max(self.step).min(left), 0);
            let read =
                self.file.read_at(position, &mut self.bytes).map_err(FileError::io(FileStep::Read, self.path))?;
            self.bytes.truncate(read);
            self.start = position;
        }
        let from = usize::try_from(position.saturating_sub(self.start)).unwrap_or(usize::MAX);
        let to = from.saturating_add(length).min(self.bytes.len());
        Ok(self.bytes.get(from..to).unwrap_or_default())
    }
}

/// The header of a segment, with its length and the checksum that its frames start from.
pub(crate) type FoundHeader = (SegmentHeader, u64, u32);

/// Reads the header of a segment.
pub(crate) fn read_header(window: &mut Window<'_>) -> Result<Result<FoundHeader, SegmentHeaderError>, FileError> {
    let length = match SegmentHeader::header_bytes(window.get(0, SEGMENT_HEADER_BYTES_MIN)?) {
        Ok(length) => length,
        Err(error) => return Ok(Err(error)),
    };
    Ok(SegmentHeader::decode(window.get(0, length)?).map(|(header, length, salt)| (header, length as u64, salt)))
}

/// What was found after the last good frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rest {
    /// Zeros to the end of the file: nothing more was ever written.
    Zeros,
    /// Something that was never acknowledged, up to so many bytes on.
    Torn { bytes: u64 },
    /// Damage at this place.
    Damaged { position: u64, cause: CorruptCause },
    /// A sound frame of a newer version.
    Newer(u8),
}

/// What lies in a segment.
#[derive(Debug)]
pub(super) struct Scan {
    /// Where the good frames end; `None` when there are none.
    pub(super) end: Option<SegmentEnd>,
    /// The latest membership entry among them.
    pub(super) membership: Option<MembershipEntry>,
    pub(super) index: Index,
    /// The largest durable mark that any of them carries.
    pub(super) durable_through: u64,
    /// How many there are.
    pub(super) entries: u64,
    pub(super) rest: Rest,
}

/// A scan on its way.
struct Scanner {
    salt: u32,
    interval_bytes: u32,
    position: u64,
    index: LogIndex,
    last: Option<EntryId>,
    offset: Offset,
    found: Scan,
}

/// Reads all frames of a segment with this header, and decides what the rest is. `mark` is how far the manifest says
/// that the segment is durable.
pub(super) fn scan(
    window: &mut Window<'_>,
    (header, first_position, salt): &FoundHeader,
    mark: Option<&SegmentEnd>,
    interval_bytes: u32,
) -> Result<Scan, FileError> {
    let mut scanner = Scanner {
        salt: *salt,
        interval_bytes,
        position: *first_position,
        index: header.base_index,
        last: header.previous,
        offset: header.base_offset,
        found: Scan {
            end: None,
            membership: None,
            index: Index::default(),
            durable_through: 0,
            entries: 0,
            rest: Rest::Zeros,
        },
    };
    let stop = loop {
        if let Err(stop) = scanner.step(window)? {
            break stop;
        }
        if let Some(cause) = mark.and_then(|mark| scanner.passed(mark)) {
            break Stop::Damage(cause);
        }
    };
    let position = scanner.position;
    if is_planted(Bug::CutAtAnyBadFrame) && !matches!(stop, Stop::Frame(FrameError::End)) {
        scanner.found.rest = Rest::Torn { bytes: 1 };
        return Ok(scanner.found);
    }
    scanner.found.rest = match stop {
        Stop::Damage(cause) => Rest::Damaged { position, cause },
        Stop::Frame(FrameError::Newer(version)) => Rest::Newer(version),
        Stop::Frame(cause) if mark.is_some_and(|mark| position < mark.position) => {
            Rest::Damaged { position, cause: CorruptCause::Frame(cause) }
        }
        Stop::Frame(cause) => look_behind(window, position, scanner.index, *salt, cause)?,
    };
    Ok(scanner.found)
}

/// Why a scan went no further.
enum Stop {
    /// There is no good frame.
    Frame(FrameError),
    /// There is one, but it does not belong there.
    Damage(CorruptCause),
}

impl Scanner {
    /// Takes one frame.
    fn step(&mut self, window: &mut Window<'_>) -> Result<Result<(), Stop>, FileError> {
        let length = match frame::payload_bytes(window.get(self.position, FRAME_HEADER_BYTES)?) {
            Ok(payload_bytes) => FRAME_HEADER_BYTES + payload_bytes as usize,
            Err(error) => return Ok(Err(Stop::Frame(error))),
        };
        let padded = window.get(self.position, length.next_multiple_of(FRAME_ALIGN))?;
        let bytes = padded.get(..length).unwrap_or(padded);
        let checked = FrameHeader::verify(bytes, self.salt).and_then(|header| {
            let padding = padded.get(length..).unwrap_or_default();
            if padding.iter().all(|byte| *byte == 0) { Ok(header) } else { Err(FrameError::BadChecksum) }
        });
        let header = match checked {
            Ok(header) => header,
            Err(error) => return Ok(Err(Stop::Frame(error))),
        };
        let payload = bytes.get(FRAME_HEADER_BYTES..).unwrap_or_default();
        Ok(self.take(&header, payload).map_err(Stop::Damage))
    }

    fn take(&mut self, header: &FrameHeader, payload: &[u8]) -> Result<(), CorruptCause> {
        if header.id.index != self.index {
            return Err(CorruptCause::Gap { expected: self.index, found: header.id.index });
        }
        if let Some(last) = self.last.filter(|last| last.term > header.id.term) {
            return Err(CorruptCause::TermWentBack { last: last.term, found: header.id.term });
        }
        let mut end = self.found.end.unwrap_or(SegmentEnd {
            position: self.position,
            last: header.id,
            next_offset: self.offset,
            max_timestamp: None,
            membership_position: None,
        });
        let point = Point {
            offset: self.offset,
            max_timestamp_before: end.max_timestamp,
            index: header.id.index,
            position: self.position,
        };
        self.found.index.offer(point, self.interval_bytes);
        if header.kind == EntryKind::Data {
            let batch = BatchHeader::read(payload).map_err(|_| CorruptCause::NotABatch)?;
            let spans = batch.last_offset_delta.checked_add(1);
            if spans != Some(header.record_count) || batch.total_bytes != payload.len() {
                return Err(CorruptCause::NotABatch);
            }
            if batch.base_offset != self.offset {
                return Err(CorruptCause::OffsetMoved { expected: self.offset, found: batch.base_offset });
            }
            end.max_timestamp = end.max_timestamp.max(Some(batch.max_timestamp));
        } else if header.record_count != 0 {
            return Err(CorruptCause::Frame(FrameError::BadHeader));
        }
        if header.kind == EntryKind::Membership {
            end.membership_position = Some(self.position);
            self.found.membership = Some((header.id, Bytes::copy_from_slice(payload)));
        }
        self.position += header.aligned_bytes();
        self.offset = self.offset.saturating_add(u64::from(header.record_count));
        self.last = Some(header.id);
        self.index = header.id.index.next();
        end.position = self.position;
        end.last = header.id;
        end.next_offset = self.offset;
        self.found.end = Some(end);
        self.found.entries += 1;
        self.found.durable_through = self.found.durable_through.max(header.durable_through);
        Ok(())
    }

    /// What is wrong if the scan comes to where the manifest says that it was durable, and finds another entry there.
    fn passed(&self, mark: &SegmentEnd) -> Option<CorruptCause> {
        let end = self.found.end?;
        let reached = end.last.index == mark.last.index;
        let is_same = end.position == mark.position && end.last == mark.last && end.next_offset == mark.next_offset;
        (reached && !is_same).then_some(CorruptCause::WrongEnd { expected: mark.position })
    }
}

/// Looks at what follows a place where the frame of entry `expected` should be, and is not.
fn look_behind(
    window: &mut Window<'_>,
    position: u64,
    expected: LogIndex,
    salt: u32,
    cause: FrameError,
) -> Result<Rest, FileError> {
    let mut last_written = None;
    let mut at = position;
    while at < window.size() {
        let bytes = window.get(at, WINDOW_BYTES)?;
        let mut candidates = Vec::new();
        for (nth, word) in bytes.chunks(FRAME_ALIGN).enumerate() {
            if word.iter().all(|byte| *byte == 0) {
                continue;
            }
            let here = at + (nth * FRAME_ALIGN) as u64;
            last_written = Some(here + word.len() as u64);
            candidates.push(here);
        }
        let length = bytes.len() as u64;
        for candidate in candidates.into_iter().filter(|candidate| *candidate > position) {
            if is_witness(window, candidate, expected, salt)? {
                return Ok(Rest::Damaged { position, cause: CorruptCause::Witnessed { cause, witness: candidate } });
            }
        }
        at += length.max(1);
    }
    Ok(last_written.map_or(Rest::Zeros, |end| Rest::Torn { bytes: end - position }))
}

/// Whether a good frame begins at `position` and says that `expected` was durable when it was written. What its header
/// says is looked at first, so that few places ever need a checksum.
fn is_witness(window: &mut Window<'_>, position: u64, expected: LogIndex, salt: u32) -> Result<bool, FileError> {
    let Ok(header) = FrameHeader::read(window.get(position, FRAME_HEADER_BYTES)?) else { return Ok(false) };
    let is_later = header.id.index > expected && header.durable_through <= header.id.index.get();
    let fits = position + header.frame_bytes() <= window.size();
    if !is_later || !fits || header.durable_through <= expected.get() {
        return Ok(false);
    }
    let length = usize::try_from(align(header.frame_bytes())).unwrap_or(usize::MAX);
    Ok(FrameHeader::verify(window.get(position, length)?, salt).is_ok())
}

/// Whether there is nothing but zeros from `position` to the end of the file.
pub(super) fn is_zero_from(window: &mut Window<'_>, mut position: u64) -> Result<bool, FileError> {
    while position < window.size() {
        let bytes = window.get(position, WINDOW_BYTES)?;
        if bytes.is_empty() || bytes.iter().any(|byte| *byte != 0) {
            return Ok(bytes.is_empty());
        }
        position += bytes.len() as u64;
    }
    Ok(true)
}
