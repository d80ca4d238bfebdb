//! The disk space of a segment that is being written, or will be next.
//!
//! Owns: how far the file is allocated, and growing it. Never: writes into space that appends may use already.
//!
//! Invariant: what lies below [`Space::allocated`] can be written without new disk space, and reads as zeros until an
//! append writes it.

use std::io::IoSlice;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use super::options::LogOptions;
use crate::disk::{Disk, DiskFile};
use crate::error::{FileError, FileStep};
use crate::flush::DirtyFile;
use crate::locks::lock;

/// Positions up to which files are allocated are multiples of this, where the segment's own limit allows.
const GRAIN_BYTES: u64 = 4096;
/// How much is overwritten with zeros by one call.
static ZEROS: [u8; 256 * 1024] = [0; 256 * 1024];

/// A segment's file and its allocated space. Shared by the writer and the background.
#[derive(Debug)]
pub(super) struct Space {
    path: Arc<Path>,
    file: Arc<dyn DiskFile>,
    allocated: AtomicU64,
    /// Held while the file grows, so that nobody writes zeros where another has begun to append.
    growing: Mutex<()>,
}

impl Space {
    /// Makes a new file with its first space, and makes its name durable.
    pub(super) fn create(
        disk: &dyn Disk,
        path: Arc<Path>,
        bytes: u64,
        options: &LogOptions,
    ) -> Result<Self, FileError> {
        let file = disk.create(&path).map_err(FileError::io(FileStep::Create, &path))?;
        let space = Self { path, file, allocated: AtomicU64::new(0), growing: Mutex::new(()) };
        let made = space.ensure(bytes, options).and_then(|()| {
            let dir = space.path.parent().unwrap_or_else(|| Path::new("."));
            disk.sync_dir(dir).map_err(FileError::io(FileStep::SyncDir, dir))
        });
        if let Err(error) = made {
            // Gives back what space it took. Left behind, it would be removed by the next open.
            let _best_effort = disk.remove(&space.path);
            return Err(error);
        }
        Ok(space)
    }

    /// The space of a file that is there, of which everything is allocated.
    pub(super) fn existing(path: Arc<Path>, file: Arc<dyn DiskFile>, bytes: u64) -> Self {
        Self { path, file, allocated: AtomicU64::new(bytes), growing: Mutex::new(()) }
    }

    pub(super) fn path(&self) -> &Arc<Path> {
        &self.path
    }

    pub(super) fn file(&self) -> &Arc<dyn DiskFile> {
        &self.file
    }

    /// How many bytes can be written without new disk space.
    pub(super) fn allocated(&self) -> u64 {
        self.allocated.load(Ordering::Acquire)
    }

    pub(super) fn dirty(&self) -> DirtyFile {
        DirtyFile { path: Arc::clone(&self.path), file: Arc::clone(&self.file) }
    }

    /// Grows the file, in a step of the usual size, until at least `bytes` bytes are allocated.
    pub(super) fn ensure(&self, bytes: u64, options: &LogOptions) -> Result<(), FileError> {
        if self.allocated() >= bytes {
            return Ok(());
        }
        let _one_at_a_time = lock(&self.growing);
        let start = self.allocated();
        if start >= bytes {
            return Ok(());
        }
        let end = grown(start, bytes, options);
        match self.grow(start, end, options) {
            // A smaller step may still fit.
            Err(error) if error.is_disk_full() && end > bytes => self.grow(start, bytes, options),
            grown => grown,
        }
    }

    /// Grows the file by a step of the usual size, or not at all: what is done ahead of time is not worth the last bytes of
    /// a disk.
    pub(super) fn extend(&self, options: &LogOptions) -> Result<(), FileError> {
        let _one_at_a_time = lock(&self.growing);
        let start = self.allocated();
        self.grow(start, grown(start, start + 1, options), options)
    }

    fn grow(&self, start: u64, end: u64, options: &LogOptions) -> Result<(), FileError> {
        self.file.allocate(start..end).map_err(FileError::io(FileStep::Allocate, &self.path))?;
        if options.zero_ahead {
            self.write_zeros(start, end)?;
        }
        self.allocated.store(end, Ordering::Release);
        Ok(())
    }

    fn write_zeros(&self, start: u64, end: u64) -> Result<(), FileError> {
        let mut position = start;
        while position < end {
            let length = usize::try_from(end - position).unwrap_or(usize::MAX).min(ZEROS.len());
            let zeros = ZEROS.get(..length).unwrap_or_default();
            self.file
                .write_at(position, &mut [IoSlice::new(zeros)])
                .map_err(FileError::io(FileStep::Write, &self.path))?;
            position += length as u64;
        }
        // Not left to the next flush round, which somebody waits for.
        self.file.sync_data().map_err(FileError::io(FileStep::Sync, &self.path))
    }
}

/// How far a file that is allocated up to `start` should reach, to have at least `bytes`: twice as far, by no more than
/// a step, and not beyond the segment.
fn grown(start: u64, bytes: u64, options: &LogOptions) -> u64 {
    let doubled = start.saturating_mul(2).clamp(options.allocate_bytes_min, start + options.allocate_bytes_max);
    let wanted = doubled.max(bytes).next_multiple_of(GRAIN_BYTES);
    wanted.min(options.segment_bytes_max).max(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn space_doubles_up_to_a_step_and_stops_at_the_segment() {
        const KIB: u64 = 1024;
        let options = LogOptions {
            segment_bytes_max: 1000 * KIB,
            allocate_bytes_min: 64 * KIB,
            allocate_bytes_max: 256 * KIB,
            ..LogOptions::default()
        };
        let next = |start, bytes| grown(start * KIB, bytes * KIB, &options) / KIB;
        assert_eq!(next(0, 1), 64);
        assert_eq!(next(64, 65), 128);
        assert_eq!(next(512, 513), 768);
        assert_eq!(next(900, 901), 1000);
        assert_eq!(next(900, 3000), 3000);
        assert_eq!(next(0, 500), 500);
    }
}
