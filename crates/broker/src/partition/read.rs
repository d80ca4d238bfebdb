//! Reading a partition: what is committed, in order, without gaps (P3), and no copy of it.
//!
//! Never: reads at or above the high watermark, or lets an async thread wait for the disk where that can be known
//! beforehand: a range that is not in memory is read into it on a blocking thread first, by a few at a time.
//! Never: says where the partition ends without asking the group, unless the reader may follow. A leader that was
//! deposed without noticing (it was paused, or cut off) knows an old end only.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use highwater_storage::Log;
use highwater_types::{Offset, OffsetRange, Timestamp};
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;

use super::deletions::Beginning;
use super::error::ReadError;
use crate::planted::{Bug, is_planted};
use crate::raft::{Leadership, ReadBarrierError, Replica};
use crate::runtime::blocking;

/// What to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadFrom {
    /// The first offset wanted. The batch that holds it is given whole, so it may begin earlier.
    pub from: Offset,
    /// The most bytes; one larger batch is given whole.
    pub bytes_max: usize,
    /// Wait until there are so many bytes, or `wait` is over. Cut to `bytes_max`.
    pub bytes_min: usize,
    /// How long to wait for `bytes_min`.
    pub wait: Duration,
    /// Whether a replica that does not lead may answer, with what it knows to be committed: all of it true, but perhaps
    /// not the newest.
    pub may_follow: bool,
}

/// What was read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReadResult {
    /// Whole batches in order, slices of the log.
    pub batches: Vec<Bytes>,
    /// How many bytes they have.
    pub bytes: usize,
    /// Where to go on reading.
    pub next_offset: Offset,
    /// The first offset still kept.
    pub log_start: Offset,
    /// The first offset that is not committed.
    pub high_watermark: Offset,
}

/// A place in a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Position {
    /// This offset.
    Offset(Offset),
    /// The first record that is not older.
    Timestamp(Timestamp),
    /// The first record still kept.
    Start,
    /// After the last committed record.
    End,
}

/// The offset of a [`Position`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResolvedOffset {
    /// The offset. For a timestamp later than every record: the end.
    pub offset: Offset,
    /// The timestamp of the record there, when it was looked for by timestamp and found.
    pub timestamp: Option<Timestamp>,
}

/// How many reads of a node may wait for the disk at a time. Clones share one limit.
#[derive(Clone, Debug)]
pub struct ColdReads(Arc<Semaphore>);

impl ColdReads {
    /// At most `at_a_time`, and at least one.
    #[must_use]
    pub fn new(at_a_time: usize) -> Self {
        Self(Arc::new(Semaphore::new(at_a_time.max(1))))
    }

    /// Runs what may wait for the disk on a blocking thread, in its turn.
    async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, ReadError> {
        let permit = Arc::clone(&self.0).acquire_owned().await.map_err(|_| ReadError::Stopped)?;
        let work = move || {
            let result = work();
            drop(permit);
            result
        };
        blocking(work).await.map_err(|_| ReadError::Stopped)
    }
}

/// The reading side of a partition.
#[derive(Clone, Debug)]
pub(crate) struct Reader {
    pub(crate) replica: Replica,
    pub(crate) log: Log,
    pub(crate) committed: watch::Receiver<Offset>,
    pub(crate) beginning: Beginning,
    pub(super) leadership: watch::Receiver<Leadership>,
    pub(super) cold: ColdReads,
    pub(super) stop: CancellationToken,
}

impl Reader {
    /// The first offset that is read: older ones went with retention, or were deleted.
    pub(crate) fn log_start(&self) -> Offset {
        // A replica that begins from a snapshot may know of a deletion before it has what was not deleted.
        let deleted_below = self.beginning.get().min(*self.committed.borrow());
        self.log.state().log_start.max(deleted_below)
    }

    pub(crate) async fn read(&self, request: ReadFrom) -> Result<ReadResult, ReadError> {
        let mut result = self.read_now(&request).await?;
        if !is_enough(&request, &result) && !request.wait.is_zero() {
            result = self.read_later(&request, result).await?;
        }
        if request.may_follow || result.bytes > 0 || result.next_offset < result.high_watermark {
            return Ok(result);
        }
        // The reader takes this for the end.
        let end = self.confirmed_end().await?;
        if end > result.high_watermark { self.read_now(&request).await } else { Ok(result) }
    }

    /// Waits for more than `result`.
    async fn read_later(&self, request: &ReadFrom, mut result: ReadResult) -> Result<ReadResult, ReadError> {
        let mut committed = self.committed.clone();
        let mut leadership = self.leadership.clone();
        let deadline = tokio::time::sleep(request.wait);
        tokio::pin!(deadline);
        loop {
            tokio::select! {
                moved = committed.wait_for(|committed| *committed > result.high_watermark) => {
                    moved.map_err(|_| ReadError::Stopped)?;
                }
                // The next read says who leads instead.
                _ = leadership.wait_for(|leadership| !leadership.serves_writes), if !request.may_follow => {}
                () = self.stop.cancelled() => return Err(ReadError::Stopped),
                () = &mut deadline => return Ok(result),
            }
            result = self.read_now(request).await?;
            if is_enough(request, &result) {
                return Ok(result);
            }
        }
    }

