//! Names and numbers of queues: workers, reasons, priorities, hashes of keys and tenants, ack tokens.
//!
//! Every text that came from outside is checked or cut once, where its type is made.

use std::fmt;
use std::num::NonZeroU64;
use std::sync::Arc;

use highwater_types::{Offset, number};

use super::limits;
use crate::stream::ids::text;

text! {
    /// A worker, as it calls itself: what in-flight caps count by, and what the journal of a message names.
    WorkerId, "worker id", 1..=limits::WORKER_ID_BYTES_MAX
}

impl WorkerId {
    /// Where nobody can be named.
    pub(super) fn nobody() -> Self {
        Self(Arc::from("?"))
    }
}

/// Why an attempt failed, in the words of the worker: cut to [`limits::REASON_BYTES_MAX`], never refused, since a reason
/// that is too long should not keep a message from failing.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reason(Arc<str>);

impl Reason {
    /// Cuts and wraps a text.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self(Arc::from(&text[..text.floor_char_boundary(limits::REASON_BYTES_MAX)]))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Reason({:?})", &*self.0)
    }
}

/// Which of the waiting messages goes first: 9 before 0. A message that says nothing has [`Priority::DEFAULT`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Priority(u8);

impl Priority {
    /// Of messages that say nothing.
    pub const DEFAULT: Self = Self(4);
    /// The highest.
    pub const MAX: Self = Self(9);

    /// A priority; what is above the highest is taken for it.
    #[must_use]
    pub const fn new(value: u8) -> Self {
        if value > Self::MAX.0 { Self::MAX } else { Self(value) }
    }

    /// The plain number, 0 to 9.
    #[must_use]
    pub const fn get(self) -> u8 {
        self.0
    }
}

impl Default for Priority {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// A hash of a message's key. Two keys with one hash wait for each other and lose nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyHash(NonZeroU64);

impl KeyHash {
    /// What stands for the whole partition, where the order is the partition's.
    pub(super) const PARTITION: Self = Self(NonZeroU64::MIN);

    /// Wraps a hash; 0 becomes another number, so that "no key" costs no memory.
    #[must_use]
    pub const fn new(hash: u64) -> Self {
        match NonZeroU64::new(hash) {
            Some(hash) => Self(hash),
            None => Self(NonZeroU64::MAX),
        }
    }
}

number! {
    /// A hash of the tenant that a message belongs to; 0 is a message without one.
    Tenant(u64)
}

impl Tenant {
    /// The lane of this tenant: tenants that share one share its turns.
    pub(super) fn lane(self) -> u16 {
        u16::try_from(self.0 % u64::from(limits::TENANT_LANES)).unwrap_or(0)
    }
}

number! {
    /// Bits that no other [`Desk`](super::Desk) of any queue was ever made with: a token of another desk fits nowhere.
    Nonce(u64)
}

number! {
    /// Counts the leases of one desk.
    Serial(u64)
}

/// What a worker shows to settle a message: fenced, so that a lease that ended, or another worker's, does nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AckToken {
    /// The message.
    pub offset: Offset,
    /// The desk that leased it.
    pub nonce: Nonce,
    /// The lease.
    pub serial: Serial,
}

impl AckToken {
    /// How many bytes a token has outside.
    pub const BYTES: usize = 24;

    /// The token as it goes to a worker, who need not understand it.
    #[must_use]
    pub fn to_bytes(self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        let numbers = [self.offset.get(), self.nonce.get(), self.serial.get()];
        for (place, byte) in bytes.iter_mut().zip(numbers.into_iter().flat_map(u64::to_le_bytes)) {
            *place = byte;
        }
        bytes
    }

    /// A token that came back; `None` when it cannot be one.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; Self::BYTES] = bytes.try_into().ok()?;
        let (numbers, _) = bytes.as_chunks::<8>();
        let mut numbers = numbers.iter().map(|number| u64::from_le_bytes(*number));
        Some(Self {
            offset: Offset::new(numbers.next()?)?,
            nonce: Nonce(numbers.next()?),
            serial: Serial(numbers.next()?),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_comes_back_as_it_went() {
        let token = AckToken { offset: Offset::new(7).unwrap(), nonce: Nonce::new(u64::MAX), serial: Serial::new(3) };
        assert_eq!(AckToken::from_bytes(&token.to_bytes()), Some(token));
        assert_eq!(AckToken::from_bytes(&token.to_bytes()[1..]), None);
        assert_eq!(AckToken::from_bytes(&[0xFF; 24]), None, "there is no such offset");
    }

    #[test]
    fn a_reason_is_cut_between_characters() {
        let reason = Reason::new(&"ü".repeat(1_000));
        assert_eq!(reason.as_str().len(), limits::REASON_BYTES_MAX);
        assert_eq!(Reason::new(&format!("x{}", "ü".repeat(1_000))).as_str().len(), limits::REASON_BYTES_MAX - 1);
    }
}
