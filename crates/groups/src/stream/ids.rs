//! Names and numbers of groups, members, protocols, generations; tickets and moments.
//!
//! Every text that came from outside is checked once, where its type is made; code that holds one need not check again.

use std::sync::Arc;

use highwater_types::number;

use super::limits;

/// Why a text is no id or name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// It has no characters.
    #[error("a {what} cannot be empty")]
    Empty {
        /// What the text should name.
        what: &'static str,
    },
    /// It has too many bytes.
    #[error("a {what} has at most {max} bytes, this one has {bytes}")]
    TooLong {
        /// What the text should name.
        what: &'static str,
        /// Its length.
        bytes: usize,
        /// The longest.
        max: usize,
    },
    /// It holds a control character.
    #[error("a {what} holds no control characters, this one has {character:?}")]
    ControlCharacter {
        /// What the text should name.
        what: &'static str,
        /// The first such character.
        character: char,
    },
}

pub(crate) fn check(what: &'static str, text: &str, min: usize, max: usize) -> Result<Arc<str>, IdError> {
    if text.len() < min {
        return Err(IdError::Empty { what });
    }
    if text.len() > max {
        return Err(IdError::TooLong { what, bytes: text.len(), max });
    }
    match text.chars().find(|character| character.is_control()) {
        Some(character) => Err(IdError::ControlCharacter { what, character }),
        None => Ok(Arc::from(text)),
    }
}

macro_rules! text {
    ($(#[$doc:meta])* $name:ident, $what:literal, $min:literal..=$max:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(std::sync::Arc<str>);

        impl $name {
            /// Checks and wraps a text.
            ///
            /// # Errors
            /// When it is too short or too long, or holds a control character.
            pub fn new(text: &str) -> Result<Self, $crate::stream::ids::IdError> {
                $crate::stream::ids::check($what, text, $min, $max).map(Self)
            }

            /// The text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                self.0.fmt(f)
            }
        }

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, concat!(stringify!($name), "({:?})"), &*self.0)
            }
        }
    };
}

pub(crate) use text;

text! {
    /// A group: 1 to 249 bytes without control characters. Kafka allows any text that is not empty and sets no bound.
    GroupId, "group id", 1..=limits::GROUP_ID_BYTES_MAX
}

text! {
    /// A member, for as long as it is in the group. Made here, never chosen by a client.
    MemberId, "member id", 1..=limits::MEMBER_ID_BYTES_MAX
}

text! {
    /// A static member: a name that a client keeps over its restarts (Kafka's `group.instance.id`).
    InstanceId, "instance id", 1..=limits::CLIENT_TEXT_BYTES_MAX
}

text! {
    /// What kind of members a group has: `consumer`, `connect`, or our own [`ProtocolType::session`].
    ProtocolType, "protocol type", 1..=limits::PROTOCOL_NAME_BYTES_MAX
}

text! {
    /// One way to assign, such as `range`, that members offer and vote for.
    ProtocolName, "protocol name", 1..=limits::PROTOCOL_NAME_BYTES_MAX
}

text! {
    /// What a client calls itself; may be empty.
    ClientId, "client id", 0..=limits::CLIENT_TEXT_BYTES_MAX
}

text! {
    /// The host that a client was last seen at; may be empty.
    ClientHost, "client host", 0..=limits::CLIENT_TEXT_BYTES_MAX
}

impl MemberId {
    /// The id of a new member: what it calls itself, and 128 bits that nobody can guess.
    #[must_use]
    pub fn fresh(name: &str, nonce: u128) -> Self {
        // The parts have their bounds, and the bound of a member id has room for both: see `limits`.
        Self(Arc::from(format!("{name}-{nonce:032x}")))
    }
}

impl ProtocolType {
    const SESSION: &'static str = "highwater";

    /// The type of groups whose partitions the server assigns. Its protocols are the names of assignors.
    #[must_use]
    pub fn session() -> Self {
        Self(Arc::from(Self::SESSION))
    }

    /// Whether the server assigns the partitions of such groups.
    #[must_use]
    pub fn is_session(&self) -> bool {
        &*self.0 == Self::SESSION
    }
}

number! {
    /// Counts the rebalances of a group; what bears an older one is refused. 0 is before the first.
    GenerationId(i32)
}

number! {
    /// The caller's name for a request that waits for its answer. Given with a command, given back with the reply.
    Ticket(u64)
}

number! {
    /// Milliseconds on a clock that never goes back and whose zero is the caller's. Deadlines are moments, so that an
    /// hour that is set on the wall clock ends no session.
    Moment(u64)
}

impl GenerationId {
    /// The generation after this one. Two thousand million rebalances fit; past that it stays at the end.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl Moment {
    /// The moment so much later.
    #[must_use]
    pub const fn plus_ms(self, ms: u64) -> Self {
        Self(self.0.saturating_add(ms))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_checked_once() {
        assert!(GroupId::new("orders / e-mail (büro)").is_ok());
        assert_eq!(GroupId::new(""), Err(IdError::Empty { what: "group id" }));
        assert_eq!(GroupId::new(&"g".repeat(250)), Err(IdError::TooLong { what: "group id", bytes: 250, max: 249 }));
        let control = IdError::ControlCharacter { what: "group id", character: '\n' };
        assert_eq!(GroupId::new("a\nb"), Err(control));
        assert!(ClientId::new("").is_ok());
    }

    #[test]
    fn the_longest_name_makes_a_valid_member_id() {
        let fresh = MemberId::fresh(&"c".repeat(limits::CLIENT_TEXT_BYTES_MAX), u128::MAX);
        assert_eq!(MemberId::new(fresh.as_str()), Ok(fresh));
    }
}
