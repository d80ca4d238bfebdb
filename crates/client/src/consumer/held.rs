//! One partition that this member holds: how far it was received and given out, and what is to become of it.
//!
//! Pure. Invariant: `given` is never after `received`, and whatever was received and not given out waits in the queue; so
//! dropping that and setting `received` back loses nothing, once the server is told or a new stream begins.

use highwater_types::{LeaderEpoch, Offset};
use tokio::sync::oneshot;

use super::error::ConsumeError;
use crate::position::Position;

/// A place in a partition: the next record to read, and the epoch of the one before it, where it is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) offset: Offset,
    pub(super) leader_epoch: Option<LeaderEpoch>,
}

impl Mark {
    pub(super) fn at(offset: Offset) -> Self {
        Self { offset, leader_epoch: None }
    }
}

/// How far a partition is on its way back to the group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Release {
    /// It is not.
    No,
    /// No record of it is given out any more.
    Stopped,
    /// And the listener knows.
    Told,
}

/// A seek that the server has not answered. Records that come meanwhile are from before it.
#[derive(Debug)]
pub(super) struct Seek {
    pub(super) to: Position,
    /// Its number on this stream; `None` before it is sent.
    pub(super) request: Option<u64>,
    /// `None` when nobody asked: what was dropped is to be read again.
    pub(super) waiter: Option<oneshot::Sender<Result<Offset, ConsumeError>>>,
}

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct Held {
    /// Another one after each assignment, pause and seek: a batch that was taken under an older one is stale.
    pub(super) serial: u64,
    /// Whether it is known where it is read from. Otherwise nothing of it is committed before a seek.
    pub(super) is_placed: bool,
    pub(super) received: Offset,
    pub(super) given: Mark,
    /// The last offset whose commit was asked for and did not fail.
    pub(super) requested: Option<Offset>,
    pub(super) is_paused: bool,
    /// What came could not be read: the server is to send no more of it until a seek.
    pub(super) has_failed: bool,
    pub(super) is_pause_told: bool,
    /// The server believes that records were received which were dropped.
    pub(super) must_rewind: bool,
    pub(super) seek: Option<Seek>,
    pub(super) release: Release,
}

impl Held {
    pub(super) fn new(offset: Option<Offset>, serial: u64) -> Self {
        let is_placed = offset.is_some();
        let offset = offset.unwrap_or(Offset::ZERO);
        Self {
            serial,
            is_placed,
            received: offset,
            given: Mark::at(offset),
            // Also where nothing was read: a group that began at the end is to go on there, and not at a later end.
            requested: None,
            is_paused: false,
            has_failed: false,
            is_pause_told: false,
            must_rewind: false,
            seek: None,
            release: Release::No,
        }
    }

    pub(super) fn wants_pause(&self) -> bool {
        self.is_paused || self.has_failed
    }

    /// Whether records that come are the next ones to give out.
    pub(super) fn accepts(&self) -> bool {
        self.release == Release::No && self.seek.is_none() && !self.wants_pause() && !self.must_rewind
    }

    /// What was received and not given out is dropped.
    pub(super) fn rewind(&mut self, serial: u64) {
        self.must_rewind |= self.received != self.given.offset;
        self.received = self.given.offset;
        self.serial = serial;
    }

    /// The server reads from here on now.
    pub(super) fn move_to(&mut self, offset: Offset, serial: u64) {
        self.serial = serial;
        self.is_placed = true;
        self.received = offset;
        self.given = Mark::at(offset);
        self.must_rewind = false;
    }

    /// A new stream begins where records were received to, and knows of no pause or seek.
    pub(super) fn begin(&mut self) -> Offset {
        self.is_pause_told = false;
        self.must_rewind = false;
        self.seek.take_if(|seek| seek.waiter.is_none());
        if let Some(seek) = &mut self.seek {
            seek.request = None;
        }
        self.received
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offset(offset: u64) -> Offset {
        Offset::new(offset).unwrap()
    }

    #[test]
    fn what_is_dropped_is_read_again_and_only_that() {
        let mut held = Held::new(Some(offset(5)), 1);
        held.rewind(2);
        assert!(!held.must_rewind && held.accepts(), "nothing was dropped");
        held.received = offset(20);
        held.rewind(3);
        assert!(held.must_rewind && !held.accepts());
        assert_eq!((held.received, held.serial), (offset(5), 3));
        assert_eq!(held.begin(), offset(5));
        assert!(held.accepts(), "a new stream begins there anyway");
    }
}
