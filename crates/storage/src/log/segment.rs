//! A segment as readers see it: its header, its map, how far it may be read, and its index.
//!
//! Owns: mapping the file once, the published end, the marks of what was verified. Never: writes frames.
//!
//! ```text
//!   0        first frame          verified through     written from            end
//!   | header | verified            | not yet verified  | written by this process |   (allocated)
//! ```
//!
//! Invariants:
//! - What lies below the published end does not change. The end moves forward with each append, and back only by a
//!   truncation, which never lets anything be written over what it cut off.
//! - A frame is served only if this process wrote it or has verified its checksum.

use std::io::IoSlice;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::cursor::Cursor;
use super::error::ReadError;
use super::file_name::SegmentNumber;
use super::index::{self, Index, IndexOwner, Point};
use super::manifest::{SegmentEnd, SegmentFacts};
use super::segment_header::SegmentHeader;
use crate::disk::{Disk, FileView};
use crate::error::{FileError, FileStep};

/// Takes a lock for reading, whoever panicked.
pub(super) fn read<T>(lock: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

/// Takes a lock for writing, whoever panicked.
pub(super) fn write<T>(lock: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}

/// What a segment is made of when it becomes one of the log's.
pub(super) struct SegmentParts {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) path: Arc<Path>,
    pub(super) header: SegmentHeader,
    pub(super) salt: u32,
    /// The length of the header.
    pub(super) first_position: u64,
    pub(super) end: SegmentEnd,
    /// The length of the map: the most that the segment can grow to.
    pub(super) map_bytes: u64,
    pub(super) index_interval_bytes: u32,
    /// What recovery has verified, from the first frame on.
    pub(super) verified_through: u64,
    /// Where this process will write, if it does.
    pub(super) written_from: u64,
    pub(super) is_sealed: bool,
}

#[derive(Debug)]
pub(super) struct Segment {
    pub(super) header: SegmentHeader,
    pub(super) salt: u32,
    pub(super) first_position: u64,
    pub(super) path: Arc<Path>,
    disk: Arc<dyn Disk>,
    map_bytes: u64,
    index_interval_bytes: u32,
    view: OnceLock<Arc<dyn FileView>>,
    /// The position of `end`, for readers that need no more. Stored after the bytes below it are in the file.
    readable: AtomicU64,
    end: RwLock<SegmentEnd>,
    /// `None` until somebody looks something up.
    index: RwLock<Option<Index>>,
    verified_through: AtomicU64,
    pub(super) written_from: u64,
    is_sealed: AtomicBool,
}

impl Segment {
    pub(super) fn new(parts: SegmentParts, index: Option<Index>) -> Self {
        Self {
            header: parts.header,
            salt: parts.salt,
            first_position: parts.first_position,
            path: parts.path,
            disk: parts.disk,
            map_bytes: parts.map_bytes,
            index_interval_bytes: parts.index_interval_bytes,
            view: OnceLock::new(),
            readable: AtomicU64::new(parts.end.position),
            end: RwLock::new(parts.end),
            index: RwLock::new(index),
            verified_through: AtomicU64::new(parts.verified_through),
            written_from: parts.written_from,
            is_sealed: AtomicBool::new(parts.is_sealed),
        }
    }

    pub(super) fn number(&self) -> SegmentNumber {
        self.header.number
    }

    /// How far it may be read. The bytes below are visible after this.
    pub(super) fn readable(&self) -> u64 {
        self.readable.load(Ordering::Acquire)
    }

    pub(super) fn end(&self) -> SegmentEnd {
        *read(&self.end)
    }

    pub(super) fn facts(&self) -> SegmentFacts {
        SegmentFacts {
            number: self.header.number,
            base_index: self.header.base_index,
            base_offset: self.header.base_offset,
            end: self.end(),
        }
    }

    pub(super) fn is_sealed(&self) -> bool {
        self.is_sealed.load(Ordering::Acquire)
    }

    pub(super) fn seal(&self) {
        self.is_sealed.store(true, Ordering::Release);
    }

    /// Publishes what was appended, and the points that lead to it.
    pub(super) fn extend(&self, end: SegmentEnd, points: &[Point]) {
        *write(&self.end) = end;
        self.readable.store(end.position, Ordering::Release);
        if let (Some(index), false) = (&mut *write(&self.index), points.is_empty()) {
            points.iter().for_each(|point| index.offer(*point, self.index_interval_bytes));
        }
    }

    /// Ends it earlier, for a truncation.
    pub(super) fn cut(&self, end: SegmentEnd) {
        *write(&self.end) = end;
        self.readable.store(end.position, Ordering::Release);
        if let Some(index) = &mut *write(&self.index) {
            index.cut(end.position);
        }
        self.seal();
    }

