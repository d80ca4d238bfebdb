//! The handle of a log: everything that the layers above may do with it.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, OnceLock, RwLock, Weak};

use bytes::Bytes;
use highwater_types::{EntryId, LogIndex, Offset, Timestamp};

use super::append::Appended;
use super::error::{AppendError, LogError, OpenLogError, ReadError, ReserveError};
use super::file_name::CHECKPOINT;
use super::manifest::Tail;
use super::options::LogOptions;
use super::read::BatchSlices;
use super::recovery::{Place, RecoveryReport, recover};
use super::retention::{RetentionPolicy, SealedSegment, segments_to_drop};
use super::segment::read;
use super::writer::Flushed;
use super::{Inner, View};
use crate::background::Background;
use crate::data_dir::quarantine::Marks;
use crate::disk::Disk;
use crate::entry::{Boundary, Entry, NewEntry};
use crate::error::FileError;
use crate::flush::{Flusher, OnDurable};
use crate::locks::lock;
use crate::log_key::LogKey;
use crate::poison::Poisoned;

/// A log. Cheap to clone: every clone is the same log.
///
/// Calls that write are serialised inside. Calls that read never wait for them.
#[derive(Clone)]
pub struct Log {
    inner: Arc<Inner>,
}

/// Where a log stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogState {
    /// The last entry that was purged.
    pub purged: Option<EntryId>,
    /// The last entry; the last purged one when the log holds none.
    pub last: Option<EntryId>,
    /// The first offset still kept.
    pub log_start: Offset,
    /// The next offset to be written.
    pub log_end: Offset,
    /// How far it is durable here.
    pub flushed: Option<Flushed>,
    /// The bytes of its segments, up to where each ends.
    pub size_bytes: u64,
}

impl Log {
    /// Opens the log in `dir`, making an empty one where there is nothing. `flusher` and `background` are those of
    /// its data directory; see [`crate::DataDir::open_log`], which gives them.
    ///
    /// # Errors
    /// When something is damaged, missing, newer, or cannot be read. The log's files are then as they were.
    pub fn open(
        disk: &Arc<dyn Disk>,
        dir: &Path,
        key: LogKey,
        options: LogOptions,
        flusher: &Arc<Flusher>,
        background: &Arc<Background>,
    ) -> Result<(Self, RecoveryReport), OpenLogError> {
        flusher.poison().check()?;
        let options = options.clamped();
        let recovered = recover(&Place { disk, dir, key, options: &options, reserve: flusher.reserve() })?;
        let writer = recovered.writer;
        let view = View { segments: recovered.segments, purged: writer.purged, log_start: writer.log_start };
        let inner = Arc::new_cyclic(|me| Inner {
            disk: Arc::clone(disk),
            dir: dir.to_owned(),
            key,
            options,
            flusher: Arc::clone(flusher),
            background: Arc::clone(background),
            writer: Mutex::new(writer),
            view: RwLock::new(Arc::new(view)),
            state: RwLock::new(LogState::default()),
            manifest_written: Mutex::new(0),
            marks: OnceLock::new(),
            is_short_of_space: AtomicBool::new(false),
            me: me.clone(),
        });
        inner.publish(&lock(&inner.writer));
        Ok((Self { inner }, recovered.report))
    }

    pub(crate) fn set_marks(&self, marks: &Arc<Marks>) {
        // Once, by who opened it.
        let _ = self.inner.marks.set(Arc::clone(marks));
    }

    /// Whether this log began anew after damage, and its replica has not caught up since.
    #[must_use]
    pub fn is_recovering(&self) -> bool {
        self.inner.marks.get().is_some_and(|marks| marks.is_recovering(self.inner.key))
    }

    /// Notes, durably, that the log holds again all that its replica ever acknowledged. Blocks.
    ///
    /// # Errors
    /// What the disk says. The mark may be back after a crash then, which costs time only.
    pub fn end_recovery(&self) -> Result<(), FileError> {
        self.inner.marks.get().map_or(Ok(()), |marks| marks.end_recovery(self.inner.key))
    }

    /// Notes, durably, that the log cannot be believed, so that it is set aside before it is opened again. Blocks.
    ///
    /// # Errors
    /// What the disk says.
    pub fn mark_damaged(&self, reason: &str) -> Result<(), FileError> {
        self.inner.marks.get().map_or(Ok(()), |marks| marks.mark_damaged(self.inner.key, reason))
    }

    pub(crate) fn watch(&self) -> LogWatch {
        LogWatch(Arc::downgrade(&self.inner))
    }

    /// Which log it is.
    #[must_use]
    pub fn key(&self) -> LogKey {
        self.inner.key
    }

