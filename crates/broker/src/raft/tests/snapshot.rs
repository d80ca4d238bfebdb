//! A replica that is far behind: it gets the boundary and the present state, then entries the normal way.

use highwater_storage::{EntryKind, LogOptions, RetentionPolicy};
use highwater_types::{EntryId, Offset};
use openraft::storage::{RaftLogStorage, RaftStateMachine};
use tokio::sync::watch;
use tokio_util::task::TaskTracker;

use super::rig::{Rig, Seen, append, batch};
use crate::raft::checkpoint;
use crate::raft::log_store::{Installed, LogStore};
use crate::raft::state_machine::{Marks, StateMachine};
use crate::raft::types::{RaftEntry, Snapshot, entry_id};

/// A leader with 40 batches, the first of which retention has let go, and its snapshot.
async fn leader_and_snapshot() -> (Rig, Seen, Snapshot, Vec<RaftEntry>) {
    let mut rig = Rig::new();
    rig.options = LogOptions { segment_bytes_max: 4_096, ..LogOptions::default() };
    let seen = Seen::default();
    let (replica, log) = rig.replica(seen.clone()).await.unwrap();
    for _ in 0..40 {
        replica.propose(EntryKind::Data, batch(2, 250, None)).await.unwrap();
    }
    replica.maintain().await.unwrap();
    let policy = RetentionPolicy { age_ms_max: None, bytes_max: Some(8_192) };
    let committed = *replica.committed().borrow();
    let boundary = log.retention_boundary(&policy, rig.clock.now(), committed).unwrap();
    replica.trim(boundary).await.unwrap();
    let snapshot = replica.snapshot().await.unwrap();
    let mut store = rig.store(&log);
    let retained = openraft::RaftLogReader::try_get_log_entries(&mut store, ..).await.unwrap();
    replica.shutdown().await;
    (rig, seen, snapshot, retained)
}

fn machine(rig: &Rig, state: Seen) -> (StateMachine, LogStore) {
    let log = rig.log();
    let at = checkpoint::load(&log).unwrap();
    let marks = Marks { applied: watch::channel(None).0, committed: watch::channel(Offset::ZERO).0 };
    let installed = Installed::default();
    let machine =
        StateMachine::new(log.clone(), Box::new(state), at, marks, installed.clone(), TaskTracker::new().token())
            .unwrap();
    let votes = std::sync::Arc::clone(rig.data.votes());
    (machine, LogStore::new(super::rig::KEY, log, votes, rig.clock.clone(), installed, TaskTracker::new().token()))
}

async fn apply(machine: &mut StateMachine, store: &mut LogStore) {
    use futures_util::StreamExt;
    let entries = openraft::RaftLogReader::entries_stream(store, ..).await;
    let entries = entries.map(|entry| entry.map(|entry| (entry, None)));
    machine.apply(Box::pin(entries)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_starts_at_the_boundary_and_ends_with_the_same_state() {
    let (_leader, expected, snapshot, retained) = leader_and_snapshot().await;
    let boundary = entry_id(snapshot.meta.last_log_id.as_ref().unwrap());
    assert!(snapshot.meta.last_membership.log_id().is_some(), "the membership as of the boundary travels with it");

    let rig = Rig::new();
    let state = Seen::default();
    let (mut machine, mut store) = machine(&rig, state.clone());
    machine.install_snapshot(&snapshot.meta, snapshot.snapshot.clone()).await.unwrap();
    store.purge(snapshot.meta.last_log_id.unwrap()).await.unwrap();
    let log = store.log().clone();
    assert_eq!(log.state().purged, Some(boundary));
    assert_eq!(state.entries(), expected.entries(), "the state is newer than the boundary");
    // The leader sends what it retains; the offsets come out the same (the log would refuse others).
    append(&mut store, retained).await;
    assert_eq!(log.state().log_end.get(), 80);
    apply(&mut machine, &mut store).await;
    assert_eq!(state.entries(), expected.entries(), "what the state had seen is not given to it again");
    let (applied, _) = machine.applied_state().await.unwrap();
    assert_eq!(applied.as_ref().map(entry_id), log.state().last);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_before_the_log_was_reset_is_finished_by_the_start() {
    let (_leader, expected, snapshot, retained) = leader_and_snapshot().await;
    let rig = Rig::new();
    {
        let (mut machine, mut store) = machine(&rig, Seen::default());
        let id = EntryId::new(1, 0);
        append(&mut store, [openraft::entry::RaftEntry::new_blank(crate::raft::types::log_id(id))]).await;
        machine.install_snapshot(&snapshot.meta, snapshot.snapshot.clone()).await.unwrap();
    }
    let rig = rig.crash();
    let state = Seen::default();
    let (mut machine, mut store) = machine(&rig, state.clone());
    let boundary = snapshot.meta.last_log_id.as_ref().map(entry_id);
    assert_eq!(store.log().state().purged, boundary);
    assert_eq!(machine.applied_state().await.unwrap().0.as_ref().map(entry_id), boundary);
    append(&mut store, retained).await;
    apply(&mut machine, &mut store).await;
    assert_eq!(state.entries(), expected.entries());
}
