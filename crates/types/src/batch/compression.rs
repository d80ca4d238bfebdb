//! The five codecs of a batch, in the framings that Kafka's clients write and read.
//!
//! | codec | framing |
//! |---|---|
//! | gzip | RFC 1952, one or more members |
//! | snappy | the Java library's stream of blocks (`xerial`), or one raw block as librdkafka writes it; written as the former |
//! | lz4 | the LZ4 frame format, independent blocks |
//! | zstd | RFC 8878 frames |
//!
//! Invariant: decompressing never holds more than the cap in its output, however much the input promises.

mod snappy;

use std::fmt;
use std::io::{self, Read, Write};
use std::str::FromStr;

use super::error::BatchError;

/// How the records of a batch are compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Compression {
    /// Not at all.
    #[default]
    None,
    /// gzip.
    Gzip,
    /// Snappy.
    Snappy,
    /// LZ4.
    Lz4,
    /// Zstandard.
    Zstd,
}

/// zstd's own default; levels above cost more time than bytes.
const ZSTD_LEVEL: i32 = 3;

impl Compression {
    /// Every codec.
    pub const ALL: [Self; 5] = [Self::None, Self::Gzip, Self::Snappy, Self::Lz4, Self::Zstd];

    /// Its number in a batch's attributes.
    pub(super) const fn codec(self) -> u8 {
        match self {
            Self::None => 0,
            Self::Gzip => 1,
            Self::Snappy => 2,
            Self::Lz4 => 3,
            Self::Zstd => 4,
        }
    }

    pub(super) const fn from_codec(codec: u8) -> Result<Self, BatchError> {
        match codec {
            0 => Ok(Self::None),
            1 => Ok(Self::Gzip),
            2 => Ok(Self::Snappy),
            3 => Ok(Self::Lz4),
            4 => Ok(Self::Zstd),
            _ => Err(BatchError::UnknownCompression { codec }),
        }
    }

    /// Its name, in lower case.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Gzip => "gzip",
            Self::Snappy => "snappy",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
        }
    }
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Compression {
    type Err = UnknownCompressionName;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|compression| compression.name() == name)
            .ok_or_else(|| UnknownCompressionName { name: name.to_owned() })
    }
}

/// A text that names no codec.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown compression {name:?}; known are none, gzip, snappy, lz4, zstd")]
pub struct UnknownCompressionName {
    /// The text.
    pub name: String,
}

/// Appends `records`, compressed, to `out`.
pub(super) fn compress(compression: Compression, records: &[u8], out: &mut Vec<u8>) -> Result<(), BatchError> {
    let result = match compression {
        Compression::None => out.write_all(records),
        Compression::Gzip => {
            let mut encoder = flate2::write::GzEncoder::new(out, flate2::Compression::default());
            encoder.write_all(records).and_then(|()| encoder.finish().map(|_| ()))
        }
        Compression::Snappy => snappy::compress(records, out),
        Compression::Lz4 => compress_lz4(records, out),
        Compression::Zstd => compress_zstd(records, out),
    };
    result.map_err(|error| BatchError::Compress { compression, reason: error.to_string() })
}

/// Java's reader knows independent blocks only; 64 KiB ones are what its writer makes.
fn compress_lz4(records: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
    use lz4_flex::frame::{BlockMode, BlockSize, FrameEncoder, FrameInfo};

    let info = FrameInfo::new().block_size(BlockSize::Max64KB).block_mode(BlockMode::Independent);
    let mut encoder = FrameEncoder::with_frame_info(info, out);
    encoder.write_all(records)?;
    encoder.finish().map(|_| ()).map_err(io::Error::from)
}

fn compress_zstd(records: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
    let mut encoder = zstd::stream::write::Encoder::new(out, ZSTD_LEVEL)?;
    // The size in the frame lets a reader allocate once, and fits the window to it.
    encoder.set_pledged_src_size(Some(records.len() as u64))?;
    encoder.include_contentsize(true)?;
    encoder.write_all(records)?;
    encoder.finish().map(|_| ())
}

/// `compressed`, decompressed, if that is at most `bytes_max` bytes.
pub(super) fn decompress(compression: Compression, compressed: &[u8], bytes_max: usize) -> Result<Vec<u8>, BatchError> {
    let result = match compression {
        Compression::None => read_bounded(compressed, bytes_max),
        Compression::Gzip => read_bounded(flate2::bufread::MultiGzDecoder::new(compressed), bytes_max),
        Compression::Snappy => snappy::decompress(compressed, bytes_max),
        Compression::Lz4 => read_bounded(lz4_flex::frame::FrameDecoder::new(compressed), bytes_max),
        Compression::Zstd => zstd::stream::read::Decoder::with_buffer(compressed)
            .map_err(Failure::from)
            .and_then(|decoder| read_bounded(decoder, bytes_max)),
    };
    result.map_err(|failure| match failure {
        Failure::TooLarge => BatchError::DecompressedTooLarge { bytes_max },
        Failure::Damaged(reason) => BatchError::Decompress { compression, reason },
    })
}

/// Why decompressing stopped.
enum Failure {
    TooLarge,
    Damaged(String),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Damaged(error.to_string())
    }
}

/// Everything that `reader` yields, if that is at most `bytes_max` bytes. The buffer grows with what was really
/// decompressed, so a frame that promises much and holds little costs little.
fn read_bounded(mut reader: impl Read, bytes_max: usize) -> Result<Vec<u8>, Failure> {
    let mut out = Vec::new();
    reader.by_ref().take(bytes_max as u64).read_to_end(&mut out)?;
    // Asked apart, so that the buffer does not double for one byte too many.
    if out.len() == bytes_max && reader.read(&mut [0])? > 0 {
        return Err(Failure::TooLarge);
    }
    Ok(out)
}

#[cfg(test)]
mod tests;