    /// The map, made at the first call.
    pub(super) fn view(&self) -> Result<Arc<dyn FileView>, FileError> {
        if let Some(view) = self.view.get() {
            return Ok(Arc::clone(view));
        }
        let file = self.disk.open_read_only(&self.path).map_err(FileError::io(FileStep::Open, &self.path))?;
        let view = file.map(self.map_bytes).map_err(FileError::io(FileStep::Map, &self.path))?;
        // Another reader may have been faster; both maps show the same bytes.
        Ok(Arc::clone(self.view.get_or_init(|| view)))
    }

    /// Whether the frame from `position` to `end` needs no look at its checksum any more.
    pub(super) fn is_trusted(&self, position: u64, end: u64) -> bool {
        position >= self.written_from || end <= self.verified_through.load(Ordering::Acquire)
    }

    /// Notes that the frame from `position` to `end` is good. The mark moves only if it follows what was verified
    /// before: a reader that jumps about verifies for itself.
    pub(super) fn note_verified(&self, position: u64, end: u64) {
        let _not_next = self.verified_through.compare_exchange(position, end, Ordering::AcqRel, Ordering::Acquire);
    }

    /// The last indexed frame for which `at_or_before` holds; the first frame when it holds for none.
    pub(super) fn find(&self, at_or_before: impl Fn(&Point) -> bool) -> Result<Point, ReadError> {
        let first = Point {
            offset: self.header.base_offset,
            max_timestamp_before: None,
            index: self.header.base_index,
            position: self.first_position,
        };
        if read(&self.index).is_none() {
            self.load_index()?;
        }
        let found = read(&self.index).as_ref().and_then(|index| index.last_where(at_or_before));
        Ok(found.unwrap_or(first))
    }

    fn owner(&self) -> IndexOwner {
        IndexOwner { number: self.header.number, salt: self.salt, base_index: self.header.base_index }
    }

    fn index_path(&self) -> std::path::PathBuf {
        self.header.number.index_path(self.path.parent().unwrap_or_else(|| Path::new(".")))
    }

    /// Takes the index from its file, or else from the frames.
    fn load_index(&self) -> Result<(), ReadError> {
        let end = self.readable();
        let index = match self.read_index_file(end) {
            Some(index) => index,
            None => {
                let rebuilt = self.rebuild_index(end)?;
                tracing::debug!(segment = %self.path.display(), "rebuilt the index of a segment");
                rebuilt
            }
        };
        let mut slot = write(&self.index);
        // A truncation may have come between.
        if slot.is_none() && self.readable() == end {
            *slot = Some(index);
        }
        Ok(())
    }

    /// The index in its file, if there is one that belongs to this segment ending at `end`.
    fn read_index_file(&self, end: u64) -> Option<Index> {
        index::read_file(&*self.disk, &self.index_path(), self.owner(), end)
    }

    /// Where the last point of the index in memory lies; 0 when there is none.
    pub(super) fn last_point_position(&self) -> u64 {
        let last = read(&self.index).as_ref().and_then(|index| index.last_where(|_| true));
        last.map_or(0, |point| point.position)
    }

    fn rebuild_index(&self, end: u64) -> Result<Index, ReadError> {
        let mut index = Index::default();
        let mut cursor = Cursor::first(self, end)?;
        let mut max_timestamp_before = None;
        while let Some(frame) = cursor.next()? {
            let point = Point {
                offset: frame.base_offset,
                max_timestamp_before,
                index: frame.header.id.index,
                position: frame.position,
            };
            index.offer(point, self.index_interval_bytes);
            max_timestamp_before = max_timestamp_before.max(cursor.max_timestamp(&frame)?);
        }
        Ok(index)
    }

    /// Writes the index file and goes on with its map instead of the points in memory. Best effort: without the file
    /// the index is rebuilt when it is needed.
    pub(super) fn save_index(&self) {
        let end = self.readable();
        let Some(bytes) = read(&self.index).as_ref().map(|index| index.encode(self.owner(), end)) else { return };
        let path = self.index_path();
        let written = match self.disk.remove(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
            _ => self.disk.create(&path).and_then(|file| file.write_at(0, &mut [IoSlice::new(&bytes)])),
        };
        if let Err(error) = written {
            tracing::warn!(file = %path.display(), %error, "cannot write the index of a segment; it will be rebuilt");
            return;
        }
        if let (Some(mapped), true) = (self.read_index_file(end), self.is_sealed()) {
            let mut slot = write(&self.index);
            if self.readable() == end {
                *slot = Some(mapped);
            }
        }
    }
}