    async fn read_now(&self, request: &ReadFrom) -> Result<ReadResult, ReadError> {
        let from = request.from;
        let valid = self.range_around(from, request.may_follow).await?;
        let (log_start, high_watermark) = (valid.start, valid.end);
        let nothing = ReadResult { next_offset: from, log_start, high_watermark, ..ReadResult::default() };
        if from >= high_watermark {
            return Ok(nothing);
        }
        if self.log.is_cold(from) {
            let (log, bytes) = (self.log.clone(), request.bytes_max);
            self.cold.run(move || log.populate(from, bytes)).await?;
        }
        let slices = self.log.read_batches(from, high_watermark, request.bytes_max);
        let slices = match slices {
            Err(highwater_storage::ReadError::Corrupt(damage)) => {
                self.replica.report_damage(damage.to_string()).await;
                return Err(ReadError::Storage(damage.into()));
            }
            slices => slices.map_err(|error| read_error(error, valid))?,
        };
        Ok(ReadResult { batches: slices.batches, bytes: slices.bytes, next_offset: slices.next_offset, ..nothing })
    }

    /// What may be read, when `from` is in it or may be in a moment.
    async fn range_around(&self, from: Offset, may_follow: bool) -> Result<OffsetRange, ReadError> {
        let valid = OffsetRange::new(self.log_start(), self.high_watermark(may_follow)?);
        let out_of_range = Err(ReadError::OffsetOutOfRange { offset: from, valid });
        if from < valid.start {
            return out_of_range;
        }
        // Records at and beyond the high watermark may be committed in a moment: a reader there waits.
        if from <= self.log.state().log_end.max(valid.end) {
            return Ok(valid);
        }
        if may_follow {
            return out_of_range;
        }
        // Who was replaced and has not heard of it lacks what its readers have read elsewhere, and must not send them away.
        let end = self.confirmed_end().await?;
        if from <= self.log.state().log_end.max(end) { Ok(OffsetRange::new(valid.start, end)) } else { out_of_range }
    }

    pub(super) async fn resolve(&self, position: Position) -> Result<ResolvedOffset, ReadError> {
        let high_watermark = match position {
            Position::End => self.confirmed_end().await?,
            _ => self.high_watermark(false)?,
        };
        let log_start = self.log_start();
        let valid = OffsetRange::new(log_start, high_watermark);
        let at = |offset| ResolvedOffset { offset, timestamp: None };
        match position {
            Position::Start => Ok(at(log_start)),
            Position::End => Ok(at(high_watermark)),
            Position::Offset(offset) if valid.contains(offset) || offset == valid.end => Ok(at(offset)),
            Position::Offset(offset) if offset > valid.end && offset <= self.confirmed_end().await? => Ok(at(offset)),
            Position::Offset(offset) => Err(ReadError::OffsetOutOfRange { offset, valid }),
            Position::Timestamp(wanted) => {
                let log = self.log.clone();
                // Its batch may have to be read and decompressed.
                let found = self.cold.run(move || log.find_timestamp(wanted, log_start, high_watermark)).await?;
                Ok(match found.map_err(|error| read_error(error, valid))? {
                    Some((offset, timestamp)) => ResolvedOffset { offset, timestamp: Some(timestamp) },
                    None => at(high_watermark),
                })
            }
        }
    }

    /// The first offset that is not committed, as of now, from a replica that leads.
    async fn confirmed_end(&self) -> Result<Offset, ReadError> {
        let known = self.high_watermark(false)?;
        if is_planted(Bug::StaleEnd) {
            return Ok(known);
        }
        self.replica.read_barrier().await.map_err(|error| match error {
            ReadBarrierError::NotLeader { leader } => ReadError::NotLeader { leader },
            ReadBarrierError::NoQuorum => ReadError::NotLeader { leader: None },
            ReadBarrierError::Stopped => ReadError::Stopped,
        })
    }

    /// The first offset that is not committed, from a replica that knows it.
    fn high_watermark(&self, may_follow: bool) -> Result<Offset, ReadError> {
        let led = *self.leadership.borrow();
        if !led.serves_writes && !may_follow {
            return Err(ReadError::NotLeader { leader: led.other_leader() });
        }
        Ok(*self.committed.borrow())
    }
}

/// Whether there is no point in waiting for more.
fn is_enough(request: &ReadFrom, result: &ReadResult) -> bool {
    let bytes_min = request.bytes_min.clamp(1, request.bytes_max.max(1));
    result.bytes >= bytes_min
        // There is more, but it does not fit.
        || result.next_offset < result.high_watermark
}

fn read_error(error: highwater_storage::ReadError, valid: OffsetRange) -> ReadError {
    match error {
        // Trimmed away between the check and the read.
        highwater_storage::ReadError::OffsetOutOfRange { offset, valid: now } => {
            ReadError::OffsetOutOfRange { offset, valid: OffsetRange::new(now.start, valid.end) }
        }
        other => ReadError::Storage(other),
    }
}
