//! Opening a log: from the files to a writer that goes on where they end.
//!
//! Owns: deciding what of the files counts. Never: changes a file before everything was checked, takes an error of the
//! disk for damage, or drops what may have been acknowledged.
//!
//! Sealed segments are taken by the manifest's word, their headers checked; their frames are verified when they are
//! first read. The open segment is read to its end (see `scan`). After a clean close not even that is needed.

use std::collections::BTreeSet;
use std::io::IoSlice;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;

use super::error::{Corrupt, CorruptCause, OpenLogError};
use super::file_name::{CHECKPOINT, FileName, MANIFEST, SegmentNumber};
use super::index::{self, Index, IndexOwner};
use super::manifest::{Manifest, SegmentEnd, SegmentFacts, Tail};
use super::options::LogOptions;
use super::scan::{FoundHeader, Rest, Scan, Window, is_zero_from, read_header, scan};
use super::segment::{Segment, SegmentParts};
use super::segment_header::SegmentHeaderError;
use super::space::Space;
use super::writer::{Active, Writer};
use crate::disk::{Disk, DiskFile};
use crate::entry::{EntryKind, MembershipEntry};
use crate::error::{Damage, FileError, FileStep};
use crate::frame::{FRAME_HEADER_BYTES, FrameHeader};
use crate::log_key::LogKey;
use crate::planted::{Bug, is_planted};
use crate::sealed_file::{self, FileKind};

/// How much of a tail is written again at a time.
const REWRITE_BYTES: usize = 1 << 20;

/// What opening a log has found and done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecoveryReport {
    /// Whether the log was made by this open.
    pub is_new: bool,
    /// Whether it had been closed in order.
    pub was_clean: bool,
    /// How many bytes of frames were read.
    pub scanned_bytes: u64,
    /// The rest of appends that were never acknowledged, which was dropped.
    pub torn_tail: Option<TornTail>,
    /// Files that were left over from what was dropped or never used, and are removed.
    pub removed: Vec<PathBuf>,
    /// Names that Highwater did not make. They were left alone.
    pub foreign: Vec<PathBuf>,
}

/// Bytes behind the last good frame. They stay in the file, and are no part of the log any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TornTail {
    /// The segment.
    pub file: PathBuf,
    /// Where the good frames end.
    pub position: u64,
    /// How many bytes follow, up to the last that is not zero.
    pub bytes: u64,
}

/// A log as its files say it is.
pub(super) struct Recovered {
    pub(super) writer: Writer,
    pub(super) segments: Vec<Arc<Segment>>,
    pub(super) report: RecoveryReport,
}

/// Where a log is and how it is laid out.
pub(super) struct Place<'log> {
    pub(super) disk: &'log Arc<dyn Disk>,
    pub(super) dir: &'log Path,
    pub(super) key: LogKey,
    pub(super) options: &'log LogOptions,
}

/// A segment's file, opened and its header checked.
struct Opened {
    facts: SegmentFacts,
    path: Arc<Path>,
    file: Arc<dyn DiskFile>,
    header: FoundHeader,
}

/// The open segment after its scan.
struct LastSegment {
    end: SegmentEnd,
    membership: Option<MembershipEntry>,
    index: Option<Index>,
    verified_through: u64,
    is_active: bool,
    /// The bytes of entries that were found and that nobody knew to be durable.
    unsure: Range<u64>,
}

pub(super) fn recover(place: &Place<'_>) -> Result<Recovered, OpenLogError> {
    let (dir, disk) = (place.dir, place.disk);
    disk.create_dir_all(dir).map_err(FileError::io(FileStep::CreateDir, dir))?;
    let names = list(place)?;
    let mut report = RecoveryReport { foreign: names.foreign.clone(), ..RecoveryReport::default() };
    let manifest = match read_manifest(place)? {
        Some(manifest) => manifest,
        None if names.is_used() => return Err(OpenLogError::NoManifest { file: dir.join(MANIFEST) }),
        None => {
            report.is_new = true;
            let manifest = Manifest::empty(place.key);
            sealed_file::write(&**disk, &dir.join(MANIFEST), FileKind::Manifest, &manifest.encode())?;
            manifest
        }
    };
    let opened = open_segments(place, &manifest)?;
    let unlisted = unlisted(place, &manifest, &names)?;
    let last = match opened.last() {
        Some(last) => Some(recover_last(place, &manifest, last, &mut report)?),
        None => None,
    };
    // Everything was checked. From here on files change.
    make_durable(place, &manifest, &opened, last.as_ref(), &report)?;
    remove_leftovers(place, unlisted, &mut report)?;
    Ok(assemble(place, manifest, opened, last, report))
}

