//! From one segment to the next, and disk space for what comes.
//!
//! Owns: when a segment is sealed, how the next one begins, reserving, and what the background does ahead of time.
//! Never: waits for the disk inside an append if the background has kept up.
//!
//! Invariant: running out of disk space changes nothing that counts. A sealed segment stays sealed, space that was
//! found stays reserved, and the next call tries again.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use highwater_types::{LogIndex, Timestamp};

use super::Inner;
use super::error::{AppendError, LogError, NoSpace, ReserveError};
use super::file_name::SegmentNumber;
use super::index::Index;
use super::manifest::SegmentEnd;
use super::options::APPEND_BYTES_MAX;
use super::segment::{Segment, SegmentParts};
use super::segment_header::{MEMBERSHIP_BYTES_MAX, SEGMENT_HEADER_BYTES_MIN, SegmentHeader};
use super::space::Space;
use super::writer::{Active, Prepared, Writer};
use crate::background::BackgroundTask;
use crate::error::FileError;
use crate::locks::lock;
use crate::poison::Poisoned;

/// Why there is no room.
pub(super) enum RoomError {
    NoSpace(NoSpace),
    Poisoned(Poisoned),
}

impl From<RoomError> for AppendError {
    fn from(error: RoomError) -> Self {
        match error {
            RoomError::NoSpace(error) => error.into(),
            RoomError::Poisoned(error) => error.into(),
        }
    }
}

impl From<RoomError> for ReserveError {
    fn from(error: RoomError) -> Self {
        match error {
            RoomError::NoSpace(error) => error.into(),
            RoomError::Poisoned(error) => error.into(),
        }
    }
}

/// What the background can do for a log.
enum Job {
    Extend(Arc<Space>),
    Prepare(SegmentNumber),
    Index(Arc<Segment>),
}

impl Inner {
    /// See [`super::Log::reserve`].
    pub(super) fn reserve(&self, bytes: u64) -> Result<(), ReserveError> {
        let mut writer = lock(&self.writer);
        self.flusher.poison().check()?;
        if writer.is_closed {
            return Err(ReserveError::Closed);
        }
        if bytes > APPEND_BYTES_MAX {
            return Err(ReserveError::TooLarge { bytes, bytes_max: APPEND_BYTES_MAX });
        }
        if let Some(active) = &writer.active {
            let limit = active.limit;
            // What still goes here must not need space either, even if the rest of it rolls.
            let wanted = (active.position + bytes).min(limit).max(active.position);
            self.room(active.space.ensure(wanted, &self.options))?;
            if active.position + bytes <= limit {
                return Ok(());
            }
        }
        Ok(self.prepare(&mut writer, bytes)?)
    }

    /// Makes sure that the active segment has allocated space for `bytes` more, in a new segment if need be.
    pub(super) fn make_room(
        &self,
        writer: &mut Writer,
        bytes: u64,
        first: LogIndex,
        now: Timestamp,
    ) -> Result<(), RoomError> {
        if let Some(active) = &writer.active
            && active.position + bytes <= active.limit
        {
            return self.room(active.space.ensure(active.position + bytes, &self.options));
        }
        self.prepare(writer, bytes)?;
        self.seal_active(writer);
        self.activate(writer, bytes, first, now)
    }

    /// Makes sure that there is a file for the next segment with space for its header and `bytes` more.
    fn prepare(&self, writer: &mut Writer, bytes: u64) -> Result<(), RoomError> {
        let bytes = bytes + header_bytes(writer);
        if let Some(prepared) = &writer.prepared {
            return self.room(prepared.space.ensure(bytes, &self.options));
        }
        // A file that the background is making now keeps its number and is thrown away.
        let number = writer.preparing.map_or(writer.next_segment, SegmentNumber::next).max(writer.next_segment);
        let space = self.room(self.create_space(number, bytes))?;
        writer.prepared = Some(Prepared { number, space: Arc::new(space) });
        Ok(())
    }

    fn create_space(&self, number: SegmentNumber, bytes: u64) -> Result<Space, FileError> {
        Space::create(&*self.disk, number.segment_path(&self.dir).into(), bytes, &self.options)
    }

    /// A want of space is only that; anything else is the end of the data directory's writes.
    fn room<T>(&self, result: Result<T, FileError>) -> Result<T, RoomError> {
        result.map_err(|error| {
            if error.is_disk_full() {
                RoomError::NoSpace(NoSpace { cause: error })
            } else {
                RoomError::Poisoned(self.poison(error))
            }
        })
    }

    /// The active segment takes no more entries. Its index goes to a file later, the manifest with the next round.
    pub(super) fn seal_active(&self, writer: &mut Writer) {
        let Some(active) = writer.active.take() else { return };
        active.segment.seal();
        writer.sealed_bytes += active.position;
        if active.is_dirty {
            writer.unsynced.push(active.space.dirty());
        }
        writer.unindexed.push(active.segment);
        writer.is_manifest_due = true;
    }

