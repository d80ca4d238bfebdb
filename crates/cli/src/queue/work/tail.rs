//! The end of what a command says on standard error: it is why the attempt failed.
//!
//! Invariant: it holds no more than a reason may have, however much is said.

/// The server keeps so much of a reason.
const REASON_BYTES_MAX: usize = 512;

/// Keeps the end.
#[derive(Debug, Default)]
pub(super) struct Tail {
    bytes: Vec<u8>,
}

impl Tail {
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        let excess = self.bytes.len().saturating_sub(2 * REASON_BYTES_MAX);
        self.bytes.drain(..excess);
    }

    /// The end as text, in whole letters; `None` when nothing was said.
    pub(super) fn text(&self) -> Option<String> {
        let text = String::from_utf8_lossy(&self.bytes);
        let text = text.trim();
        let start = text.ceil_char_boundary(text.len().saturating_sub(REASON_BYTES_MAX));
        text.get(start..).map(str::to_owned).filter(|text| !text.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tail(parts: &[&[u8]]) -> Option<String> {
        let mut tail = Tail::default();
        for part in parts {
            tail.push(part);
        }
        assert!(tail.bytes.len() <= 2 * REASON_BYTES_MAX);
        tail.text()
    }

    #[test]
    fn the_end_is_kept_in_whole_letters() {
        assert_eq!(tail(&[b"no ", b"paper\n"]), Some("no paper".to_owned()));
        assert_eq!(tail(&[b"\n \n"]), None);
        assert_eq!(tail(&[]), None);
        let long = format!("{}the end\n", "ä".repeat(5_000));
        let kept = tail(&[long.as_bytes()]).unwrap();
        assert!(kept.len() <= REASON_BYTES_MAX && kept.ends_with("äthe end"), "{kept}");
        assert_eq!(tail(&[&[0xff; 9_000]]).unwrap().len() % 3, 0, "what is no text is replaced");
    }
}
