//! The segmented log of Highwater on disk.
//!
//! Owns: the disk seam, segments with their offset and time indexes, recovery, retention, flush rounds, the vote file,
//! the manifest, and the lock of a data directory.
//!
//! Never: knows what a topic, a Raft group or a runtime is; reads a clock; awaits.

pub mod disk;
pub mod log_key;

pub use log_key::{LogKey, NotALogKey};
