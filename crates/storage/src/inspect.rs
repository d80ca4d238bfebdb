//! Looking at a log's files without its lock: for `highwater dump`, also while a server is running.
//!
//! Owns: walking the frames of a segment and saying what is in each. Never: writes, maps, or decides what counts; a
//! server may be appending, so the last frame may look unfinished.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use highwater_types::batch::{BatchHeader, verify_crc};

use crate::disk::Disk;
use crate::entry::EntryKind;
use crate::error::{Damage, FileError, FileStep};
use crate::frame::{FRAME_ALIGN, FRAME_HEADER_BYTES, FrameError, FrameHeader, payload_bytes};
use crate::log::manifest::{Manifest, SegmentFacts};
use crate::log::scan::{Seen, Window, read_header};
use crate::log::{FileName, SegmentHeader, SegmentHeaderError, SegmentNumber};
use crate::sealed_file::{self, FileKind};

/// What is in the folder of a log.
#[derive(Debug)]
pub struct LogFiles {
    /// What the manifest says; `None` when there is none.
    pub manifest: Option<Manifest>,
    /// The segments that are there or should be, oldest first.
    pub segments: Vec<SegmentFile>,
    /// Names that are not of a log.
    pub foreign: Vec<PathBuf>,
}

/// A segment in the folder of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentFile {
    /// Its number.
    pub number: SegmentNumber,
    /// Its file.
    pub path: PathBuf,
    /// Whether the file is there.
    pub exists: bool,
    /// What the manifest says of it; `None` when it is not listed: prepared, not yet acknowledged, or dropped.
    pub facts: Option<SegmentFacts>,
}

/// Lists the folder of a log.
///
/// # Errors
/// When the folder or the manifest cannot be read; a damaged manifest is an error that says so.
pub fn log_files(disk: &dyn Disk, dir: &Path) -> Result<LogFiles, FileError> {
    let path = dir.join(FileName::Manifest.to_string());
    let manifest = match sealed_file::read(disk, &path, FileKind::Manifest)? {
        Some(sealed) => Some(
            Manifest::decode(&sealed.payload)
                .map_err(|error| FileError::damaged(&path, Damage::BadContents { what: error.0 }))?,
        ),
        None => None,
    };
    let listed = manifest.iter().flat_map(|manifest| manifest.segments.iter());
    let mut segments: Vec<_> = listed
        .map(|facts| SegmentFile {
            number: facts.number,
            path: facts.number.segment_path(dir),
            exists: false,
            facts: Some(*facts),
        })
        .collect();
    let mut foreign = Vec::new();
    for entry in disk.list(dir).map_err(FileError::io(FileStep::List, dir))? {
        let path = dir.join(&entry.name);
        match FileName::parse(&entry.name) {
            Some(FileName::Segment(number)) => match segments.iter_mut().find(|segment| segment.number == number) {
                Some(segment) => segment.exists = true,
                None => segments.push(SegmentFile { number, path, exists: true, facts: None }),
            },
            Some(_) => {}
            None => foreign.push(path),
        }
    }
    segments.sort_by_key(|segment| segment.number);
    Ok(LogFiles { manifest, segments, foreign })
}

/// One place in a segment.
#[derive(Clone, Debug)]
pub struct FrameDump {
    /// Where it begins.
    pub position: u64,
    /// What the frame's header says; `Err` when there is no good frame.
    pub header: Result<FrameHeader, FrameError>,
    /// The payload of a good frame.
    pub payload: Bytes,
    /// The header of the batch in a good data frame, if it can be read.
    pub batch: Option<BatchHeader>,
}

impl FrameDump {
    /// Whether the batch's own checksum is right too; `None` when there is no batch.
    #[must_use]
    pub fn is_batch_sound(&self) -> Option<bool> {
        self.batch.as_ref().map(|_| verify_crc(&self.payload))
    }
}

/// The frames of a segment, one after another. Behind a bad one it goes on with the next good one; it ends where
/// nothing was written.
pub struct SegmentDump {
    file: std::sync::Arc<dyn crate::disk::DiskFile>,
    path: PathBuf,
    /// The header, if it can be read. Without it no frame can be verified, and none is given.
    pub header: Result<SegmentHeader, SegmentHeaderError>,
    salt: u32,
    position: u64,
    is_over: bool,
    seen: Seen,
}

/// Opens a segment for reading.
///
/// # Errors
/// When the file cannot be read. A damaged header is no error here, see [`SegmentDump::header`].
pub fn segment(disk: &dyn Disk, path: &Path) -> Result<SegmentDump, FileError> {
    let file = disk.open_read_only(path).map_err(FileError::io(FileStep::Open, path))?;
    let found = read_header(&mut Window::new(&*file, path)?)?;
    let (header, position, salt) = match found {
        Ok((header, length, salt)) => (Ok(header), length, salt),
        Err(error) => (Err(error), 0, 0),
    };
    let is_over = header.is_err();
    Ok(SegmentDump { file, path: path.to_owned(), header, salt, position, is_over, seen: Seen::default() })
}

impl SegmentDump {
    /// Where the next frame is looked for.
    #[must_use]
    pub const fn position(&self) -> u64 {
        self.position
    }

