//! The last segment of a log that is opened: where it ends, and making durable what is found there.
//!
//! Owns: the decision between a clean end, a torn tail and damage. Never: changes anything before the whole log was
//! checked; [`make_durable`] is called after that.

use std::io::IoSlice;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use super::{Opened, Place, RecoveryReport, TornTail};
use crate::disk::DiskFile;
use crate::entry::{EntryKind, MembershipEntry};
use crate::error::{FileError, FileStep};
use crate::frame::{FRAME_HEADER_BYTES, FrameHeader};
use crate::log::error::{Corrupt, CorruptCause, OpenLogError};
use crate::log::index::{self, Index, IndexOwner};
use crate::log::manifest::{Manifest, SegmentEnd, Tail};
use crate::log::scan::{Rest, Scan, Window, is_zero_from, scan};
use crate::planted::{Bug, is_planted};

/// The last segment with its file, still open.
pub(super) struct LastFile<'log> {
    pub(super) segment: &'log Opened,
    pub(super) file: &'log Arc<dyn DiskFile>,
}

/// How much of a tail is written again at a time.
const REWRITE_BYTES: usize = 1 << 20;

/// The open segment after its scan.
pub(super) struct LastSegment {
    pub(super) end: SegmentEnd,
    pub(super) membership: Option<MembershipEntry>,
    pub(super) index: Option<Index>,
    pub(super) verified_through: u64,
    pub(super) is_active: bool,
    /// The bytes of entries that were found and that nobody knew to be durable.
    pub(super) unsure: Range<u64>,
}

/// Finds where the last segment ends.
pub(super) fn recover_last(
    place: &Place<'_>,
    manifest: &Manifest,
    file: &LastFile<'_>,
    report: &mut RecoveryReport,
) -> Result<LastSegment, OpenLogError> {
    let last = file.segment;
    let mark = last.facts.end;
    let mut window = Window::new(&**file.file, &last.path)?;
    let is_closed = manifest.tail == Tail::Sealed || is_zero_from(&mut window, mark.position)?;
    report.was_clean = manifest.tail != Tail::Open && is_closed;
    let is_active = manifest.tail != Tail::Sealed;
    let saved = if report.was_clean && is_active { saved_index(place, last) } else { None };
    if report.was_clean && (saved.is_some() || !is_active) {
        let membership = membership_at(&mut window, last, &mark)?;
        let verified_through = last.header.1;
        let unsure = mark.position..mark.position;
        return Ok(LastSegment { end: mark, membership, index: saved, verified_through, is_active, unsure });
    }
    // Also after a clean close, if something was written later (and never acknowledged), or the index is gone.
    let found = scan(&mut window, &last.header, Some(&mark), place.options.index_interval_bytes)?;
    report.scanned_bytes = found.end.map_or(0, |end| end.position);
    finish_scan(last, found, report)
}

/// The index that a clean close has left for the open segment.
fn saved_index(place: &Place<'_>, last: &Opened) -> Option<Index> {
    let header = &last.header.0;
    let owner = IndexOwner { number: header.number, salt: last.header.2, base_index: header.base_index };
    let path = header.number.index_path(place.dir);
    index::read_file(&**place.disk, &path, owner, last.facts.end.position).map(Index::into_memory)
}

