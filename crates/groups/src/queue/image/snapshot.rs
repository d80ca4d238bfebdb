//! The image as bytes: one byte of format, then Protocol Buffers. Equal images give equal bytes.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use highwater_types::{LogIndex, Offset, OffsetRange, Timestamp};
use prost::Message;

use super::{Queue, QueuesImage};
use crate::planted::{Bug, is_planted};
use crate::queue::entry::{Entry, Standing};
use crate::queue::ranges::RangeSet;
use crate::queue::record::DecodeError;
use crate::queue::record::wire::parts::{self, columns, death_cause, death_code, offset, ranges};
use crate::stream::ids::GroupId;
use crate::stream::record::parts::malformed;
use crate::stream::record::{frame, unframe};

#[derive(Clone, PartialEq, Message)]
struct Snapshot {
    #[prost(uint64, optional, tag = "1")]
    revision: Option<u64>,
    #[prost(message, repeated, tag = "2")]
    queues: Vec<QueueState>,
}

#[derive(Clone, PartialEq, Message)]
struct QueueState {
    #[prost(string, tag = "1")]
    group: String,
    #[prost(message, optional, tag = "2")]
    config: Option<parts::Config>,
    #[prost(uint64, tag = "3")]
    start: u64,
    #[prost(uint64, repeated, tag = "4")]
    done: Vec<u64>,
    #[prost(message, repeated, tag = "5")]
    entries: Vec<EntryState>,
    #[prost(message, optional, tag = "6")]
    pause: Option<parts::Pause>,
    #[prost(uint64, tag = "7")]
    acked: u64,
    #[prost(uint64, tag = "8")]
    dropped: u64,
    #[prost(uint64, tag = "9")]
    trimmed: u64,
    #[prost(message, repeated, tag = "10")]
    kept: Vec<parts::Kept>,
}

#[derive(Clone, PartialEq, Message)]
struct EntryState {
    /// How far behind the entry before.
    #[prost(uint64, tag = "1")]
    gap: u64,
    #[prost(uint32, tag = "2")]
    attempts: u32,
    /// 0 to be tried again, 1 put off, above that dead: 1 more than the cause.
    #[prost(uint32, tag = "3")]
    standing: u32,
    #[prost(sint64, tag = "4")]
    at_ms: i64,
    #[prost(message, repeated, tag = "5")]
    journal: Vec<parts::Attempt>,
    #[prost(bool, tag = "6")]
    is_redriven: bool,
}

impl QueuesImage {
    /// The image as bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Bytes {
        frame(&Snapshot {
            revision: self.revision.map(LogIndex::get),
            queues: self.queues().map(|(group, queue)| QueueState::new(group, queue)).collect(),
        })
    }

    /// The image that [`QueuesImage::to_bytes`] wrote.
    ///
    /// # Errors
    /// [`DecodeError`] when this version does not understand all of it.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, DecodeError> {
        let snapshot: Snapshot = unframe(bytes)?;
        let queues = snapshot.queues.into_iter().map(QueueState::read);
        Ok(Self { revision: snapshot.revision.map(LogIndex::new), queues: queues.collect::<Result<_, _>>()? })
    }
}

impl QueueState {
    fn new(group: &GroupId, queue: &Queue) -> Self {
        let mut at = 0;
        let entries = queue.entries.iter().map(|(offset, entry)| {
            let gap = offset.get() - std::mem::replace(&mut at, offset.get());
            EntryState::new(gap, entry)
        });
        let is_told = |_: &OffsetRange| !is_planted(Bug::AcksNotInSnapshot);
        Self {
            group: group.to_string(),
            config: Some((&queue.config).into()),
            start: queue.start.get(),
            done: columns(&queue.done.iter().filter(is_told).collect::<Vec<_>>()),
            entries: entries.collect(),
            pause: queue.pause.as_ref().map(Into::into),
            acked: queue.acked,
            dropped: queue.dropped,
            trimmed: queue.trimmed,
            kept: queue
                .kept
                .iter()
                .map(|(offset, record)| parts::Kept { offset: offset.get(), record: record.clone() })
                .collect(),
        }
    }

    fn read(self) -> Result<(GroupId, Arc<Queue>), DecodeError> {
        let config = self.config.ok_or_else(|| malformed("a queue has no settings"))?;
        let mut queue = Queue::new(config.try_into()?, offset(self.start)?);
        for range in ranges(&self.done)? {
            queue.done.insert(range);
        }
        queue.entries = read_entries(self.entries)?;
        check(&queue.done, &queue.entries, self.start)?;
        let kept = self.kept.into_iter().map(|kept| Ok((offset(kept.offset)?, kept.record)));
        queue.kept = kept.collect::<Result<_, DecodeError>>()?;
        if queue.kept.keys().any(|offset| !queue.entries.contains_key(offset)) {
            return Err(malformed("a queue keeps the record of a message that it knows nothing of"));
        }
        queue.dead = queue.entries.values().filter(|entry| entry.is_dead()).count();
        queue.pause = self.pause.map(TryInto::try_into).transpose()?;
        (queue.acked, queue.dropped, queue.trimmed) = (self.acked, self.dropped, self.trimmed);
        Ok((GroupId::new(&self.group).map_err(malformed)?, Arc::new(queue)))
    }
}

fn read_entries(states: Vec<EntryState>) -> Result<BTreeMap<Offset, Entry>, DecodeError> {
    let (mut at, mut entries) = (0_u64, BTreeMap::new());
    for state in states {
        at = at.checked_add(state.gap).ok_or_else(|| malformed("an entry lies behind all offsets"))?;
        if entries.insert(offset(at)?, state.read()?).is_some() {
            return Err(malformed("two entries have one offset"));
        }
    }
    Ok(entries)
}

/// What the image promises about its parts.
fn check(done: &RangeSet, entries: &BTreeMap<Offset, Entry>, start: u64) -> Result<(), DecodeError> {
    let is_behind = done.first().is_none_or(|first| first.start.get() > start);
    let is_done = |offset: &Offset| offset.get() < start || done.range_of(*offset).is_some();
    if is_behind && !entries.keys().any(is_done) {
        Ok(())
    } else {
        Err(malformed("a queue has messages that are done and not done"))
    }
}

impl EntryState {
    fn new(gap: u64, entry: &Entry) -> Self {
        let (standing, at) = match entry.standing {
            Standing::Retry { at } => (0, at),
            Standing::Scheduled { deliver_at } => (1, deliver_at),
            Standing::Dead { cause, at } => (1 + death_code(cause), at),
        };
        let journal = entry.journal.iter().map(Into::into).collect();
        let (attempts, is_redriven) = (entry.attempts, entry.is_redriven);
        Self { gap, attempts, standing, at_ms: at.as_ms(), journal, is_redriven }
    }

    fn read(self) -> Result<Entry, DecodeError> {
        let at = Timestamp::from_ms(self.at_ms);
        let standing = match self.standing {
            0 => Standing::Retry { at },
            1 => Standing::Scheduled { deliver_at: at },
            dead => Standing::Dead { cause: death_cause(dead - 1)?, at },
        };
        let journal = self.journal.into_iter().map(TryInto::try_into).collect::<Result<_, _>>()?;
        Ok(Entry { attempts: self.attempts, standing, is_redriven: self.is_redriven, journal })
    }
}
