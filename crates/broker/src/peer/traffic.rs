//! How much was sent to other nodes, counted where it goes out.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// What this node has sent since it started, requests and replies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Frames, of which each holds one message or several.
    pub frames: u64,
    /// Messages.
    pub messages: u64,
    /// Bytes, without what the transport adds.
    pub bytes: u64,
}

/// Counts. Clones are the same counters.
#[derive(Clone, Debug, Default)]
pub(crate) struct Counters(Arc<[AtomicU64; 3]>);

impl Counters {
    pub(crate) fn add(&self, messages: u64, bytes: usize) {
        let [all_frames, all_messages, all_bytes] = &*self.0;
        all_frames.fetch_add(1, Ordering::Relaxed);
        all_messages.fetch_add(messages, Ordering::Relaxed);
        all_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(crate) fn read(&self) -> Traffic {
        let [frames, messages, bytes] = &*self.0;
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Traffic { frames: read(frames), messages: read(messages), bytes: read(bytes) }
    }
}
