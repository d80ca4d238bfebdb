//! Opening a log: from the files to a writer that goes on where they end.
//!
//! Owns: deciding what of the files counts. Never: changes a file before everything was checked, takes an error of the
//! disk for damage, or drops what may have been acknowledged.
//!
//! Sealed segments are taken by the manifest's word, their headers checked; their frames are verified when they are
//! first read. The open segment is read to its end (see `scan`). After a clean close not even that is needed.

mod last;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use self::last::{LastFile, LastSegment, make_durable, recover_last};
use super::error::{Corrupt, CorruptCause, OpenLogError};
use super::file_name::{CHECKPOINT, FileName, MANIFEST, SegmentNumber};
use super::manifest::{Manifest, SegmentFacts, Tail};
use super::options::LogOptions;
use super::scan::{FoundHeader, Rest, Window, read_header, scan};
use super::segment::{Segment, SegmentParts};
use super::segment_header::SegmentHeaderError;
use super::space::Space;
use super::writer::{Active, Writer};
use crate::disk::{Disk, DiskFile};
use crate::error::{Damage, FileError, FileStep};
use crate::log_key::LogKey;
use crate::reserve::Reserve;
use crate::sealed_file::{self, FileKind};

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
    pub(super) reserve: &'log Reserve,
}

type OpenFile = Arc<dyn DiskFile>;

/// A segment whose header was read and checked.
struct Opened {
    facts: SegmentFacts,
    path: Arc<Path>,
    header: FoundHeader,
}

