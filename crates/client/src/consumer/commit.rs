//! What the program commits by itself, and the answer to that.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use highwater_types::{LeaderEpoch, Offset, PartitionId, TopicName};
use tokio::sync::oneshot;

use super::error::ConsumeError;
use super::rebalance::TopicPartitionName;
use crate::reader::ReadRecord;

/// An offset to be committed: the *next* record to read, which is the one after the last that was done.
///
/// ```
/// use highwater_client::{CommitOffset, ReadRecord};
/// fn done(record: &ReadRecord) -> CommitOffset {
///     CommitOffset::after(record).metadata("by the night shift")
/// }
/// # let _ = done;
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "nothing is committed until it is given to a consumer or to `Admin::commit_group_offsets`"]
pub struct CommitOffset {
    pub(crate) partition: TopicPartitionName,
    pub(crate) offset: Offset,
    pub(crate) leader_epoch: Option<LeaderEpoch>,
    pub(crate) metadata: String,
}

impl CommitOffset {
    /// The next record to read of a partition.
    pub fn new(topic: TopicName, partition: PartitionId, offset: Offset) -> Self {
        Self {
            partition: TopicPartitionName::new(topic, partition),
            offset,
            leader_epoch: None,
            metadata: String::new(),
        }
    }

    /// This record is done, and all before it in its partition.
    pub fn after(record: &ReadRecord) -> Self {
        Self::new(record.topic.clone(), record.partition, record.offset.saturating_add(1))
    }

    /// The leader epoch of the last record that was read.
    pub fn leader_epoch(mut self, epoch: LeaderEpoch) -> Self {
        self.leader_epoch = Some(epoch);
        self
    }

    /// A text to be kept beside the offset, of at most 4 KiB.
    pub fn metadata(mut self, text: impl Into<String>) -> Self {
        self.metadata = text.into();
        self
    }
}

impl From<(TopicName, PartitionId, Offset)> for CommitOffset {
    fn from((topic, partition, offset): (TopicName, PartitionId, Offset)) -> Self {
        Self::new(topic, partition, offset)
    }
}

impl From<(TopicName, PartitionId, Offset, String)> for CommitOffset {
    fn from((topic, partition, offset, metadata): (TopicName, PartitionId, Offset, String)) -> Self {
        Self::new(topic, partition, offset).metadata(metadata)
    }
}

impl From<&ReadRecord> for CommitOffset {
    fn from(record: &ReadRecord) -> Self {
        Self::after(record)
    }
}

/// The answer to a commit, to be awaited. Dropping it does not take the commit back.
#[derive(Debug)]
pub struct PendingCommit {
    group: String,
    answer: oneshot::Receiver<Result<(), ConsumeError>>,
}

impl PendingCommit {
    pub(super) fn new(group: String, answer: oneshot::Receiver<Result<(), ConsumeError>>) -> Self {
        Self { group, answer }
    }
}

impl Future for PendingCommit {
    type Output = Result<(), ConsumeError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let answer = std::task::ready!(Pin::new(&mut self.answer).poll(context));
        Poll::Ready(answer.unwrap_or_else(|_| Err(ConsumeError::Ended { group: std::mem::take(&mut self.group) })))
    }
}
