//! The log of one partition: entries in order, by index and by offset, on one disk.
//!
//! Owns: the folder of the log. One writer at a time; any number of readers, who never wait for it.
//!
//! ```text
//!              append                          read
//!                │                              │
//!      plan ─► room ─► one write ─► publish ─► view ─► segment ─► cursor ─► slices of the map
//!                │                    │
//!           roll, space        flush round: sync ─► manifest ─► callbacks
//! ```
//!
//! Never: knows what an entry means (but for the header of a batch), reads a clock, or starts a thread.
//!
//! Invariants:
//! - Indexes have no gaps; terms do not go back; a base offset is the sum of the records before it.
//! - What was released as durable is found by every later open, or the open is refused with the name of the file.
//! - A byte below the published end of a segment never changes; a file never becomes shorter.
//! - The manifest lists a segment before an entry of it is released as durable, and no longer before its file goes.

mod append;
mod checkpoint;
pub mod conformance;
mod cursor;
mod error;
mod file_name;
mod flushing;
mod handle;
pub mod index;
pub mod manifest;
mod options;
mod read;
mod recovery;
mod retention;
mod roll;
pub(crate) mod scan;
mod segment;
mod segment_header;
mod space;
mod trim;
mod writer;

#[cfg(test)]
mod tests;

use std::fmt;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, OnceLock, RwLock, Weak};

use highwater_types::{EntryId, Offset};

pub use append::{Appended, framed_bytes};
pub use error::{AppendError, Corrupt, CorruptCause, LogError, NoSpace, OpenLogError, ReadError, ReserveError};
pub use file_name::{FileName, SegmentNumber};
pub(crate) use handle::LogWatch;
pub use handle::{Log, LogState};
pub use options::{APPEND_BYTES_MAX, LogOptions, SEGMENT_BYTES_LIMIT};
pub use read::BatchSlices;
pub use recovery::{RecoveryReport, TornTail};
pub use retention::{RetentionPolicy, SealedSegment, segments_to_drop};
pub use segment_header::{EncodedHeader, SegmentHeader, SegmentHeaderError};
pub use writer::Flushed;

use self::segment::{Segment, read, write};
use self::writer::Writer;
use crate::background::Background;
use crate::data_dir::quarantine::Marks;
use crate::disk::Disk;
use crate::flush::Flusher;
use crate::log_key::LogKey;
use crate::poison::Poisoned;

/// What readers start from. Swapped as a whole by the writer.
#[derive(Debug)]
struct View {
    /// Oldest first.
    segments: Vec<Arc<Segment>>,
    purged: Option<EntryId>,
    log_start: Offset,
}

/// What all handles of a log share.
struct Inner {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    key: LogKey,
    options: LogOptions,
    flusher: Arc<Flusher>,
    background: Arc<Background>,
    writer: Mutex<Writer>,
    view: RwLock<Arc<View>>,
    state: RwLock<LogState>,
    /// The number of the last manifest that was written. Held while one is being written, taken after the writer.
    manifest_written: Mutex<u64>,
    /// The marks of the data directory, for a log that was opened through one.
    marks: OnceLock<Arc<Marks>>,
    /// Whether the last attempt to get space ahead of the appends found none, which was told then.
    is_short_of_space: AtomicBool,
    me: Weak<Inner>,
}

impl Inner {
    /// A handle for the flusher and the background.
    fn me(&self) -> Arc<Self> {
        // Whoever calls a method holds a handle.
        self.me.upgrade().unwrap_or_else(|| unreachable!("a log is used after its last handle"))
    }

    fn view(&self) -> Arc<View> {
        Arc::clone(&read(&self.view))
    }

    fn segments(&self) -> Vec<Arc<Segment>> {
        read(&self.view).segments.clone()
    }

    /// Shows these segments, and the writer's start, to readers: both at once, or a reader would find nothing where
    /// something was purged. Only with the writer's lock.
    fn show(&self, writer: &Writer, segments: Vec<Arc<Segment>>) {
        let view = View { segments, purged: writer.purged, log_start: writer.log_start };
        *write(&self.view) = Arc::new(view);
    }

    fn check_open(&self, writer: &Writer) -> Result<(), LogError> {
        self.flusher.poison().check()?;
        if writer.is_closed { Err(LogError::Closed) } else { Ok(()) }
    }

    fn poison(&self, reason: impl fmt::Display) -> Poisoned {
        self.flusher.poison().set(reason)
    }
}
