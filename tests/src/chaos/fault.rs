//! The faults: what is done to a cluster, for how long, and undone.
//!
//! Invariant: when a fault is over every node runs and every way is open, so the next one begins from a whole cluster. At
//! most a minority is hit, except where the class says all.

use std::time::Duration;

use super::dice::Dice;
use super::scene::Scene;
use super::{members, nodes};
use crate::cluster::{Block, End, damage};

/// The shortest pause or cut: clients must have had time to notice and go on elsewhere.
const SHORTEST_MS: u64 = 5_000;

macro_rules! classes {
    ($($(#[doc = $doc:literal])+ $name:ident = $word:literal,)+) => {
        /// The classes of faults.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Class { $($(#[doc = $doc])+ $name,)+ }

        impl Class {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$name,)+];

            /// Its name in histories and reports.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => $word,)+ }
            }
        }
    };
}

classes! {
    /// The leader of a partition is killed (`SIGKILL`) and started again.
    KillLeader = "kill-leader",
    /// A node that does not lead the partition is killed and started again.
    KillFollower = "kill-follower",
    /// All nodes are killed at once and started again.
    KillAll = "kill-all",
    /// The leader is asked to stop (`SIGTERM`) and started again.
    StopLeader = "stop-leader",
    /// The leader is frozen (`SIGSTOP`).
    PauseLeader = "pause-leader",
    /// The leader is cut off from the other nodes, and not from clients.
    CutLeaderFromPeers = "cut-leader-from-peers",
    /// A node is cut off from everybody.
    Isolate = "isolate",
    /// What a leader says to other nodes is lost; it hears them.
    CutLeaderOut = "cut-leader-out",
    /// What other nodes say to a leader is lost; they hear it.
    CutLeaderIn = "cut-leader-in",
    /// Two nodes do not reach each other; both reach the third.
    CutPair = "cut-pair",
    /// Everything to and from a node takes long.
    Delay = "delay",
    /// Connections of a node are reset again and again.
    Reset = "reset",
    /// A bit flips in a follower's log while it is down.
    FlipBit = "flip-bit",
    /// A replica is moved to another node, or leadership is handed over.
    Membership = "membership",
    /// A node joins, takes over everything that another one holds, and that one leaves.
    ReplaceNode = "replace-node",
    /// A node is emptied and leaves; another one joins.
    Decommission = "decommission",
    /// The leaders are taken off a node, it is stopped and started, and leads again.
    Drain = "drain",
}

/// Does one fault and undoes it.
pub(super) async fn strike(class: Class, scene: &mut Scene, dice: &mut Dice) {
    let leader = scene.leader(dice).await;
    let other = scene.other_than(leader, dice);
    match class {
        Class::KillLeader => kill(class, scene, leader, dice).await,
        Class::KillFollower => kill(class, scene, other, dice).await,
        Class::KillAll => kill_all(class, scene).await,
        Class::StopLeader => stop(class, scene, leader, dice).await,
        Class::PauseLeader => {
            scene.begin(class, leader).await;
            scene.cluster.pause(leader);
            tokio::time::sleep(dice.millis(SHORTEST_MS, scene.plan.pause_max_ms)).await;
            scene.cluster.resume(leader);
            scene.end(class);
        }
        Class::FlipBit => flip_bit(class, scene, other, dice).await,
        Class::Membership => members::change(scene, dice).await,
        Class::ReplaceNode => nodes::replace(scene, dice).await,
        Class::Decommission => nodes::decommission(scene, dice).await,
        Class::Drain => nodes::drain(scene, dice).await,
        _ => cut(class, scene, leader, other, dice).await,
    }
}

async fn kill(class: Class, scene: &mut Scene, node: u64, dice: &mut Dice) {
    scene.begin(class, node).await;
    scene.cluster.kill(node);
    tokio::time::sleep(dice.millis(200, 2_500)).await;
    scene.cluster.spawn(node);
    scene.cluster.wait_ready(node).await;
    scene.end(class);
}

async fn kill_all(class: Class, scene: &mut Scene) {
    let nodes = scene.cluster.ids();
    scene.begin(class, 0).await;
    for node in &nodes {
        scene.cluster.kill(*node);
    }
    for node in &nodes {
        scene.cluster.spawn(*node);
    }
    for node in nodes {
        scene.cluster.wait_ready(node).await;
    }
    scene.end(class);
}

