//! What can go wrong with a file, said once for the whole crate.
//!
//! Every error names the file. An unreadable file is never reported as a missing one.

use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

/// A step of working with a file, for messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FileStep {
    /// Making it.
    Create,
    /// Opening it.
    Open,
    /// Reading it.
    Read,
    /// Writing to it.
    Write,
    /// Reserving disk space for it.
    Allocate,
    /// Making its bytes durable.
    Sync,
    /// Making a folder's names durable.
    SyncDir,
    /// Making the whole filesystem durable.
    SyncFilesystem,
    /// Giving it its final name.
    Rename,
    /// Removing it.
    Remove,
    /// Mapping it.
    Map,
    /// Listing a folder.
    List,
    /// Making a folder.
    CreateDir,
    /// Asking for the free space.
    Space,
    /// Locking it.
    Lock,
}

impl FileStep {
    const fn is_sync(self) -> bool {
        matches!(self, Self::Sync | Self::SyncDir | Self::SyncFilesystem)
    }

    const fn verb(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Open => "open",
            Self::Read => "read",
            Self::Write => "write",
            Self::Allocate => "reserve space for",
            Self::Sync => "sync",
            Self::SyncDir => "sync the folder",
            Self::SyncFilesystem => "sync the filesystem of",
            Self::Rename => "rename",
            Self::Remove => "remove",
            Self::Map => "map",
            Self::List => "list",
            Self::CreateDir => "create the folder",
            Self::Space => "ask for the free space of",
            Self::Lock => "lock",
        }
    }
}

/// Why the contents of a file cannot be believed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Damage {
    /// It does not begin as such a file does.
    BadMagic,
    /// It is shorter or longer than its header says, in bytes.
    BadLength {
        /// What the header (or the smallest possible file) asks for.
        expected: u64,
        /// What there is.
        found: u64,
    },
    /// Its checksum does not match.
    BadChecksum {
        /// Where in the file the checked bytes begin.
        at: u64,
    },
    /// It is a sound file of another kind, by number.
    WrongKind {
        /// The kind that belongs there.
        expected: u16,
        /// The kind that is there.
        found: u16,
    },
    /// The checksum is right but the contents make no sense.
    BadContents {
        /// What is wrong with them.
        what: &'static str,
    },
}

impl std::fmt::Display for Damage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::BadMagic => write!(f, "it does not begin with the magic bytes of such a file"),
            Self::BadLength { expected, found } => write!(f, "it should have {expected} bytes and has {found}"),
            Self::BadChecksum { at } => write!(f, "the checksum at byte {at} does not match"),
            Self::WrongKind { expected, found } => write!(f, "it is a file of kind {found}, not {expected}"),
            Self::BadContents { what } => write!(f, "{what}"),
        }
    }
}

/// An operation on a file that failed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum FileError {
    /// The operating system said no.
    #[error("cannot {} {}: {source}", step.verb(), file.display())]
    Io {
        /// What was tried.
        step: FileStep,
        /// The file or folder.
        file: PathBuf,
        /// The operating system's word.
        source: io::Error,
    },
    /// The file is there but cannot be believed. Restore it from a backup or rebuild this node from its peers; deleting
    /// it would make this node forget what it has promised.
    #[error("{} is damaged: {damage}; restore it, or rebuild this node from its peers", file.display())]
    Damaged {
        /// The file.
        file: PathBuf,
        /// What is wrong.
        damage: Damage,
    },
    /// A newer Highwater wrote the file.
    #[error("{} has format version {found}, this build reads up to {supported}; run a newer highwater", file.display())]
    NewerFormat {
        /// The file.
        file: PathBuf,
        /// Its version.
        found: u16,
        /// The newest version that this build reads.
        supported: u16,
    },
}

impl FileError {
    /// Attaches the step and the file to an error of the disk; made for `map_err`.
    pub fn io(step: FileStep, file: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { step, file: file.to_owned(), source }
    }

    /// Whether the file's contents cannot be believed; not that it could not be read, or is newer.
    #[must_use]
    pub const fn is_damage(&self) -> bool {
        matches!(self, Self::Damaged { .. })
    }

    /// Says that `file` is damaged.
    #[must_use]
    pub fn damaged(file: &Path, damage: Damage) -> Self {
        Self::Damaged { file: file.to_owned(), damage }
    }

    /// The file it is about.
    #[must_use]
    pub fn file(&self) -> &Path {
        match self {
            Self::Io { file, .. } | Self::Damaged { file, .. } | Self::NewerFormat { file, .. } => file,
        }
    }

    /// Whether there is no space left, and nothing has happened. The only error after which the same call may succeed
    /// later. A sync that found no space is none of these: as after every failed sync, nobody knows what is there.
    #[must_use]
    pub fn is_disk_full(&self) -> bool {
        matches!(self, Self::Io { step, source, .. }
            if !step.is_sync() && matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded))
    }
}