/// The names in a log's folder.
#[derive(Default)]
struct Names {
    segments: BTreeSet<SegmentNumber>,
    indexes: BTreeSet<SegmentNumber>,
    has_checkpoint: bool,
    foreign: Vec<PathBuf>,
}

impl Names {
    /// Whether the folder belongs to a log that has been used.
    fn is_used(&self) -> bool {
        self.has_checkpoint || !self.segments.is_empty() || !self.indexes.is_empty()
    }
}

fn list(place: &Place<'_>) -> Result<Names, FileError> {
    let dir = place.dir;
    for name in [MANIFEST, CHECKPOINT] {
        sealed_file::remove_temporary(&**place.disk, &dir.join(name))?;
    }
    let mut names = Names::default();
    for entry in place.disk.list(dir).map_err(FileError::io(FileStep::List, dir))? {
        match FileName::parse(&entry.name).filter(|_| !entry.is_dir) {
            Some(FileName::Manifest) => {}
            Some(FileName::Checkpoint) => names.has_checkpoint = true,
            Some(FileName::Segment(number)) => drop(names.segments.insert(number)),
            Some(FileName::Index(number)) => drop(names.indexes.insert(number)),
            None => names.foreign.push(dir.join(entry.name)),
        }
    }
    Ok(names)
}

fn read_manifest(place: &Place<'_>) -> Result<Option<Manifest>, OpenLogError> {
    let path = place.dir.join(MANIFEST);
    let Some(sealed) = sealed_file::read(&**place.disk, &path, FileKind::Manifest)? else { return Ok(None) };
    let manifest = Manifest::decode(&sealed.payload)
        .map_err(|error| FileError::damaged(&path, Damage::BadContents { what: error.0 }))?;
    if manifest.key != place.key {
        return Err(OpenLogError::WrongLog { file: path });
    }
    Ok(Some(manifest))
}

/// Opens the listed segments and checks that each is the one that is meant.
fn open_segments(place: &Place<'_>, manifest: &Manifest) -> Result<Vec<Opened>, OpenLogError> {
    let mut opened: Vec<Opened> = Vec::with_capacity(manifest.segments.len());
    for facts in &manifest.segments {
        let path: Arc<Path> = facts.number.segment_path(place.dir).into();
        let file = match place.disk.open(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(Corrupt::new(&path, 0, CorruptCause::Missing).into());
            }
            file => file.map_err(FileError::io(FileStep::Open, &path))?,
        };
        let mut window = Window::of_header(&*file, &path)?;
        let found = window.size();
        let header = read_header(&mut window)?.map_err(|error| OpenLogError::header(&path, error))?;
        if found < facts.end.position {
            let cause = CorruptCause::TooShort { expected: facts.end.position, found };
            return Err(Corrupt::new(&path, found, cause).into());
        }
        let before = opened.last().map(|before| before.facts.end.last);
        let follows = before.is_none_or(|before| header.0.previous == Some(before));
        let is_meant = header.0.key == place.key
            && header.0.number == facts.number
            && header.0.base_index == facts.base_index
            && header.0.base_offset == facts.base_offset
            && header.1 < facts.end.position;
        if !(is_meant && follows) {
            return Err(Corrupt::new(&path, 0, CorruptCause::WrongHeader).into());
        }
        opened.push(Opened { facts: *facts, path: Arc::clone(&path), file, header });
    }
    Ok(opened)
}

