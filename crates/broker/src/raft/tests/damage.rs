//! Logs that are damaged on a minority of the nodes: nothing of it is served, nothing is lost, and nobody is elected by what
//! is missing.

use std::path::Path;
use std::time::Duration;

use highwater_storage::EntryKind;
use highwater_storage::disk::Disk;
use tokio::time::timeout;

use super::cluster::{Cluster, Member, PATIENCE, write};
use super::rig::{KEY, Rig, batch};

/// Flips a bit in the file of the log with this name, or in each of its segments.
fn damage(rig: &Rig, name: Option<&str>) {
    let folder = rig.data.log_path(KEY);
    if let Some(name) = name {
        return rig.disk.flip_bit(&folder.join(name), 30, 3).unwrap();
    }
    let mut flipped = 0;
    for entry in rig.disk.list(&folder).unwrap() {
        if entry.name.ends_with(".segment") && rig.disk.flip_bit(&folder.join(&entry.name), 200, 3).is_ok() {
            flipped += 1;
        }
    }
    assert!(flipped > 0);
}

async fn until_recovered(member: &Member) {
    let recovered = async {
        while member.replica.is_recovering() || member.rig.data.is_recovering(KEY) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(PATIENCE, recovered).await.expect("it catches up");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_log_begins_anew_and_is_filled_by_the_others() {
    for file in [None, Some("manifest"), Some("checkpoint")] {
        let mut cluster = Cluster::start().await;
        let leader = cluster.leader(&[]).await.node;
        let end = write(cluster.member(leader), 30).await;
        let broken = cluster.nodes().into_iter().find(|node| *node != leader).unwrap();
        cluster.until_committed(end, cluster.nodes()).await;
        cluster.member(broken).replica.maintain().await.unwrap();
        let rig = cluster.stop(broken, true).await;
        damage(&rig, file);
        cluster.restart(rig, broken).await;
        let back = cluster.member(broken);
        let kept = back.rig.disk.list(Path::new("/data/quarantine")).unwrap();
        assert_eq!(kept.len(), 1, "{file:?}: what was damaged is kept");
        cluster.until_committed(end, [broken]).await;
        until_recovered(back).await;
        assert_eq!(back.seen.entries(), cluster.member(leader).seen.entries(), "{file:?}");
        let end = write(cluster.leader(&[]).await, 5).await;
        cluster.until_committed(end, cluster.nodes()).await;
        cluster.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_is_gone_is_a_damaged_one() {
    let mut cluster = Cluster::start().await;
    let leader = cluster.leader(&[]).await.node;
    let end = write(cluster.member(leader), 10).await;
    cluster.until_committed(end, cluster.nodes()).await;
    let broken = cluster.nodes().into_iter().find(|node| *node != leader).unwrap();
    let rig = cluster.stop(broken, false).await;
    rig.disk.remove_dir_all(&rig.data.log_path(KEY)).unwrap();
    cluster.restart(rig, broken).await;
    assert!(cluster.member(broken).replica.is_recovering());
    cluster.until_committed(end, [broken]).await;
    until_recovered(cluster.member(broken)).await;
    cluster.shutdown().await;
}

/// One has everything and is down, one lacks the end, one lost it: the two that are up must not agree on a leader.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_recovering_replica_elects_nobody_who_lacks_what_it_lost() {
    let mut cluster = Cluster::start().await;
    let leader = cluster.leader(&[]).await.node;
    let (broken, behind) = {
        let others: Vec<_> = cluster.nodes().into_iter().filter(|node| *node != leader).collect();
        (others[0], others[1])
    };
    let end = write(cluster.member(leader), 5).await;
    cluster.until_committed(end, cluster.nodes()).await;
    for other in [leader, broken] {
        cluster.network.cut(&cluster.member(behind).address, &cluster.member(other).address);
    }
    let end = end.max(write(cluster.member(leader), 20).await);
    cluster.until_committed(end, [broken]).await;
    let whole = cluster.stop(leader, false).await;
    let rig = cluster.stop(broken, true).await;
    damage(&rig, None);
    cluster.network.heal_all();
    cluster.restart(rig, broken).await;
    let elected = timeout(Duration::from_secs(4), cluster.leader(&[])).await;
    assert!(elected.is_err(), "a leader without acknowledged records");
    assert!(cluster.member(broken).replica.is_recovering());
    cluster.restart(whole, leader).await;
    let new = cluster.leader(&[]).await;
    assert_eq!(new.node, leader, "only it has everything");
    assert!(new.replica.read_barrier().await.unwrap().get() >= end);
    cluster.until_committed(end, cluster.nodes()).await;
    until_recovered(cluster.member(broken)).await;
    cluster.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_only_replica_is_never_set_aside() {
    let rig = Rig::new();
    let (replica, log) = rig.replica(super::rig::Seen::default()).await.unwrap();
    replica.propose(EntryKind::Data, batch(3, 200, None)).await.unwrap();
    replica.shutdown().await;
    drop((replica, log));
    let rig = rig.restart();
    damage(&rig, Some("manifest"));
    let refused = crate::raft::open_log(&rig.data, KEY, &rig.options, "test", false).unwrap_err();
    assert!(refused.is_damage(), "{refused}");
    assert!(refused.to_string().contains("manifest"), "{refused}");
    assert!(!rig.data.is_recovering(KEY));
}
