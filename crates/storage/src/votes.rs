//! The votes of all logs of a data directory, in one file.
//!
//! Owns: what each log's replica has promised, durably, and the file that says it. Never: knows what a vote means; lets
//! a vote be durable before the appends that were made before it (the flusher's order sees to that).
//!
//! Votes are appended and synced in the flush round; a mark in a page of its own then says how far that went, so that a
//! damaged record is told from one that was never finished. When the file is full it is replaced by one that holds only
//! the votes that count. The layout is in `layout`.
//!
//! Invariants:
//! - A released vote is found by every later start, or the start is refused with the name of the file: a replica that
//!   forgot a vote could vote twice.
//! - The file never changes its length and is never written below its end, but for the marks.

mod layout;

use std::collections::BTreeMap;
use std::fmt;
use std::io::IoSlice;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use bytes::Bytes;

pub use self::layout::VOTE_BYTES_MAX;
use self::layout::{MARK_POSITIONS, RECORDS_START, Votes};
use crate::disk::{Disk, DiskFile};
use crate::error::{Damage, FileError, FileStep};
use crate::flush::{DirtyFile, Flushable, Flusher, OnDurable};
use crate::locks::lock;
use crate::log_key::LogKey;
use crate::poison::Poisoned;
use crate::reserve::Reserve;
use crate::sealed_file;

#[cfg(test)]
mod tests;

/// A file is made with room for this many bytes of records beyond those that count, and as many again as they take.
const SPARE_BYTES: u64 = 48 << 10;

/// The most that a vote file may have: far more than the votes of all logs that a node can carry.
const FILE_BYTES_MAX: u64 = 256 << 20;

/// The votes of a data directory.
pub struct VoteFile {
    shared: Arc<Shared>,
    flusher: Arc<Flusher>,
}

impl VoteFile {
    /// Makes an empty file, durably.
    ///
    /// # Errors
    /// What the disk says.
    pub(crate) fn create(disk: &dyn Disk, path: &Path) -> Result<(), FileError> {
        replace(disk, path, &Votes::new()).map(drop)
    }

    /// Opens the file at `path`, and makes durable what is found in it.
    ///
    /// # Errors
    /// When it is missing, damaged, newer, or the disk fails. Nothing is guessed: only the rest of a write that was
    /// never acknowledged is dropped.
    pub(crate) fn open(disk: Arc<dyn Disk>, path: &Path, flusher: Arc<Flusher>) -> Result<Self, FileError> {
        sealed_file::remove_temporary(&*disk, path)?;
        let file = disk.open(path).map_err(FileError::io(FileStep::Open, path))?;
        let bytes = read_all(&*file, path)?;
        let found = layout::parse(path, &bytes)?;
        let latest = found.votes.iter().map(|(key, vote)| (*key, Bytes::copy_from_slice(vote))).collect::<Votes>();
        let mut writer = Writer {
            disk,
            reserve: Arc::clone(flusher.reserve()),
            path: path.to_owned(),
            file,
            file_bytes: bytes.len() as u64,
            end: found.end,
            next_mark: 1 - found.mark_index,
            durable: latest.clone(),
            taken: Vec::new(),
        };
        if found.is_torn {
            tracing::warn!(file = %path.display(), at = found.end, "dropped the unacknowledged rest of a vote");
        }
        // What was read, and the file's very name, may be in the kernel's memory only, and from now on somebody relies
        // on it. A sync would not do: if the last process stopped because its sync failed, the kernel takes all that
        // for written. So the votes are written again.
        match writer.replace() {
            // What is below the mark is as durable as the last process knew; a full disk must not keep a node down.
            Err(error) if error.is_disk_full() && !found.is_torn && found.end <= found.durable_through => {
                tracing::warn!(%error, "cannot write the votes again");
            }
            replaced => replaced?,
        }
        let shared =
            Shared { latest: Mutex::new(Latest { votes: latest, pending: Vec::new() }), writer: Mutex::new(writer) };
        Ok(Self { shared: Arc::new(shared), flusher })
    }

    /// What the bytes of a vote file say; for tools, which look and change nothing. `path` is for messages.
    ///
    /// # Errors
    /// When they are damaged or newer.
    pub fn decode(path: &Path, bytes: &Bytes) -> Result<BTreeMap<LogKey, Bytes>, FileError> {
        Ok(layout::parse(path, bytes)?.votes)
    }

    /// The newest vote that was saved for `key`, whether it is durable yet or not.
    #[must_use]
    pub fn get(&self, key: LogKey) -> Option<Bytes> {
        lock(&self.shared.latest).votes.get(&key).cloned()
    }

    /// Whether no log has a vote.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        lock(&self.shared.latest).votes.is_empty()
    }

    /// Saves a vote. `on_durable` is called when it is durable, and with it every append of that log that was made
    /// before this call.
    ///
    /// # Panics
    /// When the vote is larger than [`VOTE_BYTES_MAX`]: the caller's bug.
    pub fn save(&self, key: LogKey, vote: Bytes, on_durable: OnDurable) {
        assert!(vote.len() <= VOTE_BYTES_MAX, "a vote of {} bytes", vote.len());
        self.push(key, Some(vote), Some(on_durable));
    }

    /// Forgets the votes of a log that was deleted. It comes back after a crash that comes too early; without its log
    /// it harms nobody.
    pub fn remove(&self, key: LogKey) {
        if self.get(key).is_some() {
            self.push(key, None, None);
        }
    }

    fn push(&self, key: LogKey, vote: Option<Bytes>, on_durable: Option<OnDurable>) {
        let is_first = {
            let mut latest = lock(&self.shared.latest);
            match &vote {
                Some(vote) => drop(latest.votes.insert(key, vote.clone())),
                None => drop(latest.votes.remove(&key)),
            }
            latest.pending.push(Pending { key, vote, on_durable });
            latest.pending.len() == 1
        };
        if is_first {
            self.flusher.mark_votes_dirty(Arc::clone(&self.shared) as Arc<dyn Flushable>);
        }
    }
}

