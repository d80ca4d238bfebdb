//! `KEY=VALUE` on the command line: settings of nodes and topics, headers of records.

use std::str::FromStr;

/// A name and a value, as `KEY=VALUE`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KeyValue {
    /// What stands before the first `=`.
    pub(crate) key: String,
    /// What stands after it.
    pub(crate) value: String,
}

/// A text that is no `KEY=VALUE`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it has the form KEY=VALUE")]
pub(crate) struct KeyValueError;

impl FromStr for KeyValue {
    type Err = KeyValueError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once('=') {
            Some((key, value)) if !key.is_empty() => Ok(Self { key: key.to_owned(), value: value.to_owned() }),
            _ => Err(KeyValueError),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pair_is_cut_at_its_first_sign() {
        let pair = |text: &str| text.parse::<KeyValue>().map(|pair| (pair.key, pair.value));
        assert_eq!(pair("a=b=c"), Ok(("a".to_owned(), "b=c".to_owned())));
        assert_eq!(pair("a="), Ok(("a".to_owned(), String::new())));
        assert_eq!(pair("a"), Err(KeyValueError));
        assert_eq!(pair("=b"), Err(KeyValueError));
    }
}
