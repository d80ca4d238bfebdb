//! Why a batch is refused: one variant a cause, each with the figures that tell what to change.

use super::compression::Compression;
use super::header::HEADER_BYTES;
use crate::ErrorCode;
use crate::limits;

/// Why some bytes are not a batch that may be stored or read, or why records do not make one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BatchError {
    /// No bytes, or no records.
    #[error("the batch is empty; send at least one record")]
    Empty,
    /// More bytes than are accepted.
    #[error("the batch has {bytes} bytes, at most {bytes_max} are accepted; send fewer or smaller records")]
    TooLarge {
        /// Its size in bytes.
        bytes: usize,
        /// The most bytes accepted.
        bytes_max: usize,
    },
    /// The bytes end before the batch does.
    #[error("the batch ends after {bytes} of {bytes_needed} bytes")]
    Truncated {
        /// How many bytes there are.
        bytes: usize,
        /// How many the batch says it has, or its header needs.
        bytes_needed: usize,
    },
    /// Bytes follow the batch: a second one, or garbage.
    #[error("{bytes} bytes follow the batch; send exactly one batch at a time")]
    TrailingBytes {
        /// How many bytes follow.
        bytes: usize,
    },
    /// The length field is too small for a header, or negative.
    #[error("the batch's length field says {length}, but its header alone needs {}", HEADER_BYTES - 12)]
    BadLength {
        /// The length field: the bytes after itself.
        length: i32,
    },
    /// Not format 2.
    #[error("the batch has format (magic) {magic}, only 2 is accepted")]
    UnknownMagic {
        /// The format byte.
        magic: i8,
    },
    /// The checksum does not match the bytes.
    #[error("the batch's CRC-32C is {computed:#010x}, its header says {stored:#010x}: it was damaged on its way")]
    WrongChecksum {
        /// The checksum in the header.
        stored: u32,
        /// The checksum of the bytes.
        computed: u32,
    },
    /// The codec number has no meaning.
    #[error("the batch is compressed with codec {codec}; known are 0 none, 1 gzip, 2 snappy, 3 lz4, 4 zstd")]
    UnknownCompression {
        /// Bits 0 to 2 of the attributes.
        codec: u8,
    },
    /// Attribute bits are set that have no meaning here.
    #[error("the batch's attributes {attributes:#06x} set bits that are not known here (6 to 15)")]
    ReservedAttributes {
        /// The attributes.
        attributes: u16,
    },
    /// A client sent a control batch.
    #[error("a control batch (attribute bit 5) may not be produced by a client")]
    Control,
    /// A client sent a transactional batch.
    #[error("transactional batches (attribute bit 4) are not supported; produce without a transactional id")]
    Transactional,
    /// A client claims that the broker stamped the time.
    #[error("a client may not set the timestamp type to log-append time (attribute bit 3)")]
    LogAppendTime,
    /// The base offset is negative, or so large that its records run past the last offset.
    #[error("the batch's base offset {base_offset} leaves no room for its records; send 0")]
    BadBaseOffset {
        /// The base offset.
        base_offset: i64,
    },
    /// The number of records is not between 1 and the limit.
    #[error("the batch's header counts {count} records; 1 to {} are accepted", limits::BATCH_RECORDS_MAX)]
    BadRecordCount {
        /// The count in the header.
        count: i32,
    },
    /// The last offset delta is negative or does not fit the number of records.
    #[error("the batch's last offset delta is {last_offset_delta}, but its header counts {count} records")]
    BadLastOffsetDelta {
        /// The last offset delta.
        last_offset_delta: i32,
        /// The count in the header.
        count: i32,
    },
    /// Producer id, epoch and sequence do not go together.
    #[error(
        "the batch's producer id {id}, epoch {epoch} and sequence {sequence} do not go together: \
         the id is -1 (none), or all three are 0 or more"
    )]
    BadProducer {
        /// The producer id.
        id: i64,
        /// The producer epoch.
        epoch: i16,
        /// The first sequence.
        sequence: i32,
    },
    /// One of its records is not well formed.
    #[error("record {index} of the batch is not well formed: {problem}")]
    Record {
        /// Which record, counted from 0.
        index: u32,
        /// What is wrong with it.
        problem: RecordProblem,
    },
    /// Bytes follow the last record that the header counts.
    #[error("{bytes} bytes follow the last record that the batch's header counts")]
    TrailingRecordBytes {
        /// How many bytes follow.
        bytes: usize,
    },
    /// The compressed records are damaged.
    #[error("the batch's records cannot be decompressed with {compression}: {reason}")]
    Decompress {
        /// The codec.
        compression: Compression,
        /// What the codec says.
        reason: String,
    },
    /// The records decompress to more bytes than are accepted.
    #[error("the batch's records decompress to more than {bytes_max} bytes")]
    DecompressedTooLarge {
        /// The most bytes accepted.
        bytes_max: usize,
    },
    /// The codec refused to compress.
    #[error("the batch's records cannot be compressed with {compression}: {reason}")]
    Compress {
        /// The codec.
        compression: Compression,
        /// What the codec says.
        reason: String,
    },
}

impl BatchError {
    /// The stable code that fronts answer with.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::TooLarge { .. } | Self::DecompressedTooLarge { .. } => ErrorCode::BatchTooLarge,
            Self::WrongChecksum { .. } | Self::Decompress { .. } => ErrorCode::CorruptBatch,
            Self::UnknownCompression { .. } => ErrorCode::UnsupportedCompression,
            Self::Transactional => ErrorCode::Unsupported,
            Self::Compress { .. } => ErrorCode::Internal,
            Self::Empty
            | Self::Truncated { .. }
            | Self::TrailingBytes { .. }
            | Self::BadLength { .. }
            | Self::UnknownMagic { .. }
            | Self::ReservedAttributes { .. }
            | Self::Control
            | Self::LogAppendTime
            | Self::BadBaseOffset { .. }
            | Self::BadRecordCount { .. }
            | Self::BadLastOffsetDelta { .. }
            | Self::BadProducer { .. }
            | Self::Record { .. }
            | Self::TrailingRecordBytes { .. } => ErrorCode::InvalidBatch,
        }
    }
}

/// What is wrong with one record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RecordProblem {
    /// A length or the header's count promises more bytes than there are.
    #[error("it ends before its lengths say")]
    Truncated,
    /// An integer has too many bytes, or does not fit.
    #[error("it holds an integer of too many bytes")]
    VarintTooLong,
    /// A length below 0 that does not mean null.
    #[error("it holds a length of {length}")]
    NegativeLength {
        /// The length.
        length: i32,
    },
    /// Bytes are left inside the record after its last header.
    #[error("its length leaves {bytes} bytes after its last header")]
    TrailingBytes {
        /// How many.
        bytes: usize,
    },
    /// The offset delta is not the one due.
    #[error("its offset delta is {offset_delta}")]
    OffsetDelta {
        /// The delta.
        offset_delta: i32,
    },
    /// The timestamp does not fit 64 bits.
    #[error("its timestamp is too far from the batch's first to be written")]
    Timestamp,
    /// More headers than are accepted, or fewer than none.
    #[error("it counts {count} headers; 0 to {} are accepted", limits::RECORD_HEADERS_MAX)]
    HeaderCount {
        /// The count.
        count: i64,
    },
    /// A header has no name.
    #[error("one of its headers has no name")]
    HeaderName,
}
