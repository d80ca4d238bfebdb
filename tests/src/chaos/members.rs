//! Changes of who holds what, under load, by the verbs that an operator has: replicas that move, leaders that change.
//!
//! Invariant: a change that was begun is waited for, whatever is killed meanwhile.

use std::time::{Duration, Instant};

use highwater_client::NodeId;

use super::dice::Dice;
use super::fault::Class;
use super::finish::PATIENCE;
use super::scene::Scene;
use crate::run::highwater;

/// Moves a replica to a node that has none, or, where every node has one, hands a partition to another leader. In every
/// third change a node is killed while it is under way.
pub(super) async fn change(scene: &mut Scene, dice: &mut Dice) {
    let topic = scene.describe().await;
    let Some(partition) = dice.choose(&topic.partitions) else { return };
    let here: Vec<u64> = partition.replicas.iter().copied().map(NodeId::get).collect();
    let spare: Vec<u64> = scene.cluster.ids().into_iter().filter(|id| !here.contains(id)).collect();
    let number = partition.partition.get();
    let mut wanted = here.clone();
    let verb = match dice.choose(&spare) {
        Some(new) => {
            let leaves = dice.choose(&here).copied();
            wanted.retain(|id| Some(*id) != leaves);
            wanted.push(*new);
            dice.shuffle(&mut wanted);
            "move"
        }
        None => {
            wanted = dice.choose(&here).copied().into_iter().collect();
            "transfer"
        }
    };
    let to = wanted.iter().map(u64::to_string).collect::<Vec<_>>().join(",");
    scene.begin(Class::Membership, 0).await;
    scene.note(format!("{verb} partition {number} from {here:?} to {to}"));
    let change = Change { verb, number, to };
    let victim = dice.once_in(3).then(|| dice.choose(&scene.cluster.ids()).copied()).flatten();
    let words = change.words(scene);
    order(scene, &words, victim.is_some()).await;
    if let Some(victim) = victim {
        kill_meanwhile(scene, victim, dice).await;
    }
    wait(scene, &change, &mut wanted).await;
    scene.end(Class::Membership);
}

/// What is asked for.
struct Change {
    verb: &'static str,
    number: u32,
    to: String,
}

impl Change {
    fn words(&self, scene: &Scene) -> Vec<String> {
        let topic = scene.setting.topic.as_str();
        [self.verb, topic, "--partition", &self.number.to_string(), "--to", &self.to].map(str::to_owned).to_vec()
    }
}

/// Gives an order; where a node is about to be killed the answer may be lost, so the order may be given again. What
/// an order has read for the first time may be damaged, so that a node stops meanwhile.
pub(super) async fn order(scene: &mut Scene, words: &[String], may_fail: bool) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let (binary, servers) = (scene.cluster.binary().to_string_lossy().into_owned(), scene.cluster.addresses());
        let arguments: Vec<String> = std::iter::once("cluster".to_owned()).chain(words.iter().cloned()).collect();
        let asked = tokio::task::spawn_blocking(move || {
            highwater(&binary, &servers, &arguments.iter().map(String::as_str).collect::<Vec<_>>(), b"")
        });
        let outcome = asked.await.expect("a command runs");
        if outcome.code == Some(0) || may_fail {
            return;
        }
        scene.note(format!("{words:?}: {}", outcome.stderr));
        assert!(Instant::now() < deadline, "{words:?} is refused for {PATIENCE:?}: {}", outcome.stderr);
        scene.revive().await;
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// Kills a node soon, while something is under way, and starts it again. One that has left meanwhile is refused.
pub(super) async fn kill_meanwhile(scene: &mut Scene, victim: u64, dice: &mut Dice) {
    tokio::time::sleep(dice.millis(0, 300)).await;
    scene.note(format!("killed node {victim} meanwhile"));
    scene.cluster.kill(victim);
    tokio::time::sleep(dice.millis(100, 1_000)).await;
    scene.cluster.spawn(victim);
    if let Err(why) = scene.cluster.try_ready(victim).await {
        let said = scene.cluster.last_words(victim);
        assert!(said.contains("was removed from the cluster"), "node {victim} {why}; it said: {said}");
    }
}

/// Waits until it is as it was asked for.
async fn wait(scene: &mut Scene, change: &Change, wanted: &mut [u64]) {
    wanted.sort_unstable();
    let deadline = Instant::now() + PATIENCE;
    let mut asked_again = Instant::now();
    loop {
        let topic = scene.describe().await;
        let found = topic.partitions.iter().find(|partition| partition.partition.get() == change.number);
        let is_done = found.is_some_and(|partition| match change.verb {
            "move" => {
                let mut here: Vec<u64> = partition.replicas.iter().copied().map(NodeId::get).collect();
                here.sort_unstable();
                here == wanted
            }
            _ => partition.leader.is_some_and(|leader| wanted.contains(&leader.get())),
        });
        if is_done {
            return;
        }
        if asked_again.elapsed() > Duration::from_secs(5) {
            let words = change.words(scene);
            order(scene, &words, true).await;
            asked_again = Instant::now();
        }
        assert!(
            Instant::now() < deadline,
            "partition {} is not at {wanted:?} after {PATIENCE:?}: {found:?}",
            change.number
        );
        scene.revive().await;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
