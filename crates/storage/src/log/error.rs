//! What can go wrong with a log: one type a cause, one enum an operation.

use std::path::{Path, PathBuf};

use highwater_types::batch::BatchError;
use highwater_types::{EntryId, LogIndex, Offset, OffsetRange, Term};
use thiserror::Error;

use super::segment_header::{SEGMENT_VERSION, SegmentHeaderError};
use crate::error::FileError;
use crate::frame::{FRAME_VERSION, FrameError};
use crate::poison::Poisoned;

/// Bytes of a segment that were durable and are no longer what was written.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{} is damaged at byte {position}: {cause}; restore it, or rebuild this log from its other replicas", file.display())]
pub struct Corrupt {
    /// The segment.
    pub file: PathBuf,
    /// Where in it.
    pub position: u64,
    /// What is wrong there.
    pub cause: CorruptCause,
}

/// What is wrong with a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum CorruptCause {
    /// A frame cannot be read.
    #[error("{0}")]
    Frame(FrameError),
    /// The header cannot be read.
    #[error("{0}")]
    Header(SegmentHeaderError),
    /// The header is sound but of another segment than the manifest lists.
    #[error("its header is not the one that the manifest lists")]
    WrongHeader,
    /// The file is shorter than the manifest says.
    #[error("the file has {found} bytes, the manifest says that its entries end at {expected}")]
    TooShort {
        /// What the manifest says.
        expected: u64,
        /// The length of the file.
        found: u64,
    },
    /// The file is gone.
    #[error("the file is missing")]
    Missing,
    /// An index does not follow the one before it.
    #[error("the entry there has index {found}, not {expected}")]
    Gap {
        /// What follows the entry before.
        expected: LogIndex,
        /// What is there.
        found: LogIndex,
    },
    /// A term is lower than that of an earlier entry.
    #[error("the entry there has term {found}, below {last} of the entry before it")]
    TermWentBack {
        /// The term of the entry before.
        last: Term,
        /// What is there.
        found: Term,
    },
    /// A batch's stamped offset is not the sum of the records before it.
    #[error("the batch there says that it begins at offset {found}, not {expected}")]
    OffsetMoved {
        /// The sum of the records before.
        expected: Offset,
        /// What is stamped.
        found: Offset,
    },
    /// The payload of a data entry is no batch, although its checksum is right.
    #[error("the payload there is no record batch")]
    NotABatch,
    /// The frames do not end where the manifest says.
    #[error("its entries do not end where the manifest says, at {expected}")]
    WrongEnd {
        /// What the manifest says.
        expected: u64,
    },
    /// A later frame proves that what was here had been made durable.
    #[error("{cause}, and the frame at byte {witness} proves that it had been durable")]
    Witnessed {
        /// What is wrong with the frame.
        cause: FrameError,
        /// Where the proof lies.
        witness: u64,
    },
    /// The segment holds entries that had been durable, but the manifest does not know it.
    #[error(
        "it holds entries that had been durable, but the manifest does not list it; the manifest is older than the log"
    )]
    Unlisted,
}

impl Corrupt {
    pub(super) fn new(file: &Path, position: u64, cause: CorruptCause) -> Self {
        Self { file: file.to_owned(), position, cause }
    }
}

