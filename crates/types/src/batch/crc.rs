//! The checksum of a batch: CRC-32C, stored big endian at byte 17, over everything from byte 21 on.

/// Where the stored checksum begins.
pub(super) const CRC_AT: usize = 17;
/// The first byte that the checksum covers.
pub(super) const CRC_COVERS_FROM: usize = 21;

/// The CRC-32C (Castagnoli) of `bytes`.
pub(super) fn crc32c(bytes: &[u8]) -> u32 {
    crc_fast::crc32_iscsi(bytes)
}

/// The checksum that a batch holds; `None` when the bytes end before it does.
pub(super) fn stored(bytes: &[u8]) -> Option<u32> {
    let stored = bytes.get(CRC_AT..CRC_COVERS_FROM)?.first_chunk()?;
    Some(u32::from_be_bytes(*stored))
}

/// The stored and the computed checksum of one batch; `None` when the bytes end before the checksum does.
pub(super) fn checksums(bytes: &[u8]) -> Option<(u32, u32)> {
    Some((stored(bytes)?, crc32c(bytes.get(CRC_COVERS_FROM..)?)))
}

/// Whether the checksum of a batch matches its bytes. `bytes` is one whole batch and nothing after it.
#[must_use]
pub fn verify_crc(bytes: &[u8]) -> bool {
    checksums(bytes).is_some_and(|(stored, computed)| stored == computed)
}
