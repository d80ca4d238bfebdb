//! openraft's log storage over `highwater_storage::Log`.
//!
//! Owns: the translation of entries, and the order of votes and appends. The log below owns offsets, durability, bytes.
//!
//! Rules that lose data when broken, each with a test (`tests.rs`):
//! - An append is readable when it returns, and reported flushed only from the log's own callback: in order, and with an
//!   error only when the disk is given up for good (an error is final for the group).
//! - A vote is durable before `save_vote` returns, and only after every earlier append is: else a follower would
//!   acknowledge an append that its next crash undoes.
//! - The log is never purged beyond its end, unless a snapshot that reaches there was installed: only then the offset
//!   of the next record is known.
//! - No committed position is saved: after a start the leader's commit decides what is applied.
//!
//! Appends are made inline on the core's task (`docs/adr/020`); truncation and purge, which sync, are not.

use std::collections::VecDeque;
use std::fmt::Debug;
use std::io;
use std::ops::{Bound, RangeBounds};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::Stream;
use highwater_storage::{Boundary, Entry, EntryKind, Log, LogError, LogKey, NewEntry, OnDurable, ReadError, VoteFile};
use highwater_types::batch::BatchHeader;
use highwater_types::{EntryId, LogIndex, Offset};
use openraft::entry::RaftEntry as _;
use openraft::storage::{IOFlushed, LogState, RaftLogReader, RaftLogStorage};
use openraft::{EntryPayload, OptionalSend};
use tokio::sync::oneshot;
use tokio_util::task::task_tracker::TaskTrackerToken;

use super::codec;
use super::fence::Fence;
use super::types::{Appended, Command, LogId, RaftEntry, TypeConfig, Vote, entry_id, log_id};
use crate::clock::Clock;
use crate::planted::{Bug, is_planted};
use crate::runtime;

/// The most bytes of entries that one read for replication returns; one larger entry is returned whole.
const REPLICATE_BYTES_MAX: usize = 2 * 1024 * 1024;

/// The most bytes of entries that are looked up at a time for applying. Only their headers are touched.
const APPLY_BYTES_MAX: usize = 16 * 1024 * 1024;

/// The Raft log of one group. Clones are the same log.
#[derive(Clone)]
pub(crate) struct LogStore {
    key: LogKey,
    log: Log,
    votes: Arc<VoteFile>,
    clock: Clock,
    installed: Installed,
    /// Last, so that whoever waits for it finds the log let go.
    _alive: TaskTrackerToken,
}

/// The boundary of the snapshot that was installed last, from the state machine (which knows the next offset there) to
/// the log store (which is told to purge up to it).
#[derive(Clone, Debug, Default)]
pub(crate) struct Installed(Arc<Mutex<Vec<Boundary>>>);

impl Installed {
    /// Notes a snapshot's boundary, in place of the one before.
    pub(crate) fn set(&self, boundary: Boundary) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = vec![boundary];
    }

    /// The boundary at `id`, if a snapshot with it was installed.
    fn at(&self, id: EntryId) -> Option<Boundary> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().find(|b| b.id == id).cloned()
    }

    /// For openraft's own suite, which purges beyond the log's end without installing anything.
    #[cfg(test)]
    pub(crate) fn also(&self, boundary: Boundary) {
        self.0.lock().unwrap().push(boundary);
    }
}

impl LogStore {
    /// `alive` is held by every clone.
    pub(crate) fn new(
        key: LogKey,
        log: Log,
        votes: Arc<VoteFile>,
        clock: Clock,
        installed: Installed,
        alive: TaskTrackerToken,
    ) -> Self {
        Self { key, log, votes, clock, installed, _alive: alive }
    }

    #[cfg(test)]
    pub(crate) fn log(&self) -> &Log {
        &self.log
    }

    fn read(&self, from: u64, below: u64, bytes_max: usize) -> io::Result<Vec<Entry>> {
        let entries = self.log.read_entries(LogIndex::new(from), LogIndex::new(below), bytes_max);
        entries.map_err(|error| self.unreadable(error))
    }

    fn id_at(&self, index: LogIndex) -> io::Result<Option<EntryId>> {
        self.log.id_at(index).map_err(|error| self.unreadable(error))
    }

    fn unreadable(&self, error: ReadError) -> io::Error {
        if let ReadError::Corrupt(damage) = &error {
            // The group stops here because of it, so this may take its time; the next start sets the log aside.
            // Whoever reads says what was met; that it could not be marked is nobody else's to say.
            if let Err(error) = self.log.mark_damaged(&damage.to_string()) {
                tracing::error!(log = %self.key, %damage, %error, "damage was met in the log, and not marked");
            }
        }
        io::Error::other(error)
    }

