//! The header of a segment: what must be known to use its frames without the rest of the log.
//!
//! Owns: the bytes before the first frame. Never: touches a file. Written once, together with the first frames.
//!
//! Little endian.
//!
//! | at | bytes | field |
//! |---|---|---|
//! | 0 | 8 | magic `HWSEGMNT` |
//! | 8 | 2 | version = 1 |
//! | 10 | 2 | zero |
//! | 12 | 4 | length of the header, a multiple of 8: the first frame begins there |
//! | 16 | 4 | CRC-32 of bytes 0 to 15 and of byte 20 to the end of the header; frames start their checksum from it |
//! | 20 | 20 | log key |
//! | 40 | 8 | segment number |
//! | 48 | 8 | index of the first entry |
//! | 56 | 8 | offset of the first record |
//! | 64 | 8 | made at, in milliseconds since 1970 |
//! | 72 | 1 | bit 0: an entry came before; bit 1: there is a membership |
//! | 73 | 3 | zero |
//! | 76 | 4 | length of the membership's payload |
//! | 80 | 16 | term and index of the entry before the first |
//! | 96 | 16 | term and index of the latest membership entry before the first entry |
//! | 112 | | that entry's payload, then zeros up to a multiple of 8 |

use bytes::{Buf, BufMut, Bytes, BytesMut};
use highwater_types::{EntryId, LogIndex, Offset, Timestamp};

use super::file_name::SegmentNumber;
use crate::entry::MembershipEntry;
use crate::frame::{FRAME_ALIGN, checksum, length_on_disk};
use crate::log_key::{LOG_KEY_BYTES, LogKey};

/// The version that is written, and the newest that is read.
pub(super) const SEGMENT_VERSION: u16 = 1;
/// The largest membership payload that a log takes.
pub(super) const MEMBERSHIP_BYTES_MAX: usize = 1024 * 1024;
/// The length of a header without a membership, and the least that must be read to know the length of one with.
pub(super) const SEGMENT_HEADER_BYTES_MIN: usize = 112;

const MAGIC: [u8; 8] = *b"HWSEGMNT";
const CRC_AT: usize = 16;
const BODY_AT: usize = 20;
const HAS_PREVIOUS: u8 = 1;
const HAS_MEMBERSHIP: u8 = 2;

/// What the header of a segment says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentHeader {
    /// The log that the segment belongs to.
    pub key: LogKey,
    /// Its number in that log.
    pub number: SegmentNumber,
    /// The index of its first entry.
    pub base_index: LogIndex,
    /// The offset of its first record.
    pub base_offset: Offset,
    /// The entry before its first, if there ever was one.
    pub previous: Option<EntryId>,
    /// The latest membership entry before its first entry.
    pub membership: Option<MembershipEntry>,
    /// When it was made.
    pub created: Timestamp,
}

/// Why bytes are not the header of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SegmentHeaderError {
    /// There are fewer bytes than the header has.
    #[error("the header of the segment is cut short")]
    Short,
    /// It does not begin as a segment does.
    #[error("it does not begin with the magic bytes of a segment")]
    BadMagic,
    /// The length is impossible.
    #[error("the length of the segment's header is impossible")]
    BadLength,
    /// The checksum does not match.
    #[error("the checksum of the segment's header does not match")]
    BadChecksum,
    /// The checksum is right but the fields make no sense.
    #[error("the segment's header makes no sense")]
    BadFields,
    /// A sound header of a newer version.
    #[error("the segment has format version {0}, this build reads up to {SEGMENT_VERSION}")]
    Newer(u16),
}

/// An encoded header and the checksum that its frames start from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EncodedHeader {
    /// The bytes, a multiple of 8 of them.
    pub bytes: Bytes,
    /// Where the checksum of every frame of the segment starts.
    pub salt: u32,
}

impl SegmentHeader {
    /// The bytes on disk.
    #[must_use]
    pub fn encode(&self) -> EncodedHeader {
        let (membership_id, membership) = self.membership.clone().unwrap_or_default();
        let header_bytes = (SEGMENT_HEADER_BYTES_MIN + membership.len()).next_multiple_of(FRAME_ALIGN);
        let mut flags = 0;
        flags |= if self.previous.is_some() { HAS_PREVIOUS } else { 0 };
        flags |= if self.membership.is_some() { HAS_MEMBERSHIP } else { 0 };
        let mut body = BytesMut::with_capacity(header_bytes);
        body.put_slice(&self.key.to_bytes());
        body.put_u64_le(self.number.get());
        body.put_u64_le(self.base_index.get());
        body.put_u64_le(self.base_offset.get());
        body.put_i64_le(self.created.as_ms());
        body.put_slice(&[flags, 0, 0, 0]);
        body.put_u32_le(length_on_disk(membership.len()));
        put_id(&mut body, self.previous.unwrap_or_default());
        put_id(&mut body, membership_id);
        body.put_slice(&membership);
        body.resize(header_bytes - BODY_AT, 0);

        let mut bytes = BytesMut::with_capacity(header_bytes);
        bytes.put_slice(&MAGIC);
        bytes.put_u16_le(SEGMENT_VERSION);
        bytes.put_u16_le(0);
        bytes.put_u32_le(length_on_disk(header_bytes));
        let salt = checksum(0, &[&bytes, &body]);
        bytes.put_u32_le(salt);
        bytes.put_slice(&body);
        EncodedHeader { bytes: bytes.freeze(), salt }
    }