    /// Takes the prepared file as the active segment; its header is written with the first frames.
    fn activate(&self, writer: &mut Writer, bytes: u64, first: LogIndex, now: Timestamp) -> Result<(), RoomError> {
        let Some(Prepared { number, space }) = writer.prepared.take() else {
            return Err(RoomError::Poisoned(self.poison("a log has no file for its next segment")));
        };
        let header = SegmentHeader {
            key: self.key,
            number,
            base_index: first,
            base_offset: writer.next_offset,
            previous: writer.last,
            membership: writer.membership.clone(),
            created: now,
        };
        let encoded = header.encode();
        let first_position = encoded.bytes.len() as u64;
        // What was reserved beyond the size of a segment was promised: it must not roll into space that is not there.
        let limit = self.options.segment_bytes_max.max(space.allocated()).max(first_position + bytes);
        let parts = SegmentParts {
            disk: Arc::clone(&self.disk),
            path: Arc::clone(space.path()),
            salt: encoded.salt,
            first_position,
            end: SegmentEnd {
                position: first_position,
                last: writer.last.unwrap_or_default(),
                next_offset: header.base_offset,
                max_timestamp: None,
                membership_position: None,
            },
            header,
            map_bytes: limit,
            index_interval_bytes: self.options.index_interval_bytes,
            verified_through: first_position,
            written_from: 0,
            is_sealed: false,
        };
        writer.next_segment = number.next();
        writer.is_manifest_due = true;
        writer.active = Some(Active {
            segment: Arc::new(Segment::new(parts, Some(Index::default()))),
            space,
            limit,
            position: first_position,
            last_point: 0,
            end: None,
            header: Some(encoded.bytes),
            is_dirty: false,
        });
        Ok(())
    }

    /// Seals a segment that has grown too old, so that retention can let it go.
    pub(super) fn maintain(&self, now: Timestamp) -> Result<(), LogError> {
        let mut guard = lock(&self.writer);
        let writer = &mut *guard;
        self.flusher.poison().check()?;
        if writer.is_closed {
            return Err(LogError::Closed);
        }
        let is_old = writer
            .active
            .as_ref()
            .is_some_and(|active| now.ms_since(active.segment.header.created) >= self.options.segment_age_ms_max);
        if is_old {
            self.seal_active(writer);
            self.announce(writer);
        }
        self.request_background(writer);
        drop(guard);
        self.flusher.reserve().refill();
        Ok(())
    }

    /// Tells the background, if there is something for it.
    pub(super) fn request_background(&self, writer: &mut Writer) {
        if !writer.is_background_due && self.next_job(writer).is_some() {
            writer.is_background_due = true;
            self.background.submit(self.me.clone());
        }
    }

    fn next_job(&self, writer: &Writer) -> Option<Job> {
        if let Some(segment) = writer.unindexed.last() {
            return Some(Job::Index(Arc::clone(segment)));
        }
        let active = writer.active.as_ref().filter(|_| !writer.is_closed)?;
        let limit = self.options.segment_bytes_max;
        let allocated = active.space.allocated();
        // A quarter of what there is, so that a busy log never waits and an idle one takes no more.
        if allocated < limit && allocated - active.position < allocated / 4 {
            return Some(Job::Extend(Arc::clone(&active.space)));
        }
        let is_next_due = writer.prepared.is_none() && writer.preparing.is_none() && active.position > limit / 2;
        is_next_due.then_some(Job::Prepare(writer.next_segment))
    }

    /// Does one job without holding the writer; returns whether there was one and it went well.
    fn do_next_job(&self) -> bool {
        let job = {
            let mut writer = lock(&self.writer);
            let job = self.next_job(&writer).filter(|_| self.flusher.poison().check().is_ok());
            writer.is_background_due = job.is_some();
            if let Some(Job::Prepare(number)) = &job {
                writer.preparing = Some(*number);
            }
            job
        };
        let went_well = match job {
            None => return false,
            Some(Job::Index(segment)) => {
                segment.save_index();
                lock(&self.writer).unindexed.retain(|waiting| !Arc::ptr_eq(waiting, &segment));
                true
            }
            Some(Job::Extend(space)) => self.is_fine_ahead(space.extend(&self.options)),
            Some(Job::Prepare(number)) => self.prepare_ahead(number),
        };
        if !went_well {
            // The next append asks again.
            lock(&self.writer).is_background_due = false;
        }
        went_well
    }

    fn prepare_ahead(&self, number: SegmentNumber) -> bool {
        let made = self.create_space(number, self.options.allocate_bytes_max.min(self.options.segment_bytes_max));
        let mut writer = lock(&self.writer);
        writer.preparing = None;
        let space = match made {
            Ok(space) => Arc::new(space),
            Err(error) => return self.is_fine_ahead(Err(error)),
        };
        if writer.prepared.is_none() && writer.next_segment == number && !writer.is_closed {
            writer.prepared = Some(Prepared { number, space });
        } else {
            // An append could not wait and made its own, with a higher number.
            let _removed_by_the_next_open = self.disk.remove(space.path());
        }
        true
    }

    /// A failure ahead of time is no failure yet, unless the disk is broken.
    fn is_fine_ahead(&self, result: Result<(), FileError>) -> bool {
        match self.room(result) {
            Ok(()) => {
                self.is_short_of_space.store(false, Ordering::Relaxed);
                true
            }
            Err(RoomError::NoSpace(error)) => {
                // Every append asks again; once is enough to be told.
                if !self.is_short_of_space.swap(true, Ordering::Relaxed) {
                    tracing::warn!(%error, "no disk space ahead of the appends");
                }
                false
            }
            Err(RoomError::Poisoned(_)) => false,
        }
    }
}

impl BackgroundTask for Inner {
    fn work(&self) {
        while self.do_next_job() {}
    }
}

/// How long the header of the next segment can be.
fn header_bytes(writer: &Writer) -> u64 {
    let membership = writer.membership.as_ref().map_or(0, |(_, payload)| payload.len().min(MEMBERSHIP_BYTES_MAX));
    crate::frame::align((SEGMENT_HEADER_BYTES_MIN + membership) as u64)
}
