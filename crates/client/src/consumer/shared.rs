//! What the program's side of a consumer and its task share: the state, and how they ring for each other.
//!
//! The lock is never held across an await, nor while a batch is checked or taken apart.

use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll};

use futures_util::task::AtomicWaker;
use tokio::sync::Notify;

use super::error::ConsumeError;
use super::state::{Next, NextBatch, Phase, State};
use crate::reader::{ReadBatch, ReadRecord};

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct Shared {
    state: Mutex<State>,
    task: Notify,
    caller: AtomicWaker,
}

impl Shared {
    pub(super) fn new(state: State) -> Self {
        Self { state: Mutex::new(state), task: Notify::new(), caller: AtomicWaker::new() }
    }

    /// Does something with the state, and rings for those who have something to do then.
    pub(super) fn with<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let result = act(&mut state);
        let (wakes_task, wakes_caller) = state.take_wakes();
        drop(state);
        if wakes_task {
            self.task.notify_one();
        }
        if wakes_caller {
            self.caller.wake();
        }
        result
    }

    /// Waits until the task has something to do.
    pub(super) async fn task_wanted(&self) {
        self.task.notified().await;
    }

    /// Whether the group took the member in, or why not.
    pub(super) fn poll_joined(&self, context: &mut Context<'_>) -> Poll<Result<(), ConsumeError>> {
        self.poll(context, |state| {
            if state.is_joined() {
                return Poll::Ready(Ok(()));
            }
            match state.take_failure() {
                Some(error) => Poll::Ready(Err(error)),
                None if state.phase() == Phase::Ended => Poll::Ready(Err(state.ended())),
                None => Poll::Pending,
            }
        })
    }

    pub(super) fn poll_record(&self, context: &mut Context<'_>) -> Poll<Option<Result<ReadRecord, ConsumeError>>> {
        loop {
            let taken = match self.poll(context, |state| match state.next_record() {
                Next::Wait => Poll::Pending,
                next => Poll::Ready(next),
            }) {
                Poll::Pending | Poll::Ready(Next::Wait) => return Poll::Pending,
                Poll::Ready(Next::Record(record)) => return Poll::Ready(Some(Ok(record))),
                Poll::Ready(Next::Failed(error)) => return Poll::Ready(Some(Err(error))),
                Poll::Ready(Next::End) => return Poll::Ready(None),
                Poll::Ready(Next::Batch(taken)) => taken,
            };
            // It decompresses here.
            let records = taken.batch.records();
            if let Some(error) = self.with(|state| state.install(taken, records)) {
                return Poll::Ready(Some(Err(error)));
            }
        }
    }

    pub(super) fn poll_batch(&self, context: &mut Context<'_>) -> Poll<Option<Result<ReadBatch, ConsumeError>>> {
        self.poll(context, |state| match state.next_batch() {
            NextBatch::Wait => Poll::Pending,
            NextBatch::Batch(batch) => Poll::Ready(Some(Ok(batch))),
            NextBatch::Failed(error) => Poll::Ready(Some(Err(error))),
            NextBatch::End => Poll::Ready(None),
        })
    }

    /// Looks, and looks again once a waker is there: what comes in between is not missed.
    fn poll<T>(&self, context: &mut Context<'_>, mut look: impl FnMut(&mut State) -> Poll<T>) -> Poll<T> {
        let found = self.with(&mut look);
        if found.is_ready() {
            return found;
        }
        self.caller.register(context.waker());
        self.with(look)
    }
}