    /// How long the header that begins `bytes` says it is, before anything of it is believed.
    ///
    /// # Errors
    /// When these are not the first `SEGMENT_HEADER_BYTES_MIN` bytes of a segment.
    pub fn header_bytes(bytes: &[u8]) -> Result<usize, SegmentHeaderError> {
        let mut fixed = bytes.get(..SEGMENT_HEADER_BYTES_MIN).ok_or(SegmentHeaderError::Short)?;
        if !fixed.starts_with(&MAGIC) {
            return Err(SegmentHeaderError::BadMagic);
        }
        fixed.advance(12);
        let length = fixed.get_u32_le() as usize;
        let largest = SEGMENT_HEADER_BYTES_MIN + MEMBERSHIP_BYTES_MAX;
        if (SEGMENT_HEADER_BYTES_MIN..=largest).contains(&length) && length.is_multiple_of(FRAME_ALIGN) {
            Ok(length)
        } else {
            Err(SegmentHeaderError::BadLength)
        }
    }

    /// Reads the header that begins `bytes`; returns it with its length and the checksum that its frames start from.
    ///
    /// # Errors
    /// Why there is none. [`SegmentHeaderError::Newer`] only under a checksum that matches.
    pub fn decode(bytes: &[u8]) -> Result<(Self, usize, u32), SegmentHeaderError> {
        let length = Self::header_bytes(bytes)?;
        let bytes = bytes.get(..length).ok_or(SegmentHeaderError::Short)?;
        let (front, rest) = bytes.split_at_checked(CRC_AT).ok_or(SegmentHeaderError::Short)?;
        let (crc, body) = rest.split_first_chunk::<4>().ok_or(SegmentHeaderError::Short)?;
        let salt = u32::from_le_bytes(*crc);
        if checksum(0, &[front, body]) != salt {
            return Err(SegmentHeaderError::BadChecksum);
        }
        match front.get(8..).unwrap_or_default().try_get_u16_le() {
            Ok(SEGMENT_VERSION) => {}
            Ok(version) if version > SEGMENT_VERSION => return Err(SegmentHeaderError::Newer(version)),
            _ => return Err(SegmentHeaderError::BadFields),
        }
        let header = Self::decode_body(body).ok_or(SegmentHeaderError::BadFields)?;
        Ok((header, length, salt))
    }

    fn decode_body(mut body: &[u8]) -> Option<Self> {
        let (key, rest) = body.split_first_chunk::<LOG_KEY_BYTES>()?;
        body = rest;
        let number = SegmentNumber::new(body.try_get_u64_le().ok()?);
        let base_index = LogIndex::new(body.try_get_u64_le().ok()?);
        let base_offset = Offset::new(body.try_get_u64_le().ok()?)?;
        let created = Timestamp::from_ms(body.try_get_i64_le().ok()?);
        let flags = body.try_get_u32_le().ok()?;
        let membership_bytes = body.try_get_u32_le().ok()? as usize;
        let previous = get_id(&mut body)?;
        let membership_id = get_id(&mut body)?;
        let membership = Bytes::copy_from_slice(body.get(..membership_bytes)?);
        if flags > u32::from(HAS_PREVIOUS | HAS_MEMBERSHIP) {
            return None;
        }
        let has = |flag: u8| flags & u32::from(flag) != 0;
        Some(Self {
            key: LogKey::from_bytes(*key),
            number,
            base_index,
            base_offset,
            previous: has(HAS_PREVIOUS).then_some(previous),
            membership: has(HAS_MEMBERSHIP).then_some((membership_id, membership)),
            created,
        })
    }
}

/// Writes an entry id as its term and index.
pub(super) fn put_id(out: &mut impl BufMut, id: EntryId) {
    out.put_u64_le(id.term.get());
    out.put_u64_le(id.index.get());
}

/// Back from [`put_id`].
pub(super) fn get_id(from: &mut impl Buf) -> Option<EntryId> {
    Some(EntryId::new(from.try_get_u64_le().ok()?, from.try_get_u64_le().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> SegmentHeader {
        SegmentHeader {
            key: LogKey::new([7; 16], 3),
            number: SegmentNumber::new(12),
            base_index: LogIndex::new(100),
            base_offset: Offset::new(900).unwrap(),
            previous: Some(EntryId::new(4, 99)),
            membership: Some((EntryId::new(2, 5), Bytes::from_static(b"three voters"))),
            created: Timestamp::from_ms(1_700_000_000_000),
        }
    }

    #[test]
    fn a_header_reads_back() {
        let bare = SegmentHeader { previous: None, membership: None, ..sample() };
        for header in [sample(), bare] {
            let encoded = header.encode();
            assert_eq!(encoded.bytes.len() % 8, 0);
            assert_eq!(SegmentHeader::decode(&encoded.bytes), Ok((header, encoded.bytes.len(), encoded.salt)));
        }
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_seen() {
        let bytes = sample().encode().bytes;
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.to_vec();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(SegmentHeader::decode(&flipped).is_err(), "bit {bit}");
        }
        for cut in 0..bytes.len() {
            assert_eq!(SegmentHeader::decode(&bytes[..cut]), Err(SegmentHeaderError::Short), "{cut}");
        }
    }

    #[test]
    fn a_newer_version_is_named_only_when_the_checksum_is_right() {
        let mut bytes = sample().encode().bytes.to_vec();
        bytes[8] = 2;
        assert_eq!(SegmentHeader::decode(&bytes), Err(SegmentHeaderError::BadChecksum));
        let crc = checksum(0, &[&bytes[..16], &bytes[20..]]);
        bytes[16..20].copy_from_slice(&crc.to_le_bytes());
        assert_eq!(SegmentHeader::decode(&bytes), Err(SegmentHeaderError::Newer(2)));
    }
}
