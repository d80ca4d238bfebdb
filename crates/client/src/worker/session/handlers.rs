//! The tasks of the handlers, and which message each of them works on.
//!
//! Invariant: a handler ends with an outcome, whatever it does: a panic is a failure.

use std::any::Any;
use std::collections::HashMap;

use tokio::task::{Id, JoinError, JoinSet};

use super::super::Handler;
use super::super::hands::Serial;
use crate::queue::{MessageOutcome, QueueMessage};

/// See the module's documentation.
pub(super) struct Handlers {
    handler: Handler,
    running: JoinSet<MessageOutcome>,
    serials: HashMap<Id, Serial>,
    /// Those that have ended and were not taken.
    finished: Vec<Finished>,
}

/// A handler that has ended.
pub(super) struct Finished {
    pub(super) serial: Serial,
    pub(super) outcome: MessageOutcome,
    pub(super) has_panicked: bool,
}

impl Handlers {
    pub(super) fn new(handler: Handler) -> Self {
        Self { handler, running: JoinSet::new(), serials: HashMap::new(), finished: Vec::new() }
    }

    /// Whether none runs, and none has ended that was not taken.
    pub(super) fn are_empty(&self) -> bool {
        self.running.is_empty() && self.finished.is_empty()
    }

    pub(super) fn start(&mut self, serial: Serial, message: QueueMessage) {
        let handler = std::sync::Arc::clone(&self.handler);
        // The call itself may panic, too.
        let task = self.running.spawn(async move { handler(message).await });
        self.serials.insert(task.id(), serial);
    }

    /// Waits until one has ended; for ever where none runs. Dropping the future loses nothing.
    pub(super) async fn finished(&mut self) {
        match self.running.join_next_with_id().await {
            Some(ended) => self.on_end(ended),
            None => std::future::pending().await,
        }
    }

    /// All that have ended.
    pub(super) fn take_finished(&mut self) -> Vec<Finished> {
        while let Some(ended) = self.running.try_join_next_with_id() {
            self.on_end(ended);
        }
        std::mem::take(&mut self.finished)
    }

    /// Ends all where they are; they have no outcome.
    pub(super) fn end(&mut self) {
        self.running.abort_all();
        self.serials.clear();
        self.finished.clear();
    }

    fn on_end(&mut self, ended: Result<(Id, MessageOutcome), JoinError>) {
        let id = match &ended {
            Ok((id, _)) => *id,
            Err(error) => error.id(),
        };
        let Some(serial) = self.serials.remove(&id) else { return };
        let (outcome, has_panicked) = match ended {
            Ok((_, outcome)) => (outcome, false),
            Err(error) if error.is_panic() => (MessageOutcome::fail(panic_text(&*error.into_panic())), true),
            // The runtime is ending.
            Err(_) => (MessageOutcome::Release, false),
        };
        self.finished.push(Finished { serial, outcome, has_panicked });
    }
}

/// What a panic said.
fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    format!("the handler panicked: {}", text.unwrap_or("without a text"))
}
