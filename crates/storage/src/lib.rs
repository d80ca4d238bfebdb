//! The segmented log of Highwater on disk.
//!
//! Owns: the disk seam, segments with their offset and time indexes, recovery, retention, flush rounds, the vote file,
//! the manifest, and the lock of a data directory.
//!
//! Never: knows what a topic, a Raft group or a runtime is; reads a clock; awaits.

mod background;
mod data_dir;
pub mod disk;
mod entry;
mod error;
mod flush;
pub mod frame;
mod identity;
pub mod inspect;
mod locks;
pub mod log;
pub mod log_key;
#[doc(hidden)]
pub mod planted;
mod poison;
mod reserve;
pub mod sealed_file;
mod votes;

pub use background::{Background, BackgroundTask};
pub use data_dir::{DataDir, DataDirOptions, DataDirReport, OpenError};
pub use entry::{Boundary, Entry, EntryKind, MembershipEntry, NewEntry};
pub use error::{Damage, FileError, FileStep};
pub use flush::{DIRTY_FILES_MAX, DirtyFile, FlushCounts, Flushable, Flusher, OnDurable, SyncFilesystem};
pub use identity::{Identity, SetIdentityError};
pub use log::{
    AppendError, Appended, BatchSlices, Flushed, Log, LogError, LogOptions, LogState, OpenLogError, ReadError,
    RecoveryReport, ReserveError, RetentionPolicy, TornTail, framed_bytes,
};
pub use log_key::{LogKey, NotALogKey};
pub use poison::{Poison, PoisonHook, Poisoned};
pub use votes::{VOTE_BYTES_MAX, VoteFile};
