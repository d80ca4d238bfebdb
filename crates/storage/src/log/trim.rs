//! Dropping entries: from the end (truncate), from the start (purge), or all of them (reset).
//!
//! Owns: the order of the steps, so that a crash between any two leaves a log that opens: first what is kept is made
//! durable, then the manifest says what counts, then memory follows, and only then are files removed.
//!
//! Never: makes a file shorter. A truncation is an end in the manifest; the next entry goes to a new segment.

use std::io::ErrorKind;
use std::sync::Arc;

use highwater_types::{EntryId, LogIndex, Offset};

use super::Inner;
use super::cursor::Cursor;
use super::error::{LogError, ReadError};
use super::manifest::{SegmentEnd, Tail};
use super::segment::Segment;
use super::writer::Writer;
use crate::entry::{Boundary, EntryKind, MembershipEntry};
use crate::locks::lock;
use crate::planted::{Bug, is_planted};

/// What a truncation leaves.
struct Kept {
    segments: Vec<Arc<Segment>>,
    /// The new end of the last of them, if it has to be cut.
    cut: Option<SegmentEnd>,
    membership: Option<MembershipEntry>,
}

impl Inner {
    /// See [`super::Log::truncate_from`].
    pub(super) fn truncate_from(&self, index: LogIndex) -> Result<(), LogError> {
        let mut guard = lock(&self.writer);
        let writer = &mut *guard;
        self.check_open(writer)?;
        if writer.last.is_none_or(|last| index > last.index) {
            return Ok(());
        }
        if let Some(purged) = writer.purged.filter(|purged| index <= purged.index) {
            return Err(LogError::BelowPurged { index, purged });
        }
        let kept = self.kept_below(writer, index)?;
        self.sync_now(writer)?;
        let mut facts: Vec<_> = kept.segments.iter().map(|segment| segment.facts()).collect();
        if let (Some(last), Some(end)) = (facts.last_mut(), kept.cut) {
            last.end = end;
        }
        let membership = std::mem::replace(&mut writer.membership, kept.membership);
        let numbered = self.number_manifest_of(writer, facts, Tail::Sealed);
        let written = if is_planted(Bug::ForgetTruncation) { Ok(()) } else { self.write_manifest_now(&numbered) };
        if let Err(error) = written {
            writer.membership = membership;
            return Err(error);
        }
        let dropped = self.keep_segments(writer, kept.segments, kept.cut);
        writer.generation += 1;
        writer.flushed = writer.mark();
        self.publish(writer);
        self.remove_files(&dropped);
        self.request_background(writer);
        Ok(())
    }

    /// What is left when all entries from `index` on are dropped.
    fn kept_below(&self, writer: &Writer, index: LogIndex) -> Result<Kept, ReadError> {
        let mut segments = self.segments().to_vec();
        let is_all = writer.purged.is_some_and(|purged| purged.index.next() == index);
        let keep = segments.partition_point(|segment| segment.header.base_index < index);
        let holder = segments.get(keep.saturating_sub(1)).cloned();
        let is_stale = |membership: &MembershipEntry| membership.0.index >= index;
        let membership = match (&writer.membership, &holder) {
            (Some(membership), Some(holder)) if is_stale(membership) => membership_below(holder, index)?,
            (membership, _) => membership.clone(),
        };
        segments.truncate(if is_all { 0 } else { keep });
        let cut = match segments.last() {
            Some(segment) if segment.end().last.index >= index => Some(end_below(segment, index)?),
            _ => None,
        };
        Ok(Kept { segments, cut, membership })
    }

    /// Goes on with only these segments, which are the first of those there are; returns the others.
    fn keep_segments(
        &self,
        writer: &mut Writer,
        kept: Vec<Arc<Segment>>,
        cut: Option<SegmentEnd>,
    ) -> Vec<Arc<Segment>> {
        let before = self.segments();
        let dropped = before.iter().skip(kept.len()).cloned().collect();
        if let (Some(last), Some(end)) = (kept.last(), cut) {
            last.cut(end);
            writer.unindexed.push(Arc::clone(last));
        }
        writer.active = None;
        writer.is_manifest_due = false;
        writer.unindexed.retain(|waiting| kept.iter().any(|segment| Arc::ptr_eq(segment, waiting)));
        writer.sealed_bytes = kept.iter().map(|segment| segment.readable()).sum();
        let end = kept.last().map(|segment| segment.end());
        writer.last = end.map(|end| end.last).or(writer.purged);
        writer.next_offset = end.map_or(writer.log_start, |end| end.next_offset);
        self.show(writer, kept);
        dropped
    }

