//! The record batch: Kafka's format 2, the one record format from client to disk to client. See `docs/format.md`.
//!
//! Owns: reading, checking, building and iterating batches, their checksum, and the five codecs inside them.
//!
//! Never: decides where a batch goes. The broker stores the bytes as they came; only [`stamp`] changes any of them, and
//! only the 16 that lie before the checksum's reach.
//!
//! ```text
//!   0        8        12       16   17    21                                        61
//!   | base   | length | leader | 2  | CRC | attributes, deltas, times, producer, n  | records
//!   |  set by the broker, [`stamp`]  |     |<------------- covered by CRC-32C ------------------->
//! ```
//!
//! Invariants:
//! - No length, count or delta in a batch is believed before it is held against the bytes that are there; nothing
//!   allocates from one, and nothing panics, whatever the bytes are.
//! - A [`ValidBatch`] went through every check that a broker makes. Code that holds one need not check again.

mod builder;
mod compression;
mod crc;
mod cursor;
mod error;
mod header;
mod record;
mod records;
mod valid;

pub use builder::{BatchBuilder, NO_HEADERS};
pub use compression::{Compression, UnknownCompressionName};
pub use crc::verify_crc;
pub use error::{BatchError, RecordProblem};
pub use header::{BatchHeader, HEADER_BYTES, ProducerStamp, stamp};
pub use records::{HeaderName, Record, RecordHeader, Records, records};
pub use valid::ValidBatch;

#[cfg(test)]
mod tests;
