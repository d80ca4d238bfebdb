//! What can be set of a log, with the defaults and the limits of each.

use highwater_types::limits;

use crate::frame::PAYLOAD_BYTES_MAX;

const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;

/// How a log lays out its segments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogOptions {
    /// A segment is sealed before it grows beyond this many bytes; one append that is larger gets a segment of its own,
    /// and so does what was reserved at once. Default 256 MiB.
    pub segment_bytes_max: u64,
    /// A segment is sealed when it is older than this, in milliseconds. Default 7 days.
    pub segment_age_ms_max: u64,
    /// The bytes between two points of the sparse index. Default 16 KiB.
    pub index_interval_bytes: u32,
    /// The disk space that a new segment takes at first, in bytes. Small, so that an idle log is cheap. Default 256 KiB.
    pub allocate_bytes_min: u64,
    /// The most disk space that is allocated in one step, in bytes; steps double up to it. Default 32 MiB.
    pub allocate_bytes_max: u64,
    /// Whether allocated space is also overwritten with zeros ahead of the appends. Syncs are faster then (the
    /// filesystem has no extents to convert), and every byte is written twice. Default off, see `docs/performance.md`.
    pub zero_ahead: bool,
}

impl Default for LogOptions {
    fn default() -> Self {
        Self {
            segment_bytes_max: 256 * MIB,
            segment_age_ms_max: 7 * 24 * 60 * 60 * 1000,
            index_interval_bytes: 16 * 1024,
            allocate_bytes_min: 256 * KIB,
            allocate_bytes_max: 32 * MIB,
            zero_ahead: false,
        }
    }
}

/// The largest segment that may be asked for: positions in an index have 32 bits.
pub const SEGMENT_BYTES_LIMIT: u64 = 2 * 1024 * MIB;
/// The most bytes, headers included, that one append may carry.
pub const APPEND_BYTES_MAX: u64 = 1024 * MIB;

// One append beyond the largest segment still has positions of 32 bits.
const _: () = assert!(APPEND_BYTES_MAX + 4 * MIB < SEGMENT_BYTES_LIMIT);
const _: () = assert!((PAYLOAD_BYTES_MAX as u64) < APPEND_BYTES_MAX);
const _: () = assert!((limits::BATCH_BYTES_MAX as u64) < APPEND_BYTES_MAX);

impl LogOptions {
    /// The options with every value moved into what the log can do.
    #[must_use]
    pub fn clamped(mut self) -> Self {
        self.segment_bytes_max = self.segment_bytes_max.clamp(KIB, SEGMENT_BYTES_LIMIT);
        self.allocate_bytes_min = self.allocate_bytes_min.clamp(512, self.segment_bytes_max);
        self.allocate_bytes_max = self.allocate_bytes_max.clamp(self.allocate_bytes_min, SEGMENT_BYTES_LIMIT);
        self.index_interval_bytes = self.index_interval_bytes.max(1);
        self
    }
}
