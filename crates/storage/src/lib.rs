//! The segmented log of Highwater on disk.
//!
//! Owns: the disk seam, segments with their offset and time indexes, recovery, retention, flush rounds, the vote file,
//! the manifest, and the lock of a data directory.
//!
//! Never: knows what a topic, a Raft group or a runtime is; reads a clock; awaits.

pub mod disk;
mod error;
mod flush;
mod locks;
mod poison;
pub mod sealed_file;

pub use error::{Damage, FileError, FileStep};
pub use flush::{DIRTY_FILES_MAX, DirtyFile, FlushCounts, Flushable, Flusher, OnDurable, SyncFilesystem};
pub use poison::{Poison, PoisonHook, Poisoned};
pub mod log_key;

pub use log_key::{LogKey, NotALogKey};
