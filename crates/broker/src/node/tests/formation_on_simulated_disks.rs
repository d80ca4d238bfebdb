//! Three nodes form a cluster while the power of one of them goes at any moment. Virtual time: see `runtime`.

use futures_util::future::join_all;
use highwater_storage::disk::sim::{CrashMode, SimDisk};

use super::*;
use crate::peer::MemoryNetwork;
use crate::runtime::simulate;

const NODES: usize = 3;

/// How long, in virtual time, a cluster may take to form or to come back.
const PATIENCE: Duration = Duration::from_secs(60);

fn node_options(number: usize, disk: &SimDisk, network: &MemoryNetwork) -> NodeOptions {
    let address = |number: usize| format!("node-{number}:7401");
    let mut options = NodeOptions::new("/data", format!("node-{number}:7400"));
    options.disk = Arc::new(disk.clone());
    options.free_bytes_min = Some(0);
    options.cluster = ClusterOptions {
        peer_address: address(number),
        first_voters: (1..=NODES).map(address).collect(),
        ..ClusterOptions::default()
    };
    options.network = NodeNetwork::memory(network, &address(number));
    options
}

/// Runs the nodes until all are ready, or until `patience` is over; then their power goes. Gives the identities of those
/// that got theirs, and whether all were ready.
fn live(seed: u64, disks: &[SimDisk], patience: Duration) -> (Vec<Option<Identity>>, bool) {
    let _simulation = simulate(seed);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    let lives = async {
        let network = MemoryNetwork::new(Clock::system());
        // Kept until the end: a node runs on for the others when it is ready itself.
        let nodes = std::cell::RefCell::new(Vec::new());
        let one = async |number: usize, disk: &SimDisk| {
            let node = Arc::new(Node::start(node_options(number, disk, &network)).await.ok()?);
            nodes.borrow_mut().push((number, Arc::clone(&node)));
            node.until_ready().await.ok()
        };
        let all = join_all(disks.iter().enumerate().map(|(index, disk)| one(index + 1, disk)));
        let all_ready = tokio::time::timeout(patience, all).await.is_ok_and(|ready| ready.iter().all(Option::is_some));
        let mut identities = vec![None; NODES];
        for (number, node) in nodes.into_inner() {
            identities[number - 1] = Some(node.identity());
        }
        (identities, all_ready)
    };
    runtime.block_on(lives)
}

fn power_may_go_at_any_moment_of(doomed: usize) {
    let whole: Vec<SimDisk> = (1..=3).map(SimDisk::new).collect();
    let (_, all_ready) = live(1, &whole, PATIENCE);
    assert!(all_ready);
    let operations = whole[doomed].operations();
    assert!(operations > 20, "only {operations} calls to the disk");
    let only = std::env::var("HIGHWATER_AT").ok().map(|at| at.parse::<u64>().unwrap());
    for at in (1..=operations).filter(|at| only.is_none_or(|only| only == *at)) {
        let mut disks: Vec<SimDisk> = (1..=3).map(|seed| SimDisk::new(seed * 1_000 + at)).collect();
        let mode = if at % 2 == 0 { CrashMode::LosePending } else { CrashMode::KeepSome };
        disks[doomed].crash_at(at, mode);
        let (before, _) = live(at, &disks, Duration::from_secs(5));
        // Shown when the test fails.
        let with_place: Vec<usize> = (1..=NODES).filter(|number| before[number - 1].is_some()).collect();
        eprintln!("power cut at call {at} of {operations}; these had their place: {with_place:?}");
        disks[doomed] = disks[doomed].reboot();
        let (after, all_ready) = live(at + 1_000, &disks, PATIENCE);
        assert!(all_ready, "the cluster is not there: {after:?}");
        for (index, identity) in after.iter().enumerate() {
            let identity = identity.unwrap();
            assert_eq!(identity.cluster, after[0].unwrap().cluster);
            assert_eq!(identity.node.get(), index as u64 + 1);
            assert!(before[index].is_none_or(|before| before == identity), "{before:?} became {after:?}");
        }
    }
}

#[test]
fn power_of_the_founder_may_go_at_any_moment() {
    power_may_go_at_any_moment_of(0);
}

#[test]
fn power_of_another_first_voter_may_go_at_any_moment() {
    power_may_go_at_any_moment_of(1);
}
