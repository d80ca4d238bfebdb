//! Reading: entries by index, batches by offset, records by time.
//!
//! Owns: finding the first frame and going on from there. Never: takes the writer's lock, or copies a payload.
//!
//! The cost of a read is a binary search over the segments, one over the index of a segment, a walk over at most one
//! index interval of frame headers, and then what is returned; it does not grow with the log.

use std::sync::Arc;

use bytes::Bytes;
use highwater_types::batch::{self, BatchHeader};
use highwater_types::{EntryId, LogIndex, Offset, OffsetRange, Timestamp};

use super::Inner;
use super::View;
use super::cursor::{Cursor, Frame};
use super::error::ReadError;
use super::segment::{Segment, read};
use crate::entry::{Entry, EntryKind};

/// Batches that were read, in order.
#[derive(Clone, Debug, Default)]
pub struct BatchSlices {
    /// Whole batches, as they lie in the log. Slices of the segments' maps.
    pub batches: Vec<Bytes>,
    /// Their length together.
    pub bytes: usize,
    /// Where to read on: the offset after the last batch, or where the read began if there is none.
    pub next_offset: Offset,
    /// Whether touching them may wait for the disk, see [`super::Log::is_cold`].
    pub is_cold: bool,
}

impl View {
    /// The place of the segment that holds `index`, if it is not before the first.
    fn holder_of_index(&self, index: LogIndex) -> Option<usize> {
        self.segments.partition_point(|segment| segment.header.base_index <= index).checked_sub(1)
    }

    /// The place of the segment in which the record at `offset` is, or would be next.
    fn holder_of_offset(&self, offset: Offset) -> Option<usize> {
        self.segments.partition_point(|segment| segment.header.base_offset <= offset).checked_sub(1)
    }

    fn from(&self, place: usize) -> impl Iterator<Item = &Arc<Segment>> {
        self.segments.iter().skip(place)
    }
}

impl Inner {
    /// The frame of the entry with this index; `None` when the log does not hold it.
    pub(super) fn frame_at(&self, index: LogIndex) -> Result<Option<Frame>, ReadError> {
        let view = self.view();
        let Some(segment) = view.holder_of_index(index).and_then(|place| view.segments.get(place)) else {
            return Ok(None);
        };
        if view.purged.is_some_and(|purged| index <= purged.index) {
            return Ok(None);
        }
        let mut cursor = cursor_to_index(segment, index)?;
        while let Some(frame) = cursor.next()? {
            if frame.header.id.index == index {
                return Ok(Some(frame));
            }
        }
        Ok(None)
    }

    /// See [`super::Log::id_at`].
    pub(super) fn id_at(&self, index: LogIndex) -> Result<Option<EntryId>, ReadError> {
        // The two that are asked for most need no look at a frame.
        let (purged, last) = {
            let state = read(&self.state);
            (state.purged, state.last)
        };
        if let Some(known) = [purged, last].into_iter().flatten().find(|known| known.index == index) {
            return Ok(Some(known));
        }
        Ok(self.frame_at(index)?.map(|frame| frame.header.id))
    }

    /// See [`super::Log::read_entries`].
    pub(super) fn read_entries(
        &self,
        from: LogIndex,
        below: LogIndex,
        bytes_max: usize,
    ) -> Result<Vec<Entry>, ReadError> {
        let view = self.view();
        let mut entries = Vec::new();
        let mut bytes = 0;
        if let Some(purged) = view.purged.filter(|purged| from <= purged.index && from < below) {
            return Err(ReadError::IndexPurged { index: from, purged });
        }
        // A log may begin anywhere: what lies before its first entry is nothing, not an error.
        let place = view.holder_of_index(from).unwrap_or(0);
        let mut next = from;
        for segment in view.from(place) {
            let mut cursor = cursor_to_index(segment, next)?;
            while let Some(frame) = cursor.next()? {
                if frame.header.id.index < from {
                    continue;
                }
                let payload_bytes = frame.header.payload_bytes as usize;
                let is_full = !entries.is_empty() && bytes + payload_bytes > bytes_max;
                if frame.header.id.index >= below || is_full {
                    return Ok(entries);
                }
                entries.push(cursor.entry(&frame));
                bytes += payload_bytes;
                next = frame.header.id.index.next();
            }
        }
        Ok(entries)
    }

    /// See [`super::Log::read_batches`].
    pub(super) fn read_batches(&self, from: Offset, below: Offset, bytes_max: usize) -> Result<BatchSlices, ReadError> {
        let view = self.view();
        self.check_offset(&view, from)?;
        let mut slices = BatchSlices { next_offset: from, ..BatchSlices::default() };
        let Some(place) = view.holder_of_offset(from) else { return Ok(slices) };
        for segment in view.from(place) {
            let mut cursor = cursor_to_offset(segment, from)?;
            while let Some(frame) = cursor.next()? {
                let is_wanted = frame.header.kind == EntryKind::Data && frame.next_offset() > from;
                if !is_wanted {
                    continue;
                }
                let payload_bytes = frame.header.payload_bytes as usize;
                let is_full = !slices.batches.is_empty() && slices.bytes + payload_bytes > bytes_max;
                if frame.next_offset() > below || is_full {
                    return Ok(slices);
                }
                slices.is_cold |= self.is_cold_in(&view, segment);
                slices.batches.push(cursor.payload(&frame));
                slices.bytes += payload_bytes;
                slices.next_offset = frame.next_offset();
            }
        }
        Ok(slices)
    }

