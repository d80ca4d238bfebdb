//! Small files that are replaced as a whole: manifest, identity, checkpoint, format marker, compacted votes.
//!
//! Owns: their header, their checksum, and the one safe way to replace a file. Never: interprets a payload, or takes
//! an unreadable file for a missing one.
//!
//! ```text
//!   0        8         10      12       16      20
//!   | magic  | version | kind  | length | crc32 | payload ... |      little endian
//!   crc32 covers everything but itself
//! ```
//!
//! Invariants:
//! - This header is the same in every version for ever; `version` is the version of the payload's layout.
//! - A reader sees the old contents or the new, whole, whenever the power goes: a temporary name is written and synced
//!   first, then renamed, then the folder is synced.
//! - One writer a file at a time; the caller sees to it.

use std::io::{ErrorKind, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;

use crate::disk::{Disk, DiskFile};
use crate::error::{Damage, FileError, FileStep};

#[cfg(test)]
mod tests;

/// How every sealed file begins.
pub const MAGIC: [u8; 8] = *b"HWSEALED";

/// The bytes before the payload.
pub const HEADER_BYTES: usize = 20;

/// The most payload that a sealed file holds. Above it the checksum would take too long, and an open file would be the
/// better form.
pub const PAYLOAD_BYTES_MAX: usize = 256 << 20;

/// The kinds of sealed files. The number on disk never changes its meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum FileKind {
    /// `format`: the format of the whole data directory.
    Format = 1,
    /// `identity`: who this node is.
    Identity = 2,
    /// A log's manifest: its segments, logical ends and durable mark.
    Manifest = 3,
    /// A state machine's checkpoint beside its log.
    Checkpoint = 4,
    /// A mark on a log: that it is damaged, or was and begins anew.
    Mark = 5,
}

impl FileKind {
    /// The newest version of the payload that this build reads, and the one that it writes.
    #[must_use]
    pub const fn version(self) -> u16 {
        match self {
            Self::Format | Self::Identity | Self::Manifest | Self::Checkpoint | Self::Mark => 1,
        }
    }
}

/// A sealed file's contents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sealed {
    /// The payload's version, at most [`FileKind::version`].
    pub version: u16,
    /// What was sealed.
    pub payload: Bytes,
}

/// Replaces `path` by `payload`, durably. The file's folder must exist.
///
/// # Errors
/// When any step fails. The old contents are still there unless the rename had been made; which of the two a restart
/// finds is then open, and the caller must stop writing (poison). No space left before the rename changes nothing.
///
/// # Panics
/// When `payload` is above [`PAYLOAD_BYTES_MAX`]: the caller's bug.
pub fn write(disk: &dyn Disk, path: &Path, kind: FileKind, payload: &[u8]) -> Result<(), FileError> {
    let header = encode_header(kind, kind.version(), payload);
    replace(disk, path, &mut [IoSlice::new(&header), IoSlice::new(payload)]).map(drop)
}

/// Replaces `path` by the bytes of `slices`, durably, and gives the new file. The safe way for any small file.
///
/// # Errors
/// As [`write()`].
pub(crate) fn replace(
    disk: &dyn Disk,
    path: &Path,
    slices: &mut [IoSlice<'_>],
) -> Result<Arc<dyn DiskFile>, FileError> {
    let temporary = temporary_path(path);
    let file = write_temporary(disk, &temporary, slices).inspect_err(|_| {
        // Give the space back when that is what failed; the next write would remove it as well.
        let _best_effort = disk.remove(&temporary);
    })?;
    disk.rename(&temporary, path).map_err(FileError::io(FileStep::Rename, path))?;
    let dir = path.parent().unwrap_or_else(|| Path::new("."));
    disk.sync_dir(dir).map_err(FileError::io(FileStep::SyncDir, dir))?;
    Ok(file)
}

fn write_temporary(
    disk: &dyn Disk,
    temporary: &Path,
    slices: &mut [IoSlice<'_>],
) -> Result<Arc<dyn DiskFile>, FileError> {
    remove_if_there(disk, temporary)?;
    let file = disk.create(temporary).map_err(FileError::io(FileStep::Create, temporary))?;
    file.write_at(0, slices).map_err(FileError::io(FileStep::Write, temporary))?;
    file.sync_data().map_err(FileError::io(FileStep::Sync, temporary))?;
    Ok(file)
}

/// Reads the file at `path`; `None` when there is none. A temporary file that a crash left is not looked at.
///
/// # Errors
/// [`FileError::Damaged`], [`FileError::NewerFormat`], or what the disk says.
pub fn read(disk: &dyn Disk, path: &Path, kind: FileKind) -> Result<Option<Sealed>, FileError> {
    let file = match disk.open_read_only(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        opened => opened.map_err(FileError::io(FileStep::Open, path))?,
    };
    let size = file.size().map_err(FileError::io(FileStep::Read, path))?;
    let bytes_max = (HEADER_BYTES + PAYLOAD_BYTES_MAX) as u64;
    let too_long = || FileError::damaged(path, Damage::BadLength { expected: bytes_max, found: size });
    let size = usize::try_from(size).ok().filter(|&size| size as u64 <= bytes_max).ok_or_else(too_long)?;
    let mut bytes = vec![0; size];
    let read = file.read_at(0, &mut bytes).map_err(FileError::io(FileStep::Read, path))?;
    bytes.truncate(read);
    decode(path, kind, bytes.into()).map(Some)
}

/// Removes what a crash in the middle of [`write()`] may have left beside `path`.
///
/// # Errors
/// What the disk says.
pub fn remove_temporary(disk: &dyn Disk, path: &Path) -> Result<(), FileError> {
    remove_if_there(disk, &temporary_path(path))
}

/// The name that a file has until it is whole.
#[must_use]
pub fn temporary_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".tmp");
    name.into()
}

