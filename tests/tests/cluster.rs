//! Three real processes and one fault at a time, of those that no schedule of chance would set up well: a rolling restart, a
//! wiped node, full disks, damaged files. Each ends with the verdict over the history.
#![allow(clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]
#![allow(clippy::disallowed_methods, reason = "deadlines come from the machine itself")]

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use highwater_tests::binary::highwater_binary;
use highwater_tests::chaos::workload::Crowd;
use highwater_tests::chaos::{Class, Outcome, Plan, Scene};
use highwater_tests::cluster::{SmallDisk, damage};

fn plan() -> Plan {
    Plan::three_nodes(1, BTreeMap::new())
}

#[track_caller]
fn assert_good(outcome: &Outcome) {
    assert!(outcome.report.is_good(), "{}", outcome.report.text());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rolling_restart_costs_clients_nothing_but_time() {
    // Thin clients are told when the node that they talk to goes, and do not try again.
    let crowd = Crowd { thin: 0, ..plan().crowd };
    let mut scene = Scene::set(&highwater_binary(), Plan { crowd, ..plan() }).await;
    let clients = scene.start_clients();
    scene.advance(500).await;
    for node in scene.cluster.ids() {
        scene.begin(Class::StopLeader, node).await;
        let stopped = scene.cluster.stop(node).await.expect("it was running");
        assert!(
            stopped.status.is_some_and(|status| status.success()),
            "node {node}: {stopped:?}\n{}",
            scene.cluster.said(node)
        );
        scene.advance(300).await;
        scene.cluster.spawn(node);
        scene.cluster.wait_ready(node).await;
        scene.end(Class::StopLeader);
        scene.advance(300).await;
    }
    let outcome = scene.conclude(clients).await;
    assert_good(&outcome);
    let counts = &outcome.report.counts;
    assert_eq!((counts.failed, counts.unknown), (0, 0), "no client was told of an error");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_nodes_may_stop_at_once_and_start_in_any_order() {
    let mut scene = Scene::set(&highwater_binary(), plan()).await;
    let clients = scene.start_clients();
    for order in [[3, 2, 1], [2, 3, 1]] {
        scene.advance(500).await;
        scene.begin(Class::KillAll, 0).await;
        for node in order {
            scene.cluster.kill(node);
        }
        for node in order {
            scene.cluster.spawn(node);
            // Time for this one to come as far as it comes alone.
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
        for node in order {
            scene.cluster.wait_ready(node).await;
        }
        scene.end(Class::KillAll);
    }
    assert_good(&scene.conclude(clients).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_lost_its_data_is_refused_under_its_old_id() {
    let mut scene = Scene::set(&highwater_binary(), plan()).await;
    let clients = scene.start_clients();
    scene.advance(500).await;
    scene.cluster.kill(3);
    let data = scene.cluster.data(3).to_owned();
    let kept = data.with_extension("kept");
    std::fs::rename(&data, &kept).expect("the data can be put aside");
    scene.cluster.spawn(3);
    let ended = scene.cluster.try_ready(3).await;
    let said = scene.cluster.said(3);
    assert!(
        ended.is_err_and(|why| why.starts_with("ended")),
        "it serves, or waits, as if nothing had happened: {said}"
    );
    assert!(said.contains("new id") && said.contains("join"), "it says what happened and what to do: {said}");
    scene.advance(500).await;
    // With its data it is itself again.
    damage::wipe(&data);
    std::fs::rename(&kept, &data).expect("the data can be put back");
    scene.cluster.spawn(3);
    scene.cluster.wait_ready(3).await;
    assert_good(&scene.conclude(clients).await);
}

/// A file that leaves a filesystem next to no room, until it is dropped.
struct Ballast(PathBuf);

impl Ballast {
    fn load(data: &Path) -> Self {
        let path = data.parent().expect("the data lies on a filesystem of its own").join("ballast");
        let mut file = File::create(&path).expect("a file can be made");
        let block = vec![0; 64 * 1024];
        while file.write_all(&block).is_ok() {}
        Self(path)
    }
}

impl Drop for Ballast {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn full_disks_refuse_and_recover_without_a_restart() {
    if let Err(why) = SmallDisk::mount(1) {
        // Not captured by the test runner: what was skipped must be seen.
        let _ = writeln!(std::io::stderr(), "SKIPPED: 1 test, full disks of a cluster: cannot mount one here: {why}");
        return;
    }
    let settings = vec![("data.free_bytes_min".to_owned(), "16MiB".to_owned())];
    let mut scene = Scene::set(&highwater_binary(), Plan { small_disk_mib: 128, settings, ..plan() }).await;
    let clients = scene.start_clients();
    scene.advance(500).await;
    let leader = scene.leader(&mut highwater_tests::chaos::Dice::new(1)).await;
    let follower = scene.cluster.ids().into_iter().find(|id| *id != leader).expect("there are three");

    // What a majority can store is stored.
    scene.note(format!("the disk of node {follower} is full"));
    let full = Ballast::load(scene.cluster.data(follower));
    scene.advance(500).await;
    drop(full);

    for full in [vec![leader], scene.cluster.ids()] {
        scene.note(format!("the disks of nodes {full:?} are full"));
        let ballast: Vec<Ballast> = full.iter().map(|node| Ballast::load(scene.cluster.data(*node))).collect();
        tokio::time::sleep(Duration::from_secs(3)).await;
        drop(ballast);
        scene.advance(500).await;
    }
    for node in scene.cluster.ids() {
        assert!(scene.cluster.is_alive(node), "node {node} has ended: {}", scene.cluster.said(node));
    }
    assert_good(&scene.conclude(clients).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn damaged_files_of_one_node_are_found_and_nothing_is_lost() {
    let mut scene = Scene::set(&highwater_binary(), plan()).await;
    let clients = scene.start_clients();
    let mut seen = Vec::new();
    for name in [".segment", "manifest", "checkpoint", "vote"] {
        scene.advance(300).await;
        scene.cluster.kill(2);
        let files = damage::files(scene.cluster.data(2));
        let found = files.iter().find(|(path, bytes)| {
            let is_it = path.file_name().is_some_and(|file| file.to_string_lossy().contains(name));
            is_it && *bytes > 0
        });
        let Some((path, _)) = found else { continue };
        seen.push(name);
        // In a segment: the first entry behind the header. In the others: their contents.
        let byte = if name == ".segment" { 150 } else { 30 };
        damage::flip_bit(path, byte, 3);
        scene.note(format!("flipped a bit of {}", path.display()));
        scene.cluster.spawn(2);
        if let Err(why) = scene.cluster.try_ready(2).await {
            let said = scene.cluster.said(2);
            let file = path.file_name().expect("a file has a name").to_string_lossy();
            assert!(said.contains(&*file), "a refusal names the file {file}: {why}: {said}");
            scene.cluster.kill(2);
            damage::flip_bit(path, byte, 3);
            scene.cluster.spawn(2);
            scene.cluster.wait_ready(2).await;
        }
    }
    assert!(seen.len() >= 3, "the files were found: {seen:?}");
    assert_good(&scene.conclude(clients).await);
}
