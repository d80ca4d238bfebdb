//! Proposals that were checked together, and so stand or fall in order.
//!
//! A leader that hears too little from its peers refuses a proposal, and may take the next one a moment later, in the
//! same term. What came second was checked as if the first were stored; alone it would be out of order. So who checks
//! proposals puts a [`Fence`] around them: with the first that is refused, or discarded, the fence falls, and none
//! after it gets into the log. One that openraft has given a place already is written as a blank entry there: a place
//! without records, for every replica alike.
//!
//! Never: raised again. Who checks anew, when everything is decided, makes a new one.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use openraft::OptionalSend;
use openraft::raft::responder::Responder;
use tokio::sync::oneshot;

use super::types::{LogId, TypeConfig};

/// Stands until one of the proposals inside is refused. Clones are the same fence.
#[derive(Clone, Debug, Default)]
pub struct Fence(Arc<AtomicBool>);

impl Fence {
    /// Whether something inside was refused: then nothing more of it is stored.
    #[must_use]
    pub fn has_fallen(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }

    /// Lets nothing more inside be stored.
    pub fn fall(&self) {
        self.0.store(true, Ordering::Release);
    }
}

/// Takes openraft's answer to who proposed; called on the core's task, so in the order of its decisions.
#[derive(Debug)]
pub(crate) struct FencedResponder<T> {
    answer: oneshot::Sender<T>,
    fence: Option<Fence>,
    is_committed: bool,
}

impl<T> FencedResponder<T> {
    pub(super) fn new_pair(fence: Option<Fence>) -> (Self, oneshot::Receiver<T>) {
        let (answer, is_answered) = oneshot::channel();
        (Self { answer, fence, is_committed: false }, is_answered)
    }
}

impl<T: OptionalSend + 'static> Responder<TypeConfig, T> for FencedResponder<T> {
    fn on_commit(&mut self, _: LogId) {
        self.is_committed = true;
    }

    fn on_complete(self, result: T) {
        if let (false, Some(fence)) = (self.is_committed, &self.fence) {
            fence.fall();
        }
        // Who proposed may have gone.
        let _ = self.answer.send(result);
    }
}