fn remove_if_there(disk: &dyn Disk, path: &Path) -> Result<(), FileError> {
    match disk.remove(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        removed => removed.map_err(FileError::io(FileStep::Remove, path)),
    }
}

/// The header of a file with this payload.
fn encode_header(kind: FileKind, version: u16, payload: &[u8]) -> [u8; HEADER_BYTES] {
    assert!(payload.len() <= PAYLOAD_BYTES_MAX, "a sealed file of {} bytes", payload.len());
    #[allow(clippy::cast_possible_truncation)] // asserted above
    let length = payload.len() as u32;
    let mut header = Vec::with_capacity(HEADER_BYTES);
    header.extend_from_slice(&MAGIC);
    header.extend_from_slice(&version.to_le_bytes());
    header.extend_from_slice(&(kind as u16).to_le_bytes());
    header.extend_from_slice(&length.to_le_bytes());
    let crc = checksum(version, kind as u16, length, payload);
    header.extend_from_slice(&crc.to_le_bytes());
    let mut bytes = [0; HEADER_BYTES];
    bytes.copy_from_slice(&header);
    bytes
}

fn checksum(version: u16, kind: u16, length: u32, payload: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&MAGIC);
    hasher.update(&version.to_le_bytes());
    hasher.update(&kind.to_le_bytes());
    hasher.update(&length.to_le_bytes());
    hasher.update(payload);
    hasher.finalize()
}

/// The contents of a sealed file that is already in memory; `path` is for the message.
///
/// # Errors
/// [`FileError::Damaged`] or [`FileError::NewerFormat`]. The checksum is looked at before the version, so a flipped
/// bit is never taken for a newer format.
pub fn decode(path: &Path, kind: FileKind, bytes: Bytes) -> Result<Sealed, FileError> {
    let damaged = |damage| FileError::damaged(path, damage);
    let length_error = |expected| damaged(Damage::BadLength { expected, found: bytes.len() as u64 });
    let Some((header, payload)) = bytes.split_first_chunk::<HEADER_BYTES>() else {
        return Err(length_error(HEADER_BYTES as u64));
    };
    let [m0, m1, m2, m3, m4, m5, m6, m7, v0, v1, k0, k1, l0, l1, l2, l3, c0, c1, c2, c3] = *header;
    if [m0, m1, m2, m3, m4, m5, m6, m7] != MAGIC {
        return Err(damaged(Damage::BadMagic));
    }
    let version = u16::from_le_bytes([v0, v1]);
    let found_kind = u16::from_le_bytes([k0, k1]);
    let length = u32::from_le_bytes([l0, l1, l2, l3]);
    if payload.len() as u64 != u64::from(length) {
        return Err(length_error(HEADER_BYTES as u64 + u64::from(length)));
    }
    if checksum(version, found_kind, length, payload) != u32::from_le_bytes([c0, c1, c2, c3]) {
        return Err(damaged(Damage::BadChecksum { at: 0 }));
    }
    if found_kind != kind as u16 {
        return Err(damaged(Damage::WrongKind { expected: kind as u16, found: found_kind }));
    }
    if version > kind.version() {
        return Err(FileError::NewerFormat { file: path.to_owned(), found: version, supported: kind.version() });
    }
    Ok(Sealed { version, payload: bytes.slice(HEADER_BYTES..) })
}
