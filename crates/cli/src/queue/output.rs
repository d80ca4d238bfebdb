//! How the parts of messages are written: times, spans and bytes, for people and for programs.

use std::time::Duration;

use highwater_client::Timestamp;

/// The longest text of a cell in a table.
const CELL_CHARS_MAX: usize = 60;

/// A moment as RFC 3339 in UTC, to the millisecond; what no calendar has as a number.
pub(crate) fn time(at: Timestamp) -> String {
    match jiff::Timestamp::from_millisecond(at.as_ms()) {
        Ok(time) => format!("{time:.3}"),
        Err(_) => at.to_string(),
    }
}

/// A span in milliseconds.
pub(crate) fn ms(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

/// Bytes as text; what is not UTF-8 gets the replacement character.
pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A text in a cell: on one line, and not too wide.
pub(crate) fn cell(text: &str) -> String {
    let flat: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let flat = flat.trim();
    if flat.chars().count() <= CELL_CHARS_MAX {
        return flat.to_owned();
    }
    let mut cut: String = flat.chars().take(CELL_CHARS_MAX - 1).collect();
    cut.push('…');
    cut
}

/// The same of bytes that may be missing.
pub(crate) fn bytes_cell(bytes: Option<&[u8]>) -> String {
    bytes.map_or_else(|| "-".to_owned(), |bytes| cell(&text(bytes)))
}

/// A span in the form that options take.
pub(crate) fn span(span: Duration) -> String {
    humantime::format_duration(span).to_string().replace(' ', "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_rfc_3339() {
        assert_eq!(time(Timestamp::from_ms(1_769_846_400_250)), "2026-01-31T08:00:00.250Z");
        assert_eq!(time(Timestamp::from_ms(0)), "1970-01-01T00:00:00.000Z");
        assert_eq!(time(Timestamp::from_ms(i64::MAX)), i64::MAX.to_string());
    }

    #[test]
    fn a_cell_is_one_line() {
        assert_eq!(cell("a\nb\tc\n"), "a b c");
        assert_eq!(cell(&"x".repeat(61)), format!("{}…", "x".repeat(59)));
        assert_eq!(bytes_cell(None), "-");
    }

    #[test]
    fn a_span_is_written_as_it_is_read() {
        for text in ["1s", "1m30s", "250ms", "12h"] {
            assert_eq!(span(humantime::parse_duration(text).unwrap()), text);
        }
    }
}
