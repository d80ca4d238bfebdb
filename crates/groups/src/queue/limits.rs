//! Every hard cap of queues in one place, and the relations between them checked when the code is compiled.
//!
//! A cap here is what is refused beyond, whatever the configuration of a group says.

/// The longest name of a worker, in bytes.
pub const WORKER_ID_BYTES_MAX: usize = 249;

/// The most bytes of a reason that are kept; the rest is cut off.
pub const REASON_BYTES_MAX: usize = 512;

/// The most attempts whose story is kept with a message; older ones go. The count is never cut.
pub const JOURNAL_ATTEMPTS_MAX: usize = 16;

/// The most messages that one acquire hands out.
pub const ACQUIRE_MAX: usize = 10_000;

/// The most outcomes in one request.
pub const REQUEST_OUTCOMES_MAX: usize = 5_000;

/// The most ranges of offsets in one request about dead messages.
pub const REQUEST_RANGES_MAX: usize = 10_000;

/// The most dead messages that one redrive or drop changes; the answer says that there are more.
pub const REQUEST_DEAD_MAX: usize = 10_000;

/// The most things that one look at the clock does; when more is due, the next look is due at once.
pub const TICK_EVENTS_MAX: usize = 2_000;

/// The most offsets that a caller is asked to scan at once.
pub const SCAN_OFFSETS_MAX: u64 = 4_096;

/// With room for fewer messages than this the window counts as full: nobody reads the log for one message at a time.
pub const SCAN_OFFSETS_MIN: usize = 256;

/// The most entries of one window: messages that are looked at and not done, and ranges of done ones between them.
pub const ENTRIES_MAX: usize = 4_000_000;

/// So many messages may always be looked at, however many ranges there are: acking them makes ranges fewer.
pub const SLOTS_MIN: usize = 1_024;

/// The most dead messages of one queue.
pub const DEAD_MAX: usize = 1_000_000;

/// The most bytes of records of dead messages that one queue keeps beyond the log's retention. They are in memory, and in
/// every snapshot.
pub const KEPT_BYTES_MAX: usize = 16 << 20;

/// The most bytes of records in one request to keep them.
pub const REQUEST_KEPT_BYTES_MAX: usize = 1 << 20;

/// The most attempts before a message is dead.
pub const ATTEMPTS_MAX: u32 = 1_000;

/// The longest lease, with all that it is extended by, in milliseconds.
pub const LEASE_MS_MAX: u64 = 12 * 60 * 60 * 1_000;

/// The longest back-off, in milliseconds.
pub const BACKOFF_MS_MAX: u64 = 7 * 24 * 60 * 60 * 1_000;

/// Between how many lanes fairness over tenants holds within one priority. Tenants fall into lanes by their hash.
pub const TENANT_LANES: u16 = 1_024;

// What one decision writes must fit into one entry of the log: at worst each outcome fails with a long reason. An attempt
// has a worker, a reason and a few numbers.
const ENTRY_BYTES_MAX: usize = highwater_types::limits::BATCH_BYTES_MAX;
const ATTEMPT_BYTES_MAX: usize =
    WORKER_ID_BYTES_MAX + REASON_BYTES_MAX + 64 + crate::stream::limits::GROUP_ID_BYTES_MAX;
// Every decision looks at the clock as well.
const _: () = assert!((REQUEST_OUTCOMES_MAX + TICK_EVENTS_MAX) * ATTEMPT_BYTES_MAX < ENTRY_BYTES_MAX);
const _: () = assert!((REQUEST_RANGES_MAX + REQUEST_DEAD_MAX) * 32 < ENTRY_BYTES_MAX / 8);
