//! A feed: one task that reads one partition for a member, here or where its leader is, for as long as it is held.
//!
//! Invariants: it reads only while the member has credit, which is taken when records are sent; so each feed holds one
//! answer at most that waits for more; nothing is sent that was read before a seek (each feed has a
//! serial, and what an older one sent is dropped); it ends when it is dropped.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use highwater_proto::v1;
use highwater_types::{ErrorCode, Offset, TopicName, TopicPartition};
use tokio::sync::{Notify, mpsc, watch};
use tokio_util::task::AbortOnDropHandle;

use super::open::Reading;
use crate::front::failure::Failure;
use crate::front::grpc::read::Read;
use crate::front::grpc::wire;

/// How long one read waits for records. What waits longer asks again.
const WAIT_MS: u32 = 30_000;
/// How long a replica here is believed that there is nothing new.
const NEWS_PATIENCE: Duration = Duration::from_secs(5);
/// The pause after a failure that may pass.
const RETRY: Duration = Duration::from_millis(200);

/// Bytes that may be sent, over all feeds of a member. Below 0 by as much as the last answers ran over.
#[derive(Debug, Default)]
pub(super) struct Credit {
    bytes: AtomicI64,
    more: Notify,
}

impl Credit {
    pub(super) fn give(&self, bytes: u64) {
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
        // A client that gives more than there are bytes in the world gets no more than that.
        let added = self.bytes.fetch_update(Ordering::AcqRel, Ordering::Acquire, |had| Some(had.saturating_add(bytes)));
        if added.is_ok_and(|had| had <= 0) {
            self.more.notify_waiters();
        }
    }

    /// So much was sent.
    pub(super) fn take(&self, bytes: usize) {
        self.bytes.fetch_sub(i64::try_from(bytes).unwrap_or(i64::MAX), Ordering::AcqRel);
    }

    /// Whether there is some.
    pub(super) fn is_left(&self) -> bool {
        self.bytes.load(Ordering::Acquire) > 0
    }

    /// Waits until there is some; how much there is.
    async fn some(&self) -> u32 {
        loop {
            let more = self.more.notified();
            tokio::pin!(more);
            // Before the look, so that none is missed between the two.
            more.as_mut().enable();
            let bytes = self.bytes.load(Ordering::Acquire);
            if bytes > 0 {
                return u32::try_from(bytes).unwrap_or(u32::MAX);
            }
            more.await;
        }
    }
}

/// What feeds tell their member.
#[derive(Debug)]
pub(super) struct Item {
    pub(super) at: TopicPartition,
    pub(super) serial: u64,
    pub(super) what: What,
}

#[derive(Debug)]
pub(super) enum What {
    /// Records, as pieces of a message.
    Records { pieces: Vec<Bytes>, bytes: usize, next: Offset, end: Offset },
    /// The partition cannot be read from there; the feed has ended.
    Failed(Failure),
}

/// What a feed reads.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) read: Read,
    pub(super) at: TopicPartition,
    pub(super) topic: TopicName,
    pub(super) from: Offset,
    pub(super) reading: Reading,
    pub(super) serial: u64,
    pub(super) credit: Arc<Credit>,
    pub(super) items: mpsc::Sender<Item>,
}

/// A feed that runs until this is dropped.
#[derive(Debug)]
pub(super) struct Feed {
    is_paused: watch::Sender<bool>,
    _task: AbortOnDropHandle<()>,
}

impl Feed {
    pub(super) fn start(source: Source, is_paused: bool) -> Self {
        let is_paused = watch::Sender::new(is_paused);
        let task = tokio::spawn(source.run(is_paused.subscribe()));
        Self { is_paused, _task: AbortOnDropHandle::new(task) }
    }

    pub(super) fn set_paused(&self, is_paused: bool) {
        self.is_paused.send_replace(is_paused);
    }
}

