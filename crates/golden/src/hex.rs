//! Bytes as lines of hexadecimal digits, and fixtures of them.

use std::path::Path;

use crate::is_update;

/// The bytes of a text; whatever is no digit in it is passed over.
///
/// # Panics
/// When a digit is left over.
#[must_use]
pub fn decode(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.chars().filter_map(|c| u8::try_from(c.to_digit(16)?).ok()).collect();
    let pairs = digits.chunks(2).map(|pair| match pair {
        [high, low] => high << 4 | low,
        _ => panic!("half a byte is left over: {text}"),
    });
    pairs.collect()
}

/// Lines of 32 bytes each.
#[must_use]
pub fn encode(bytes: &[u8]) -> String {
    let lines = bytes.chunks(32).map(|line| line.iter().map(|byte| format!("{byte:02x}")).collect::<String>());
    lines.collect::<Vec<_>>().join("\n") + "\n"
}

/// Writes a fixture of a format that was never released, if that is asked for. `folder` is that of the crate.
///
/// # Panics
/// When it cannot be written.
pub fn update(folder: &str, name: &str, text: &str) {
    if is_update() {
        std::fs::write(Path::new(folder).join("tests/fixtures").join(name), text).unwrap();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let bytes: Vec<u8> = (0..=255).collect();
        assert_eq!(decode(&encode(&bytes)), bytes);
        assert_eq!(decode("0a fF\n"), [10, 255]);
    }
}
