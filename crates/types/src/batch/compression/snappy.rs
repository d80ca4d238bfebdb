//! Snappy in a batch: a stream of blocks as Kafka's Java client writes it, or one raw block as librdkafka does.
//!
//! ```text
//! 82 'SNAPPY' 00 | version i32 = 1 | oldest version that can read it i32 = 1 | { block length i32 | raw block } …
//! ```
//! A stream may hold the 16 bytes of the head again wherever a block length may stand.

use std::io;

use super::Failure;

const MAGIC: [u8; 8] = *b"\x82SNAPPY\x00";
const HEAD: [u8; 16] = *b"\x82SNAPPY\x00\x00\x00\x00\x01\x00\x00\x00\x01";

/// What a block holds before it is compressed: the Java writer's own choice.
const BLOCK_BYTES: usize = 32 * 1024;

/// No snappy element makes more of its bytes: a copy of 64 takes 3.
const RATIO_MAX: usize = 22;

pub(super) fn compress(records: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
    let mut encoder = snap::raw::Encoder::new();
    let mut block = vec![0; snap::raw::max_compress_len(BLOCK_BYTES)];
    out.extend_from_slice(&HEAD);
    for chunk in records.chunks(BLOCK_BYTES) {
        let length = encoder.compress(chunk, &mut block)?;
        let field = u32::try_from(length).map_err(io::Error::other)?;
        out.extend_from_slice(&field.to_be_bytes());
        out.extend_from_slice(block.get(..length).unwrap_or_default());
    }
    Ok(())
}

pub(super) fn decompress(compressed: &[u8], bytes_max: usize) -> Result<Vec<u8>, Failure> {
    let mut out = Vec::new();
    if !compressed.starts_with(&MAGIC) {
        append_block(compressed, bytes_max, &mut out)?;
        return Ok(out);
    }
    let mut rest = compressed;
    while !rest.is_empty() {
        if rest.starts_with(&MAGIC) {
            // Whatever versions it names: the Java reader looks at neither beyond "1 or more".
            rest = rest.get(HEAD.len()..).ok_or_else(|| damaged("the head is cut short"))?;
            continue;
        }
        let (length, after) = rest.split_first_chunk().ok_or_else(|| damaged("a block's length is cut short"))?;
        let length = usize::try_from(u32::from_be_bytes(*length)).map_err(|_| damaged("a block is too long"))?;
        let (block, after) = after.split_at_checked(length).ok_or_else(|| damaged("a block is cut short"))?;
        append_block(block, bytes_max, &mut out)?;
        rest = after;
    }
    Ok(out)
}

/// Decompresses one raw block to the end of `out`. The block says its size first; that is believed only as far as its
/// bytes could ever reach.
fn append_block(block: &[u8], bytes_max: usize, out: &mut Vec<u8>) -> Result<(), Failure> {
    let length = snap::raw::decompress_len(block).map_err(|error| damaged(&error.to_string()))?;
    let start = out.len();
    let end = start.checked_add(length).filter(|&end| end <= bytes_max).ok_or(Failure::TooLarge)?;
    if length > block.len().saturating_mul(RATIO_MAX) {
        return Err(damaged("a block promises more than its bytes can hold"));
    }
    out.resize(end, 0);
    let target = out.get_mut(start..).unwrap_or_default();
    let written = snap::raw::Decoder::new().decompress(block, target).map_err(|error| damaged(&error.to_string()))?;
    out.truncate(start + written);
    Ok(())
}

fn damaged(reason: &str) -> Failure {
    Failure::Damaged(reason.to_owned())
}
