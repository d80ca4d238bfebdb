//! What changed while a node was away: a replica that moved, a node that was removed.

use std::time::Duration;

use highwater_metadata::{Command, Member, NodeState};
use highwater_types::{NodeId, PartitionId, TopicPartition};

use super::harness::{Cluster, Wire, run, until};

fn node(number: u64) -> NodeId {
    NodeId::new(number)
}

/// Three first voters, and a fourth node that joined and is heard.
async fn four() -> Cluster {
    let mut cluster = Cluster::start(3, Wire::Memory).await;
    add_fourth(&mut cluster).await;
    cluster
}

async fn add_fourth(cluster: &mut Cluster) {
    cluster.add(4);
    cluster.start_one(4).await.unwrap();
    let image = || cluster.server(1).node().router().image();
    until("node 4 is heard", async || image().member(node(4)).is_some_and(Member::is_ready)).await;
}

#[test]
fn a_replica_that_moved_away_meanwhile_is_deleted() {
    run(async {
        let mut cluster = Cluster::start(3, Wire::Memory).await;
        let topic = cluster.create_topic("orders", 1, 3).await;
        cluster.append(&topic, 0, b"before").await;
        add_fourth(&mut cluster).await;
        cluster.kill(3).await;
        let partition = TopicPartition { topic: topic.id, partition: PartitionId::new(0) };
        let target = [1, 2, 4].map(node).to_vec();
        let controller = cluster.server(1).node().controller().clone();
        controller.submit(Command::MoveReplicas { partition, target: target.clone() }).await.unwrap();
        let image = || cluster.server(1).node().router().image();
        until("it has moved", async || image().assignment(partition).is_some_and(|held| held.replicas == target)).await;
        cluster.append(&topic, 0, b"moved").await;
        cluster.start_one(3).await.unwrap();
        let logs = cluster.data_dir(3).join("logs");
        until("only the metadata is left", async || std::fs::read_dir(&logs).unwrap().count() == 1).await;
        assert!(cluster.handle(3, &topic, 0).is_none());
        drop(controller);
        // The new home is found again by everybody.
        for number in 1..=4 {
            cluster.kill(number).await;
        }
        cluster.start_all().await;
        cluster.append(&topic, 0, b"after").await;
        let mut kept = cluster.read_all(&topic, 0).await;
        kept.dedup();
        assert_eq!(kept, ["before", "moved", "after"]);
        cluster.stop_and_compare(&topic, 0).await;
    });
}

#[test]
fn a_node_that_is_removed_ends_and_says_so() {
    run(async {
        let mut cluster = four().await;
        let removed = cluster.server(4);
        let decommission = Command::SetNodeState { node: node(4), state: NodeState::Decommissioning };
        removed.node().controller().submit(decommission).await.unwrap();
        let failure = tokio::time::timeout(Duration::from_secs(30), removed.failed()).await.expect("it ends");
        assert!(failure.to_string().contains("was removed"), "{failure}");
        drop(removed);
        cluster.kill(4).await;
        let refused = cluster.start_one(4).await.unwrap_err().to_string();
        assert!(refused.contains("was removed") && refused.contains("under a new id"), "{refused}");
        cluster.stop_all().await;
    });
}

#[test]
fn a_node_that_was_removed_while_it_was_away_is_told_so() {
    run(async {
        let mut cluster = four().await;
        cluster.kill(4).await;
        let controller = cluster.server(2).node().controller().clone();
        controller.submit(Command::SetNodeState { node: node(4), state: NodeState::Decommissioning }).await.unwrap();
        for number in 1..=3 {
            let image = || cluster.server(number).node().router().image();
            until("it is removed", async || image().is_removed(node(4))).await;
        }
        let refused = cluster.start_one(4).await.unwrap_err().to_string();
        assert!(refused.contains("was removed"), "{refused}");
        // With an empty directory it comes in again, under another id.
        std::fs::remove_dir_all(cluster.data_dir(4)).unwrap();
        cluster.start_one(4).await.unwrap();
        assert_eq!(cluster.server(4).node().identity().node, node(5));
        cluster.stop_all().await;
    });
}
