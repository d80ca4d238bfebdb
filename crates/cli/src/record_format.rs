//! How a record is printed: the letters of `-f`, which are kcat's.
//!
//! | letters | what |
//! |---|---|
//! | `%s` `%S` | the value; its length in bytes, -1 when there is none |
//! | `%k` `%K` | the key; its length in bytes, -1 when there is none |
//! | `%h` | the headers, as `name=value,name=value` |
//! | `%t` `%p` `%o` | topic, partition, offset |
//! | `%T` | the timestamp, in milliseconds since 1970-01-01 UTC |
//! | `%%` | a percent sign |
//! | `\n` `\r` `\t` `\0` `\\` `\xFF` | newline, carriage return, tab, zero byte, backslash, any byte |
//!
//! Nothing is added at the end: a format without `\n` prints one record right after the other.

use std::io::Write as _;
use std::str::FromStr;

use highwater_client::{ReadRecord, RecordHeader};
use highwater_types::{Offset, PartitionId, Timestamp, TopicName};

/// What of a record can be printed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Printable<'a> {
    pub(crate) topic: &'a TopicName,
    pub(crate) partition: PartitionId,
    pub(crate) offset: Offset,
    pub(crate) timestamp: Timestamp,
    pub(crate) key: Option<&'a [u8]>,
    pub(crate) value: Option<&'a [u8]>,
    pub(crate) headers: &'a [RecordHeader],
}

impl<'a> Printable<'a> {
    /// A record that was read from a topic.
    pub(crate) fn new(topic: &'a TopicName, record: &'a ReadRecord) -> Self {
        Self {
            topic,
            partition: record.partition,
            offset: record.offset,
            timestamp: record.timestamp,
            key: record.key.as_deref(),
            value: record.value.as_deref(),
            headers: &record.headers,
        }
    }
}

/// A format, read once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RecordFormat(Vec<Piece>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(Vec<u8>),
    Value,
    ValueBytes,
    Key,
    KeyBytes,
    Headers,
    Topic,
    Partition,
    Offset,
    Timestamp,
}

/// A text that is no format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RecordFormatError {
    /// A letter after `%` that is not known.
    #[error("'%{letter}' is not known; the letters are %s %S %k %K %h %t %p %o %T and %%")]
    UnknownLetter {
        /// The letter.
        letter: char,
    },
    /// A letter after `\` that is not known.
    #[error("'\\{letter}' is not known; the escapes are \\n \\r \\t \\0 \\\\ and \\xFF")]
    UnknownEscape {
        /// The letter.
        letter: char,
    },
    /// `\x` without two hexadecimal digits.
    #[error("after '\\x' come two hexadecimal digits")]
    BadHex,
    /// The text ends inside a letter pair.
    #[error("it ends after '{sign}'; write '{sign}{sign}' for the sign itself")]
    Unfinished {
        /// The sign that nothing follows.
        sign: char,
    },
}

impl Default for RecordFormat {
    /// The value and a newline.
    fn default() -> Self {
        Self(vec![Piece::Value, Piece::Text(b"\n".to_vec())])
    }
}