/// The files of segments that the manifest does not list: dropped and not yet removed, prepared, or appended to and
/// never acknowledged.
fn unlisted(place: &Place<'_>, manifest: &Manifest, names: &Names) -> Result<Vec<PathBuf>, OpenLogError> {
    let listed: BTreeSet<_> = manifest.segments.iter().map(|facts| facts.number).collect();
    let mut unlisted = Vec::new();
    for number in names.segments.difference(&listed) {
        let path = number.segment_path(place.dir);
        if *number >= manifest.next_segment {
            check_never_durable(place, &path)?;
        }
        unlisted.push(path);
    }
    unlisted.extend(names.indexes.difference(&listed).map(|number| number.index_path(place.dir)));
    Ok(unlisted)
}

/// Entries are acknowledged only after the manifest lists their segment. So one that it never listed cannot hold any
/// that had been durable, or the manifest is not the latest.
fn check_never_durable(place: &Place<'_>, path: &Path) -> Result<(), OpenLogError> {
    let file = place.disk.open(path).map_err(FileError::io(FileStep::Open, path))?;
    let mut window = Window::new(&*file, path)?;
    let header = match read_header(&mut window)? {
        Ok(header) if header.0.key == place.key => header,
        Err(SegmentHeaderError::Newer(version)) => {
            return Err(OpenLogError::header(path, SegmentHeaderError::Newer(version)));
        }
        _ => return Ok(()),
    };
    let found = scan(&mut window, &header, None, place.options.index_interval_bytes)?;
    let proves = matches!(found.rest, Rest::Damaged { cause: CorruptCause::Witnessed { .. }, .. });
    if proves || found.durable_through > header.0.base_index.get() {
        return Err(Corrupt::new(path, 0, CorruptCause::Unlisted).into());
    }
    Ok(())
}