    /// The indexes of a range, cut to what the log holds.
    fn bounds(&self, range: &impl RangeBounds<u64>) -> (u64, u64) {
        let state = self.log.state();
        let first = state.purged.map_or(0, |id| id.index.next().get());
        let from = match range.start_bound() {
            Bound::Included(start) => *start,
            Bound::Excluded(start) => start.saturating_add(1),
            Bound::Unbounded => first,
        };
        let below = match range.end_bound() {
            Bound::Included(end) => end.saturating_add(1),
            Bound::Excluded(end) => *end,
            Bound::Unbounded => u64::MAX,
        };
        let end = state.last.map_or(0, |id| id.index.next().get());
        (from.max(first), below.min(end))
    }

    /// The first index from `from` on that the log holds. Another than `from` only in openraft's suite, whose logs begin
    /// anywhere; a group's begins at 0 or after what was purged.
    fn first_held(&self, from: u64, below: u64) -> io::Result<u64> {
        for index in from..below {
            if self.id_at(LogIndex::new(index))?.is_some() {
                return Ok(index);
            }
        }
        Ok(below)
    }
}

/// An entry as the log takes it, and who wants to hear of it.
fn lower(entry: RaftEntry) -> (NewEntry, Option<oneshot::Sender<Appended>>) {
    let id = entry_id(&entry.log_id());
    let new = |kind, payload| NewEntry { id, kind, payload, expected_base_offset: None };
    match entry.payload {
        EntryPayload::Blank => (new(EntryKind::Blank, Bytes::new()), None),
        EntryPayload::Membership(m) => (new(EntryKind::Membership, codec::encode_membership(&m)), None),
        EntryPayload::Normal(Command::Proposed(p)) if p.fence.as_ref().is_some_and(Fence::has_fallen) => {
            (new(EntryKind::Blank, Bytes::new()), None)
        }
        EntryPayload::Normal(Command::Proposed(p)) => (new(p.kind, p.payload), p.on_append),
        EntryPayload::Normal(Command::Stored(stored)) => {
            let expected_base_offset = Some(stored.base_offset);
            (NewEntry { expected_base_offset, ..new(stored.kind, stored.payload) }, None)
        }
    }
}

/// An entry as openraft wants it.
fn raise(entry: Entry) -> io::Result<RaftEntry> {
    let id = log_id(entry.id);
    let payload = match entry.kind {
        EntryKind::Blank => EntryPayload::Blank,
        EntryKind::Membership => {
            EntryPayload::Membership(codec::decode_membership(entry.payload).map_err(io::Error::other)?)
        }
        _ => EntryPayload::Normal(Command::Stored(entry)),
    };
    Ok(RaftEntry::new(id, payload))
}

impl RaftLogReader<TypeConfig> for LogStore {
    async fn entries_stream<RB>(&mut self, range: RB) -> impl Stream<Item = io::Result<RaftEntry>> + OptionalSend
    where
        RB: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        let (first, below) = self.bounds(&range);
        // Whoever applies must not miss an entry: one that was purged is an error, not a gap.
        let next = match range.start_bound() {
            Bound::Included(start) => *start,
            _ => first,
        };
        Entries { store: self.clone(), next, below, ready: VecDeque::new() }
    }

    async fn try_get_log_entries<RB>(&mut self, range: RB) -> io::Result<Vec<RaftEntry>>
    where
        RB: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        let (from, below) = self.bounds(&range);
        let mut next = self.first_held(from, below)?;
        let mut entries = Vec::new();
        while next < below {
            let some = self.read(next, below, APPLY_BYTES_MAX)?;
            next = after(&some).ok_or_else(|| missing(next))?;
            for entry in some {
                entries.push(raise(entry)?);
            }
        }
        Ok(entries)
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> io::Result<Vec<RaftEntry>> {
        // An entry that was purged is an error here, not a gap.
        self.read(start, end, REPLICATE_BYTES_MAX)?.into_iter().map(raise).collect()
    }

    async fn read_vote(&mut self) -> io::Result<Option<Vote>> {
        self.votes.get(self.key).map(codec::decode_vote).transpose().map_err(io::Error::other)
    }
}

/// Tells who wants to hear it where its entry went; the first record of all of them is at `base_offset`.
fn tell(entries: &[NewEntry], listeners: Vec<Option<oneshot::Sender<Appended>>>, mut base_offset: Offset) {
    for (entry, listener) in entries.iter().zip(listeners) {
        if let Some(listener) = listener {
            // The producer may have gone.
            let _ = listener.send(Appended { id: entry.id, base_offset });
        }
        if entry.kind == EntryKind::Data {
            // The log has read the same header: it can be read.
            let records = BatchHeader::read(&entry.payload).map_or(0, |header| u64::from(header.last_offset_delta) + 1);
            base_offset = base_offset.saturating_add(records);
        }
    }
}

