//! Looks at the free space of the disk and tells the gate: every second, and faster while there is not much left, so
//! that a fast producer cannot fill between two looks what the floor keeps free.

use std::sync::Arc;
use std::time::Duration;

use highwater_storage::DataDir;

use crate::disk_gate::DiskGate;
use crate::runtime::blocking;

const CALM: Duration = Duration::from_secs(1);
const NEAR: Duration = Duration::from_millis(100);

/// Runs until `stop`.
pub(super) async fn run(data: Arc<DataDir>, gate: DiskGate, stop: impl Future<Output = ()>) {
    tokio::pin!(stop);
    loop {
        let pause = if gate.free_bytes() < gate.floor_bytes().saturating_mul(4) { NEAR } else { CALM };
        tokio::select! {
            () = &mut stop => return,
            () = tokio::time::sleep(pause) => {},
        }
        let disk = Arc::clone(&data);
        // A filesystem that hangs must not hang the runtime.
        match blocking(move || disk.space()).await {
            Ok(Ok(space)) => gate.observe(space),
            Ok(Err(error)) => tracing::warn!(%error, "the free space of the disk is not known; the last figure holds"),
            Err(_stopping) => return,
        }
    }
}
