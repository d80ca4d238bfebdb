//! Nodes that come and go under load, by the verbs that an operator has: join, replace, decommission, drain.
//!
//! Invariant: when a change is over the cluster has as many nodes as before it, and each may lead.

use std::time::{Duration, Instant};

use highwater_client::{Cluster, NodeState};

use super::dice::Dice;
use super::fault::{Class, restart};
use super::finish::PATIENCE;
use super::members::{kill_meanwhile, order};
use super::scene::Scene;

/// A new node takes the place of one that chance chooses. In every second change a node is killed while it is under way: the
/// one that goes, the one that comes, or another.
pub(super) async fn replace(scene: &mut Scene, dice: &mut Dice) {
    let Some(old) = dice.choose(&scene.cluster.ids()).copied() else { return };
    scene.begin(Class::ReplaceNode, old).await;
    let new = scene.join().await;
    scene.note(format!("node {new} replaces node {old}"));
    let words = ["replace", &old.to_string(), "--by", &new.to_string(), "--yes"].map(str::to_owned);
    leave(scene, old, &words, dice).await;
    scene.end(Class::ReplaceNode);
}

/// A node that chance chooses is emptied and leaves; then another one joins.
pub(super) async fn decommission(scene: &mut Scene, dice: &mut Dice) {
    let Some(old) = dice.choose(&scene.cluster.ids()).copied() else { return };
    scene.begin(Class::Decommission, old).await;
    let words = ["decommission", &old.to_string(), "--yes"].map(str::to_owned);
    leave(scene, old, &words, dice).await;
    let new = scene.join().await;
    scene.note(format!("node {old} has left, and node {new} has joined"));
    scene.end(Class::Decommission);
}

/// Gives the order by which a node leaves, and waits until it has left.
async fn leave(scene: &mut Scene, old: u64, words: &[String], dice: &mut Dice) {
    let victim = dice.once_in(2).then(|| dice.choose(&scene.cluster.ids()).copied()).flatten();
    order(scene, words, false).await;
    if let Some(victim) = victim {
        kill_meanwhile(scene, victim, dice).await;
    }
    let deadline = Instant::now() + PATIENCE;
    loop {
        let cluster = scene.describe_cluster().await;
        if cluster.nodes.iter().all(|node| node.id.get() != old) {
            break;
        }
        assert!(Instant::now() < deadline, "node {old} has not left after {PATIENCE:?}: {cluster:?}");
        scene.revive().await;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    scene.forget(old);
}

/// Takes the leaders off a node, restarts it, which nobody may notice, and lets it lead again.
pub(super) async fn drain(scene: &mut Scene, dice: &mut Dice) {
    let node = scene.leader(dice).await;
    scene.begin(Class::Drain, node).await;
    order(scene, &["drain".to_owned(), node.to_string()], false).await;
    let deadline = Instant::now() + PATIENCE;
    loop {
        let topic = scene.describe().await;
        if topic.partitions.iter().all(|partition| partition.leader.is_some_and(|leader| leader.get() != node)) {
            break;
        }
        assert!(Instant::now() < deadline, "node {node} still leads after {PATIENCE:?}: {topic:?}");
        scene.revive().await;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    restart(scene, node, dice).await;
    order(scene, &["drain".to_owned(), node.to_string(), "--undo".to_owned()], false).await;
    while !is_active(&scene.describe_cluster().await, node) {
        assert!(Instant::now() < deadline, "node {node} may still not lead after {PATIENCE:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    scene.end(Class::Drain);
}

fn is_active(cluster: &Cluster, node: u64) -> bool {
    cluster.nodes.iter().any(|known| known.id.get() == node && known.state == NodeState::Active)
}