impl FromStr for RecordFormat {
    type Err = RecordFormatError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut format = Self(Vec::new());
        let mut chars = text.chars();
        while let Some(c) = chars.next() {
            match c {
                '%' => match chars.next().ok_or(RecordFormatError::Unfinished { sign: '%' })? {
                    '%' => format.push_text(b"%"),
                    letter => format.0.push(piece(letter)?),
                },
                '\\' => format.push_text(&[escaped(&mut chars)?]),
                other => format.push_text(other.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
        Ok(format)
    }
}

fn piece(letter: char) -> Result<Piece, RecordFormatError> {
    Ok(match letter {
        's' => Piece::Value,
        'S' => Piece::ValueBytes,
        'k' => Piece::Key,
        'K' => Piece::KeyBytes,
        'h' => Piece::Headers,
        't' => Piece::Topic,
        'p' => Piece::Partition,
        'o' => Piece::Offset,
        'T' => Piece::Timestamp,
        _ => return Err(RecordFormatError::UnknownLetter { letter }),
    })
}

fn escaped(chars: &mut std::str::Chars<'_>) -> Result<u8, RecordFormatError> {
    Ok(match chars.next().ok_or(RecordFormatError::Unfinished { sign: '\\' })? {
        'n' => b'\n',
        'r' => b'\r',
        't' => b'\t',
        '0' => 0,
        '\\' => b'\\',
        'x' => {
            let mut digit = || chars.next().and_then(|c| c.to_digit(16)).ok_or(RecordFormatError::BadHex);
            let byte = digit()? * 16 + digit()?;
            u8::try_from(byte).map_err(|_| RecordFormatError::BadHex)?
        }
        letter => return Err(RecordFormatError::UnknownEscape { letter }),
    })
}

impl RecordFormat {
    fn push_text(&mut self, bytes: &[u8]) {
        match self.0.last_mut() {
            Some(Piece::Text(text)) => text.extend_from_slice(bytes),
            _ => self.0.push(Piece::Text(bytes.to_vec())),
        }
    }

    /// Appends `record` to `out`.
    pub(crate) fn print(&self, out: &mut Vec<u8>, record: &Printable<'_>) {
        for piece in &self.0 {
            match piece {
                Piece::Text(text) => out.extend_from_slice(text),
                Piece::Value => out.extend_from_slice(record.value.unwrap_or_default()),
                Piece::Key => out.extend_from_slice(record.key.unwrap_or_default()),
                Piece::ValueBytes => print_length(out, record.value),
                Piece::KeyBytes => print_length(out, record.key),
                Piece::Headers => print_headers(out, record.headers),
                Piece::Topic => out.extend_from_slice(record.topic.as_str().as_bytes()),
                Piece::Partition => print_number(out, record.partition.get()),
                Piece::Offset => print_number(out, record.offset.get()),
                Piece::Timestamp => print_number(out, record.timestamp.as_ms()),
            }
        }
    }
}

fn print_number(out: &mut Vec<u8>, number: impl std::fmt::Display) {
    // Writing into a vector has no way to fail.
    let _ = write!(out, "{number}");
}

fn print_length(out: &mut Vec<u8>, bytes: Option<&[u8]>) {
    match bytes {
        Some(bytes) => print_number(out, bytes.len()),
        None => out.extend_from_slice(b"-1"),
    }
}

fn print_headers(out: &mut Vec<u8>, headers: &[RecordHeader]) {
    for (index, header) in headers.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        out.extend_from_slice(header.name.as_str().as_bytes());
        if let Some(value) = &header.value {
            out.push(b'=');
            out.extend_from_slice(value);
        }
    }
}

#[cfg(test)]
mod tests {
    use highwater_client::Bytes;

    use super::*;

    fn printed(format: &str, key: Option<&[u8]>, value: Option<&[u8]>) -> Vec<u8> {
        let headers = [
            RecordHeader { name: "a".to_owned().into(), value: Some(Bytes::from_static(b"1")) },
            RecordHeader { name: "b".to_owned().into(), value: None },
        ];
        let topic = TopicName::new("orders").unwrap();
        let record = Printable {
            topic: &topic,
            partition: PartitionId::new(3),
            offset: Offset::ZERO.saturating_add(41),
            timestamp: Timestamp::from_ms(1_700_000_000_123),
            key,
            value,
            headers: &headers,
        };
        let mut out = Vec::new();
        format.parse::<RecordFormat>().unwrap().print(&mut out, &record);
        out
    }

    #[test]
    fn every_letter_has_its_meaning() {
        let all = printed("%t/%p/%o %T %k(%K)=%s(%S) %h %%", Some(b"key"), Some(b"value"));
        assert_eq!(all, b"orders/3/41 1700000000123 key(3)=value(5) a=1,b %");
        assert_eq!(printed("[%k|%K|%s|%S]", None, None), b"[|-1||-1]", "null has no bytes and no length");
        assert_eq!(printed("%K %S", Some(b""), Some(b"")), b"0 0", "empty is not null");
        assert_eq!(printed(r"%s\n\r\t\0\\\xff\xA0\x0a", None, Some(b"\xfe")), b"\xfe\n\r\t\0\\\xff\xa0\n");
        assert_eq!(printed("ä%s", None, Some(b"x")), "äx".as_bytes());
    }

    #[test]
    fn the_default_is_the_value_and_a_newline() {
        assert_eq!(r"%s\n".parse(), Ok(RecordFormat::default()));
    }

    #[test]
    fn what_is_not_known_is_refused_by_name() {
        let refused = |text: &str| text.parse::<RecordFormat>().unwrap_err();
        assert_eq!(refused("%q"), RecordFormatError::UnknownLetter { letter: 'q' });
        assert_eq!(refused(r"\q"), RecordFormatError::UnknownEscape { letter: 'q' });
        assert_eq!(refused("100%"), RecordFormatError::Unfinished { sign: '%' });
        assert_eq!(refused("\\"), RecordFormatError::Unfinished { sign: '\\' });
        assert_eq!(refused(r"\x4"), RecordFormatError::BadHex);
        assert_eq!(refused(r"\xg0"), RecordFormatError::BadHex);
        assert!(refused("%q").to_string().contains("%s %S"));
    }
}
