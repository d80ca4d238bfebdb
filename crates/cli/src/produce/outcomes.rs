//! What became of the records that were sent: a first-in-first-out row of acknowledgements, and their count.
//!
//! Invariant: every record that was sent is counted exactly once: acknowledged, certainly not stored, or unknown.
//! At most [`WAITING_MAX`] wait at a time; the producer's own memory bounds their bytes.

use std::collections::VecDeque;
use std::fmt;
use std::io;

use futures_util::FutureExt as _;
use highwater_client::{Delivery, Outcome, ProduceError, Producer, Record, RecordMetadata, SendError};
use highwater_types::TopicName;

use crate::lines::LineTooLong;

const WAITING_MAX: usize = 200_000;

/// How many records had which fate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Acknowledged with the durability that was asked for.
    pub(crate) acknowledged: u64,
    /// Refused: certainly not stored.
    pub(crate) not_stored: u64,
    /// Perhaps stored, perhaps not.
    pub(crate) unknown: u64,
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { acknowledged, not_stored, unknown } = self;
        let plural = if *acknowledged == 1 { "" } else { "s" };
        write!(f, "{acknowledged} record{plural} acknowledged, {not_stored} not stored, {unknown} perhaps stored")
    }
}

/// Why producing ended before the input did.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProduceStop {
    /// The producer did not take a record.
    #[error(transparent)]
    Send(#[from] SendError),
    /// A record was not acknowledged.
    #[error(transparent)]
    Delivery(ProduceError),
    /// Standard input cannot be read.
    #[error("standard input cannot be read: {0}")]
    Stdin(io::Error),
    /// A line is longer than a record may be.
    #[error(transparent)]
    LineTooLong(LineTooLong),
    /// Ctrl-C or `SIGTERM`.
    #[error("interrupted")]
    Interrupted,
}

/// The row of acknowledgements that are still to come.
#[derive(Debug, Default)]
pub(crate) struct Outcomes {
    waiting: VecDeque<(Delivery, usize)>,
    counts: Counts,
    acknowledged_bytes: u64,
    failure: Option<ProduceError>,
}

impl Outcomes {
    /// Nothing was sent yet.
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Sends a record of so many bytes of value; waits while the producer is full.
    pub(crate) async fn send(
        &mut self,
        producer: &Producer,
        topic: &TopicName,
        record: Record,
        bytes: usize,
    ) -> Result<(), SendError> {
        let delivery = producer.send(topic.as_str(), record).await?;
        self.waiting.push_back((delivery, bytes));
        while self.waiting.len() >= WAITING_MAX {
            self.settle_some().await;
        }
        Ok(())
    }

    /// Whether anything is still to come.
    pub(crate) fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Waits for the oldest, and takes with it whatever else is there.
    pub(crate) async fn settle_some(&mut self) {
        let Some((delivery, _)) = self.waiting.front_mut() else { return };
        // Not taken out of the row before it is settled: this future may be dropped while it waits.
        let result = delivery.await;
        self.settle_front(result);
        while let Some((delivery, _)) = self.waiting.front_mut()
            && let Some(result) = delivery.now_or_never()
        {
            self.settle_front(result);
        }
    }

    fn settle_front(&mut self, result: Result<RecordMetadata, ProduceError>) {
        let Some((_, bytes)) = self.waiting.pop_front() else { return };
        match result {
            Ok(_) => {
                self.counts.acknowledged += 1;
                self.acknowledged_bytes += u64::try_from(bytes).unwrap_or_default();
            }
            Err(error) => {
                match error.outcome() {
                    Outcome::NotDone => self.counts.not_stored += 1,
                    Outcome::Unknown => self.counts.unknown += 1,
                }
                // The first failure is the cause; those after it are often its consequences.
                self.failure.get_or_insert(error);
            }
        }
    }

    /// Waits for all that is still to come.
    pub(crate) async fn settle_all(&mut self) {
        while self.is_waiting() {
            self.settle_some().await;
        }
    }

    /// Waits no longer: what is still to come is unknown.
    pub(crate) fn give_up(&mut self) {
        self.counts.unknown += u64::try_from(self.waiting.len()).unwrap_or_default();
        self.waiting.clear();
    }

    /// How many records had which fate so far.
    pub(crate) fn counts(&self) -> Counts {
        self.counts
    }

    /// The bytes of the values that were acknowledged so far.
    pub(crate) fn acknowledged_bytes(&self) -> u64 {
        self.acknowledged_bytes
    }

    /// Whether a record failed.
    pub(crate) fn has_failed(&self) -> bool {
        self.failure.is_some()
    }

    /// The first failure, if there was one.
    pub(crate) fn into_failure(self) -> Option<ProduceError> {
        self.failure
    }
}
