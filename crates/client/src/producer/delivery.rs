//! What becomes of a record: the future that its sender holds, and the promise that the batch holds.
//!
//! One state a batch, shared by all its records; a record's future is a reference to it and an index.
//!
//! Invariant: a [`Promise`] is settled exactly once, at the latest when it is dropped; its memory is free again then.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::{Context, Poll, Waker};

use highwater_types::{Offset, PartitionId, Timestamp, TopicName};
use tokio::sync::Semaphore;

use super::error::ProduceError;

/// Where a record was stored.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RecordMetadata {
    /// The topic.
    pub topic: TopicName,
    /// The partition of it.
    pub partition: PartitionId,
    /// The offset. `None` with [`Acks::None`](crate::Acks), which does not tell it, and for a record that was sent again
    /// so late that the server remembers only that it is stored.
    pub offset: Option<Offset>,
    /// The record's time: the one it was given, or when it was sent.
    pub timestamp: Timestamp,
}

/// The acknowledgement of one record, to be awaited. Dropping it does not take the record back.
///
/// ```no_run
/// # async fn example(producer: highwater_client::Producer) -> Result<(), Box<dyn std::error::Error>> {
/// use highwater_client::Record;
/// // The first waits only for room; both records may travel in one batch.
/// let first = producer.send("orders", Record::new("placed")).await?;
/// let second = producer.send("orders", Record::new("paid")).await?;
/// println!("{:?} and {:?}", first.await?.offset, second.await?.offset);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[must_use = "whether the record was stored is told here; to wait for many at once, use `Producer::flush`"]
pub struct Delivery {
    batch: Arc<BatchState>,
    index: u32,
    timestamp: Timestamp,
    /// Where in the batch's list this future's waker stands.
    waker: Option<usize>,
}

/// What all records of one batch share.
#[derive(Debug)]
pub(super) struct BatchState {
    topic: TopicName,
    partition: PartitionId,
    settled: OnceLock<Result<Option<Offset>, ProduceError>>,
    /// At most one for each record of the batch.
    wakers: Mutex<Vec<Waker>>,
}

impl BatchState {
    fn register(&self, waker: &Waker, place: &mut Option<usize>) -> bool {
        let mut wakers = self.wakers.lock().unwrap_or_else(PoisonError::into_inner);
        // Settling stores the result before it takes this lock: looked at here, it cannot be missed.
        if self.settled.get().is_some() {
            return false;
        }
        match place.and_then(|place| wakers.get_mut(place)) {
            Some(known) => known.clone_from(waker),
            None => {
                *place = Some(wakers.len());
                wakers.push(waker.clone());
            }
        }
        true
    }

    fn settle(&self, result: Result<Option<Offset>, ProduceError>) {
        let is_first = self.settled.set(result).is_ok();
        assert!(is_first, "a batch is settled once");
        let wakers = std::mem::take(&mut *self.wakers.lock().unwrap_or_else(PoisonError::into_inner));
        wakers.into_iter().for_each(Waker::wake);
    }
}

impl Future for Delivery {
    type Output = Result<RecordMetadata, ProduceError>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        let batch = &this.batch;
        if batch.settled.get().is_none() && batch.register(context.waker(), &mut this.waker) {
            return Poll::Pending;
        }
        let Some(result) = batch.settled.get() else { return Poll::Pending };
        Poll::Ready(result.clone().map(|base| RecordMetadata {
            topic: batch.topic.clone(),
            partition: batch.partition,
            offset: base.map(|base| base.saturating_add(u64::from(this.index))),
            timestamp: this.timestamp,
        }))
    }
}

/// The other end of the deliveries of one batch, held by whoever is to get it stored.
#[derive(Debug)]
pub(super) struct Promise {
    state: Arc<BatchState>,
    memory: Arc<Memory>,
    memory_bytes: usize,
}

impl Promise {
    pub(super) fn new(topic: &TopicName, partition: PartitionId, memory: &Arc<Memory>) -> Self {
        let state = BatchState { topic: topic.clone(), partition, settled: OnceLock::new(), wakers: Mutex::default() };
        Self { state: Arc::new(state), memory: Arc::clone(memory), memory_bytes: 0 }
    }

    /// The future of the batch's record `index`, which holds so much of the producer's memory until it is settled.
    pub(super) fn delivery(&mut self, index: u32, timestamp: Timestamp, memory_bytes: usize) -> Delivery {
        self.memory_bytes += memory_bytes;
        Delivery { batch: Arc::clone(&self.state), index, timestamp, waker: None }
    }

    /// What flush waits for.
    pub(super) fn state(&self) -> Arc<BatchState> {
        Arc::clone(&self.state)
    }

    pub(super) fn topic(&self) -> &TopicName {
        &self.state.topic
    }

    pub(super) fn partition(&self) -> PartitionId {
        self.state.partition
    }

    /// Tells all records what became of the batch, and gives the memory back.
    pub(super) fn settle(self, result: Result<Option<Offset>, ProduceError>) {
        self.state.settle(result);
    }
}

impl Drop for Promise {
    fn drop(&mut self) {
        if self.state.settled.get().is_none() {
            let (topic, partition) = (self.state.topic.clone(), self.state.partition);
            self.state.settle(Err(ProduceError::Abandoned { topic, partition }));
        }
        self.memory.release(self.memory_bytes);
    }
}

/// Waits until a batch is settled, however.
pub(super) async fn settled(batch: Arc<BatchState>) {
    // A delivery of any record would do; its result is the batch's.
    let _ = Delivery { batch, index: 0, timestamp: Timestamp::NONE, waker: None }.await;
}

/// The bound on what a producer holds.
#[derive(Debug)]
pub(super) struct Memory {
    free: Semaphore,
    bytes_max: usize,
}

impl Memory {
    pub(super) fn new(bytes_max: usize) -> Self {
        let bytes_max = bytes_max.min(Semaphore::MAX_PERMITS).min(u32::MAX as usize);
        Self { free: Semaphore::new(bytes_max), bytes_max }
    }

    pub(super) fn bytes_max(&self) -> usize {
        self.bytes_max
    }

    /// Takes room for a record if there is some now.
    pub(super) fn try_acquire(&self, bytes: usize) -> bool {
        let Ok(permits) = u32::try_from(bytes) else { return false };
        self.free.try_acquire_many(permits).map(tokio::sync::SemaphorePermit::forget).is_ok()
    }

    /// Waits for room for a record, in turn. The caller has made sure that it is not larger than everything.
    pub(super) async fn acquire(&self, bytes: usize) {
        let permits = u32::try_from(bytes).unwrap_or(u32::MAX);
        if let Ok(permit) = self.free.acquire_many(permits).await {
            permit.forget();
        }
    }

    pub(super) fn release(&self, bytes: usize) {
        self.free.add_permits(bytes);
    }
}
