//! Batches, good ones and ones that are damaged on purpose.

use bytes::Bytes;

#[path = "../fronts/batches.rs"]
mod good;

pub(crate) use good::{batch, batch_with, sequenced};

/// A good batch with some bytes put in, and its checksum made right again.
pub(crate) fn forged(at: usize, bytes: &[u8]) -> Bytes {
    let mut batch = batch(&[b"one", b"two", b"three"]).to_vec();
    batch[at..at + bytes.len()].copy_from_slice(bytes);
    let sum = crc32c(&batch[21..]);
    batch[17..21].copy_from_slice(&sum.to_be_bytes());
    batch.into()
}

/// CRC-32C bit by bit, so that nothing here depends on what is tested.
fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |sum, byte| {
        (0..8).fold(sum ^ u32::from(*byte), |sum, _| (sum >> 1) ^ (0x82f6_3b78 & (sum & 1).wrapping_neg()))
    })
}

#[test]
fn a_batch_forged_with_its_own_bytes_is_good() {
    let good = batch(&[b"one", b"two", b"three"]);
    assert_eq!(forged(21, &good[21..23]), good);
}
