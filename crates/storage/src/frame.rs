//! The frame: how one entry lies in a segment.
//!
//! Owns: the 40 bytes before each payload, and their checksum. Never: touches a file, or copies a payload.
//!
//! Little endian, every frame begins at a multiple of 8; a length of zero is the end of what was written.
//!
//! | at | bytes | field |
//! |---|---|---|
//! | 0 | 4 | length of what follows this field, up to the end of the payload |
//! | 4 | 4 | CRC-32 of everything from byte 8 to the end of the payload, started from the segment header's own checksum |
//! | 8 | 1 | version = 1 |
//! | 9 | 1 | kind |
//! | 10 | 2 | zero |
//! | 12 | 4 | how many offsets it takes |
//! | 16 | 8 | term |
//! | 24 | 8 | index |
//! | 32 | 8 | durable through: one more than the index of the last entry known to be durable here when this was written |
//! | 40 | | payload, then zeros up to a multiple of 8 |
//!
//! The checksum starts from the segment's, so a frame is good only in the segment that it was written to: a stale block
//! of another file, or a payload that happens to hold frames, is never taken for one.

use highwater_types::EntryId;

use crate::entry::EntryKind;

/// The bytes before the payload.
pub const FRAME_HEADER_BYTES: usize = 40;
/// Every frame begins at a multiple of this many bytes.
pub const FRAME_ALIGN: usize = 8;
/// The version that is written, and the newest that is read.
pub const FRAME_VERSION: u8 = 1;
/// The largest payload. Bounds what a garbled length can make recovery read.
pub const PAYLOAD_BYTES_MAX: usize = 64 * 1024 * 1024;

/// The bytes of the length field, which does not count itself.
const LENGTH_BYTES: usize = 4;
/// What the length counts besides the payload.
#[allow(clippy::cast_possible_truncation)] // 36
const UNCOUNTED_BYTES: u32 = (FRAME_HEADER_BYTES - LENGTH_BYTES) as u32;
/// Where the bytes under the checksum begin.
const CHECKED_FROM: usize = 8;

// A batch of the largest legal size must fit.
const _: () = assert!(highwater_types::limits::BATCH_BYTES_MAX <= PAYLOAD_BYTES_MAX);
const _: () = assert!(FRAME_HEADER_BYTES.is_multiple_of(FRAME_ALIGN));

/// A length on disk. The caller has bounded it far below 4 GiB.
pub(crate) fn length_on_disk(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or_else(|_| unreachable!("a length of {bytes} on disk"))
}

/// Rounds up to where the next frame may begin.
#[must_use]
pub const fn align(bytes: u64) -> u64 {
    bytes.next_multiple_of(FRAME_ALIGN as u64)
}

/// The fields of a frame but for its length and checksum, which follow from the payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameHeader {
    /// What the entry is.
    pub kind: EntryKind,
    /// How many offsets it takes.
    pub record_count: u32,
    /// Its identity.
    pub id: EntryId,
    /// One more than the index of the last entry known to be durable here when this was written; 0 for none.
    pub durable_through: u64,
    /// The length of the payload.
    pub payload_bytes: u32,
}

/// Why there is no good frame at a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Zeros: nothing was written here.
    #[error("nothing was written here")]
    End,
    /// The bytes end before the frame does.
    #[error("the frame is cut short")]
    Short,
    /// The length is impossible.
    #[error("the length of the frame is impossible")]
    BadLength,
    /// A field has a value that no version writes.
    #[error("the header of the frame makes no sense")]
    BadHeader,
    /// The checksum does not match.
    #[error("the checksum of the frame does not match")]
    BadChecksum,
    /// A sound frame of a newer version.
    #[error("the frame has format version {0}, this build reads up to {FRAME_VERSION}")]
    Newer(u8),
}

/// `N` bytes from `at` on, if there are as many.
fn field<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}

/// The length of the payload of the frame that begins `bytes`, from its first four bytes alone.
///
/// # Errors
/// [`FrameError::End`], [`FrameError::Short`] or [`FrameError::BadLength`].
pub fn payload_bytes(bytes: &[u8]) -> Result<u32, FrameError> {
    let length = u32::from_le_bytes(field(bytes, 0).ok_or(FrameError::Short)?);
    if length == 0 {
        return Err(FrameError::End);
    }
    let payload = (length as usize + LENGTH_BYTES).checked_sub(FRAME_HEADER_BYTES).ok_or(FrameError::BadLength)?;
    if payload > PAYLOAD_BYTES_MAX {
        return Err(FrameError::BadLength);
    }
    u32::try_from(payload).map_err(|_| FrameError::BadLength)
}

