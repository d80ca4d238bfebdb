//! What the benchmark sends: bytes that no codec can make smaller, and stamps that say when they were due.
//!
//! Invariant: any two records less than 4 MiB apart share no bytes of the pool, so a batch does not compress either.

use bytes::{Bytes, BytesMut};

const POOL_BYTES: usize = 4 * 1024 * 1024;

/// Gives payloads of one size, as slices of one pool of noise.
#[derive(Debug)]
pub(crate) struct Payloads {
    pool: Bytes,
    size: usize,
    at: usize,
}

impl Payloads {
    /// Payloads of `size` bytes.
    pub(crate) fn new(size: usize) -> Self {
        let mut pool = BytesMut::with_capacity(POOL_BYTES + size);
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        while pool.len() < POOL_BYTES + size {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            // The low bits of a linear generator are its weak ones.
            let word = state.wrapping_mul(0x2545_f491_4f6c_dd1d).to_le_bytes();
            pool.extend_from_slice(&word);
        }
        Self { pool: pool.freeze(), size, at: 0 }
    }

    /// The next payload. Copies nothing.
    pub(crate) fn next(&mut self) -> Bytes {
        if self.at >= POOL_BYTES {
            self.at = 0;
        }
        let payload = self.pool.slice(self.at..self.at + self.size);
        self.at += self.size.max(1);
        payload
    }
}

/// A payload of `size` bytes, at least 8, that begins with the microsecond at which it was due.
pub(crate) fn stamped(due_us: u64, size: usize) -> Bytes {
    let mut payload = BytesMut::with_capacity(size.max(8));
    payload.extend_from_slice(&due_us.to_be_bytes());
    payload.resize(size.max(8), 7);
    payload.freeze()
}

/// The stamp of a payload; `None` when it has none.
pub(crate) fn stamp_of(payload: &[u8]) -> Option<u64> {
    payload.first_chunk::<8>().map(|stamp| u64::from_be_bytes(*stamp))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn payloads_have_their_size_and_differ() {
        let mut payloads = Payloads::new(1_000);
        let first = payloads.next();
        let second = payloads.next();
        assert_eq!((first.len(), second.len()), (1_000, 1_000));
        assert_ne!(first, second);
        for _ in 0..10_000 {
            assert_eq!(payloads.next().len(), 1_000, "round the end of the pool too");
        }
    }

    #[test]
    fn an_empty_payload_is_possible() {
        assert!(Payloads::new(0).next().is_empty());
    }

    #[test]
    fn a_stamp_comes_back() {
        assert_eq!(stamp_of(&stamped(123_456, 1_024)), Some(123_456));
        assert_eq!(stamped(1, 3).len(), 8);
        assert_eq!(stamp_of(b"short"), None);
    }
}
