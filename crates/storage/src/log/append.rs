//! Appending: check everything, make room, write once, publish.
//!
//! Owns: what must hold of an entry before it is written, and the one vectored write of an append. Never: changes the
//! bytes it was given, or writes anything of an append of which something was refused.

use std::io::IoSlice;
use std::sync::Arc;

use highwater_types::batch::{self, BatchHeader};
use highwater_types::{EntryId, Offset, Timestamp};

use super::Inner;
use super::error::AppendError;
use super::index::Point;
use super::manifest::SegmentEnd;
use super::options::APPEND_BYTES_MAX;
use super::segment::write;
use super::segment_header::MEMBERSHIP_BYTES_MAX;
use super::writer::{Active, Planned, Writer};
use crate::entry::{EntryKind, NewEntry};
use crate::error::{FileError, FileStep};
use crate::flush::OnDurable;
use crate::frame::{FRAME_ALIGN, FRAME_HEADER_BYTES, FrameHeader, PAYLOAD_BYTES_MAX};
use crate::locks::lock;

/// What an append has done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// The offset of the first record; the next offset if there was none.
    pub base_offset: Offset,
    /// The next offset of the log.
    pub log_end: Offset,
    /// The last entry of the log; `None` when the log is still empty.
    pub last: Option<EntryId>,
}

const STAMP_BYTES: usize = 16;
/// For how many entries the memory of an append is kept for the next one. More is given back: there are many logs.
const KEPT_ENTRIES: usize = 128;

impl Inner {
    pub(super) fn append(
        &self,
        entries: &[NewEntry],
        now: Timestamp,
        on_durable: Option<OnDurable>,
    ) -> Result<Appended, AppendError> {
        let mut guard = lock(&self.writer);
        let writer = &mut *guard;
        // Looked at under the lock: whoever failed before has set it before letting go.
        self.flusher.poison().check()?;
        if writer.is_closed {
            return Err(AppendError::Closed);
        }
        let base_offset = writer.next_offset;
        if !entries.is_empty() {
            let bytes = plan(writer, entries)?;
            self.make_room(writer, bytes, entries.first().map(|entry| entry.id.index).unwrap_or_default(), now)?;
            self.write(writer, entries, bytes)?;
            writer.plan.shrink_to(KEPT_ENTRIES);
            writer.heads.shrink_to(KEPT_ENTRIES * (FRAME_HEADER_BYTES + STAMP_BYTES));
            self.publish(writer);
            self.request_background(writer);
        }
        // A callback of an empty append waits for what came before it, as every other.
        writer.pending.extend(on_durable);
        self.announce(writer);
        Ok(Appended { base_offset, log_end: writer.next_offset, last: writer.last })
    }

    /// Tells the flusher, once a round.
    pub(super) fn announce(&self, writer: &mut Writer) {
        let has_something = !writer.pending.is_empty()
            || !writer.unsynced.is_empty()
            || writer.is_manifest_due
            || writer.active.as_ref().is_some_and(|active| active.is_dirty);
        if has_something && !writer.is_announced {
            writer.is_announced = true;
            self.flusher.mark_dirty(self.me());
        }
    }

    /// Writes the planned entries with one call, and makes them visible to readers.
    fn write(&self, writer: &mut Writer, entries: &[NewEntry], bytes: u64) -> Result<(), AppendError> {
        let durable_through = writer.durable_through();
        let Some(active) = &mut writer.active else { return Err(AppendError::Closed) };
        encode_heads(&mut writer.plan, &mut writer.heads, entries, active.segment.salt, durable_through);
        let header = active.header.take();
        let slices = slices(header.as_deref(), &writer.plan, &writer.heads, entries);
        let header_bytes = header.as_ref().map_or(0, |header| header.len() as u64);
        let start = active.position - header_bytes;
        assert!(active.position + bytes <= active.space.allocated(), "an append must fit into allocated space");
        if let Err(source) = write_all(active, start, slices) {
            let file = active.space.path().to_path_buf();
            return Err(self.poison(FileError::Io { step: FileStep::Write, file, source }).into());
        }
        active.is_dirty = true;
        let new_segment = header.map(|_| Arc::clone(&active.segment));
        advance(active, &writer.plan, entries, self.options.index_interval_bytes, bytes);
        if let Some(end) = active.end {
            writer.last = Some(end.last);
            writer.next_offset = end.next_offset;
        }
        if let Some(segment) = new_segment {
            // Only now can a reader meet the segment: it never sees one without an entry.
            let mut segments = self.segments();
            segments.push(segment);
            self.show(writer, segments);
        }
        for entry in entries.iter().rev().filter(|entry| entry.kind == EntryKind::Membership).take(1) {
            writer.membership = Some((entry.id, entry.payload.clone()));
        }
        Ok(())
    }