    /// Appends entries with one write, in order. They are readable when this returns, and durable when `on_durable` is
    /// called; callbacks are called in the order of their appends, by the flush round.
    ///
    /// The first entry's index must follow the log's last; in a log that never held an entry it may be any. `now` is
    /// noted as the age of a new segment.
    ///
    /// # Errors
    /// See [`AppendError`]. When anything of any entry is refused, none is written and `on_durable` is dropped.
    pub fn append(
        &self,
        entries: &[NewEntry],
        now: Timestamp,
        on_durable: Option<OnDurable>,
    ) -> Result<Appended, AppendError> {
        self.inner.append(entries, now, on_durable)
    }

    /// Makes sure that appends of `bytes` bytes in all, each entry counted by [`super::framed_bytes`], need no new disk
    /// space. Reservations do not add up: ask for everything that is not appended yet.
    ///
    /// # Errors
    /// When there is no space, before anything is written.
    pub fn reserve(&self, bytes: u64) -> Result<(), ReserveError> {
        self.inner.reserve(bytes)
    }

    /// Drops all entries from `index` on; their offsets are free again. Durable when it returns, and so is everything
    /// that is left; if there is nothing to drop, nothing is done. Callbacks of dropped entries are still called, in order.
    ///
    /// # Errors
    /// When entries at or after `index` were purged, or the disk fails. Without space, nothing has changed.
    pub fn truncate_from(&self, index: LogIndex) -> Result<(), LogError> {
        self.inner.truncate_from(index)
    }

    /// Drops all entries up to and including `id`; segments of which nothing is left are removed. Durable when it
    /// returns. Going back does nothing. Beyond the last entry the log is empty after `id`, and goes on at the same
    /// offset.
    ///
    /// # Errors
    /// When the entry there has another term, or the disk fails. Without space, nothing has changed.
    pub fn purge_through(&self, id: EntryId) -> Result<(), LogError> {
        self.inner.purge_through(id)
    }

    /// Drops all entries; the log goes on after `boundary`, where a snapshot left off. Durable when it returns.
    ///
    /// # Errors
    /// When `boundary` lies before what was purged, or the disk fails. Without space, nothing has changed.
    pub fn reset(&self, boundary: &Boundary) -> Result<(), LogError> {
        self.inner.reset(boundary)
    }

    /// Where it stands.
    #[must_use]
    pub fn state(&self) -> LogState {
        *read(&self.inner.state)
    }

    /// How far it is durable here; `None` when nothing is.
    #[must_use]
    pub fn flushed(&self) -> Option<Flushed> {
        self.state().flushed
    }

    /// Entries from index `from` up to but not including `below`, as many as `bytes_max` bytes of payload allow, but
    /// at least one if there is any.
    ///
    /// # Errors
    /// When `from` was purged, or a segment is damaged or unreadable.
    pub fn read_entries(&self, from: LogIndex, below: LogIndex, bytes_max: usize) -> Result<Vec<Entry>, ReadError> {
        self.inner.read_entries(from, below, bytes_max)
    }

    /// The id of the entry with this index, also of the last purged one; `None` when the log does not know it.
    ///
    /// # Errors
    /// When a segment is damaged or unreadable.
    pub fn id_at(&self, index: LogIndex) -> Result<Option<EntryId>, ReadError> {
        self.inner.id_at(index)
    }

    /// Whole batches with records at or after offset `from`, all of whose records lie below `below`, as many as
    /// `bytes_max` bytes allow; the first one even if it is larger.
    ///
    /// # Errors
    /// When `from` is not in the log, or a segment is damaged or unreadable.
    pub fn read_batches(&self, from: Offset, below: Offset, bytes_max: usize) -> Result<BatchSlices, ReadError> {
        self.inner.read_batches(from, below, bytes_max)
    }

    /// The first record whose timestamp is not before `at`, from offset `from` on and below offset `below`; its offset and
    /// timestamp. A batch that cannot be decoded is passed by.
    ///
    /// # Errors
    /// When a segment is damaged or unreadable.
    pub fn find_timestamp(
        &self,
        at: Timestamp,
        from: Offset,
        below: Offset,
    ) -> Result<Option<(Offset, Timestamp)>, ReadError> {
        self.inner.find_timestamp(at, from, below)
    }

    /// Whether a read at `from` may have to wait for the disk. Everything counts as cold that this process did not
    /// append, or appended more than two segments ago.
    #[must_use]
    pub fn is_cold(&self, from: Offset) -> bool {
        self.inner.is_cold(from)
    }

    /// Reads ahead what a read of `bytes` at `from` will touch. Waits for the disk: not for a thread that must not.
    pub fn populate(&self, from: Offset, bytes: usize) {
        if let Err(error) = self.inner.populate(from, bytes) {
            // Whoever reads gets the same error, with a way to report it.
            tracing::debug!(%error, "cannot read ahead");
        }
    }

