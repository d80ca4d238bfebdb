//! Writing an answer: small fields into a buffer, and between them slices that are sent as they are.

use bytes::{BufMut, Bytes, BytesMut};
use highwater_types::TopicId;

/// The answer so far. Arrays and texts that are too long for their length fields cannot come up: what is written is
/// bounded by what was asked, or by our own limits.
#[derive(Debug)]
pub(in crate::front::kafka) struct Writer {
    buffer: BytesMut,
    pieces: Vec<Bytes>,
    is_flexible: bool,
}

impl Writer {
    pub(in crate::front::kafka) fn new(is_flexible: bool) -> Self {
        Self { buffer: BytesMut::new(), pieces: Vec::new(), is_flexible }
    }

    pub(in crate::front::kafka) fn bool(&mut self, value: bool) {
        self.buffer.put_u8(value.into());
    }

    pub(in crate::front::kafka) fn i8(&mut self, value: i8) {
        self.buffer.put_i8(value);
    }

    pub(in crate::front::kafka) fn i16(&mut self, value: i16) {
        self.buffer.put_i16(value);
    }

    pub(in crate::front::kafka) fn i32(&mut self, value: i32) {
        self.buffer.put_i32(value);
    }

    pub(in crate::front::kafka) fn i64(&mut self, value: i64) {
        self.buffer.put_i64(value);
    }

    pub(in crate::front::kafka) fn topic_id(&mut self, id: TopicId) {
        self.buffer.put_slice(&id.to_bytes());
    }

    fn unsigned_varint(&mut self, mut value: u32) {
        while value >= 0x80 {
            self.buffer.put_u8(value.to_le_bytes()[0] | 0x80);
            value >>= 7;
        }
        self.buffer.put_u8(value.to_le_bytes()[0]);
    }

    /// The length of a field in the flexible encoding: one more, so that 0 is null.
    fn compact_length(&mut self, length: Option<usize>) {
        let more = length.map_or(0, |length| u32::try_from(length).unwrap_or(u32::MAX - 1) + 1);
        self.unsigned_varint(more);
    }

    fn length_of_many(&mut self, length: Option<usize>) {
        match self.is_flexible {
            true => self.compact_length(length),
            false => self.i32(length.map_or(-1, |length| i32::try_from(length).unwrap_or(i32::MAX))),
        }
    }

    pub(in crate::front::kafka) fn nullable_text(&mut self, text: Option<&str>) {
        // The old encoding has room for 32,767 bytes; only messages for people could be longer.
        let text = text.map(|text| text.get(..text.floor_char_boundary(i16::MAX as usize)).unwrap_or_default());
        match self.is_flexible {
            true => self.compact_length(text.map(str::len)),
            false => self.i16(text.map_or(-1, |text| i16::try_from(text.len()).unwrap_or(i16::MAX))),
        }
        self.buffer.put_slice(text.unwrap_or_default().as_bytes());
    }

    pub(in crate::front::kafka) fn text(&mut self, text: &str) {
        self.nullable_text(Some(text));
    }

    pub(in crate::front::kafka) fn bytes(&mut self, bytes: &[u8]) {
        self.length_of_many(Some(bytes.len()));
        self.buffer.put_slice(bytes);
    }

    /// One field of bytes made of several slices, which are not copied.
    pub(in crate::front::kafka) fn slices(&mut self, slices: Vec<Bytes>) {
        self.length_of_many(Some(slices.iter().map(Bytes::len).sum()));
        if slices.is_empty() {
            return;
        }
        self.cut();
        self.pieces.extend(slices);
    }

    pub(in crate::front::kafka) fn array<T>(
        &mut self,
        elements: impl IntoIterator<Item = T, IntoIter: ExactSizeIterator>,
        mut element: impl FnMut(&mut Self, T),
    ) {
        let elements = elements.into_iter();
        self.length_of_many(Some(elements.len()));
        elements.for_each(|each| element(self, each));
    }

    /// An array of a number that the caller goes on to write.
    pub(in crate::front::kafka) fn empty_array(&mut self) {
        self.length_of_many(Some(0));
    }

    /// The end of a struct without tagged fields.
    pub(in crate::front::kafka) fn tags(&mut self) {
        if self.is_flexible {
            self.buffer.put_u8(0);
        }
    }

    fn cut(&mut self) {
        if !self.buffer.is_empty() {
            self.pieces.push(self.buffer.split().freeze());
        }
    }

    /// The whole answer, in pieces.
    pub(in crate::front::kafka) fn into_pieces(mut self) -> Vec<Bytes> {
        self.cut();
        self.pieces
    }
}
