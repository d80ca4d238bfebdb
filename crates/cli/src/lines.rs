//! Cutting a stream of bytes into lines, without copying those that lie in one chunk.
//!
//! Owns: the unfinished line at the end of what was pushed so far.
//!
//! Invariant: the lines, each followed by a newline but for an unfinished last one, are the bytes that were pushed. A
//! carriage return is a byte like any other. Memory is bounded: a line longer than the cap is refused.

use bytes::{Bytes, BytesMut};

/// A line that is longer than any record may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line} is longer than {bytes_max} bytes, the most that one record may have")]
pub(crate) struct LineTooLong {
    /// Which line, counted from 1.
    pub(crate) line: u64,
    /// The cap.
    pub(crate) bytes_max: usize,
}

/// Takes chunks, gives lines.
#[derive(Debug)]
pub(crate) struct Lines {
    chunk: Bytes,
    unfinished: BytesMut,
    count: u64,
    bytes_max: usize,
}

impl Lines {
    /// No bytes yet; no line may be longer than `bytes_max`.
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self { chunk: Bytes::new(), unfinished: BytesMut::new(), count: 0, bytes_max }
    }

    /// Adds bytes. The lines of the chunk before must have been taken.
    pub(crate) fn push(&mut self, chunk: Bytes) {
        assert!(self.chunk.is_empty(), "a chunk was pushed over another one");
        self.chunk = chunk;
    }

    /// The next whole line, without its newline; `None` when another chunk is needed.
    pub(crate) fn next_line(&mut self) -> Result<Option<Bytes>, LineTooLong> {
        let end = memchr::memchr(b'\n', &self.chunk);
        let length = self.unfinished.len() + end.unwrap_or(self.chunk.len());
        if length > self.bytes_max {
            return Err(LineTooLong { line: self.count + 1, bytes_max: self.bytes_max });
        }
        let Some(end) = end else {
            self.unfinished.extend_from_slice(&self.chunk);
            self.chunk.clear();
            return Ok(None);
        };
        let mut line = self.chunk.split_to(end + 1);
        line.truncate(end);
        self.count += 1;
        if self.unfinished.is_empty() {
            return Ok(Some(line));
        }
        self.unfinished.extend_from_slice(&line);
        Ok(Some(self.unfinished.split().freeze()))
    }

    /// The last line, when the input did not end with a newline.
    pub(crate) fn finish(&mut self) -> Option<Bytes> {
        assert!(self.chunk.is_empty(), "the input ended before its lines were taken");
        if self.unfinished.is_empty() {
            return None;
        }
        self.count += 1;
        Some(self.unfinished.split().freeze())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The lines of `input` when it arrives in chunks of `size` bytes.
    fn cut(input: &[u8], size: usize) -> Vec<Bytes> {
        let mut lines = Lines::new(100);
        let mut found = Vec::new();
        for chunk in input.chunks(size) {
            lines.push(Bytes::copy_from_slice(chunk));
            while let Some(line) = lines.next_line().unwrap() {
                found.push(line);
            }
        }
        found.extend(lines.finish());
        found
    }

    #[test]
    fn lines_do_not_depend_on_the_chunks() {
        let input = b"one\n\n\xff\x00binary\r\nlast without newline";
        for size in 1..=input.len() {
            assert_eq!(cut(input, size), ["one".as_bytes(), b"", b"\xff\x00binary\r", b"last without newline"]);
        }
    }

    #[test]
    fn a_newline_at_the_end_makes_no_empty_line() {
        assert_eq!(cut(b"a\nb\n", 2), ["a", "b"]);
        assert_eq!(cut(b"\n", 1), [""]);
        assert!(cut(b"", 1).is_empty());
    }

    #[test]
    fn a_line_beyond_the_cap_is_refused_by_number() {
        let mut lines = Lines::new(4);
        lines.push(Bytes::from_static(b"1234\n12345"));
        assert_eq!(lines.next_line(), Ok(Some(Bytes::from_static(b"1234"))));
        assert_eq!(lines.next_line(), Err(LineTooLong { line: 2, bytes_max: 4 }));
    }

    #[test]
    fn the_cap_counts_what_earlier_chunks_left() {
        let mut lines = Lines::new(4);
        lines.push(Bytes::from_static(b"123"));
        assert_eq!(lines.next_line(), Ok(None));
        lines.push(Bytes::from_static(b"45\n"));
        assert_eq!(lines.next_line(), Err(LineTooLong { line: 1, bytes_max: 4 }));
    }
}
