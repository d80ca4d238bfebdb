//! Admission: bytes that are taken from a budget before anything is allocated for them.
//!
//! Owns: the byte permits of the node, one [`ByteBudget`] a class of work (produce in flight, decoded reads).
//!
//! Never: refuses what fits the budget. Who asks waits, in the order of asking, and while it waits it reads nothing more
//! from its client: that is the back-pressure (promise P7, memory is bounded).
//!
//! Invariant: the bytes of all living permits of a budget never exceed its total. A permit travels with the bytes it
//! stands for and gives them back when it is dropped, wherever that is: after the append, or with a vanished client.

use std::fmt;
use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The bytes that one class of work may hold at a time. Clones are the same budget.
#[derive(Clone)]
pub struct ByteBudget {
    semaphore: Arc<Semaphore>,
    total: usize,
}

/// So many bytes of a budget, given back when dropped.
#[derive(Debug)]
pub struct BytePermit {
    // Nothing but its drop is of use.
    permit: OwnedSemaphorePermit,
}

/// Why no permit was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AdmissionError {
    /// More than the whole budget; waiting would never end.
    #[error("{bytes} bytes are more than this node admits at a time ({total}); send less, or raise the limit")]
    LargerThanBudget {
        /// What was asked for.
        bytes: usize,
        /// All there is.
        total: usize,
    },
    /// The node is stopping.
    #[error("the node is stopping and takes no more work")]
    Closed,
}

impl ByteBudget {
    /// A budget of `total` bytes, at most 4 GiB less one: more is cut to that.
    #[must_use]
    pub fn new(total: usize) -> Self {
        let total = total.min(u32::MAX as usize);
        Self { semaphore: Arc::new(Semaphore::new(total)), total }
    }

    /// Waits until `bytes` are free and takes them. Dropping the future gives up the place in the queue.
    ///
    /// # Errors
    /// When `bytes` exceed the whole budget, or the budget is closed.
    pub async fn acquire(&self, bytes: usize) -> Result<BytePermit, AdmissionError> {
        let count = self.checked(bytes)?;
        match Arc::clone(&self.semaphore).acquire_many_owned(count).await {
            Ok(permit) => Ok(BytePermit { permit }),
            Err(_) => Err(AdmissionError::Closed),
        }
    }

    /// Takes `bytes` if they are free this moment.
    #[must_use]
    pub fn try_acquire(&self, bytes: usize) -> Option<BytePermit> {
        let count = self.checked(bytes).ok()?;
        let permit = Arc::clone(&self.semaphore).try_acquire_many_owned(count).ok()?;
        Some(BytePermit { permit })
    }

    /// How many bytes are free.
    #[must_use]
    pub fn available(&self) -> usize {
        self.semaphore.available_permits()
    }

    /// How many bytes there are.
    #[must_use]
    pub const fn total(&self) -> usize {
        self.total
    }

    /// Lets go of everybody who waits, with an error; permits that are out stay good.
    pub fn close(&self) {
        self.semaphore.close();
    }

    fn checked(&self, bytes: usize) -> Result<u32, AdmissionError> {
        match u32::try_from(bytes) {
            Ok(count) if bytes <= self.total => Ok(count),
            _ => Err(AdmissionError::LargerThanBudget { bytes, total: self.total }),
        }
    }
}

impl fmt::Debug for ByteBudget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ByteBudget({} of {} free)", self.available(), self.total)
    }
}

impl BytePermit {
    /// How many bytes it stands for.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.permit.num_permits()
    }

    /// Takes `bytes` of it into a permit of their own, for a part that ends by itself; `None` when it has fewer.
    #[must_use]
    pub fn split_off(&mut self, bytes: usize) -> Option<Self> {
        Some(Self { permit: self.permit.split(bytes)? })
    }

    /// Gives back all but `bytes`, once it is known that no more are needed.
    pub fn shrink_to(&mut self, bytes: usize) {
        drop(self.permit.split(self.bytes().saturating_sub(bytes)));
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[tokio::test]
    async fn a_budget_is_never_overdrawn() {
        let budget = ByteBudget::new(100);
        let first = budget.acquire(60).await.unwrap();
        assert_eq!((first.bytes(), budget.available()), (60, 40));
        let mut shrunk = budget.acquire(40).await.unwrap();
        shrunk.shrink_to(50);
        assert_eq!(shrunk.bytes(), 40, "it does not grow");
        assert!(shrunk.split_off(41).is_none());
        let part = shrunk.split_off(25).unwrap();
        assert_eq!((part.bytes(), shrunk.bytes(), budget.available()), (25, 15, 0));
        drop((part, std::mem::replace(&mut shrunk, budget.try_acquire(0).unwrap())));
        assert_eq!(budget.available(), 40);
        let mut shrunk = budget.acquire(40).await.unwrap();
        shrunk.shrink_to(10);
        assert_eq!((shrunk.bytes(), budget.available()), (10, 30));
        drop(shrunk);
        let mut second = Box::pin(budget.acquire(60));
        assert!(second.as_mut().now_or_never().is_none(), "it has to wait");
        assert!(budget.try_acquire(1).is_none(), "nobody overtakes who waits already");
        drop(first);
        assert_eq!(second.await.unwrap().bytes(), 60);
        assert_eq!(budget.available(), 100);
    }

    #[tokio::test]
    async fn who_gives_up_waiting_holds_nothing() {
        let budget = ByteBudget::new(10);
        let held = budget.acquire(10).await.unwrap();
        let mut waiting = Box::pin(budget.acquire(5));
        assert!(waiting.as_mut().now_or_never().is_none());
        drop(waiting);
        drop(held);
        assert_eq!(budget.available(), 10);
    }

    #[tokio::test]
    async fn what_can_never_fit_is_refused() {
        let budget = ByteBudget::new(10);
        let refusal = budget.acquire(11).await.unwrap_err();
        assert_eq!(refusal, AdmissionError::LargerThanBudget { bytes: 11, total: 10 });
        budget.close();
        assert_eq!(budget.acquire(1).await.unwrap_err(), AdmissionError::Closed);
    }
}