    fn step(&mut self) -> Result<Option<FrameDump>, FileError> {
        let mut window = Window::resume(&*self.file, &self.path, std::mem::take(&mut self.seen))?;
        let mut found = read_frame(&mut window, self.position, self.salt);
        if matches!(&found, Ok(frame) if frame.header.is_err()) {
            // A server may have finished the frame since these bytes were read.
            window.forget();
            found = read_frame(&mut window, self.position, self.salt);
        }
        let next = match &found {
            Ok(frame) if frame.header.is_err() => next_good(&mut window, self.position, self.salt),
            _ => Ok(None),
        };
        self.seen = window.into_seen();
        let (frame, next) = (found?, next?);
        match (frame.header, next) {
            (Ok(header), _) => self.position += header.aligned_bytes(),
            (Err(FrameError::End | FrameError::Short), None) => {
                self.is_over = true;
                return Ok(None);
            }
            (Err(_), Some(next)) => self.position = next,
            (Err(_), None) => self.is_over = true,
        }
        Ok(Some(frame))
    }
}

impl Iterator for SegmentDump {
    type Item = Result<FrameDump, FileError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.is_over {
            return None;
        }
        let step = self.step();
        self.is_over |= step.is_err();
        step.transpose()
    }
}

fn read_frame(window: &mut Window<'_>, position: u64, salt: u32) -> Result<FrameDump, FileError> {
    let length = payload_bytes(window.get(position, FRAME_HEADER_BYTES)?)
        .map(|payload_bytes| FRAME_HEADER_BYTES + payload_bytes as usize);
    let bytes = window.get(position, length.unwrap_or(FRAME_HEADER_BYTES))?;
    let header = FrameHeader::verify(bytes, salt);
    let payload = match &header {
        Ok(_) => Bytes::copy_from_slice(bytes.get(FRAME_HEADER_BYTES..).unwrap_or_default()),
        Err(_) => Bytes::new(),
    };
    let is_data = header.is_ok_and(|header| header.kind == EntryKind::Data);
    let batch = if is_data { BatchHeader::read(&payload).ok() } else { None };
    Ok(FrameDump { position, header, payload, batch })
}

/// Where the next good frame behind a bad one begins.
fn next_good(window: &mut Window<'_>, position: u64, salt: u32) -> Result<Option<u64>, FileError> {
    let mut at = position + FRAME_ALIGN as u64;
    while at < window.size() {
        // What the header says is looked at before its checksum, which would cost the whole payload at every place.
        let is_plausible = FrameHeader::read(window.get(at, FRAME_HEADER_BYTES)?).is_ok();
        if is_plausible && read_frame(window, at, salt)?.header.is_ok() {
            return Ok(Some(at));
        }
        at += FRAME_ALIGN as u64;
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use highwater_types::{EntryId, Timestamp};

    use super::*;
    use crate::disk::sim::SimDisk;
    use crate::entry::NewEntry;
    use crate::flush::{Flusher, SyncFilesystem};
    use crate::log::{Log, LogOptions};
    use crate::log_key::LogKey;
    use crate::poison::Poison;

    fn written() -> (SimDisk, PathBuf) {
        let sim = SimDisk::new(3);
        let disk: Arc<dyn Disk> = Arc::new(sim.clone());
        let dir = PathBuf::from("/log");
        let flusher = Arc::new(Flusher::new(Arc::clone(&disk), &dir, SyncFilesystem::Never, Arc::new(Poison::new())));
        let (log, _) =
            Log::open(&disk, &dir, LogKey::new([1; 16], 0), LogOptions::default(), &flusher, &Arc::default()).unwrap();
        for index in 0..3 {
            let payload = Bytes::from(vec![7; 100]);
            let id = EntryId::new(1, index);
            let entry = NewEntry { id, kind: EntryKind::Metadata, payload, expected_base_offset: None };
            log.append(&[entry], Timestamp::from_ms(5), None).unwrap();
        }
        flusher.run_round();
        (sim, dir)
    }

    #[test]
    fn a_running_log_can_be_looked_at() {
        let (disk, dir) = written();
        let files = log_files(&disk, &dir).unwrap();
        let [only] = &files.segments[..] else { unreachable!("{files:?}") };
        assert!(only.exists && only.facts.is_some());
        let dump = segment(&disk, &only.path).unwrap();
        assert_eq!(dump.header.as_ref().unwrap().created.as_ms(), 5);
        let frames: Vec<_> = dump.map(Result::unwrap).collect();
        assert_eq!(frames.iter().map(|frame| frame.header.unwrap().id.index.get()).collect::<Vec<_>>(), [0, 1, 2]);
        assert!(frames.iter().all(|frame| frame.payload.len() == 100 && frame.batch.is_none()));
    }

    #[test]
    fn behind_damage_it_goes_on() {
        let (disk, dir) = written();
        let path = SegmentNumber::FIRST.segment_path(&dir);
        let second = segment(&disk, &path).unwrap().nth(1).unwrap().unwrap().position;
        disk.flip_bit(&path, second + 50, 3).unwrap();
        let frames: Vec<_> = segment(&disk, &path).unwrap().map(Result::unwrap).collect();
        let good: Vec<_> = frames.iter().map(|frame| frame.header.is_ok()).collect();
        assert_eq!(good, [true, false, true]);
        assert_eq!(frames[1].position, second);
        disk.flip_bit(&path, 20, 0).unwrap();
        let mut blind = segment(&disk, &path).unwrap();
        assert_eq!(blind.header, Err(SegmentHeaderError::BadChecksum));
        assert!(blind.next().is_none());
    }
}
