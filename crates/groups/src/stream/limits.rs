//! Every hard cap of stream groups in one place, and the relations between them checked when the code is compiled.
//!
//! A cap here is what is refused beyond, whatever the configuration says.

/// The longest group id, in bytes. Kafka sets no bound; a group often bears a topic's name, so it has a topic's bound.
pub const GROUP_ID_BYTES_MAX: usize = 249;

/// The longest instance id, client id and host, in bytes.
pub const CLIENT_TEXT_BYTES_MAX: usize = 249;

/// The longest member id, in bytes: a client id or an instance id, a hyphen, and 32 hexadecimal digits, with room.
pub const MEMBER_ID_BYTES_MAX: usize = 320;

/// The longest name of a protocol or of a protocol type, in bytes.
pub const PROTOCOL_NAME_BYTES_MAX: usize = 64;

/// The most protocols that one member offers.
pub const MEMBER_PROTOCOLS_MAX: usize = 16;

/// The most bytes that one member brings: metadata of its protocols, subscription and owned partitions.
pub const MEMBER_BYTES_MAX: usize = 256 * 1024;

/// The most bytes that the members of one group bring together.
pub const GROUP_MEMBERS_BYTES_MAX: usize = 3 * 1024 * 1024;

/// The most members of one group.
pub const GROUP_MEMBERS_MAX: usize = 5_000;

/// The most bytes of the assignments of one generation.
pub const GROUP_ASSIGNMENTS_BYTES_MAX: usize = 3 * 1024 * 1024;

/// The most partitions that the server assigns in one group.
pub const GROUP_PARTITIONS_MAX: usize = 100_000;

/// The most groups of one coordinator.
pub const COORDINATOR_GROUPS_MAX: usize = 50_000;

/// The most partitions in one request about offsets.
pub const REQUEST_PARTITIONS_MAX: usize = 20_000;

/// The most bytes of text beside the offsets of one commit.
pub const COMMIT_METADATA_BYTES_MAX: usize = 1024 * 1024;

/// The longest text beside one offset, in bytes (Kafka's).
pub const OFFSET_METADATA_BYTES_MAX: usize = 4_096;

/// The most offsets that one group keeps.
pub const GROUP_OFFSETS_MAX: usize = 100_000;

/// The most bytes of text beside the offsets of one group.
pub const GROUP_METADATA_BYTES_MAX: usize = 4 * 1024 * 1024;

/// The longest session time-out, in milliseconds.
pub const SESSION_TIMEOUT_MS_MAX: u32 = 30 * 60 * 1_000;

/// The shortest rebalance time-out, in milliseconds: what is asked for below it is taken for this.
pub const REBALANCE_TIMEOUT_MS_MIN: u32 = 1_000;

/// How long a new member may wait in one join round, in milliseconds (Kafka's): its client may be long gone.
pub const NEW_MEMBER_WAIT_MS: u64 = 5 * 60 * 1_000;

/// How long sessions keep a group without members, in milliseconds; by then the image has usually caught up.
pub const SETTLE_MS: u64 = 1_000;

/// The most groups that one sweep looks at.
pub const SWEEP_GROUPS_MAX: usize = 1_000;

/// The most offsets that one record of expiry names.
pub const EXPIRY_PARTITIONS_MAX: usize = 10_000;

/// The most groups whose deadlines one tick handles; the next tick is due at once when there are more.
pub const TICK_GROUPS_MAX: usize = 256;

/// After so many bytes of records a tick stops, and the next one is due at once.
pub const TICK_BYTES_MAX: usize = 512 * 1024;

/// How long a sweep pauses between two parts, in milliseconds.
pub const SWEEP_PAUSE_MS: u64 = 50;

// What one decision writes must fit into one entry of the log.
const ENTRY_BYTES_MAX: usize = highwater_types::limits::BATCH_BYTES_MAX;
const _: () = assert!(
    TICK_BYTES_MAX + GROUP_MEMBERS_BYTES_MAX + GROUP_ASSIGNMENTS_BYTES_MAX + GROUP_PARTITIONS_MAX * 8 < ENTRY_BYTES_MAX
);
const _: () = assert!(COMMIT_METADATA_BYTES_MAX + REQUEST_PARTITIONS_MAX * 64 < ENTRY_BYTES_MAX);
const _: () = assert!(CLIENT_TEXT_BYTES_MAX + 1 + 32 <= MEMBER_ID_BYTES_MAX);
