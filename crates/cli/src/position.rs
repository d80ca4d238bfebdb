//! A place in a partition as people write it: `start`, `end`, an offset, or `@` and a time.
//!
//! Owns: that one notation, for every verb that takes a position.

use highwater_client::Position;
use highwater_types::{Offset, Timestamp};

/// A text that is no position.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PositionError {
    /// Neither a word that is known, nor a number, nor `@`.
    #[error("it is 'start', 'end', an offset such as 1500, or a time such as @2026-01-31T08:00:00Z or @1769846400000")]
    Unknown,
    /// A number that no offset reaches.
    #[error("the largest offset is {}", Offset::MAX)]
    OffsetTooLarge,
    /// What follows the `@` is no time.
    #[error(
        "after '@' comes a time: milliseconds since 1970, or RFC 3339 with a zone such as 2026-01-31T08:00:00Z ({cause})"
    )]
    BadTime {
        /// What the parser of times says.
        cause: String,
    },
}

/// Reads a position.
pub(crate) fn parse_position(text: &str) -> Result<Position, PositionError> {
    if let Some(time) = text.strip_prefix('@') {
        return parse_time(time).map(Position::Timestamp);
    }
    match text {
        "start" => Ok(Position::Start),
        "end" => Ok(Position::End),
        _ => {
            let number: u64 = text.parse().map_err(|_| PositionError::Unknown)?;
            Offset::new(number).map(Position::Offset).ok_or(PositionError::OffsetTooLarge)
        }
    }
}

fn parse_time(text: &str) -> Result<Timestamp, PositionError> {
    if let Ok(ms) = text.parse::<i64>() {
        return Ok(Timestamp::from_ms(ms));
    }
    let time: jiff::Timestamp =
        text.parse().map_err(|error: jiff::Error| PositionError::BadTime { cause: error.to_string() })?;
    Ok(Timestamp::from_ms(time.as_millisecond()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_is_understood() {
        assert_eq!(parse_position("start"), Ok(Position::Start));
        assert_eq!(parse_position("end"), Ok(Position::End));
        assert_eq!(parse_position("0"), Ok(Position::Offset(Offset::ZERO)));
        assert_eq!(parse_position("@1769846400000"), Ok(Position::Timestamp(Timestamp::from_ms(1_769_846_400_000))));
        assert_eq!(parse_position("@2026-01-31T08:00:00Z"), parse_position("@1769846400000"));
        assert_eq!(parse_position("@2026-01-31T09:00:00.250+01:00"), parse_position("@1769846400250"));
    }

    #[test]
    fn anything_else_is_refused_with_what_would_do() {
        assert_eq!(parse_position("beginning"), Err(PositionError::Unknown));
        assert_eq!(parse_position("-5"), Err(PositionError::Unknown));
        assert_eq!(parse_position(""), Err(PositionError::Unknown));
        assert_eq!(parse_position("9223372036854775808"), Err(PositionError::OffsetTooLarge));
        assert!(matches!(parse_position("@yesterday"), Err(PositionError::BadTime { .. })));
        assert!(matches!(parse_position("@2026-01-31"), Err(PositionError::BadTime { .. })), "a day alone has no zone");
    }
}
