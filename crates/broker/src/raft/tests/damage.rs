//! Logs that are damaged on a minority of the nodes: nothing of it is served, nothing is lost, and nobody is elected by what
//! is missing.

use std::io::IoSlice;
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

/// Writes zeros over the last so many bytes of the last segment that has any: to a scan this is a torn append.
fn wipe_end(rig: &Rig, bytes: usize) {
    let folder = rig.data.log_path(KEY);
    let names = rig.disk.list(&folder).unwrap().into_iter().map(|entry| entry.name);
    let used = names.filter(|name| name.ends_with(".segment")).filter_map(|name| {
        let file = rig.disk.open(&folder.join(&name)).unwrap();
        let mut content = vec![0; usize::try_from(file.size().unwrap()).unwrap()];
        file.read_at(0, &mut content).unwrap();
        let end = content.iter().rposition(|byte| *byte != 0)? + 1;
        Some((name, file, end))
    });
    let (_, file, end) = used.max_by(|one, other| one.0.cmp(&other.0)).unwrap();
    file.write_at((end - bytes) as u64, &mut [IoSlice::new(&vec![0; bytes])]).unwrap();
    file.sync_data().unwrap();
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

/// Nothing readable behind the damage says that it was durable; the checkpoint does (`docs/adr/056`).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_end_that_is_gone_is_damage_once_a_checkpoint_stands_for_it() {
    let mut cluster = Cluster::start().await;
    let leader = cluster.leader(&[]).await.node;
    let end = write(cluster.member(leader), 20).await;
    cluster.until_committed(end, cluster.nodes()).await;
    let broken = cluster.nodes().into_iter().find(|node| *node != leader).unwrap();
    cluster.member(broken).replica.maintain().await.unwrap();
    let rig = cluster.stop(broken, true).await;
    wipe_end(&rig, 100);
    cluster.restart(rig, broken).await;
    let kept = cluster.member(broken).rig.disk.list(Path::new("/data/quarantine")).unwrap();
    assert_eq!(kept.len(), 1, "it is not taken for a torn append");
    cluster.until_committed(end, [broken]).await;
    until_recovered(cluster.member(broken)).await;
    cluster.shutdown().await;
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

/// Sealed segments are not read when a log is opened. What reads them first may be the start of the group, which looks for
/// where its terms begin.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn damage_that_the_start_of_a_group_meets_is_marked_and_the_log_can_be_set_aside_at_once() {
    let mut rig = Rig::new();
    rig.options.segment_bytes_max = 64 << 10;
    rig.options.index_interval_bytes = 1 << 20;
    // A start is a term.
    for _ in 0..4 {
        let (replica, log) = rig.replica(super::rig::Seen::default()).await.unwrap();
        for _ in 0..12 {
            replica.propose(EntryKind::Data, batch(1, 10_000, None)).await.unwrap();
        }
        replica.maintain().await.unwrap();
        replica.shutdown().await;
        drop((replica, log));
        rig = rig.restart();
    }
    let folder = rig.data.log_path(KEY);
    let names = rig.disk.list(&folder).unwrap().into_iter().map(|entry| entry.name);
    let mut sealed: Vec<String> = names.filter(|name| name.ends_with(".segment")).collect();
    sealed.sort();
    sealed.truncate(sealed.len() - 2);
    sealed.remove(0);
    assert!(sealed.len() >= 3, "{sealed:?}");
    for name in &sealed {
        rig.disk.flip_bit(&folder.join(name), 200, 3).unwrap();
    }
    let refused = rig.replica(super::rig::Seen::default()).await.expect_err("it is damaged").to_string();
    assert!(sealed.iter().any(|name| refused.contains(name)), "{refused}");
    assert!(rig.data.is_marked_damaged(KEY), "{refused}");
    let (_log, _) = crate::raft::open_log(&rig.data, KEY, &rig.options, "test", true).unwrap();
    assert!(rig.data.is_recovering(KEY));
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