    /// Shows the writer's state to readers.
    pub(super) fn publish(&self, writer: &Writer) {
        let mut state = write(&self.state);
        state.purged = writer.purged;
        state.last = writer.last;
        state.log_start = writer.log_start;
        state.log_end = writer.next_offset;
        state.flushed = writer.flushed;
        state.size_bytes = writer.sealed_bytes + writer.active_bytes();
    }
}

/// Checks all entries and derives what the log adds to them; returns the bytes that they take.
fn plan(writer: &mut Writer, entries: &[NewEntry]) -> Result<u64, AppendError> {
    writer.plan.clear();
    let mut last = writer.last;
    let mut next_index = writer.next_index();
    let mut offset = writer.next_offset;
    let mut position = 0;
    for entry in entries {
        if next_index.is_some_and(|expected| expected != entry.id.index) {
            return Err(AppendError::OutOfOrder { expected: next_index.unwrap_or_default(), found: entry.id });
        }
        if let Some(last) = last.filter(|last| last.term > entry.id.term) {
            return Err(AppendError::TermWentBack { last, found: entry.id });
        }
        let bytes_max = if entry.kind == EntryKind::Membership { MEMBERSHIP_BYTES_MAX } else { PAYLOAD_BYTES_MAX };
        if entry.payload.len() > bytes_max {
            return Err(AppendError::TooLarge { bytes: entry.payload.len() as u64, bytes_max: bytes_max as u64 });
        }
        let planned = plan_entry(entry, offset, position)?;
        offset = offset
            .checked_add(u64::from(planned.record_count))
            .ok_or(AppendError::OffsetsUsedUp { log_end: writer.next_offset })?;
        position += framed_bytes(entry.payload.len());
        writer.plan.push(planned);
        last = Some(entry.id);
        next_index = Some(entry.id.index.next());
    }
    if position > APPEND_BYTES_MAX {
        return Err(AppendError::TooLarge { bytes: position, bytes_max: APPEND_BYTES_MAX });
    }
    Ok(position)
}

fn plan_entry(entry: &NewEntry, base_offset: Offset, position: u64) -> Result<Planned, AppendError> {
    let mut planned = Planned { base_offset, record_count: 0, max_timestamp: None, stamp: None, position, head: 0 };
    if entry.kind == EntryKind::Data {
        let id = entry.id;
        let header = BatchHeader::read(&entry.payload).map_err(|cause| AppendError::NotABatch { id, cause })?;
        if header.total_bytes != entry.payload.len() {
            return Err(AppendError::BatchLength { id, expected: header.total_bytes, found: entry.payload.len() });
        }
        let first = entry.payload.first_chunk().copied().unwrap_or_default();
        planned.record_count = header.last_offset_delta.saturating_add(1);
        planned.max_timestamp = Some(header.max_timestamp);
        planned.stamp = Some(batch::stamp(base_offset, id.term.into(), first));
    }
    match entry.expected_base_offset.filter(|expected| *expected != base_offset) {
        Some(expected) => Err(AppendError::OffsetDiverged { id: entry.id, expected, derived: base_offset }),
        None => Ok(planned),
    }
}

