//! The handle through which fronts use a partition: append, read, resolve, look.

use highwater_storage::Log;
use highwater_types::batch::{Record, ValidBatch};
use highwater_types::{Offset, Watermarks};
use tokio::sync::{mpsc, watch};

use super::deletions::Deleter;
use super::error::{AppendError, DeleteError, ReadError};
use super::producers::ProducerSummary;
use super::read::{Position, ReadFrom, ReadResult, Reader, ResolvedOffset};
use super::records::RecordsError;
use super::state::SharedProducers;
use super::ticket::{self, Acks, AppendTicket};
use super::writer::Append;
use crate::admission::BytePermit;
use crate::clock::Clock;
use crate::queues::QueueHandle;
use crate::raft::{Leadership, Replica, ReplicaStatus};

/// A cheap handle on a partition of this node. Clones are the same partition.
#[derive(Clone, Debug)]
pub struct PartitionHandle {
    pub(super) queue: mpsc::Sender<Append>,
    pub(super) reader: Reader,
    pub(super) clock: Clock,
    pub(super) queues: QueueHandle,
    pub(super) producers: SharedProducers,
    pub(super) deleter: Deleter,
}

impl PartitionHandle {
    /// Hands a batch to the partition. Waits only for room in its queue: that is the back-pressure. Batches of one
    /// caller enter the log in the order of its calls.
    ///
    /// `permit` stands for the batch's bytes and is held until the batch is decided.
    ///
    /// # Errors
    /// When the partition is stopping. Everything else is told by the ticket.
    pub async fn append(&self, batch: ValidBatch, acks: Acks, permit: BytePermit) -> Result<AppendTicket, AppendError> {
        let epoch = self.leadership().epoch;
        let records = batch.header().record_count;
        let (ticket, reply, on_append) = ticket::ticket(acks, self.clock.now(), records, epoch, permit);
        self.queue.send(Append { batch, reply, on_append }).await.map_err(|_| AppendError::Stopped)?;
        Ok(ticket)
    }

    /// Reads committed batches, waiting for them if asked to.
    ///
    /// # Errors
    /// When the offset is out of range, this replica does not lead, or the log cannot be read.
    pub async fn read(&self, request: ReadFrom) -> Result<ReadResult, ReadError> {
        self.reader.read(request).await
    }

    /// The records at these offsets, in their order; those that retention took are missing. `wanted` is sorted.
    pub(crate) async fn records(&self, wanted: &[Offset]) -> Result<Vec<Record>, RecordsError> {
        self.reader.records(wanted).await
    }

    /// Finds the offset of a position.
    ///
    /// # Errors
    /// As [`PartitionHandle::read`].
    pub async fn resolve(&self, position: Position) -> Result<ResolvedOffset, ReadError> {
        self.reader.resolve(position).await
    }

    /// Deletes all records below an offset, on every replica; returns where the records begin then. Going back does
    /// nothing. Their bytes go with whole segments, when retention looks next.
    ///
    /// # Errors
    /// [`DeleteError`]; only `OutcomeUnknown` leaves the outcome open.
    pub async fn delete_below(&self, offset: Offset) -> Result<Offset, DeleteError> {
        let begins = self.deleter.delete_below(&self.reader, offset).await?;
        self.queues.trimmed();
        Ok(begins)
    }

    /// Where the partition begins, and how far it is committed, durable here, and written.
    #[must_use]
    pub fn watermarks(&self) -> Watermarks {
        let committed = *self.reader.committed.borrow();
        let state = self.log().state();
        let flushed = state.flushed.map_or(state.log_start, |flushed| flushed.next_offset);
        Watermarks { log_start: self.reader.log_start(), committed, flushed, log_end: state.log_end }
    }

    /// The first offset that is not committed, now and from now on.
    #[must_use]
    pub fn committed(&self) -> watch::Receiver<Offset> {
        self.reader.committed.clone()
    }

    /// Who leads.
    #[must_use]
    pub fn leadership(&self) -> Leadership {
        *self.reader.leadership.borrow()
    }

    /// Who leads, now and from now on.
    #[must_use]
    pub fn leaderships(&self) -> watch::Receiver<Leadership> {
        self.reader.leadership.clone()
    }

    /// What this replica knows of its group: members, positions, peers.
    #[must_use]
    pub fn status(&self) -> ReplicaStatus {
        self.reader.replica.status()
    }

    /// The replica below: for changing its members and its leader.
    #[must_use]
    pub fn replica(&self) -> &Replica {
        &self.reader.replica
    }

    /// The idempotent producers that it remembers, by id.
    #[must_use]
    pub fn producers(&self) -> Vec<ProducerSummary> {
        self.producers.lock().summaries()
    }

    /// The queues on it.
    #[must_use]
    pub fn queues(&self) -> &QueueHandle {
        &self.queues
    }

    /// How many bytes its entries take on disk.
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        self.log().state().size_bytes
    }

    fn log(&self) -> &Log {
        &self.reader.log
    }
}