/// Why a log cannot be opened. The log's files are as they were.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum OpenLogError {
    /// A file cannot be read or written, or the manifest is damaged or newer.
    #[error(transparent)]
    File(#[from] FileError),
    /// A segment is damaged below what had been made durable.
    #[error(transparent)]
    Corrupt(#[from] Corrupt),
    /// There are segments, but nothing says which of them count.
    #[error("{} is missing, although there are segments beside it; restore it, or rebuild this log from its other replicas", file.display())]
    NoManifest {
        /// The manifest.
        file: PathBuf,
    },
    /// The manifest is that of another log.
    #[error("{} belongs to another log than its folder; restore it, or rebuild this log from its other replicas", file.display())]
    WrongLog {
        /// The manifest.
        file: PathBuf,
    },
    /// A newer Highwater wrote a segment.
    #[error("{} has format version {found}, this build reads up to {supported}; run a newer highwater", file.display())]
    NewerFormat {
        /// The segment.
        file: PathBuf,
        /// Its version, or that of a frame in it.
        found: u16,
        /// The newest version that this build reads.
        supported: u16,
    },
    /// It is open already: two writers would overwrite each other.
    #[error("the log in {} is open already in this process; use the handle that there is, or close it first", path.display())]
    AlreadyOpen {
        /// The log's folder.
        path: PathBuf,
    },
    /// The data directory takes no more writes.
    #[error(transparent)]
    Poisoned(#[from] Poisoned),
}

impl OpenLogError {
    /// Whether the files say something that cannot be; not that they could not be read, or are newer.
    #[must_use]
    pub const fn is_damage(&self) -> bool {
        match self {
            Self::File(error) => error.is_damage(),
            Self::Corrupt(_) | Self::NoManifest { .. } | Self::WrongLog { .. } => true,
            Self::NewerFormat { .. } | Self::AlreadyOpen { .. } | Self::Poisoned(_) => false,
        }
    }

    /// An unreadable header: damage, or a newer version.
    pub(super) fn header(file: &Path, error: SegmentHeaderError) -> Self {
        match error {
            SegmentHeaderError::Newer(found) => {
                Self::NewerFormat { file: file.to_owned(), found, supported: SEGMENT_VERSION }
            }
            other => Corrupt::new(file, 0, CorruptCause::Header(other)).into(),
        }
    }

    /// A frame of a newer version.
    pub(super) fn newer_frame(file: &Path, found: u8) -> Self {
        Self::NewerFormat { file: file.to_owned(), found: found.into(), supported: FRAME_VERSION.into() }
    }
}

/// Why nothing was appended. After every variant but [`AppendError::Poisoned`] the log is
/// as it was, and goes on.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum AppendError {
    /// An index does not follow the last one.
    #[error("entry {found} cannot be appended: the next index is {expected}")]
    OutOfOrder {
        /// The index after the last entry.
        expected: LogIndex,
        /// The entry that was given.
        found: EntryId,
    },
    /// A term is below that of the last entry.
    #[error("entry {found} cannot be appended after {last}: its term is lower")]
    TermWentBack {
        /// The entry before.
        last: EntryId,
        /// The entry that was given.
        found: EntryId,
    },
    /// A data entry is not exactly one batch.
    #[error("entry {id} is no record batch: {cause}")]
    NotABatch {
        /// The entry.
        id: EntryId,
        /// What is wrong.
        cause: BatchError,
    },
    /// A batch is longer or shorter than its header says.
    #[error("entry {id} has {found} bytes, its batch says {expected}")]
    BatchLength {
        /// The entry.
        id: EntryId,
        /// What the header of the batch says.
        expected: usize,
        /// What was given.
        found: usize,
    },
    /// The leader gave a batch another offset than this log would: the two logs differ below.
    #[error("entry {id} would get offset {derived}, its leader gave it {expected}: the logs have diverged")]
    OffsetDiverged {
        /// The entry.
        id: EntryId,
        /// What the leader says.
        expected: Offset,
        /// What follows from this log.
        derived: Offset,
    },
    /// No offset is left.
    #[error("the log is full: no offset is left after {log_end}")]
    OffsetsUsedUp {
        /// The next offset.
        log_end: Offset,
    },
    /// An entry or an append is too large.
    #[error("{bytes} bytes cannot be appended at once, at most {bytes_max}")]
    TooLarge {
        /// What was given.
        bytes: u64,
        /// What is allowed.
        bytes_max: u64,
    },
    /// There is no disk space. Nothing was written.
    #[error(transparent)]
    NoSpace(#[from] NoSpace),
    /// The log was closed.
    #[error("the log is closed")]
    Closed,
    /// The data directory takes no more writes.
    #[error(transparent)]
    Poisoned(#[from] Poisoned),
}

impl AppendError {
    /// Whether the same append may succeed later.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        matches!(self, Self::NoSpace(_))
    }
}

/// The filesystem has no space left. Nothing was changed; the same call may succeed once space is freed.
#[derive(Debug, Error)]
#[error("no disk space: {cause}; free space or shorten retention")]
pub struct NoSpace {
    /// Which file could not grow.
    #[source]
    pub cause: FileError,
}

/// Why space cannot be promised.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ReserveError {
    /// There is no disk space.
    #[error(transparent)]
    NoSpace(#[from] NoSpace),
    /// More than one append may carry.
    #[error("{bytes} bytes cannot be appended at once, at most {bytes_max}")]
    TooLarge {
        /// What was asked for.
        bytes: u64,
        /// What is allowed.
        bytes_max: u64,
    },
    /// The log was closed.
    #[error("the log is closed")]
    Closed,
    /// The data directory takes no more writes.
    #[error(transparent)]
    Poisoned(#[from] Poisoned),
}

impl ReserveError {
    /// Whether the same call may succeed later.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        matches!(self, Self::NoSpace(_))
    }
}

/// Why an operation on a whole log failed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum LogError {
    /// What is to be dropped was purged or is committed.
    #[error("the log cannot be cut at index {index}: entries up to {purged} were purged")]
    BelowPurged {
        /// Where it was to be cut.
        index: LogIndex,
        /// The last purged entry.
        purged: EntryId,
    },
    /// The entry to be purged through has another term here.
    #[error("cannot purge through {wanted}: the entry with that index is {found}")]
    OtherEntry {
        /// What was asked for.
        wanted: EntryId,
        /// What is there.
        found: EntryId,
    },
    /// A segment cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// A file operation failed. Unless it was for want of space, the data directory is poisoned.
    #[error(transparent)]
    File(#[from] FileError),
    /// There is no disk space. Nothing was changed.
    #[error(transparent)]
    NoSpace(#[from] NoSpace),
    /// The log was closed.
    #[error("the log is closed")]
    Closed,
    /// The data directory takes no more writes.
    #[error(transparent)]
    Poisoned(#[from] Poisoned),
}

/// Why nothing can be read.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The offset was purged or is not there yet.
    #[error("offset {offset} is not in the log, which holds {valid}")]
    OffsetOutOfRange {
        /// What was asked for.
        offset: Offset,
        /// What is there; its end may be read from as soon as there is something.
        valid: OffsetRange,
    },
    /// The index was purged.
    #[error("index {index} was purged, the log holds entries after {purged}")]
    IndexPurged {
        /// What was asked for.
        index: LogIndex,
        /// The last purged entry.
        purged: EntryId,
    },
    /// A segment is damaged. Nothing of the damaged frame is served.
    #[error(transparent)]
    Corrupt(#[from] Corrupt),
    /// A segment cannot be opened or mapped.
    #[error(transparent)]
    File(#[from] FileError),
}