    /// See [`super::Log::purge_through`].
    pub(super) fn purge_through(&self, id: EntryId) -> Result<(), LogError> {
        let mut guard = lock(&self.writer);
        let writer = &mut *guard;
        self.check_open(writer)?;
        if writer.purged.is_some_and(|purged| id.index <= purged.index) {
            return Ok(());
        }
        if writer.last.is_none_or(|last| id.index >= last.index) {
            if let Some(last) = writer.last.filter(|last| last.index == id.index && *last != id) {
                return Err(LogError::OtherEntry { wanted: id, found: last });
            }
            let boundary = Boundary { id, next_offset: writer.next_offset, membership: writer.membership.clone() };
            return self.start_after(writer, &boundary);
        }
        let log_start = self.offset_after(id)?;
        self.sync_now(writer)?;
        let before = self.segments();
        let gone = before.partition_point(|segment| segment.end().last.index <= id.index);
        let kept: Vec<_> = before.iter().skip(gone).cloned().collect();
        let old = (writer.purged.replace(id), std::mem::replace(&mut writer.log_start, log_start));
        let tail = if writer.active.is_some() { Tail::Open } else { Tail::Sealed };
        let facts = kept.iter().map(|segment| segment.facts()).collect();
        let numbered = self.number_manifest_of(writer, facts, tail);
        if let Err(error) = self.write_manifest_now(&numbered) {
            (writer.purged, writer.log_start) = old;
            return Err(error);
        }
        writer.is_manifest_due = false;
        let dropped: Vec<_> = before.iter().take(gone).cloned().collect();
        writer.sealed_bytes -= dropped.iter().map(|segment| segment.readable()).sum::<u64>();
        writer.unindexed.retain(|waiting| kept.iter().any(|segment| Arc::ptr_eq(segment, waiting)));
        self.show(writer, kept);
        self.publish(writer);
        self.remove_files(&dropped);
        Ok(())
    }

    /// The offset of the first record after the entry `id`.
    fn offset_after(&self, id: EntryId) -> Result<Offset, LogError> {
        let (found, next_offset) = match self.frame_at(id.index)? {
            Some(frame) => (frame.header.id, frame.next_offset()),
            None => (EntryId::default(), Offset::ZERO),
        };
        if found == id { Ok(next_offset) } else { Err(LogError::OtherEntry { wanted: id, found }) }
    }

    /// See [`super::Log::reset`].
    pub(super) fn reset(&self, boundary: &Boundary) -> Result<(), LogError> {
        let mut guard = lock(&self.writer);
        self.check_open(&guard)?;
        if let Some(purged) = guard.purged.filter(|purged| boundary.id.index < purged.index) {
            return Err(LogError::BelowPurged { index: boundary.id.index, purged });
        }
        self.start_after(&mut guard, boundary)
    }

    /// Drops everything and goes on after `boundary`.
    fn start_after(&self, writer: &mut Writer, boundary: &Boundary) -> Result<(), LogError> {
        let old = (writer.purged.replace(boundary.id), writer.log_start, writer.membership.take());
        writer.log_start = boundary.next_offset;
        writer.membership.clone_from(&boundary.membership);
        let numbered = self.number_manifest_of(writer, Vec::new(), Tail::Sealed);
        if let Err(error) = self.write_manifest_now(&numbered) {
            (writer.purged, writer.log_start, writer.membership) = old;
            return Err(error);
        }
        // Nothing of it has to be durable any more; callbacks of what was there are released with the next round.
        writer.unsynced.clear();
        let dropped = self.keep_segments(writer, Vec::new(), None);
        writer.generation += 1;
        writer.flushed = writer.mark();
        self.publish(writer);
        self.remove_files(&dropped);
        Ok(())
    }

    /// Removes the files of segments that the manifest lists no more. Slices that readers hold stay good. What cannot
    /// be removed now is removed by the next open.
    fn remove_files(&self, segments: &[Arc<Segment>]) {
        for segment in segments {
            for path in [segment.path.to_path_buf(), segment.number().index_path(&self.dir)] {
                match self.disk.remove(&path) {
                    Err(error) if error.kind() != ErrorKind::NotFound => {
                        tracing::warn!(file = %path.display(), %error, "cannot remove a file that is no longer needed");
                    }
                    _ => {}
                }
            }
        }
    }
}

/// The latest membership before `index`, in or before this segment.
fn membership_below(segment: &Segment, index: LogIndex) -> Result<Option<MembershipEntry>, ReadError> {
    let mut found = segment.header.membership.clone();
    let mut cursor = Cursor::first(segment, segment.readable())?;
    while let Some(frame) = cursor.next()?.filter(|frame| frame.header.id.index < index) {
        if frame.header.kind == EntryKind::Membership {
            found = Some((frame.header.id, cursor.payload(&frame)));
        }
    }
    Ok(found)
}

/// Where a segment ends when all entries from `index` on are dropped; its first entry is not one of them.
fn end_below(segment: &Segment, index: LogIndex) -> Result<SegmentEnd, ReadError> {
    let old = segment.end();
    let point = segment.find(|point| point.index < index)?;
    let mut end = SegmentEnd { max_timestamp: point.max_timestamp_before, ..old };
    let mut cursor = Cursor::at(segment, point, old.position)?;
    while let Some(frame) = cursor.next()?.filter(|frame| frame.header.id.index < index) {
        end.position = frame.end();
        end.last = frame.header.id;
        end.next_offset = frame.next_offset();
        end.max_timestamp = end.max_timestamp.max(cursor.max_timestamp(&frame)?);
    }
    if end.membership_position.is_some_and(|at| at >= end.position) {
        end.membership_position = last_membership_position(segment, end.position)?;
    }
    Ok(end)
}

fn last_membership_position(segment: &Segment, end: u64) -> Result<Option<u64>, ReadError> {
    let mut found = None;
    let mut cursor = Cursor::first(segment, end)?;
    while let Some(frame) = cursor.next()? {
        if frame.header.kind == EntryKind::Membership {
            found = Some(frame.position);
        }
    }
    Ok(found)
}