/// The index after the last of some entries.
fn after(entries: &[Entry]) -> Option<u64> {
    entries.last().map(|entry| entry.id.index.next().get())
}

fn missing(index: u64) -> io::Error {
    io::Error::other(format!("the log has no entry {index}, although it begins before and ends after it"))
}

/// Entries in order, looked up a few MiB at a time: a restart may have millions to apply.
struct Entries {
    store: LogStore,
    next: u64,
    below: u64,
    ready: VecDeque<Entry>,
}

impl Stream for Entries {
    type Item = io::Result<RaftEntry>;

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.ready.is_empty() && self.next < self.below {
            let some = self.store.read(self.next, self.below, APPLY_BYTES_MAX);
            let next = self.next;
            match some.and_then(|some| Ok((after(&some).ok_or_else(|| missing(next))?, some))) {
                Ok((next, some)) => {
                    self.next = next;
                    self.ready = some.into();
                }
                Err(error) => {
                    // Nothing follows an error.
                    self.next = self.below;
                    return Poll::Ready(Some(Err(error)));
                }
            }
        }
        Poll::Ready(self.ready.pop_front().map(raise))
    }
}

impl RaftLogStorage<TypeConfig> for LogStore {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> io::Result<LogState<TypeConfig>> {
        let state = self.log.state();
        Ok(LogState { last_purged_log_id: state.purged.map(log_id), last_log_id: state.last.map(log_id) })
    }

    async fn get_log_reader(&mut self) -> Self::LogReader {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> io::Result<()> {
        let (saved, is_saved) = oneshot::channel();
        let on_durable: OnDurable = Box::new(move |outcome| {
            // Nobody waits any more when the group was stopped meanwhile.
            let _ = saved.send(outcome);
        });
        self.votes.save(self.key, codec::encode_vote(vote), on_durable);
        if is_planted(Bug::VoteNotSynced) {
            return Ok(());
        }
        match is_saved.await {
            Ok(outcome) => outcome.map_err(io::Error::other),
            Err(_) => Err(io::Error::other("the flusher stopped before the vote was durable")),
        }
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<TypeConfig>) -> io::Result<()>
    where
        I: IntoIterator<Item = RaftEntry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let (entries, listeners): (Vec<_>, Vec<_>) = entries.into_iter().map(lower).unzip();
        let on_durable: OnDurable = Box::new(move |outcome| callback.io_completed(outcome.map_err(io::Error::other)));
        let appended = self.log.append(&entries, self.clock.now(), Some(on_durable)).map_err(io::Error::other)?;
        if listeners.iter().any(Option::is_some) {
            tell(&entries, listeners, appended.base_offset);
        }
        Ok(())
    }

    async fn truncate_after(&mut self, last: Option<LogId>) -> io::Result<()> {
        let from = last.map_or(LogIndex::new(0), |last| LogIndex::new(last.index).next());
        let log = self.log.clone();
        blocking(move || log.truncate_from(from)).await?.map_err(io::Error::other)
    }

    async fn purge(&mut self, id: LogId) -> io::Result<()> {
        let id = entry_id(&id);
        let state = self.log.state();
        let log = self.log.clone();
        if state.last.is_some_and(|last| id.index <= last.index) {
            if self.id_at(id.index)?.is_none() {
                // Before the first entry there is nothing to drop.
                return Ok(());
            }
            return match blocking(move || log.purge_through(id)).await? {
                Err(LogError::NoSpace(reason)) => {
                    // To openraft an error is the end of the group. It may be done later: `Replica::trim` sees to it.
                    tracing::warn!(%reason, %id, "the log was not cut yet");
                    Ok(())
                }
                done => done.map_err(io::Error::other),
            };
        }
        match self.installed.at(id) {
            Some(boundary) => blocking(move || log.reset(&boundary)).await?.map_err(io::Error::other),
            None => Err(io::Error::other(format!(
                "refused to purge through entry {id}: the log ends at {} and no snapshot reaches there",
                state.last.map_or_else(|| "nothing".to_owned(), |last| last.to_string())
            ))),
        }
    }
}

/// Runs what syncs away from the async threads.
async fn blocking(work: impl FnOnce() -> Result<(), LogError> + Send + 'static) -> io::Result<Result<(), LogError>> {
    runtime::blocking(work).await.map_err(io::Error::other)
}