impl fmt::Debug for VoteFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let votes = lock(&self.shared.latest).votes.len();
        f.debug_struct("VoteFile").field("votes", &votes).finish_non_exhaustive()
    }
}

/// What the callers and the flusher share.
struct Shared {
    latest: Mutex<Latest>,
    /// Locked by flush rounds only, of which there is one at a time.
    writer: Mutex<Writer>,
}

struct Latest {
    votes: Votes,
    /// At most a few for each log: a replica waits for its vote.
    pending: Vec<Pending>,
}

struct Pending {
    key: LogKey,
    vote: Option<Bytes>,
    on_durable: Option<OnDurable>,
}

impl Flushable for Shared {
    fn take_pending(&self, _dirty: &mut Vec<DirtyFile>) {
        // No dirty file is named: nothing is written before the logs are durable.
        let pending = std::mem::take(&mut lock(&self.latest).pending);
        lock(&self.writer).taken.extend(pending);
    }

    fn write_metadata(&self) -> Result<(), FileError> {
        lock(&self.writer).append_taken()
    }

    fn release(&self, outcome: Result<(), Poisoned>) {
        let taken = std::mem::take(&mut lock(&self.writer).taken);
        for on_durable in taken.into_iter().filter_map(|pending| pending.on_durable) {
            on_durable(outcome.clone());
        }
    }
}

struct Writer {
    disk: Arc<dyn Disk>,
    reserve: Arc<Reserve>,
    path: PathBuf,
    file: Arc<dyn DiskFile>,
    file_bytes: u64,
    /// The first byte after the last record.
    end: u64,
    /// Which of the two marks is written next.
    next_mark: usize,
    /// What the file says.
    durable: Votes,
    /// What this round makes durable.
    taken: Vec<Pending>,
}

impl Writer {
    fn append_taken(&mut self) -> Result<(), FileError> {
        let mut records = Vec::new();
        for pending in &self.taken {
            layout::push_record(&mut records, self.end, pending.key, pending.vote.as_deref());
            match &pending.vote {
                Some(vote) => drop(self.durable.insert(pending.key, vote.clone())),
                None => drop(self.durable.remove(&pending.key)),
            }
        }
        if self.end + records.len() as u64 > self.file_bytes {
            return self.replace();
        }
        self.write(self.end, &records)?;
        self.end += records.len() as u64;
        self.sync()
    }

    /// Makes the records durable, then says so in a mark, which becomes durable when it may.
    fn sync(&mut self) -> Result<(), FileError> {
        self.file.sync_data().map_err(FileError::io(FileStep::Sync, &self.path))?;
        if let Some(position) = MARK_POSITIONS.get(self.next_mark).copied() {
            self.write(position, &layout::mark(position, self.end))?;
        }
        self.next_mark = 1 - self.next_mark;
        Ok(())
    }

    fn write(&self, position: u64, bytes: &[u8]) -> Result<(), FileError> {
        self.file.write_at(position, &mut [IoSlice::new(bytes)]).map_err(FileError::io(FileStep::Write, &self.path))
    }

    /// Goes on in a new file that holds only what counts.
    fn replace(&mut self) -> Result<(), FileError> {
        let write = || replace(&*self.disk, &self.path, &self.durable);
        let (file, file_bytes, end) = self.reserve.or_give_way(write)?;
        (self.file, self.file_bytes, self.end, self.next_mark) = (file, file_bytes, end, 1);
        Ok(())
    }
}

/// Replaces the file at `path` by one that holds `votes` and room for more. Gives the file, its length, and where the
/// next record goes.
fn replace(disk: &dyn Disk, path: &Path, votes: &Votes) -> Result<(Arc<dyn DiskFile>, u64, u64), FileError> {
    let mut records = Vec::new();
    for (key, vote) in votes {
        layout::push_record(&mut records, RECORDS_START, *key, Some(vote));
    }
    let end = RECORDS_START + records.len() as u64;
    let file_bytes = (end + records.len() as u64 + SPARE_BYTES).next_multiple_of(4096);
    let page = |bytes: &[u8]| {
        let mut page = bytes.to_vec();
        page.resize(4096, 0);
        page
    };
    let [first, second] = MARK_POSITIONS;
    // Both marks from the start: one bad sector must not make a file unreadable that was just written.
    let header = page(&layout::header(file_bytes));
    let marks = [first, second].map(|position| page(&layout::mark(position, end)));
    assert_eq!((first, second, RECORDS_START), (4096, 8192, 12_288), "header, mark, mark, records");
    let spare = vec![0; usize::try_from(file_bytes - end).unwrap_or(0)];
    let [mark, other_mark] = &marks;
    let mut slices = [&header, mark, other_mark, &records, &spare].map(|part| IoSlice::new(part));
    let file = sealed_file::replace(disk, path, &mut slices)?;
    Ok((file, file_bytes, end))
}

fn read_all(file: &dyn DiskFile, path: &Path) -> Result<Bytes, FileError> {
    let found = file.size().map_err(FileError::io(FileStep::Read, path))?;
    let bytes = usize::try_from(found).ok().filter(|_| found <= FILE_BYTES_MAX);
    let bytes = bytes.ok_or_else(|| FileError::damaged(path, Damage::BadLength { expected: FILE_BYTES_MAX, found }))?;
    let mut buffer = vec![0; bytes];
    let read = file.read_at(0, &mut buffer).map_err(FileError::io(FileStep::Read, path))?;
    buffer.truncate(read);
    Ok(buffer.into())
}
