//! The disk seam: everything that the log asks of a disk, and what each call promises.
//!
//! Two implementations: `os::OsDisk` makes the only system calls of the product's data path, and
//! `sim::SimDisk` keeps pending and durable bytes apart in memory, so that tests can cut the power between any two
//! calls and plan faults from a seed.
//!
//! Promises that hold for both:
//! - Bytes written are readable at once, also through views made earlier. They are durable only after
//!   [`DiskFile::sync_data`] or [`Disk::sync_filesystem`] has returned `Ok`.
//! - A name (after create, rename or remove) is durable only after [`Disk::sync_dir`] of its folder.
//! - An error of a sync is final: what was pending may be lost although a later sync says `Ok`. The caller must not
//!   try again (see `poison`).
//! - No call is repeated by the implementation after an error, but for an interrupted system call.

mod bus_error;
pub mod conformance;
mod map;
pub mod os;
mod residency;
pub mod sim;
#[cfg(test)]
mod tests;

use std::fmt::Debug;
use std::io::{self, IoSlice};
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;

/// A place with folders and files. All paths are absolute or relative to the process, as the operating system has it.
pub trait Disk: Debug + Send + Sync + 'static {
    /// Makes a folder and its parents, durably. An existing one is fine.
    ///
    /// # Errors
    /// As the operating system says.
    fn create_dir_all(&self, dir: &Path) -> io::Result<()>;

    /// The names in a folder, sorted, without `.` and `..`.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotFound`] when there is no such folder.
    fn list(&self, dir: &Path) -> io::Result<Vec<DirEntry>>;

    /// Makes a new, empty file for reading and writing. The name is not durable yet.
    ///
    /// # Errors
    /// [`io::ErrorKind::AlreadyExists`] when the name is taken; never truncates anything.
    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>>;

    /// Opens a file for reading and writing.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotFound`] when there is none.
    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>>;

    /// Opens a file for reading only; for tools that look at a directory that a server may be using.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotFound`] when there is none.
    fn open_read_only(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>>;

    /// Gives a file another name in one step, replacing what has that name. Durable after [`Disk::sync_dir`].
    ///
    /// # Errors
    /// As the operating system says.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file's name. Views and open handles go on working.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotFound`] when there is none.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Removes a folder with everything in it. A missing one is fine.
    ///
    /// # Errors
    /// As the operating system says.
    fn remove_dir_all(&self, dir: &Path) -> io::Result<()>;

    /// Makes the names in a folder durable.
    ///
    /// # Errors
    /// Final, as of every sync.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;

    /// Makes everything that is pending on the filesystem of `dir` durable, whoever wrote it (`syncfs`).
    ///
    /// # Errors
    /// Final, as of every sync.
    fn sync_filesystem(&self, dir: &Path) -> io::Result<()>;

    /// Takes the lock file `path`, made if missing, for as long as the result lives.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] when another holder, in this process or another, has it.
    fn lock(&self, path: &Path) -> io::Result<Box<dyn DiskLock>>;

    /// The space on the filesystem of `dir`.
    ///
    /// # Errors
    /// As the operating system says.
    fn space(&self, dir: &Path) -> io::Result<DiskSpace>;
}

/// An open file. Calls may come from several threads; those that write a given range come from one.
pub trait DiskFile: Debug + Send + Sync + 'static {
    /// Writes all of `slices`, one after another, from `position` on. One system call where the system allows it.
    ///
    /// # Errors
    /// After an error any part may have been written.
    fn write_at(&self, position: u64, slices: &mut [IoSlice<'_>]) -> io::Result<()>;

    /// Reads into `buffer` from `position` on; returns how many bytes there were, fewer only at the end of the file.
    ///
    /// # Errors
    /// As the operating system says.
    fn read_at(&self, position: u64, buffer: &mut [u8]) -> io::Result<usize>;

    /// Reserves disk space for `range` and lets the file reach to its end; the new bytes read as zero. After this a
    /// write inside `range` cannot fail for want of space. Never makes a file shorter.
    ///
    /// # Errors
    /// [`io::ErrorKind::StorageFull`] when there is no space; nothing that was there is changed.
    fn allocate(&self, range: Range<u64>) -> io::Result<()>;

    /// Makes what was written, and the length, durable (`fdatasync`).
    ///
    /// # Errors
    /// Final, as of every sync.
    fn sync_data(&self) -> io::Result<()>;

    /// The length in bytes.
    ///
    /// # Errors
    /// As the operating system says.
    fn size(&self) -> io::Result<u64>;

    /// A read-only view of the first `bytes` bytes, which may reach beyond the present end of the file; only what
    /// lies below that end may be touched. The caller promises that the file never shrinks while a view lives.
    ///
    /// # Errors
    /// As the operating system says.
    fn map(&self, bytes: u64) -> io::Result<Arc<dyn FileView>>;
}

/// A read-only view of a file.
pub trait FileView: Debug + Send + Sync + 'static {
    /// The bytes of `range` as an owned slice that keeps the view alive. No copy where the view is a memory map.
    ///
    /// The caller promises that `range` lies below the end of the file and that its bytes no longer change.
    fn slice(&self, range: Range<u64>) -> Bytes;

    /// Says that these bytes are about to be read through a slice: whoever keeps count of what is in memory hears it here,
    /// since a slice may be much longer than what is read of it.
    fn will_touch(&self, _range: Range<u64>) {}

    /// Reads `range` into memory, so that touching it later does not wait for the disk. Best effort.
    fn populate(&self, range: Range<u64>);
}

/// A lock that is held while this lives.
pub trait DiskLock: Debug + Send + Sync + 'static {}

/// One name in a folder.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DirEntry {
    /// The name, without its folder. A name that is not UTF-8 is shown with replacement characters.
    pub name: String,
    /// Whether it is a folder.
    pub is_dir: bool,
}

/// The space of a filesystem, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DiskSpace {
    /// Free for this process.
    pub free_bytes: u64,
    /// In all.
    pub total_bytes: u64,
}