pub(super) fn recover(place: &Place<'_>) -> Result<Recovered, OpenLogError> {
    let (dir, disk) = (place.dir, place.disk);
    disk.create_dir_all(dir).map_err(FileError::io(FileStep::CreateDir, dir))?;
    let names = list(place)?;
    let mut report = RecoveryReport { foreign: names.foreign.clone(), ..RecoveryReport::default() };
    let mut manifest = match read_manifest(place)? {
        Some(manifest) => manifest,
        None if names.is_used() => return Err(OpenLogError::NoManifest { file: dir.join(MANIFEST) }),
        None => {
            report.is_new = true;
            let manifest = Manifest::empty(place.key);
            sealed_file::write(&**disk, &dir.join(MANIFEST), FileKind::Manifest, &manifest.encode())?;
            manifest
        }
    };
    let (opened, file) = open_segments(place, &manifest)?;
    let unlisted = unlisted(place, &manifest, &names)?;
    let last_file = opened.last().zip(file.as_ref()).map(|(segment, file)| LastFile { segment, file });
    let last = match &last_file {
        Some(file) => Some(recover_last(place, &manifest, file, &mut report)?),
        None => None,
    };
    // Everything was checked. From here on files change.
    if let (Some(file), Some(last)) = (&last_file, &last) {
        make_durable(&mut manifest, file, last, &report)?;
    }
    if !report.is_new {
        write_sealed_again(place, &manifest, &names, &report)?;
    }
    remove_leftovers(place, unlisted, &mut report)?;
    Ok(assemble(place, manifest, opened, last.zip(file), report))
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

/// Checks that each of the listed segments is there and is the one that is meant. The last one's file stays open; of the
/// others there can be more than a process may have open.
fn open_segments(place: &Place<'_>, manifest: &Manifest) -> Result<(Vec<Opened>, Option<OpenFile>), OpenLogError> {
    let mut last_file = None;
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
        opened.push(Opened { facts: *facts, path: Arc::clone(&path), header });
        last_file = Some(file);
    }
    Ok((opened, last_file))
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

/// Writes the manifest and the checkpoint again. If the last process stopped because the sync of a rename failed, what
/// was just read is perhaps only in the kernel's memory, and no sync would say so.
fn write_sealed_again(
    place: &Place<'_>,
    manifest: &Manifest,
    names: &Names,
    report: &RecoveryReport,
) -> Result<(), OpenLogError> {
    let write = |name, kind, payload: &[u8]| {
        let path = place.dir.join(name);
        let written = place.reserve.or_give_way(|| sealed_file::write(&**place.disk, &path, kind, payload));
        match written {
            // A full disk must not keep a log from opening: that is how space is freed.
            Err(error) if error.is_disk_full() && report.torn_tail.is_none() => {
                tracing::warn!(%error, "cannot write a file again that was read");
                Ok(())
            }
            written => written,
        }
    };
    write(MANIFEST, FileKind::Manifest, &manifest.encode())?;
    if names.has_checkpoint {
        // A damaged one is left as it is; whoever needs it is told.
        let path = place.dir.join(CHECKPOINT);
        if let Ok(Some(checkpoint)) = sealed_file::read(&**place.disk, &path, FileKind::Checkpoint) {
            write(CHECKPOINT, FileKind::Checkpoint, &checkpoint.payload)?;
        }
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
    last: Option<(LastSegment, Arc<dyn DiskFile>)>,
    report: RecoveryReport,
) -> Recovered {
    let mut writer = Writer::new(manifest.next_segment);
    let mut segments = Vec::with_capacity(opened.len());
    writer.purged = manifest.purged;
    writer.log_start = manifest.log_start;
    (writer.last, writer.next_offset) = (manifest.purged, manifest.log_start);
    writer.membership = manifest.membership;
    let sealed = opened.len().saturating_sub(1);
    let mut opened = opened.into_iter();
    segments.extend(opened.by_ref().take(sealed).map(|segment| Arc::new(share(place, segment, None))));
    if let (Some(segment), Some((last, file))) = (opened.next(), last) {
        (writer.last, writer.next_offset) = (Some(last.end.last), last.end.next_offset);
        writer.membership.clone_from(&last.membership);
        let is_active = last.is_active;
        let segment = Arc::new(share(place, segment, Some(last)));
        writer.active = is_active.then(|| reopened(&segment, file, place.options.segment_bytes_max));
        // A manifest that says that nothing follows its end must be gone before the next entry is acknowledged.
        writer.is_manifest_due = is_active && manifest.tail != Tail::Open;
        segments.push(segment);
    }
    writer.sealed_bytes = segments.iter().filter(|segment| segment.is_sealed()).map(|segment| segment.readable()).sum();
    writer.flushed = writer.mark();
    Recovered { writer, segments, report }
}

/// A segment as readers will see it; `last` is what was found of the last one.
fn share(place: &Place<'_>, opened: Opened, last: Option<LastSegment>) -> Segment {
    let (header, first_position, salt) = opened.header;
    let is_active = last.as_ref().is_some_and(|last| last.is_active);
    let end = last.as_ref().map_or(opened.facts.end, |last| last.end);
    let verified_through = last.as_ref().map_or(first_position, |last| last.verified_through);
    let parts = SegmentParts {
        disk: Arc::clone(place.disk),
        path: opened.path,
        header,
        salt,
        first_position,
        end,
        map_bytes: if is_active { place.options.segment_bytes_max.max(end.position) } else { end.position },
        index_interval_bytes: place.options.index_interval_bytes,
        verified_through,
        written_from: if is_active { end.position } else { u64::MAX },
        is_sealed: !is_active,
    };
    Segment::new(parts, last.and_then(|last| last.index))
}

/// The active segment, to be appended to again.
fn reopened(segment: &Arc<Segment>, file: Arc<dyn DiskFile>, limit: u64) -> Active {
    let end = segment.end();
    Active {
        // Only what is written counts as allocated: a copy of the file may have holes where the original had space.
        space: Arc::new(Space::existing(Arc::clone(&segment.path), file, end.position)),
        segment: Arc::clone(segment),
        limit,
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
            is_done: false,
            plan: Vec::new(),
            heads: Vec::new(),
        }
    }
}