impl FrameHeader {
    /// Reads the fields without looking at the checksum: for frames that were verified before.
    ///
    /// # Errors
    /// When the fields cannot be those of a frame, or there are fewer than [`FRAME_HEADER_BYTES`] bytes.
    pub fn read(bytes: &[u8]) -> Result<Self, FrameError> {
        let payload_bytes = payload_bytes(bytes)?;
        let [version, kind, zero @ ..] = field::<4>(bytes, 8).ok_or(FrameError::Short)?;
        let number = |at| field(bytes, at).map(u64::from_le_bytes).ok_or(FrameError::Short);
        let header = Self {
            kind: EntryKind::from_number(kind).ok_or(FrameError::BadHeader)?,
            record_count: u32::from_le_bytes(field(bytes, 12).ok_or(FrameError::Short)?),
            id: EntryId::new(number(16)?, number(24)?),
            durable_through: number(32)?,
            payload_bytes,
        };
        if version != FRAME_VERSION || zero != [0, 0] {
            return Err(FrameError::BadHeader);
        }
        Ok(header)
    }

    /// Reads and verifies the frame that begins `bytes`.
    ///
    /// # Errors
    /// Why it is not a good frame. [`FrameError::Newer`] only under a checksum that matches.
    pub fn verify(bytes: &[u8], salt: u32) -> Result<Self, FrameError> {
        let payload_bytes = payload_bytes(bytes)?;
        let checked = bytes.get(CHECKED_FROM..FRAME_HEADER_BYTES + payload_bytes as usize).ok_or(FrameError::Short)?;
        let stored = u32::from_le_bytes(field(bytes, 4).ok_or(FrameError::Short)?);
        if checksum(salt, &[checked]) != stored {
            return Err(FrameError::BadChecksum);
        }
        match checked.first() {
            Some(version) if *version > FRAME_VERSION => Err(FrameError::Newer(*version)),
            _ => Self::read(bytes),
        }
    }

    /// The 40 bytes before a payload that is given in parts.
    #[must_use]
    pub fn encode(&self, salt: u32, payload: &[&[u8]]) -> [u8; FRAME_HEADER_BYTES] {
        debug_assert_eq!(payload.iter().map(|part| part.len()).sum::<usize>(), self.payload_bytes as usize);
        let length = self.payload_bytes + UNCOUNTED_BYTES;
        let mut bytes = [0; FRAME_HEADER_BYTES];
        let mut put = |at: usize, field: &[u8]| {
            if let Some(place) = bytes.get_mut(at..at + field.len()) {
                place.copy_from_slice(field);
            }
        };
        put(0, &length.to_le_bytes());
        put(8, &[FRAME_VERSION, self.kind.number()]);
        put(12, &self.record_count.to_le_bytes());
        put(16, &self.id.term.get().to_le_bytes());
        put(24, &self.id.index.get().to_le_bytes());
        put(32, &self.durable_through.to_le_bytes());
        let mut hasher = crc32fast::Hasher::new_with_initial(salt);
        hasher.update(bytes.get(CHECKED_FROM..).unwrap_or_default());
        payload.iter().for_each(|part| hasher.update(part));
        let crc = hasher.finalize().to_le_bytes();
        if let Some(place) = bytes.get_mut(LENGTH_BYTES..CHECKED_FROM) {
            place.copy_from_slice(&crc);
        }
        bytes
    }

    /// The bytes of header and payload.
    #[must_use]
    pub const fn frame_bytes(&self) -> u64 {
        FRAME_HEADER_BYTES as u64 + self.payload_bytes as u64
    }

    /// The bytes up to where the next frame may begin.
    #[must_use]
    pub const fn aligned_bytes(&self) -> u64 {
        align(self.frame_bytes())
    }
}

/// The checksum of a frame's bytes from byte 8 on, given in parts.
#[must_use]
pub fn checksum(salt: u32, parts: &[&[u8]]) -> u32 {
    let mut hasher = crc32fast::Hasher::new_with_initial(salt);
    parts.iter().for_each(|part| hasher.update(part));
    hasher.finalize()
}

#[cfg(test)]
mod tests;
