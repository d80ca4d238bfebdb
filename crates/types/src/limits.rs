//! Every hard cap in one place, and the relations between them checked when the code is compiled.
//!
//! A cap here is what the product refuses beyond, whatever the configuration says.

/// The longest topic name, in bytes (Kafka's).
pub const TOPIC_NAME_BYTES_MAX: usize = 249;

/// The largest record batch on the wire and on disk, in bytes, that configuration may allow.
pub const BATCH_BYTES_MAX: usize = 8 * 1024 * 1024;

/// The largest record batch unless configured otherwise, in bytes. Kafka's `max.message.bytes` default is 1 MiB + 12.
pub const BATCH_BYTES_DEFAULT: usize = 1024 * 1024 + 12;

/// The most records in one batch. Bounds what one length field can make anybody allocate.
pub const BATCH_RECORDS_MAX: usize = 1_000_000;

/// The most bytes that the records of one batch may fill when decompressed.
pub const BATCH_DECOMPRESSED_BYTES_MAX: usize = 64 * 1024 * 1024;

/// The most headers on one record.
pub const RECORD_HEADERS_MAX: usize = 1_024;

/// The largest gRPC message that a server or a client decodes, in bytes.
pub const MESSAGE_BYTES_MAX: usize = 16 * 1024 * 1024;

/// The most bytes of records that one answer to a read carries. One batch larger than this is still sent whole.
pub const READ_BYTES_MAX: usize = 8 * 1024 * 1024;

/// The longest that a reader may ask to wait for records, in milliseconds.
pub const READ_WAIT_MS_MAX: u64 = 60_000;

/// The most partitions of one topic.
pub const TOPIC_PARTITIONS_MAX: u32 = 10_000;

/// The most replicas of one partition. More would make every write slower and nothing safer.
pub const REPLICAS_MAX: u32 = 9;

/// The most nodes of one cluster. Every node holds the metadata and talks to every other one.
pub const CLUSTER_NODES_MAX: usize = 256;

/// The most batches that one producer may have in flight to one partition (Kafka's).
pub const PRODUCER_BATCHES_IN_FLIGHT_MAX: usize = 5;

// A batch must fit into a message with room for what surrounds it, or it could be stored and never read.
const _: () = assert!(BATCH_BYTES_MAX + 64 * 1024 <= MESSAGE_BYTES_MAX);
const _: () = assert!(READ_BYTES_MAX <= BATCH_BYTES_MAX);
const _: () = assert!(BATCH_BYTES_DEFAULT <= BATCH_BYTES_MAX);
const _: () = assert!(BATCH_BYTES_MAX <= BATCH_DECOMPRESSED_BYTES_MAX);
