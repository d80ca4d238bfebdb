//! Waiting for records in any of many partitions, without a task for each.

use futures_util::stream::{FuturesUnordered, StreamExt};
use highwater_types::Offset;

use super::{Found, Wanted};
use crate::partition::PartitionHandle;

/// Resolves when one of the partitions has more than was found, or does not lead any more.
pub(super) async fn moved(wanted: &[Wanted], found: &Found) {
    let waits = wanted.iter().zip(found).filter_map(|(wanted, found)| {
        let (handle, found) = (wanted.handle.as_ref().ok()?, found.as_ref().ok()?);
        Some(moved_one(handle, found.high_watermark))
    });
    let mut waits: FuturesUnordered<_> = waits.collect();
    let _first = waits.next().await;
}

async fn moved_one(handle: &PartitionHandle, known: Offset) {
    let (mut committed, mut leadership) = (handle.committed(), handle.leaderships());
    // A partition that stops is looked at again, too.
    tokio::select! {
        _ = committed.wait_for(|committed| *committed > known) => {}
        _ = leadership.wait_for(|led| !led.serves_writes) => {}
    }
}
