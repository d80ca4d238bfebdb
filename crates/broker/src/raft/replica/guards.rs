//! What lasts as long as somebody holds it: writes that wait, and a change of the members that keeps others out.
//!
//! Never: waits by itself. Who asks for a guard and gets none comes again.

use std::sync::atomic::Ordering;

use super::Replica;

/// Writes wait while this lives.
pub(in crate::raft) struct HeldBack(pub(super) Replica);

impl Drop for HeldBack {
    fn drop(&mut self) {
        self.0.0.held_back.send_replace(false);
    }
}

/// No other change of the members begins while this lives.
pub(in crate::raft) struct Changing(pub(super) Replica);

impl Drop for Changing {
    fn drop(&mut self) {
        self.0.0.is_changing.store(false, Ordering::Release);
    }
}
