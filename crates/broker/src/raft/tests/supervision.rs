//! What a replica costs while nothing happens, and what it says when it is stopped.

use std::sync::Arc;
use std::time::Duration;

use highwater_storage::EntryKind;
use openraft::testing::log::StoreBuilder;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::rig::{KEY, NODE, Rig, Seen, batch};
use super::suite::Builder;
use crate::raft::network::PeerNetwork;
use crate::raft::supervisor::{Leadership, Supervisor};
use crate::raft::types::{Raft, raft_node};

/// A node has thousands of groups that nothing is written to. One that ticks wakes two tasks twenty times a second.
#[tokio::test]
async fn a_leader_without_peers_sleeps_until_it_has_work() {
    let rig = Rig::new();
    let (replica, _log) = rig.replica(Seen::default()).await.unwrap();
    replica.propose(EntryKind::Data, batch(1, 10, None)).await.unwrap();
    tokio::time::sleep(Duration::from_millis(200)).await;
    tokio::time::pause();
    // Less than the supervisor's probe; the clock jumps to each next timer.
    let wakes = async || {
        let before = Handle::current().metrics().worker_park_count(0);
        tokio::time::sleep(Duration::from_secs(3)).await;
        Handle::current().metrics().worker_park_count(0) - before
    };
    let woken = wakes().await;
    assert!(woken < 10, "woken {woken} times in 3 s");
    tokio::time::resume();
    replica.propose(EntryKind::Data, batch(1, 10, None)).await.unwrap();
    replica.shutdown().await;
}

#[tokio::test]
async fn a_replica_that_was_asked_to_stop_has_not_failed() {
    let (_rig, store, machine) = Builder.build().await.unwrap();
    let log = store.log().clone();
    let config = Arc::new(openraft::Config::default().validate().unwrap());
    let raft = Raft::new(raft_node(NODE), config, PeerNetwork::alone().of_group(KEY), store, machine).await.unwrap();
    raft.shutdown().await.unwrap();
    // As when the core has gone before the supervisor is polled again.
    for _ in 0..50 {
        let (leadership, _leads) = watch::channel(Leadership::default());
        let (failure, failed) = watch::channel(None);
        let (_applied, applied) = watch::channel(None);
        let stop = CancellationToken::new();
        stop.cancel();
        let (group, raft, log) = ("test".to_owned(), raft.clone(), log.clone());
        Supervisor { group, raft, log, applied, leadership, failure, stop }.run().await;
        assert_eq!(*failed.borrow(), None);
    }
}