async fn stop(class: Class, scene: &mut Scene, node: u64, dice: &mut Dice) {
    scene.begin(class, node).await;
    restart(scene, node, dice).await;
    scene.end(class);
}

/// Has a node stop in good order, and starts it again.
pub(super) async fn restart(scene: &mut Scene, node: u64, dice: &mut Dice) {
    if let Some(stopped) = scene.cluster.stop(node).await {
        let is_success = stopped.status.is_some_and(|status| status.success());
        assert!(is_success, "node {node} ended with {:?} after {:?}", stopped.status, stopped.after);
    }
    tokio::time::sleep(dice.millis(0, 1_000)).await;
    scene.cluster.spawn(node);
    scene.cluster.wait_ready(node).await;
}

async fn cut(class: Class, scene: &mut Scene, leader: u64, other: u64, dice: &mut Dice) {
    let block = if dice.once_in(2) { Block::Drop } else { Block::Hold };
    let network = scene.cluster.network().clone();
    let peers: Vec<u64> = scene.cluster.ids().into_iter().filter(|id| *id != leader).collect();
    let victim = if class == Class::CutPair { other } else { leader };
    scene.begin(class, victim).await;
    let length = dice.millis(SHORTEST_MS, scene.plan.cut_max_ms);
    match class {
        Class::CutLeaderFromPeers => {
            peers.iter().for_each(|peer| network.cut(End::Node(leader), End::Node(*peer), block));
        }
        Class::Isolate => {
            peers.iter().for_each(|peer| network.cut(End::Node(leader), End::Node(*peer), block));
            network.cut(End::Node(leader), End::Client, block);
        }
        Class::CutLeaderOut => {
            peers.iter().for_each(|peer| network.cut_one_way(End::Node(leader), End::Node(*peer), block));
        }
        Class::CutLeaderIn => {
            peers.iter().for_each(|peer| network.cut_one_way(End::Node(*peer), End::Node(leader), block));
        }
        Class::CutPair => network.cut(End::Node(leader), End::Node(other), block),
        Class::Delay => {
            let delay = dice.millis(20, 150);
            peers.iter().for_each(|peer| network.delay(End::Node(leader), End::Node(*peer), delay));
            network.delay(End::Node(leader), End::Client, delay);
        }
        Class::Reset => {
            for _ in 0..5 {
                peers.iter().for_each(|peer| network.cut(End::Node(leader), End::Node(*peer), Block::Reset));
                network.cut(End::Node(leader), End::Client, Block::Reset);
                tokio::time::sleep(dice.millis(10, 100)).await;
                network.heal();
                tokio::time::sleep(dice.millis(100, 500)).await;
            }
        }
        _ => {}
    }
    if class != Class::Reset {
        tokio::time::sleep(length).await;
    }
    network.heal();
    scene.end(class);
}

/// Damages the log of a node that is down. It must come back whole. Where the damage is met only later, by what reads sealed
/// segments, the node stops and names the file, and [`Scene::mend`] starts it again.
async fn flip_bit(class: Class, scene: &mut Scene, node: u64, dice: &mut Dice) {
    scene.begin(class, node).await;
    scene.cluster.kill(node);
    let folder = scene.cluster.data(node).join("logs");
    let logs = damage::files(&folder).into_iter().filter(|(path, _)| scene.is_of_topic(path) && is_segment(path));
    let logs: Vec<_> = logs.collect();
    if let Some((path, _)) = dice.choose(&logs) {
        // Where frames are, and not in the room that is prepared behind them.
        if let Some(byte) = scene.some_byte_of_a_frame(path, dice) {
            damage::flip_bit(path, byte, u8::try_from(dice.below(8)).unwrap_or(0));
            scene.note(format!("flipped a bit of byte {byte} of {}", path.display()));
        }
    }
    scene.cluster.spawn(node);
    scene.cluster.wait_ready(node).await;
    // Two damaged replicas of three are more than Raft can bear: each is found and mended before the next.
    scene.mend().await;
    scene.end(class);
}

fn is_segment(path: &std::path::Path) -> bool {
    path.extension().is_some_and(|extension| extension == "segment")
}

/// Time between two faults.
pub(super) fn calm(dice: &mut Dice, longest: Duration) -> Duration {
    dice.millis(300, u64::try_from(longest.as_millis()).unwrap_or(300).max(300))
}
