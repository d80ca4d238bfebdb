//! Producer ids out of blocks: a block is durable in the metadata before the first id of it is handed out, so an id
//! is never handed out twice, whatever happens to the node. What is left of a block when the node stops is never used.

use highwater_metadata::Reply;
use highwater_types::ProducerId;
use tokio::sync::Mutex;

use super::ControllerError;

/// How many ids one change of the metadata sets aside.
const BLOCK_IDS: u32 = 1_000;

/// What is left of the block at hand.
#[derive(Debug, Default)]
pub(super) struct ProducerIds {
    /// A lock of the runtime, held while a block is fetched: who comes meanwhile needs that same block.
    left: Mutex<std::ops::Range<i64>>,
}

impl ProducerIds {
    /// The next id; asks `allocate` for a block of so many when none is left.
    pub(super) async fn next<F>(&self, allocate: impl FnOnce(u32) -> F) -> Result<ProducerId, ControllerError>
    where
        F: Future<Output = Result<Reply, ControllerError>>,
    {
        let mut left = self.left.lock().await;
        if left.is_empty() {
            *left = match allocate(BLOCK_IDS).await? {
                Reply::ProducerIds { first, count } => first.get()..first.get().saturating_add(count.into()),
                _ => return Err(ControllerError::WrongReply),
            };
        }
        left.next().map(ProducerId::new).ok_or(ControllerError::WrongReply)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicI64, Ordering};

    use super::*;

    #[tokio::test]
    async fn blocks_are_used_up_one_after_another() {
        let (ids, allocated) = (ProducerIds::default(), AtomicI64::new(0));
        for expected in 0..2_500 {
            let allocate = |count: u32| {
                let first = ProducerId::new(allocated.fetch_add(i64::from(count), Ordering::Relaxed));
                async move { Ok(Reply::ProducerIds { first, count }) }
            };
            assert_eq!(ids.next(allocate).await, Ok(ProducerId::new(expected)));
        }
        assert_eq!(allocated.load(Ordering::Relaxed), 3_000);
    }

    #[tokio::test]
    async fn a_failure_costs_no_id() {
        let ids = ProducerIds::default();
        let failed = ids.next(|_| async { Err(ControllerError::OutcomeUnknown) }).await;
        assert_eq!(failed, Err(ControllerError::OutcomeUnknown));
        let granted = ids.next(|count| async move { Ok(Reply::ProducerIds { first: ProducerId::new(1_000), count }) });
        assert_eq!(granted.await, Ok(ProducerId::new(1_000)));
    }
}