/// Finds where the last segment ends.
fn recover_last(
    place: &Place<'_>,
    manifest: &Manifest,
    last: &Opened,
    report: &mut RecoveryReport,
) -> Result<LastSegment, OpenLogError> {
    let mark = last.facts.end;
    let mut window = Window::new(&*last.file, &last.path)?;
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

/// What nobody knew to be durable may be in the page cache only; from now on somebody relies on it. A torn tail is cut
/// off by the manifest, so that nothing is ever written over it.
fn make_durable(
    place: &Place<'_>,
    manifest: &Manifest,
    opened: &[Opened],
    last: Option<&LastSegment>,
    report: &RecoveryReport,
) -> Result<(), OpenLogError> {
    let (Some(segment), Some(last)) = (opened.last(), last) else { return Ok(()) };
    if !last.unsure.is_empty() {
        write_again(segment, last.unsure.clone())?;
        segment.file.sync_data().map_err(FileError::io(FileStep::Sync, &segment.path))?;
    }
    if let Some(torn) = &report.torn_tail {
        tracing::warn!(
            file = %torn.file.display(), position = torn.position, bytes = torn.bytes,
            "dropped the rest of appends that were never acknowledged"
        );
        let mut cut = manifest.clone();
        cut.tail = Tail::Sealed;
        if let Some(facts) = cut.segments.last_mut() {
            facts.end = last.end;
        }
        sealed_file::write(&**place.disk, &place.dir.join(MANIFEST), FileKind::Manifest, &cut.encode())?;
    }
    Ok(())
}

/// Writes bytes of a segment over themselves. A sync alone would not do: if the last process stopped because its sync
/// failed, the kernel takes these pages for written, and says `Ok` without a look at them.
fn write_again(segment: &Opened, range: Range<u64>) -> Result<(), FileError> {
    let mut buffer = vec![0; REWRITE_BYTES];
    let mut position = range.start;
    while position < range.end {
        let left = usize::try_from(range.end - position).unwrap_or(REWRITE_BYTES);
        let part = buffer.split_at_mut(left.min(REWRITE_BYTES)).0;
        segment.file.read_at(position, part).map_err(FileError::io(FileStep::Read, &segment.path))?;
        let mut slices = [IoSlice::new(part)];
        segment.file.write_at(position, &mut slices).map_err(FileError::io(FileStep::Write, &segment.path))?;
        position += part.len() as u64;
    }
    Ok(())
}

fn remove_leftovers(
    place: &Place<'_>,
    unlisted: Vec<PathBuf>,
    report: &mut RecoveryReport,
) -> Result<(), OpenLogError> {
    for path in &unlisted {
        place.disk.remove(path).map_err(FileError::io(FileStep::Remove, path))?;
    }
    report.removed = unlisted;
    Ok(())
}

fn assemble(
    place: &Place<'_>,
    manifest: Manifest,
    opened: Vec<Opened>,
    last: Option<LastSegment>,
    report: RecoveryReport,
) -> Recovered {
    let mut writer = Writer::new(manifest.next_segment);
    writer.purged = manifest.purged;
    writer.last = last.as_ref().map(|last| last.end.last).or(manifest.purged);
    writer.log_start = manifest.log_start;
    writer.next_offset = last.as_ref().map_or(manifest.log_start, |last| last.end.next_offset);
    writer.membership = last.as_ref().map_or(manifest.membership, |last| last.membership.clone());
    let count = opened.len();
    let mut segments = Vec::with_capacity(count);
    let mut last = last;
    for (nth, segment) in opened.into_iter().enumerate() {
        let last = if nth + 1 == count { last.take() } else { None };
        let is_active = last.as_ref().is_some_and(|last| last.is_active);
        let (shared, file) = share(place, segment, last);
        if is_active {
            writer.active = Some(reopened(&shared, file));
            // The manifest says that nothing follows its end; before the next ack it must not.
            writer.is_manifest_due = report.was_clean;
        } else {
            writer.sealed_bytes += shared.readable();
        }
        segments.push(shared);
    }
    writer.flushed = writer.mark();
    Recovered { writer, segments, report }
}

fn share(place: &Place<'_>, opened: Opened, last: Option<LastSegment>) -> (Arc<Segment>, Arc<dyn DiskFile>) {
    let (header, first_position, salt) = opened.header;
    let is_active = last.as_ref().is_some_and(|last| last.is_active);
    let end = last.as_ref().map_or(opened.facts.end, |last| last.end);
    let verified_through = last.as_ref().map_or(first_position, |last| last.verified_through);
    let largest = if is_active { place.options.segment_bytes_max.max(end.position) } else { end.position };
    let parts = SegmentParts {
        disk: Arc::clone(place.disk),
        path: opened.path,
        header,
        salt,
        first_position,
        end,
        map_bytes: largest,
        index_interval_bytes: place.options.index_interval_bytes,
        verified_through,
        written_from: if is_active { end.position } else { u64::MAX },
        is_sealed: !is_active,
    };
    (Arc::new(Segment::new(parts, last.and_then(|last| last.index))), opened.file)
}

/// The active segment, to be appended to again.
fn reopened(segment: &Arc<Segment>, file: Arc<dyn DiskFile>) -> Active {
    let end = segment.end();
    Active {
        // Only what is written counts as allocated: a copy of the file may have holes where the original had space.
        space: Arc::new(Space::existing(Arc::clone(&segment.path), file, end.position)),
        segment: Arc::clone(segment),
        position: end.position,
        last_point: segment.last_point_position(),
        end: Some(end),
        header: None,
        is_dirty: false,
    }
}

impl Writer {
    fn new(next_segment: SegmentNumber) -> Self {
        Self {
            active: None,
            prepared: None,
            preparing: None,
            next_segment,
            purged: None,
            last: None,
            log_start: highwater_types::Offset::ZERO,
            next_offset: highwater_types::Offset::ZERO,
            membership: None,
            sealed_bytes: 0,
            flushed: None,
            generation: 0,
            unsynced: Vec::new(),
            pending: Vec::new(),
            is_announced: false,
            taken: None,
            is_manifest_due: false,
            manifests: 0,
            unindexed: Vec::new(),
            is_background_due: false,
            is_closed: false,
            plan: Vec::new(),
            heads: Vec::new(),
        }
    }
}
