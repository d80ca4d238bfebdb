//! The operating system's disk: every system call of the data path.
//!
//! Owns: turning the promises of the seam into calls of Linux. Never: repeats a call after an error (but for EINTR),
//! or decides what an error means. Keeps no state but one open folder a filesystem, see [`OsDisk::sync_filesystem`], and how
//! much of the maps was touched.
#![allow(clippy::disallowed_methods, clippy::disallowed_types)] // files are touched here and nowhere else

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, IoSlice};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::fs::{FallocateFlags, FlockOperation};
use rustix::io::Errno;

use super::residency::Residency;
use super::{DirEntry, Disk, DiskFile, DiskLock, DiskSpace, FileView, map};

/// The most slices that Linux takes in one vectored write.
const SLICES_PER_WRITE_MAX: usize = 1024;

/// The first Linux on which `syncfs` reports a failed write-back. Before it, success proves nothing.
const SYNCFS_REPORTS_SINCE: (u32, u32) = (5, 8);

/// The disk of the operating system. Cheap to make; one for the whole process is enough.
#[derive(Debug, Default)]
pub struct OsDisk {
    /// The folders that were synced as a filesystem. They stay open because the kernel reports a failed write-back
    /// once to each open file: a folder opened only for the call would miss what another process has seen already.
    filesystems: Mutex<HashMap<PathBuf, Arc<File>>>,
    residency: Arc<Residency>,
}

impl OsDisk {
    /// The disk of this machine.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The folder to sync `dir`'s filesystem through, opened at the first call.
    fn filesystem(&self, dir: &Path) -> io::Result<Arc<File>> {
        let mut filesystems = self.filesystems.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(folder) = filesystems.get(dir) {
            return Ok(Arc::clone(folder));
        }
        let folder = Arc::new(File::open(dir)?);
        filesystems.insert(dir.to_owned(), Arc::clone(&folder));
        Ok(folder)
    }

    fn open_file(&self, options: &OpenOptions, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(OsFile { file: options.open(path)?, residency: Arc::clone(&self.residency) }))
    }
}

impl Disk for OsDisk {
    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        match fs::create_dir(dir) {
            Ok(()) => {}
            // Perhaps made by a process that was killed before it could sync: so its name is synced all the same.
            Err(error) if error.kind() == ErrorKind::AlreadyExists && dir.is_dir() => {}
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let parent = parent_of(dir).ok_or(error)?;
                self.create_dir_all(parent)?;
                fs::create_dir(dir)?;
            }
            Err(error) => return Err(error),
        }
        match parent_of(dir).map_or(Ok(()), |parent| self.sync_dir(parent)) {
            // Somebody else's folder that we may not even look at: then we did not make what is in it.
            Err(error) if error.kind() == ErrorKind::PermissionDenied => Ok(()),
            synced => synced,
        }
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<DirEntry>> {
        let mut entries = Vec::new();
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            entries.push(DirEntry { name, is_dir: entry.file_type()?.is_dir() });
        }
        entries.sort();
        Ok(entries)
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        self.open_file(OpenOptions::new().read(true).write(true).create_new(true), path)
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        self.open_file(OpenOptions::new().read(true).write(true), path)
    }

    fn open_read_only(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        self.open_file(OpenOptions::new().read(true), path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn remove_dir_all(&self, dir: &Path) -> io::Result<()> {
        match fs::remove_dir_all(dir) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            result => result,
        }
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        File::open(dir)?.sync_all()
    }

    fn sync_filesystem(&self, dir: &Path) -> io::Result<()> {
        if !syncfs_reports_errors() {
            return Err(ErrorKind::Unsupported.into());
        }
        let folder = self.filesystem(dir)?;
        rustix::io::retry_on_intr(|| rustix::fs::syncfs(&*folder))?;
        Ok(())
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn DiskLock>> {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        rustix::io::retry_on_intr(|| rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive))?;
        if let Some(dir) = parent_of(path) {
            // From now on no failed write-back of its filesystem is missed, see `filesystems`.
            self.filesystem(dir)?;
        }
        Ok(Box::new(OsLock { _file: file }))
    }

    fn space(&self, dir: &Path) -> io::Result<DiskSpace> {
        let status = rustix::fs::statvfs(dir)?;
        Ok(DiskSpace {
            free_bytes: status.f_bavail.saturating_mul(status.f_frsize),
            total_bytes: status.f_blocks.saturating_mul(status.f_frsize),
        })
    }
}

/// The folder that holds `path`'s name; the present folder for a bare name, none for the root.
fn parent_of(path: &Path) -> Option<&Path> {
    match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Some(Path::new(".")),
        parent => parent,
    }
}

/// Whether this kernel's `syncfs` tells about failed write-backs.
fn syncfs_reports_errors() -> bool {
    let release = rustix::system::uname();
    let release = release.release().to_string_lossy();
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map_while(|number| number.parse::<u32>().ok());
    matches!((numbers.next(), numbers.next()), (Some(major), Some(minor)) if (major, minor) >= SYNCFS_REPORTS_SINCE)
}

#[derive(Debug)]
struct OsFile {
    file: File,
    residency: Arc<Residency>,
}

impl DiskFile for OsFile {
    fn write_at(&self, mut position: u64, mut slices: &mut [IoSlice<'_>]) -> io::Result<()> {
        // Leading empty slices would make a write of nothing look like a full disk.
        IoSlice::advance_slices(&mut slices, 0);
        while !slices.is_empty() {
            let batch = slices.get(..SLICES_PER_WRITE_MAX).unwrap_or(slices);
            match rustix::io::pwritev(&self.file, batch, position) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(written) => {
                    position += written as u64;
                    IoSlice::advance_slices(&mut slices, written);
                }
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(())
    }

    fn read_at(&self, position: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let mut filled = 0;
        while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match self.file.read_at(rest, position + filled as u64) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }

    fn allocate(&self, range: Range<u64>) -> io::Result<()> {
        if range.is_empty() {
            return Ok(());
        }
        let length = range.end - range.start;
        // Mode 0: real blocks, zero-filled, and the file reaches to the end of the range. A sparse file would fail
        // later, at a write that was promised to have room.
        rustix::io::retry_on_intr(|| rustix::fs::fallocate(&self.file, FallocateFlags::empty(), range.start, length))?;
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        rustix::io::retry_on_intr(|| rustix::fs::fdatasync(&self.file))?;
        Ok(())
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn map(&self, bytes: u64) -> io::Result<Arc<dyn FileView>> {
        map::map(&self.file, bytes, Arc::clone(&self.residency))
    }
}

/// The lock lives as long as the open file; the kernel lets go of it when the process dies, however it dies.
#[derive(Debug)]
struct OsLock {
    _file: File,
}

impl DiskLock for OsLock {}
