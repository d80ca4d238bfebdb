//! openraft's own suite of log storage and state machine.

use highwater_storage::Boundary;
use highwater_types::{EntryId, Offset};
use openraft::StorageError;
use openraft::testing::log::{StoreBuilder, Suite};
use tokio::sync::watch;
use tokio_util::task::TaskTracker;

use super::rig::{KEY, Rig, Seen};
use crate::raft::checkpoint;
use crate::raft::log_store::{Installed, LogStore};
use crate::raft::state_machine::{Marks, StateMachine};
use crate::raft::types::TypeConfig;

pub(super) struct Builder;

impl StoreBuilder<TypeConfig, LogStore, StateMachine, Rig> for Builder {
    async fn build(&self) -> Result<(Rig, LogStore, StateMachine), StorageError<TypeConfig>> {
        let rig = Rig::new();
        let log = rig.log();
        let installed = Installed::default();
        // The suite purges beyond the end of the log as if a snapshot had been installed there. In the product one was.
        for (term, index) in SNAPSHOTS {
            let id = EntryId::new(term, index);
            installed.also(Boundary { id, next_offset: Offset::ZERO, membership: None });
        }
        let marks = Marks { applied: watch::channel(None).0, committed: watch::channel(Offset::ZERO).0 };
        let at = checkpoint::load(&log).unwrap();
        let machine = StateMachine::new(
            log.clone(),
            Box::new(Seen::default()),
            at,
            marks,
            installed.clone(),
            TaskTracker::new().token(),
        )
        .unwrap();
        let votes = std::sync::Arc::clone(rig.data.votes());
        let store = LogStore::new(KEY, log, votes, rig.clock.clone(), installed, TaskTracker::new().token());
        Ok((rig, store, machine))
    }
}

const SNAPSHOTS: [(u64, u64); 5] = [(1, 1), (1, 2), (1, 20), (2, 3), (3, 3)];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn openrafts_suite_passes() {
    Suite::test_all(Builder).await.unwrap();
}