    fn check_offset(&self, view: &View, offset: Offset) -> Result<(), ReadError> {
        // Read after the view, so that what the view holds is never out of range.
        let log_end = read(&self.state).log_end;
        let valid = OffsetRange::new(view.log_start, log_end);
        if offset < view.log_start || offset > log_end {
            return Err(ReadError::OffsetOutOfRange { offset, valid });
        }
        Ok(())
    }

    /// See [`super::Log::find_timestamp`].
    pub(super) fn find_timestamp(
        &self,
        at: Timestamp,
        from: Offset,
        below: Offset,
    ) -> Result<Option<(Offset, Timestamp)>, ReadError> {
        let view = self.view();
        let from = from.max(view.log_start);
        for segment in &view.segments {
            if segment.header.base_offset >= below {
                return Ok(None);
            }
            let end = segment.end();
            if end.next_offset <= from || end.max_timestamp.is_none_or(|newest| newest < at) {
                continue;
            }
            let is_before = |newest: Timestamp| newest < at;
            let point =
                segment.find(|point| point.offset <= from || point.max_timestamp_before.is_none_or(is_before))?;
            let mut cursor = Cursor::at(segment, point, end.position)?;
            while let Some(frame) = cursor.next()? {
                if frame.base_offset >= below {
                    return Ok(None);
                }
                let may_hold = cursor.max_timestamp(&frame)?.is_some_and(|newest| newest >= at);
                if !may_hold || frame.next_offset() <= from {
                    continue;
                }
                let found = first_record(cursor.payload(&frame), at, from);
                if found.is_some() {
                    return Ok(found.filter(|(offset, _)| *offset < below));
                }
            }
        }
        Ok(None)
    }

    /// See [`super::Log::is_cold`].
    pub(super) fn is_cold(&self, from: Offset) -> bool {
        let view = self.view();
        let place = view.holder_of_offset(from);
        place.and_then(|place| view.segments.get(place)).is_some_and(|segment| self.is_cold_in(&view, segment))
    }

    /// Nobody asks the kernel here. What was appended lately by this process is taken for warm.
    fn is_cold_in(&self, view: &View, segment: &Arc<Segment>) -> bool {
        let is_recent = view.segments.iter().rev().take(2).any(|recent| Arc::ptr_eq(recent, segment));
        !(is_recent && segment.written_from == 0)
    }

    /// See [`super::Log::populate`].
    pub(super) fn populate(&self, from: Offset, bytes: usize) -> Result<(), ReadError> {
        let view = self.view();
        let Some(place) = view.holder_of_offset(from) else { return Ok(()) };
        let mut wanted = bytes as u64;
        for (nth, segment) in view.from(place).enumerate() {
            let end = segment.readable();
            // The first frame may begin up to an index interval after the point; that much more is read.
            let start = match nth {
                0 => segment.find(|point| point.offset <= from)?.position,
                _ => segment.first_position,
            };
            let stop = start.saturating_add(wanted).saturating_add(u64::from(self.options.index_interval_bytes));
            segment.view()?.populate(start..stop.min(end));
            wanted = wanted.saturating_sub(end - start);
            if wanted == 0 {
                break;
            }
        }
        Ok(())
    }
}

/// A cursor at or shortly before the entry with this index.
fn cursor_to_index(segment: &Segment, index: LogIndex) -> Result<Cursor<'_>, ReadError> {
    let end = segment.readable();
    let point = segment.find(|point| point.index <= index)?;
    Cursor::at(segment, point, end)
}

/// A cursor at or shortly before the batch that holds this offset.
fn cursor_to_offset(segment: &Segment, offset: Offset) -> Result<Cursor<'_>, ReadError> {
    let end = segment.readable();
    let point = segment.find(|point| point.offset <= offset)?;
    Cursor::at(segment, point, end)
}

/// The first record of a batch that is not before `at`, and not before `from`. In a batch that cannot be decoded nobody finds a
/// record: the client has compressed something else, which the broker does not look into. The search passes it by.
fn first_record(payload: Bytes, at: Timestamp, from: Offset) -> Option<(Offset, Timestamp)> {
    if BatchHeader::read(&payload).ok()?.is_control {
        return None;
    }
    let mut records = batch::records(payload).ok()?.map_while(Result::ok);
    let found = records.find(|record| record.timestamp >= at && record.offset >= from)?;
    Some((found.offset, found.timestamp))
}
