//! Values that nobody else writes: a producer, a number, and a checksum over the whole of the bytes.
//!
//! Invariant: bytes that [`Value::read`] accepts were made by [`Value::bytes`], or a checksum of 32 bits was met by chance.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The name of one record of the workload: its producer, and its number among that producer's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Value {
    /// Who sent it.
    #[serde(rename = "p")]
    pub producer: u32,
    /// Its number: later ones are higher.
    #[serde(rename = "n")]
    pub number: u64,
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.producer, self.number)
    }
}

/// Senders from this number on are streams of thin clients.
pub const FIRST_THIN_SENDER: u32 = 1_000_000;

impl Value {
    /// Whether a thin client sent it.
    #[must_use]
    pub const fn is_of_a_thin_client(self) -> bool {
        self.producer >= FIRST_THIN_SENDER
    }

    /// A name.
    #[must_use]
    pub const fn new(producer: u32, number: u64) -> Self {
        Self { producer, number }
    }

    /// The bytes of the record: the name, the checksum, and padding up to about `size`.
    #[must_use]
    pub fn bytes(self, size: usize) -> Vec<u8> {
        let mut text = format!("{} {} ", self.producer, self.number);
        let filler = char::from(b'a' + u8::try_from(self.number % 26).unwrap_or(0));
        while text.len() + 9 < size {
            text.push(filler);
        }
        let checksum = crc32fast::hash(text.as_bytes());
        text.push_str(&format!(" {checksum:08x}"));
        text.into_bytes()
    }

    /// The name in the bytes of a record; what is wrong with them when they hold none.
    ///
    /// # Errors
    /// When [`Value::bytes`] does not make such bytes.
    pub fn read(bytes: &[u8]) -> Result<Self, String> {
        let text = std::str::from_utf8(bytes).map_err(|_| "bytes that are no text".to_owned())?;
        let (body, checksum) = text.rsplit_once(' ').ok_or("a value without a checksum")?;
        if format!("{:08x}", crc32fast::hash(body.as_bytes())) != checksum {
            return Err(format!("a wrong checksum in {:?}", text.chars().take(60).collect::<String>()));
        }
        let mut words = body.splitn(3, ' ');
        let producer = words.next().and_then(|word| word.parse().ok());
        let number = words.next().and_then(|word| word.parse().ok());
        producer.zip(number).map(|(producer, number)| Self { producer, number }).ok_or("no name".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_survives_its_bytes_and_no_flipped_bit_does() {
        let value = Value::new(3, 12_345);
        for size in [0, 40, 1000] {
            let bytes = value.bytes(size);
            assert_eq!(Value::read(&bytes), Ok(value));
            for at in 0..bytes.len() {
                let mut flipped = bytes.clone();
                flipped[at] ^= 1;
                assert!(Value::read(&flipped).is_err(), "byte {at} of {size}");
            }
        }
    }
}
