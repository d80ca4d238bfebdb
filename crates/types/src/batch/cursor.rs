//! A cursor over untrusted bytes, and the variable-length integers of a record.
//!
//! Invariant: what is taken was there. A length is held against the rest before anything is sliced, so a caller never
//! sees a slice that the bytes did not pay for.
//!
//! Integers are zigzag coded (0, -1, 1, -2, … become 0, 1, 2, 3, …) and written seven bits a byte, lowest first; the top
//! bit says that another byte follows. At most 5 bytes for 32 bits, 10 for 64.

use super::error::RecordProblem;

/// The most bytes of a 64-bit integer.
pub(super) const VARLONG_BYTES_MAX: usize = 10;

/// The unread rest of some bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cursor<'a> {
    rest: &'a [u8],
}

impl<'a> Cursor<'a> {
    pub(super) const fn new(rest: &'a [u8]) -> Self {
        Self { rest }
    }

    /// How many bytes are unread.
    pub(super) const fn remaining(self) -> usize {
        self.rest.len()
    }

    /// The next `N` bytes; `None`, and nothing taken, when fewer are left.
    pub(super) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.rest.split_first_chunk()?;
        self.rest = rest;
        Some(*taken)
    }

    /// The next `length` bytes; `None`, and nothing taken, when fewer are left.
    pub(super) fn slice(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(length)?;
        self.rest = rest;
        Some(taken)
    }

    /// A 32-bit integer.
    #[inline]
    pub(super) fn varint(&mut self) -> Result<i32, RecordProblem> {
        let raw = self.unsigned(5)?;
        let raw = u32::try_from(raw).map_err(|_| RecordProblem::VarintTooLong)?;
        Ok((raw >> 1).cast_signed() ^ -(raw & 1).cast_signed())
    }

    /// A 64-bit integer.
    #[inline]
    pub(super) fn varlong(&mut self) -> Result<i64, RecordProblem> {
        let raw = self.unsigned(VARLONG_BYTES_MAX)?;
        Ok((raw >> 1).cast_signed() ^ -(raw & 1).cast_signed())
    }

    /// A length and as many bytes; `None` for the length -1, which means null.
    #[inline]
    pub(super) fn nullable(&mut self) -> Result<Option<&'a [u8]>, RecordProblem> {
        match self.varint()? {
            -1 => Ok(None),
            length => {
                let length = usize::try_from(length).map_err(|_| RecordProblem::NegativeLength { length })?;
                self.slice(length).map(Some).ok_or(RecordProblem::Truncated)
            }
        }
    }

    #[inline]
    fn unsigned(&mut self, bytes_max: usize) -> Result<u64, RecordProblem> {
        let mut value = 0_u64;
        for (position, &byte) in self.rest.iter().take(bytes_max).enumerate() {
            let bits = u64::from(byte & 0x7f);
            let shift = 7 * position;
            // The tenth byte has room for one bit of the 64; more would be lost in silence.
            if shift == 63 && bits > 1 {
                return Err(RecordProblem::VarintTooLong);
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                self.rest = self.rest.get(position + 1..).unwrap_or_default();
                return Ok(value);
            }
        }
        if self.rest.len() < bytes_max { Err(RecordProblem::Truncated) } else { Err(RecordProblem::VarintTooLong) }
    }
}

/// How many bytes `value` takes.
#[inline]
pub(super) const fn varlong_bytes(value: i64) -> usize {
    let bits = 64 - (zigzag(value) | 1).leading_zeros();
    (bits as usize).div_ceil(7)
}

/// Writes `value` to the front of `out` and returns how many bytes it took; 0, and nothing written, without the room.
#[inline]
pub(super) fn write_varlong(value: i64, out: &mut [u8]) -> usize {
    let mut rest = zigzag(value);
    let length = varlong_bytes(value);
    let Some(out) = out.get_mut(..length) else { return 0 };
    for (position, byte) in out.iter_mut().enumerate() {
        let more = if position + 1 < length { 0x80 } else { 0 };
        *byte = (rest & 0x7f) as u8 | more;
        rest >>= 7;
    }
    length
}

const fn zigzag(value: i64) -> u64 {
    (value.cast_unsigned() << 1) ^ (value >> 63).cast_unsigned()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;

    fn encode(value: i64) -> Vec<u8> {
        let mut out = [0; VARLONG_BYTES_MAX];
        let length = write_varlong(value, &mut out);
        assert_eq!(length, varlong_bytes(value));
        out[..length].to_vec()
    }

    #[test]
    fn integers_are_zigzag_coded_seven_bits_a_byte() {
        for (value, bytes) in [
            (0, &[0x00][..]),
            (-1, &[0x01]),
            (1, &[0x02]),
            (63, &[0x7e]),
            (-64, &[0x7f]),
            (64, &[0x80, 0x01]),
            (300, &[0xd8, 0x04]),
            (i64::from(i32::MIN), &[0xff, 0xff, 0xff, 0xff, 0x0f]),
            (i64::MAX, &[0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01]),
            (i64::MIN, &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01]),
        ] {
            assert_eq!(encode(value), bytes, "{value}");
            let mut cursor = Cursor::new(bytes);
            assert_eq!(cursor.varlong(), Ok(value));
            assert_eq!(cursor.remaining(), 0);
            if let Ok(small) = i32::try_from(value) {
                assert_eq!(Cursor::new(bytes).varint(), Ok(small));
            }
        }
    }

    #[test]
    fn an_integer_that_never_ends_or_does_not_fit_is_refused() {
        assert_eq!(Cursor::new(&[0x80; 4]).varint(), Err(RecordProblem::Truncated));
        assert_eq!(Cursor::new(&[0x80; 5]).varint(), Err(RecordProblem::VarintTooLong));
        assert_eq!(Cursor::new(&[0xff, 0xff, 0xff, 0xff, 0x10]).varint(), Err(RecordProblem::VarintTooLong));
        assert_eq!(Cursor::new(&[0x80; 11]).varlong(), Err(RecordProblem::VarintTooLong));
        assert_eq!(
            Cursor::new(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02]).varlong(),
            Err(RecordProblem::VarintTooLong)
        );
        assert_eq!(Cursor::new(&[]).varint(), Err(RecordProblem::Truncated));
    }

    #[test]
    fn a_length_is_held_against_the_rest() {
        assert_eq!(Cursor::new(&[0x01]).nullable(), Ok(None));
        assert_eq!(Cursor::new(&[0x03]).nullable(), Err(RecordProblem::NegativeLength { length: -2 }));
        assert_eq!(Cursor::new(&[0x04, 1]).nullable(), Err(RecordProblem::Truncated));
        assert_eq!(Cursor::new(&[0x04, 1, 2]).nullable(), Ok(Some(&[1, 2][..])));
    }

    #[test]
    fn nothing_is_written_without_the_room() {
        assert_eq!(write_varlong(64, &mut [0; 1]), 0);
    }
}
