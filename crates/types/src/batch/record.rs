//! One record inside a batch, as slices of the batch: the one parser that both the check and the iteration use.
//!
//! ```text
//! length | attributes | timestamp delta | offset delta | key | value | header count | { name, value } …
//! ```
//! Never allocates. Invariant: every slice lies inside the record's own length.

use super::cursor::Cursor;
use super::error::RecordProblem;
use crate::limits;

/// A record whose key and value lie in the batch's bytes; its headers are not parsed yet.
#[derive(Clone, Copy, Debug)]
pub(super) struct RawRecord<'a> {
    pub(super) timestamp_delta: i64,
    pub(super) offset_delta: i32,
    pub(super) key: Option<&'a [u8]>,
    pub(super) value: Option<&'a [u8]>,
    pub(super) header_count: usize,
    headers: Cursor<'a>,
}

impl<'a> RawRecord<'a> {
    /// Takes the next record from `records`.
    #[inline]
    pub(super) fn take(records: &mut Cursor<'a>) -> Result<Self, RecordProblem> {
        let length = records.varint()?;
        let length = usize::try_from(length).map_err(|_| RecordProblem::NegativeLength { length })?;
        let mut body = Cursor::new(records.slice(length).ok_or(RecordProblem::Truncated)?);
        // A record's own attributes have no meaning; Kafka ignores what is there, and so do we.
        let [_attributes] = body.array().ok_or(RecordProblem::Truncated)?;
        let timestamp_delta = body.varlong()?;
        let offset_delta = body.varint()?;
        let key = body.nullable()?;
        let value = body.nullable()?;
        let count = body.varint()?;
        let header_count = usize::try_from(count)
            .ok()
            .filter(|&count| count <= limits::RECORD_HEADERS_MAX)
            .ok_or(RecordProblem::HeaderCount { count: i64::from(count) })?;
        // A header takes two bytes at least: the count is paid for before anybody reserves room for it.
        if header_count > body.remaining() / 2 {
            return Err(RecordProblem::Truncated);
        }
        Ok(Self { timestamp_delta, offset_delta, key, value, header_count, headers: body })
    }

    /// Its headers in order; the last item is an error when bytes are left over.
    #[inline]
    pub(super) fn headers(self) -> RawHeaders<'a> {
        RawHeaders { left: self.header_count, rest: self.headers, is_done: false }
    }

    /// Parses the headers and drops them.
    #[inline]
    pub(super) fn check_headers(self) -> Result<(), RecordProblem> {
        self.headers().try_for_each(|header| header.map(|_| ()))
    }
}

/// The headers of one record. Ends after the first error.
pub(super) struct RawHeaders<'a> {
    left: usize,
    rest: Cursor<'a>,
    is_done: bool,
}

/// The name and the value of a header.
pub(super) type RawHeader<'a> = (&'a [u8], Option<&'a [u8]>);

impl<'a> RawHeaders<'a> {
    fn take(&mut self) -> Result<RawHeader<'a>, RecordProblem> {
        let name = self.rest.nullable()?.ok_or(RecordProblem::HeaderName)?;
        Ok((name, self.rest.nullable()?))
    }
}

impl<'a> Iterator for RawHeaders<'a> {
    type Item = Result<RawHeader<'a>, RecordProblem>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.is_done {
            return None;
        }
        if let Some(left) = self.left.checked_sub(1) {
            self.left = left;
            let header = self.take();
            self.is_done = header.is_err();
            return Some(header);
        }
        self.is_done = true;
        match self.rest.remaining() {
            0 => None,
            bytes => Some(Err(RecordProblem::TrailingBytes { bytes })),
        }
    }
}