/// The bytes that an entry with a payload of this length takes in a segment.
#[must_use]
pub fn framed_bytes(payload_bytes: usize) -> u64 {
    crate::frame::align((FRAME_HEADER_BYTES + payload_bytes) as u64)
}

/// Writes into `heads`, for each entry: the padding of the frame before, the frame's header, and the stamp.
fn encode_heads(plan: &mut [Planned], heads: &mut Vec<u8>, entries: &[NewEntry], salt: u32, durable_through: u64) {
    heads.clear();
    let mut padding = 0;
    for (planned, entry) in plan.iter_mut().zip(entries) {
        planned.head = heads.len();
        heads.resize(heads.len() + padding, 0);
        let stamp = planned.stamp.as_ref().map_or(&[][..], |stamp| stamp);
        let rest = entry.payload.get(stamp.len()..).unwrap_or_default();
        let header = FrameHeader {
            kind: entry.kind,
            record_count: planned.record_count,
            id: entry.id,
            durable_through,
            payload_bytes: u32::try_from(entry.payload.len()).unwrap_or(u32::MAX),
        };
        heads.extend_from_slice(&header.encode(salt, &[stamp, rest]));
        heads.extend_from_slice(stamp);
        padding = entry.payload.len().next_multiple_of(FRAME_ALIGN) - entry.payload.len();
    }
}

/// What is written, in order, without copying a payload.
fn slices<'a>(
    header: Option<&'a [u8]>,
    plan: &[Planned],
    heads: &'a [u8],
    entries: &'a [NewEntry],
) -> Vec<IoSlice<'a>> {
    let mut slices = Vec::with_capacity(1 + 2 * entries.len());
    slices.extend(header.map(IoSlice::new));
    let ends = plan.iter().skip(1).map(|next| next.head).chain([heads.len()]);
    for ((planned, end), entry) in plan.iter().zip(ends).zip(entries) {
        let stamped = if planned.stamp.is_some() { STAMP_BYTES } else { 0 };
        slices.push(IoSlice::new(heads.get(planned.head..end).unwrap_or_default()));
        slices.push(IoSlice::new(entry.payload.get(stamped..).unwrap_or_default()));
    }
    slices
}

fn write_all(active: &Active, position: u64, mut slices: Vec<IoSlice<'_>>) -> std::io::Result<()> {
    active.space.file().write_at(position, &mut slices)
}

/// Moves the active segment past the planned entries and shows them to readers.
fn advance(active: &mut Active, plan: &[Planned], entries: &[NewEntry], interval_bytes: u32, bytes: u64) {
    let first = active.position;
    let mut max_timestamp = active.end.and_then(|end| end.max_timestamp);
    let mut membership_position = active.end.and_then(|end| end.membership_position);
    let mut next_offset = Offset::ZERO;
    let mut last = EntryId::default();
    let frames = plan.iter().zip(entries).map(|(planned, entry)| {
        let position = first + planned.position;
        let max_timestamp_before = max_timestamp;
        max_timestamp = max_timestamp.max(planned.max_timestamp);
        if entry.kind == EntryKind::Membership {
            membership_position = Some(position);
        }
        last = entry.id;
        next_offset = planned.base_offset.saturating_add(u64::from(planned.record_count));
        Point { offset: planned.base_offset, max_timestamp_before, index: entry.id.index, position }
    });
    let points = due_points(&mut active.last_point, frames, interval_bytes);
    active.position = first + bytes;
    let end = SegmentEnd { position: active.position, last, next_offset, max_timestamp, membership_position };
    active.end = Some(end);
    active.segment.extend(end, &points);
}

/// The frames that become points of the index: each at least an interval after the last.
fn due_points(last_point: &mut u64, frames: impl Iterator<Item = Point>, interval_bytes: u32) -> Vec<Point> {
    let mut due = Vec::new();
    for point in frames {
        if *last_point == 0 || point.position - *last_point >= u64::from(interval_bytes) {
            *last_point = point.position;
            due.push(point);
        }
    }
    due
}
