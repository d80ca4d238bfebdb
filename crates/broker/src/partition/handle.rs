//! The handle through which fronts use a partition: append, read, resolve, look.

use highwater_storage::Log;
use highwater_types::batch::ValidBatch;
use highwater_types::{Offset, Watermarks};
use tokio::sync::{mpsc, watch};

use super::error::{AppendError, ReadError};
use super::read::{Position, ReadFrom, ReadResult, Reader, ResolvedOffset};
use super::ticket::{self, Acks, AppendTicket};
use super::writer::Append;
use crate::admission::BytePermit;
use crate::clock::Clock;
use crate::raft::{Leadership, Replica, ReplicaStatus};

/// A cheap handle on a partition of this node. Clones are the same partition.
#[derive(Clone, Debug)]
pub struct PartitionHandle {
    pub(super) queue: mpsc::Sender<Append>,
    pub(super) reader: Reader,
    pub(super) clock: Clock,
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

    /// Finds the offset of a position.
    ///
    /// # Errors
    /// As [`PartitionHandle::read`].
    pub async fn resolve(&self, position: Position) -> Result<ResolvedOffset, ReadError> {
        self.reader.resolve(position).await
    }

    /// Where the partition begins, and how far it is committed, durable here, and written.
    #[must_use]
    pub fn watermarks(&self) -> Watermarks {
        let committed = *self.reader.committed.borrow();
        let state = self.log().state();
        let flushed = state.flushed.map_or(state.log_start, |flushed| flushed.next_offset);
        Watermarks { log_start: state.log_start, committed, flushed, log_end: state.log_end }
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

    /// How many bytes its entries take on disk.
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        self.log().state().size_bytes
    }

    fn log(&self) -> &Log {
        &self.reader.log
    }
}