fn finish_scan(last: &Opened, found: Scan, report: &mut RecoveryReport) -> Result<LastSegment, OpenLogError> {
    let path = &last.path;
    let is_enough = |end: &SegmentEnd| end.position >= last.facts.end.position || is_planted(Bug::CutAtAnyBadFrame);
    let Some(end) = found.end.filter(is_enough) else {
        let at = found.end.map_or(last.header.1, |end| end.position);
        return Err(match found.rest {
            Rest::Newer(version) => OpenLogError::newer_frame(path, version),
            Rest::Damaged { position, cause } => Corrupt::new(path, position, cause).into(),
            Rest::Zeros | Rest::Torn { .. } => {
                Corrupt::new(path, at, CorruptCause::WrongEnd { expected: last.facts.end.position }).into()
            }
        });
    };
    let is_active = match found.rest {
        Rest::Zeros => true,
        Rest::Torn { bytes } => {
            report.torn_tail = Some(TornTail { file: path.to_path_buf(), position: end.position, bytes });
            is_planted(Bug::AppendBehindTornTail)
        }
        Rest::Damaged { position, cause } => return Err(Corrupt::new(path, position, cause).into()),
        Rest::Newer(version) => return Err(OpenLogError::newer_frame(path, version)),
    };
    let membership = found.membership.or_else(|| last.header.0.membership.clone());
    let durable = found.index.last_where(|point| point.index.get() <= found.durable_through);
    let durable_position = durable.map_or(0, |point| point.position).max(last.facts.end.position);
    Ok(LastSegment {
        end,
        membership,
        index: Some(found.index),
        verified_through: end.position,
        is_active,
        unsure: durable_position..end.position,
    })
}

/// The latest membership at the end of a segment whose frames were not scanned.
fn membership_at(
    window: &mut Window<'_>,
    segment: &Opened,
    end: &SegmentEnd,
) -> Result<Option<MembershipEntry>, OpenLogError> {
    let Some(position) = end.membership_position else { return Ok(segment.header.0.membership.clone()) };
    let corrupt = |cause| OpenLogError::from(Corrupt::new(&segment.path, position, cause));
    let length = match crate::frame::payload_bytes(window.get(position, FRAME_HEADER_BYTES)?) {
        Ok(payload_bytes) => FRAME_HEADER_BYTES + payload_bytes as usize,
        Err(error) => return Err(corrupt(CorruptCause::Frame(error))),
    };
    let bytes = window.get(position, length)?;
    let header = FrameHeader::verify(bytes, segment.header.2).map_err(|error| corrupt(CorruptCause::Frame(error)))?;
    if header.kind != EntryKind::Membership {
        return Err(corrupt(CorruptCause::WrongEnd { expected: position }));
    }
    Ok(Some((header.id, Bytes::copy_from_slice(bytes.get(FRAME_HEADER_BYTES..).unwrap_or_default()))))
}

/// What nobody knew to be durable may be in the page cache only; from now on somebody relies on it. Notes in `manifest`
/// how far the segment is durable then; a torn tail is cut off there, so that nothing is ever written over it.
pub(super) fn make_durable(
    manifest: &mut Manifest,
    file: &LastFile<'_>,
    last: &LastSegment,
    report: &RecoveryReport,
) -> Result<(), OpenLogError> {
    if !last.unsure.is_empty() {
        write_again(file, last.unsure.clone())?;
        file.file.sync_data().map_err(FileError::io(FileStep::Sync, &file.segment.path))?;
    }
    if let Some(torn) = &report.torn_tail {
        tracing::warn!(
            file = %torn.file.display(), position = torn.position, bytes = torn.bytes,
            "dropped the rest of appends that were never acknowledged"
        );
        manifest.tail = Tail::Sealed;
    }
    if let Some(facts) = manifest.segments.last_mut() {
        facts.end = last.end;
    }
    Ok(())
}

/// Writes bytes of a segment over themselves. A sync alone would not do: if the last process stopped because its sync
/// failed, the kernel takes these pages for written, and says `Ok` without a look at them.
fn write_again(last: &LastFile<'_>, range: Range<u64>) -> Result<(), FileError> {
    let mut buffer = vec![0; REWRITE_BYTES];
    let mut position = range.start;
    while position < range.end {
        let left = usize::try_from(range.end - position).unwrap_or(REWRITE_BYTES);
        let part = buffer.split_at_mut(left.min(REWRITE_BYTES)).0;
        last.file.read_at(position, part).map_err(FileError::io(FileStep::Read, &last.segment.path))?;
        let mut slices = [IoSlice::new(part)];
        last.file.write_at(position, &mut slices).map_err(FileError::io(FileStep::Write, &last.segment.path))?;
        position += part.len() as u64;
    }
    Ok(())
}
