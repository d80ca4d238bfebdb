//! Reading a request.
//!
//! Invariants: no length or count is believed before it is held against the bytes that are left; nothing is reserved for
//! what only a count promises; all arrays of a request together have at most [`ELEMENTS_MAX`] elements; nothing panics,
//! whatever the bytes are.

use bytes::Bytes;
use highwater_types::TopicId;

/// The most elements of all arrays of one request. In memory an element takes many times the bytes that it may have on
/// the wire, and only those were admitted.
const ELEMENTS_MAX: usize = 65_536;

/// The bytes are no request of this API and version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(in crate::front::kafka) enum Malformed {
    /// A field reaches beyond the end.
    #[error("a field is longer than what is left of the request")]
    Truncated,
    /// A length below what it may be.
    #[error("a length is {0}")]
    Length(i64),
    /// An integer of too many bytes.
    #[error("an integer has too many bytes")]
    Varint,
    /// A text that is not UTF-8.
    #[error("a text is not UTF-8")]
    Text,
    /// Null where there must be something.
    #[error("a field is null that must not be")]
    Null,
    /// More elements than one request may have.
    #[error("the request has more than {ELEMENTS_MAX} elements")]
    TooMany,
}

type Result<T> = std::result::Result<T, Malformed>;

/// What is left of a request.
#[derive(Clone, Debug)]
pub(in crate::front::kafka) struct Reader {
    bytes: Bytes,
    is_flexible: bool,
    elements_left: usize,
}

impl Reader {
    pub(in crate::front::kafka) fn new(bytes: Bytes, is_flexible: bool) -> Self {
        Self { bytes, is_flexible, elements_left: ELEMENTS_MAX }
    }

    /// The same bytes, read in another encoding from here on.
    pub(in crate::front::kafka) fn flexible(self, is_flexible: bool) -> Self {
        Self { is_flexible, ..self }
    }

    fn take(&mut self, length: usize) -> Result<Bytes> {
        if length > self.bytes.len() {
            return Err(Malformed::Truncated);
        }
        Ok(self.bytes.split_to(length))
    }

    fn fixed<const N: usize>(&mut self) -> Result<[u8; N]> {
        let fixed = *self.bytes.first_chunk::<N>().ok_or(Malformed::Truncated)?;
        let _read = self.take(N)?;
        Ok(fixed)
    }

    pub(in crate::front::kafka) fn bool(&mut self) -> Result<bool> {
        Ok(self.i8()? != 0)
    }

    pub(in crate::front::kafka) fn i8(&mut self) -> Result<i8> {
        self.fixed().map(i8::from_be_bytes)
    }

    pub(in crate::front::kafka) fn i16(&mut self) -> Result<i16> {
        self.fixed().map(i16::from_be_bytes)
    }

    pub(in crate::front::kafka) fn i32(&mut self) -> Result<i32> {
        self.fixed().map(i32::from_be_bytes)
    }

    pub(in crate::front::kafka) fn i64(&mut self) -> Result<i64> {
        self.fixed().map(i64::from_be_bytes)
    }

    /// The id of a topic; all zeros is no topic.
    pub(in crate::front::kafka) fn topic_id(&mut self) -> Result<TopicId> {
        self.fixed().map(TopicId::from_bytes)
    }

    fn unsigned_varint(&mut self) -> Result<u32> {
        let mut value = 0_u64;
        for shift in [0, 7, 14, 21, 28] {
            let [byte] = self.fixed()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return u32::try_from(value).map_err(|_| Malformed::Varint);
            }
        }
        Err(Malformed::Varint)
    }

    /// A length in the flexible encoding is one more, so that 0 is null.
    fn compact_length(&mut self) -> Result<Option<usize>> {
        let length = self.unsigned_varint()?.checked_sub(1);
        Ok(length.and_then(|length| usize::try_from(length).ok()))
    }

    fn plain_length(length: i32) -> Result<Option<usize>> {
        match length {
            -1 => Ok(None),
            _ => usize::try_from(length).map(Some).map_err(|_| Malformed::Length(length.into())),
        }
    }

    pub(in crate::front::kafka) fn nullable_text(&mut self) -> Result<Option<String>> {
        let length = match self.is_flexible {
            true => self.compact_length()?,
            false => Self::plain_length(self.i16()?.into())?,
        };
        let Some(length) = length else { return Ok(None) };
        let bytes = self.take(length)?;
        std::str::from_utf8(&bytes).map(|text| Some(text.to_owned())).map_err(|_| Malformed::Text)
    }

    pub(in crate::front::kafka) fn text(&mut self) -> Result<String> {
        self.nullable_text()?.ok_or(Malformed::Null)
    }

    /// Bytes, a slice of the request.
    pub(in crate::front::kafka) fn nullable_bytes(&mut self) -> Result<Option<Bytes>> {
        let length = match self.is_flexible {
            true => self.compact_length()?,
            false => Self::plain_length(self.i32()?)?,
        };
        length.map(|length| self.take(length)).transpose()
    }

    pub(in crate::front::kafka) fn bytes(&mut self) -> Result<Bytes> {
        self.nullable_bytes()?.ok_or(Malformed::Null)
    }

    /// An array; `element` reads at least a byte.
    pub(in crate::front::kafka) fn nullable_array<T>(
        &mut self,
        mut element: impl FnMut(&mut Self) -> Result<T>,
    ) -> Result<Option<Vec<T>>> {
        let count = match self.is_flexible {
            true => self.compact_length()?,
            false => Self::plain_length(self.i32()?)?,
        };
        let Some(count) = count else { return Ok(None) };
        if count > self.bytes.len() {
            return Err(Malformed::Truncated);
        }
        self.elements_left = self.elements_left.checked_sub(count).ok_or(Malformed::TooMany)?;
        // Grows as elements are read, and not by what the count promises.
        let mut elements = Vec::new();
        for _ in 0..count {
            elements.push(element(self)?);
        }
        Ok(Some(elements))
    }

    pub(in crate::front::kafka) fn array<T>(&mut self, element: impl FnMut(&mut Self) -> Result<T>) -> Result<Vec<T>> {
        self.nullable_array(element)?.ok_or(Malformed::Null)
    }

    /// The end of a struct: in the flexible encoding fields that older readers step over. None of those that clients send
    /// concerns us.
    pub(in crate::front::kafka) fn tags(&mut self) -> Result<()> {
        if !self.is_flexible {
            return Ok(());
        }
        for _ in 0..self.unsigned_varint()? {
            let _tag = self.unsigned_varint()?;
            let length = self.unsigned_varint()?;
            let _value = self.take(usize::try_from(length).map_err(|_| Malformed::Truncated)?)?;
        }
        Ok(())
    }
}
