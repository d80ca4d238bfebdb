//! Durations and sizes as people write them: `7d`, `500ms`, `1GiB`, `64MB`, or a plain number.
//!
//! Invariant: what does not mean exactly one whole number is refused; nothing is rounded.

/// Units of time and their milliseconds.
const DURATIONS: &[(&str, u64)] = &[
    ("ms", 1),
    ("s", 1_000),
    ("m", 60_000),
    ("min", 60_000),
    ("h", 3_600_000),
    ("d", 86_400_000),
    ("w", 7 * 86_400_000),
];

/// Units of size and their bytes. A bare `k`, `m` or `g` means different things to different people and is refused.
const SIZES: &[(&str, u64)] = &[
    ("B", 1),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
    ("kB", 1_000),
    ("KB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
];

/// A duration in milliseconds; a number without a unit is milliseconds. `None` when the text is none.
#[must_use]
pub fn parse_duration_ms(text: &str) -> Option<u64> {
    parse(text, DURATIONS)
}

/// A size in bytes; a number without a unit is bytes. `None` when the text is none.
#[must_use]
pub fn parse_size_bytes(text: &str) -> Option<u64> {
    parse(text, SIZES)
}

fn parse(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let text = text.trim();
    let digits_end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, unit) = text.split_at(digits_end);
    let number: u64 = digits.parse().ok()?;
    match unit.trim_start() {
        "" => Some(number),
        unit => units.iter().find(|(name, _)| *name == unit).and_then(|(_, factor)| number.checked_mul(*factor)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        assert_eq!(parse_duration_ms("7d"), Some(604_800_000));
        assert_eq!(parse_duration_ms(" 500 ms "), Some(500));
        assert_eq!(parse_duration_ms("1000"), Some(1_000));
        assert_eq!(parse_duration_ms("2w"), Some(1_209_600_000));
        for wrong in ["", "d", "-1", "+1", "1.5h", "7 days", "1h30m", "99999999999999999w"] {
            assert_eq!(parse_duration_ms(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn sizes() {
        assert_eq!(parse_size_bytes("1GiB"), Some(1 << 30));
        assert_eq!(parse_size_bytes("1GB"), Some(1_000_000_000));
        assert_eq!(parse_size_bytes("65536"), Some(65_536));
        for wrong in ["1g", "1Gib", "GiB", "-5", "18446744073709551616", "99999999999TiB"] {
            assert_eq!(parse_size_bytes(wrong), None, "{wrong:?}");
        }
    }
}