impl Source {
    async fn run(mut self, mut is_paused: watch::Receiver<bool>) {
        loop {
            if is_paused.wait_for(|is_paused| !is_paused).await.is_err() {
                return;
            }
            let credit = self.credit.some().await;
            let what = tokio::select! {
                what = self.next(credit) => what,
                // What a paused partition has read and not sent would only fill the way of the others.
                _ = is_paused.wait_for(|is_paused| *is_paused) => continue,
            };
            let Some(what) = what else { continue };
            let is_over = matches!(what, What::Failed(_));
            let item = Item { at: self.at, serial: self.serial, what };
            if self.items.send(item).await.is_err() || is_over {
                return;
            }
        }
    }

    /// Reads on; nothing when there was nothing for a while.
    async fn next(&mut self, credit: u32) -> Option<What> {
        let Reading { form, bytes_max, may_follow, .. } = self.reading;
        // Many partitions are idle, and a question that waits at another node takes a place on the way there.
        let waits_here = !may_follow && self.wait_for_news().await;
        let request = v1::ReadRequest {
            topic: self.topic.to_string(),
            partition: self.at.partition.get(),
            from: Some(v1::Position { at: Some(v1::position::At::Offset(self.from.to_wire())) }),
            form: form.into(),
            bytes_max: bytes_max.min(credit),
            bytes_min: 1,
            wait_ms_max: if waits_here { 0 } else { WAIT_MS },
            may_follow,
        };
        let fetched = match self.read.fetch(&request).await {
            Ok(fetched) => fetched,
            Err(failure) if passes(&failure) || (may_follow && is_ahead(&failure, self.from)) => {
                tracing::debug!(topic = %self.topic, partition = %self.at.partition, %failure, "not read; trying again");
                tokio::time::sleep(RETRY).await;
                return None;
            }
            Err(failure) => return Some(What::Failed(failure)),
        };
        if fetched.next_offset <= self.from {
            return None;
        }
        let bytes = fetched.bytes;
        let (next, end) = (fetched.next_offset, Offset::from_wire(fetched.response.high_watermark));
        self.from = next;
        let (topic, partition) = (self.topic.as_str(), self.at.partition.get());
        let pieces = fetched.into_pieces(|read| wire::pieces_of_session_records(topic, partition, read));
        Some(What::Records { pieces, bytes, next, end: end.unwrap_or(next).max(next) })
    }

    /// Waits until a replica here that does not lead has heard of more records, or for a while: it may be cut off. Nothing
    /// where there is none.
    async fn wait_for_news(&self) -> bool {
        let Some(replica) = self.read.open_partition(self.at).filter(|replica| !replica.leadership().is_leader) else {
            return false;
        };
        let mut committed = replica.committed();
        // A replica that is closed is another reason to ask the leader.
        let _news = tokio::time::timeout(NEWS_PATIENCE, committed.wait_for(|committed| *committed > self.from)).await;
        true
    }
}

/// Whether the replica that was asked does not have so much yet. What is committed is never taken back, so it comes.
fn is_ahead(failure: &Failure, from: Offset) -> bool {
    failure.code == ErrorCode::OffsetOutOfRange && failure.valid.is_some_and(|valid| from > valid.end)
}

/// Whether the member need not hear of it: the leader changes, or the topic is gone and will be taken away.
fn passes(failure: &Failure) -> bool {
    failure.code.is_retryable() || matches!(failure.code, ErrorCode::UnknownTopic | ErrorCode::UnknownPartition)
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[tokio::test]
    async fn feeds_wait_for_credit() {
        let credit = Credit::default();
        assert!(credit.some().now_or_never().is_none());
        credit.give(10);
        assert_eq!(credit.some().now_or_never(), Some(10));
        credit.take(25);
        assert!(credit.some().now_or_never().is_none(), "15 bytes are owed");
        credit.give(u64::MAX);
        assert!(credit.some().now_or_never().is_some());
    }
}
