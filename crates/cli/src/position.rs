//! A place in a partition as people write it: `start`, `end`, an offset, or `@` and a time or how long ago it was.
//!
//! Owns: that one notation, for every verb that takes a position.

use highwater_client::Position;
use highwater_types::{Offset, Timestamp};

use crate::clock;

/// A text that is no position.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PositionError {
    /// Neither a word that is known, nor a number, nor `@`.
    #[error(
        "it is 'start', 'end', an offset such as 1500, or a time such as @2026-01-31T08:00:00Z, @1769846400000 or @-15m"
    )]
    Unknown,
    /// A number that no offset reaches.
    #[error("the largest offset is {}", Offset::MAX)]
    OffsetTooLarge,
    /// A text that is no moment to come.
    #[error("it is now, +15m for so long from now, milliseconds since 1970, or 2026-01-31T08:00:00Z ({cause})")]
    BadMoment {
        /// What the parser of times says.
        cause: String,
    },
    /// What follows the `@` is no time.
    #[error(
        "after '@' comes a time: milliseconds since 1970, RFC 3339 with a zone such as 2026-01-31T08:00:00Z, or how long \
         ago such as -15m ({cause})"
    )]
    BadTime {
        /// What the parser of times says.
        cause: String,
    },
}

/// Reads a position.
pub(crate) fn parse_position(text: &str) -> Result<Position, PositionError> {
    parse_at(text, clock::wall())
}

fn parse_at(text: &str, now: Timestamp) -> Result<Position, PositionError> {
    if let Some(time) = text.strip_prefix('@') {
        return parse_time(time, now).map(Position::Timestamp);
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

/// Reads a moment, which may be yet to come: `now`, milliseconds since 1970, RFC 3339, or how long from now such as `+15m`.
pub(crate) fn parse_moment(text: &str) -> Result<Timestamp, PositionError> {
    parse_moment_at(text, clock::wall())
}

fn parse_moment_at(text: &str, now: Timestamp) -> Result<Timestamp, PositionError> {
    let bad = |cause: String| PositionError::BadMoment { cause };
    let Some(span) = text.strip_prefix('+') else {
        let told = |error| match error {
            PositionError::BadTime { cause } => bad(cause),
            other => other,
        };
        return if text == "now" { Ok(now) } else { parse_time(text, now).map_err(told) };
    };
    let span = humantime::parse_duration(span).map_err(|error| bad(error.to_string()))?;
    let ms = i64::try_from(span.as_millis()).map_err(|error| bad(error.to_string()))?;
    Ok(Timestamp::from_ms(now.as_ms().saturating_add(ms)))
}

fn parse_time(text: &str, now: Timestamp) -> Result<Timestamp, PositionError> {
    if let Ok(ms) = text.parse::<i64>() {
        return Ok(Timestamp::from_ms(ms));
    }
    let bad = |cause: String| PositionError::BadTime { cause };
    if let Some(span) = text.strip_prefix('-') {
        let span = humantime::parse_duration(span).map_err(|error| bad(error.to_string()))?;
        let ms = i64::try_from(span.as_millis()).map_err(|error| bad(error.to_string()))?;
        return Ok(Timestamp::from_ms(now.as_ms().saturating_sub(ms)));
    }
    let time: jiff::Timestamp = text.parse().map_err(|error: jiff::Error| bad(error.to_string()))?;
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
    fn a_time_may_be_told_from_now() {
        let now = Timestamp::from_ms(10_000_000);
        let at = |ms| Ok(Position::Timestamp(Timestamp::from_ms(ms)));
        assert_eq!(parse_at("@-15m", now), at(9_100_000));
        assert_eq!(parse_at("@-1h 30m", now), at(4_600_000));
        assert_eq!(parse_at("@-250ms", now), at(9_999_750));
        assert_eq!(parse_at("@-5", now), at(-5), "a number alone is a time since 1970");
        assert!(matches!(parse_at("@-soon", now), Err(PositionError::BadTime { .. })));
        assert!(matches!(parse_at("@15m", now), Err(PositionError::BadTime { .. })), "15 minutes ago or from now?");
    }

    #[test]
    fn a_moment_may_be_yet_to_come() {
        let now = Timestamp::from_ms(10_000_000);
        let at = |text| parse_moment_at(text, now).map(Timestamp::as_ms);
        assert_eq!(
            (at("now"), at("+15m"), at("-15m"), at("5")),
            (Ok(10_000_000), Ok(10_900_000), Ok(9_100_000), Ok(5))
        );
        assert_eq!(at("2026-01-31T08:00:00Z"), Ok(1_769_846_400_000));
        for text in ["", "+", "soon", "+soon", "15m"] {
            assert!(matches!(at(text), Err(PositionError::BadMoment { .. })), "{text}");
        }
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
