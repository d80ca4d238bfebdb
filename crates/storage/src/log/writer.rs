//! The state of a log that only its writers see, behind one lock.
//!
//! Owns: where the next entry goes, what is not durable yet, and who waits for that. Never: is touched by a reader.
//!
//! ```text
//!   purged ≤ flushed ≤ last        entries
//!   log_start ≤ flushed offset ≤ next_offset
//! ```

use std::sync::Arc;

use bytes::Bytes;
use highwater_types::{EntryId, LogIndex, Offset, Timestamp};

use super::file_name::SegmentNumber;
use super::manifest::{Manifest, SegmentEnd};
use super::segment::Segment;
use super::space::Space;
use crate::entry::MembershipEntry;
use crate::flush::{DirtyFile, OnDurable};

/// How far a log is durable here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flushed {
    /// The last durable entry.
    pub id: EntryId,
    /// The first offset that is not durable.
    pub next_offset: Offset,
}

/// The segment that takes the next entry.
pub(super) struct Active {
    pub(super) segment: Arc<Segment>,
    pub(super) space: Arc<Space>,
    /// How far it may grow: the segment's size, or all that was reserved at once if that is more.
    pub(super) limit: u64,
    /// Where the next frame goes.
    pub(super) position: u64,
    /// The position of the last index point.
    pub(super) last_point: u64,
    /// `None` only between activation and the first entry, inside one append.
    pub(super) end: Option<SegmentEnd>,
    /// The header, until it is written with the first frames.
    pub(super) header: Option<Bytes>,
    /// Whether there are bytes that no sync has covered.
    pub(super) is_dirty: bool,
}

/// A segment's file that waits for its turn.
pub(super) struct Prepared {
    pub(super) number: SegmentNumber,
    pub(super) space: Arc<Space>,
}

/// What a flush round has taken.
pub(super) struct Taken {
    /// The files that the round is about to sync. Until it is over, nobody else may take them for durable.
    pub(super) files: Vec<DirtyFile>,
    pub(super) callbacks: Vec<OnDurable>,
    /// The truncations and resets up to then: after another one, the mark means nothing.
    pub(super) generation: u64,
    pub(super) mark: Option<Flushed>,
    pub(super) manifest: Option<NumberedManifest>,
}

/// A manifest with its place in the order of all manifests of this log.
pub(super) struct NumberedManifest {
    pub(super) sequence: u64,
    pub(super) manifest: Manifest,
}

pub(super) struct Writer {
    pub(super) active: Option<Active>,
    pub(super) prepared: Option<Prepared>,
    /// The file that the background is making now.
    pub(super) preparing: Option<SegmentNumber>,
    /// The number of the next segment. One more than the largest that was ever active.
    pub(super) next_segment: SegmentNumber,
    /// The last purged entry.
    pub(super) purged: Option<EntryId>,
    /// The last entry; the last purged one when there is none.
    pub(super) last: Option<EntryId>,
    pub(super) log_start: Offset,
    pub(super) next_offset: Offset,
    /// The latest membership in the log.
    pub(super) membership: Option<MembershipEntry>,
    /// The bytes of all sealed segments.
    pub(super) sealed_bytes: u64,
    pub(super) flushed: Option<Flushed>,
    /// Counts truncations and resets.
    pub(super) generation: u64,
    /// Sealed segments that no sync has covered.
    pub(super) unsynced: Vec<DirtyFile>,
    /// Callbacks of appends since the last round, in order.
    pub(super) pending: Vec<OnDurable>,
    /// Whether the flusher knows that there is something.
    pub(super) is_announced: bool,
    /// What the round that runs now has taken.
    pub(super) taken: Option<Taken>,
    /// Whether the segments changed since the last manifest was taken.
    pub(super) is_manifest_due: bool,
    pub(super) manifests: u64,
    /// Sealed segments whose index is not in a file yet.
    pub(super) unindexed: Vec<Arc<Segment>>,
    /// Whether the background knows that there is something.
    pub(super) is_background_due: bool,
    pub(super) is_closed: bool,
    /// Whether it was closed in order, to the end: from then on nothing is written through this handle.
    pub(super) is_done: bool,
    /// Reused by every append, so that none allocates for its plan.
    pub(super) plan: Vec<Planned>,
    pub(super) heads: Vec<u8>,
}

/// One entry of an append, checked, with what the log derives for it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Planned {
    pub(super) base_offset: Offset,
    pub(super) record_count: u32,
    pub(super) max_timestamp: Option<Timestamp>,
    /// The first 16 bytes of the batch as they go to the disk.
    pub(super) stamp: Option<[u8; 16]>,
    /// Relative to the first frame of the append.
    pub(super) position: u64,
    /// Where this entry's part of `heads` begins.
    pub(super) head: usize,
}

impl Writer {
    /// The index that the next entry must have; `None` when any will do.
    pub(super) fn next_index(&self) -> Option<LogIndex> {
        self.last.map(|last| last.index.next())
    }

    /// The durable mark that goes into every frame.
    pub(super) fn durable_through(&self) -> u64 {
        self.flushed.map_or(0, |flushed| flushed.id.index.next().get())
    }

    /// The position of everything that was appended, as a mark to be reached.
    pub(super) fn mark(&self) -> Option<Flushed> {
        self.last.map(|id| Flushed { id, next_offset: self.next_offset })
    }

    pub(super) fn active_bytes(&self) -> u64 {
        self.active.as_ref().map_or(0, |active| active.position)
    }
}