    /// The newest end of a sealed segment up to which `policy` lets everything go; no record from `below` on goes. The
    /// caller must not purge through an entry that is not committed, also if it holds no record.
    #[must_use]
    pub fn retention_boundary(&self, policy: &RetentionPolicy, now: Timestamp, below: Offset) -> Option<Boundary> {
        self.inner.retention_boundary(policy, now, below)
    }

    /// What is due by the clock: seals a segment that is too old. To be called now and then.
    ///
    /// # Errors
    /// When the log is closed or poisoned.
    pub fn maintain(&self, now: Timestamp) -> Result<(), LogError> {
        self.inner.maintain(now)
    }

    /// Replaces the checkpoint of the state machine, durably.
    ///
    /// # Errors
    /// When the disk fails. Without space, the old one is still there.
    pub fn write_checkpoint(&self, bytes: &[u8]) -> Result<(), FileError> {
        self.inner.write_checkpoint(bytes)
    }

    /// The checkpoint, if one was written.
    ///
    /// # Errors
    /// When it is damaged, newer, or unreadable; never `None` then.
    pub fn read_checkpoint(&self) -> Result<Option<Bytes>, FileError> {
        self.inner.read_checkpoint()
    }

    /// The file of the checkpoint, whether it is there or not; for messages.
    #[must_use]
    pub fn checkpoint_path(&self) -> PathBuf {
        self.inner.dir.join(CHECKPOINT)
    }

    /// Why nothing is written any more, if so.
    #[must_use]
    pub fn poisoned(&self) -> Option<Poisoned> {
        self.inner.flusher.poisoned()
    }

    /// Stops in order: everything is durable and released, and the next open need not look for more. Nothing can be
    /// appended any more; reads go on. Once is enough.
    ///
    /// # Errors
    /// When the disk fails; the next open then looks for the end itself.
    pub fn close(&self) -> Result<(), LogError> {
        self.inner.close()
    }
}

/// Knows whether a log may still write, without keeping it.
#[derive(Clone)]
pub(crate) struct LogWatch(Weak<Inner>);

impl LogWatch {
    pub(crate) fn may_write(&self) -> bool {
        self.0.upgrade().is_some_and(|inner| !lock(&inner.writer).is_done)
    }
}

impl fmt::Debug for LogWatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogWatch").field("may_write", &self.may_write()).finish()
    }
}

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Log").field("dir", &self.inner.dir).field("state", &self.state()).finish_non_exhaustive()
    }
}

impl Inner {
    fn close(&self) -> Result<(), LogError> {
        {
            let mut writer = lock(&self.writer);
            if std::mem::replace(&mut writer.is_closed, true) {
                return Ok(());
            }
        }
        // Nothing is appended from here on: this round releases everything.
        self.flusher.run_round();
        let mut guard = lock(&self.writer);
        let writer = &mut *guard;
        self.flusher.poison().check()?;
        self.sync_now(writer)?;
        for segment in writer.unindexed.drain(..).chain(writer.active.as_ref().map(|active| active.segment.clone())) {
            segment.save_index();
        }
        let mut numbered = self.number_manifest(writer);
        if writer.active.is_some() {
            numbered.manifest.tail = Tail::Clean;
        }
        self.write_manifest_now(&numbered)?;
        writer.is_manifest_due = false;
        if let Some(prepared) = writer.prepared.take() {
            // Gives the space back; left behind, it would be removed by the next open.
            let _best_effort = self.disk.remove(prepared.space.path());
        }
        writer.is_done = true;
        Ok(())
    }

    fn retention_boundary(&self, policy: &RetentionPolicy, now: Timestamp, below: Offset) -> Option<Boundary> {
        // Not for a reader's sake: so that the segments and the membership at their end are of one moment.
        let writer = lock(&self.writer);
        let view = self.view();
        let log_bytes = writer.sealed_bytes + writer.active_bytes();
        let sealed: Vec<_> = view
            .segments
            .iter()
            .take_while(|segment| segment.is_sealed())
            .map(|segment| {
                let end = segment.end();
                SealedSegment {
                    bytes: end.position,
                    next_offset: end.next_offset,
                    newest: end.max_timestamp.unwrap_or(segment.header.created),
                }
            })
            .collect();
        let dropped = segments_to_drop(policy, &sealed, log_bytes, now, below);
        let last = view.segments.get(dropped.checked_sub(1)?)?;
        let end = last.end();
        // The next segment's header says what the membership was where this one ends; after the last one, the log does.
        let membership = match view.segments.get(dropped) {
            Some(next) => next.header.membership.clone(),
            None => writer.membership.clone(),
        };
        Some(Boundary { id: end.last, next_offset: end.next_offset, membership })
    }
}
