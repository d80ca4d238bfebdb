//! The name of a log inside a data directory.
//!
//! Owns: the folder name of a log, made and read in one place. Never: knows what the 16 bytes mean (a topic id, to the
//! layers above).

use std::fmt;
use std::str::FromStr;

/// The length of [`LogKey::to_bytes`].
pub const LOG_KEY_BYTES: usize = 20;

/// 16 bytes and a number: which log of the data directory. Shown as lower hex, `-`, and the number.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LogKey([u8; 16], u32);

impl LogKey {
    /// A key from its two parts.
    #[must_use]
    pub const fn new(group: [u8; 16], number: u32) -> Self {
        Self(group, number)
    }

    /// The 16 bytes.
    #[must_use]
    pub const fn group(self) -> [u8; 16] {
        self.0
    }

    /// The number.
    #[must_use]
    pub const fn number(self) -> u32 {
        self.1
    }

    /// The form in files: the 16 bytes, then the number in little endian.
    #[must_use]
    pub fn to_bytes(self) -> [u8; LOG_KEY_BYTES] {
        let mut bytes = [0; LOG_KEY_BYTES];
        let (group, number) = bytes.split_at_mut(16);
        group.copy_from_slice(&self.0);
        number.copy_from_slice(&self.1.to_le_bytes());
        bytes
    }

    /// Back from [`Self::to_bytes`].
    #[must_use]
    pub fn from_bytes(bytes: [u8; LOG_KEY_BYTES]) -> Self {
        let (group, number) = bytes.split_at(16);
        let mut key = Self([0; 16], 0);
        key.0.copy_from_slice(group);
        key.1 = number.iter().rev().fold(0, |sum, byte| (sum << 8) | u32::from(*byte));
        key
    }
}

impl fmt::Display for LogKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for byte in self.0 {
            write!(f, "{byte:02x}")?;
        }
        write!(f, "-{}", self.1)
    }
}

impl fmt::Debug for LogKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LogKey({self})")
    }
}

/// A text that is not the folder name of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the folder of a log is named by 32 lower hex digits, '-', and a number")]
pub struct NotALogKey;

impl FromStr for LogKey {
    type Err = NotALogKey;

    /// Takes exactly what [`fmt::Display`] writes, so that two names never mean one log.
    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let (group, number) = name.split_once('-').ok_or(NotALogKey)?;
        let mut key = Self([0; 16], number.parse().map_err(|_| NotALogKey)?);
        if group.len() != 32 {
            return Err(NotALogKey);
        }
        for (byte, digits) in key.0.iter_mut().zip(group.as_bytes().chunks(2)) {
            let digits = std::str::from_utf8(digits).map_err(|_| NotALogKey)?;
            *byte = u8::from_str_radix(digits, 16).map_err(|_| NotALogKey)?;
        }
        if key.to_string() == name { Ok(key) } else { Err(NotALogKey) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_its_folder_name() {
        let key = LogKey::new(*b"0123456789abcdef", 70_000);
        assert_eq!(key.to_string(), "30313233343536373839616263646566-70000");
        assert_eq!(key.to_string().parse(), Ok(key));
        assert_eq!(LogKey::from_bytes(key.to_bytes()), key);
    }

    #[test]
    fn other_names_are_not_keys() {
        let name = LogKey::new([0xab; 16], 7).to_string();
        for wrong in [name.to_uppercase(), name.replace("-7", "-07"), name.replace("-7", "-+7"), name.replace('-', "")]
        {
            assert_eq!(wrong.parse::<LogKey>(), Err(NotALogKey), "{wrong}");
        }
        assert!("".parse::<LogKey>().is_err());
        assert!("lock".parse::<LogKey>().is_err());
    }
}
