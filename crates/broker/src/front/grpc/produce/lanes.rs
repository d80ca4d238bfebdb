//! What a produce stream waits for: batches on their way, in one lane a partition.
//!
//! Owns: the order of answers. Those of one lane come in the order of its requests, those of different lanes as they
//! are ready, so a slow partition holds up nobody but itself.
//!
//! Never: spawns a task. Only the front of each lane is waited for: behind it nothing can be answered anyway.

use std::collections::{HashMap, VecDeque};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use highwater_types::PartitionId;

use crate::front::failure::Failure;

/// What keeps answers in order: the topic as the client named it, and the partition.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Lane {
    pub(super) topic: String,
    pub(super) partition: PartitionId,
}

/// A request that was taken in: its outcome is known, or a ticket resolves to it.
#[derive(Debug)]
pub(super) struct Taken<T> {
    /// The client's number for it.
    pub(super) correlation: u64,
    /// A ticket, or why there is none.
    pub(super) ticket: Result<T, Failure>,
}

/// A request whose outcome is known.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Answered<A> {
    pub(super) lane: Lane,
    pub(super) correlation: u64,
    pub(super) outcome: Result<A, Failure>,
}

/// The requests of one stream that are not answered yet.
#[derive(Debug)]
pub(super) struct Lanes<T> {
    /// The front of each lane.
    fronts: FuturesUnordered<Front<T>>,
    /// What waits behind the fronts. A lane that is here, even empty, has a front.
    behind: HashMap<Lane, VecDeque<Taken<T>>>,
    len: usize,
}

impl<T, A, E> Lanes<T>
where
    T: Future<Output = Result<A, E>> + Unpin,
    Failure: From<E>,
{
    pub(super) fn new() -> Self {
        Self { fronts: FuturesUnordered::new(), behind: HashMap::new(), len: 0 }
    }

    /// How many requests are not answered.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Puts a request at the end of its lane.
    pub(super) fn push(&mut self, lane: Lane, taken: Taken<T>) {
        self.len += 1;
        if let Some(waiting) = self.behind.get_mut(&lane) {
            waiting.push_back(taken);
            return;
        }
        self.behind.insert(lane.clone(), VecDeque::new());
        self.fronts.push(Front { lane: Some(lane), taken: Some(taken) });
    }

    /// The next answer; `None` when no request waits for one. Nothing is lost when this is dropped before it is done.
    pub(super) async fn next(&mut self) -> Option<Answered<A>> {
        let answered = self.fronts.next().await?;
        self.len -= 1;
        match self.behind.get_mut(&answered.lane).and_then(VecDeque::pop_front) {
            Some(taken) => self.fronts.push(Front { lane: Some(answered.lane.clone()), taken: Some(taken) }),
            None => drop(self.behind.remove(&answered.lane)),
        }
        Some(answered)
    }
}

/// The oldest request of a lane, as the future of its answer.
#[derive(Debug)]
struct Front<T> {
    // Both are there until the answer is.
    lane: Option<Lane>,
    taken: Option<Taken<T>>,
}

impl<T, A, E> Future for Front<T>
where
    T: Future<Output = Result<A, E>> + Unpin,
    Failure: From<E>,
{
    type Output = Answered<A>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Answered<A>> {
        let outcome = match self.taken.as_mut().map(|taken| &mut taken.ticket) {
            Some(Ok(ticket)) => ready!(Pin::new(ticket).poll(context)).map_err(Failure::from),
            Some(Err(failure)) => Err(failure.clone()),
            None => return Poll::Pending,
        };
        match (self.lane.take(), self.taken.take()) {
            (Some(lane), Some(taken)) => Poll::Ready(Answered { lane, correlation: taken.correlation, outcome }),
            _ => Poll::Pending,
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use highwater_types::ErrorCode;
    use tokio::sync::oneshot;

    use super::*;

    /// A ticket that a test resolves by hand.
    struct Ticket(oneshot::Receiver<u64>);

    impl Future for Ticket {
        type Output = Result<u64, Failure>;

        fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
            self.0.poll_unpin(context).map_err(|_| Failure::shutting_down())
        }
    }

    fn lane(partition: u32) -> Lane {
        Lane { topic: "orders".to_owned(), partition: PartitionId::new(partition) }
    }

    struct Bench {
        lanes: Lanes<Ticket>,
        correlation: u64,
    }

    impl Bench {
        fn new() -> Self {
            Self { lanes: Lanes::new(), correlation: 0 }
        }

        fn push(&mut self, partition: u32, ticket: Result<Ticket, Failure>) {
            self.correlation += 1;
            self.lanes.push(lane(partition), Taken { correlation: self.correlation, ticket });
        }

        fn send(&mut self, partition: u32) -> oneshot::Sender<u64> {
            let (resolve, ticket) = oneshot::channel();
            self.push(partition, Ok(Ticket(ticket)));
            resolve
        }

        fn ready(&mut self) -> Vec<u64> {
            let mut ready = Vec::new();
            while let Some(Some(answer)) = self.lanes.next().now_or_never() {
                ready.push(answer.correlation);
            }
            ready
        }
    }

    #[tokio::test]
    async fn a_lane_answers_in_order_even_what_was_refused_at_once() {
        let mut bench = Bench::new();
        let first = bench.send(0);
        bench.push(0, Err(Failure::new(ErrorCode::CorruptBatch, "damaged")));
        let third = bench.send(0);
        third.send(3).unwrap();
        assert_eq!(bench.ready(), [0; 0], "nothing overtakes the first");
        first.send(1).unwrap();
        assert_eq!(bench.ready(), [1, 2, 3]);
        assert_eq!(bench.lanes.len(), 0);
        assert!(bench.lanes.behind.is_empty(), "lanes that are done are forgotten");
    }

    #[tokio::test]
    async fn a_slow_partition_holds_up_itself_only() {
        let mut bench = Bench::new();
        let slow = bench.send(0);
        let others: Vec<_> = (1..=3).map(|partition| bench.send(partition)).collect();
        for resolve in others {
            resolve.send(0).unwrap();
        }
        assert_eq!(bench.ready(), [2, 3, 4]);
        assert_eq!(bench.lanes.len(), 1);
        drop(slow);
        let answer = bench.lanes.next().await.unwrap();
        assert_eq!((answer.correlation, answer.outcome.unwrap_err().code), (1, ErrorCode::ShuttingDown));
        assert!(bench.lanes.next().await.is_none());
    }
}
