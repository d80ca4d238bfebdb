//! What operators do to a cluster, while records are written to it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use highwater_metadata::{Command, Member, MetadataImage, NodeState, Reply, Topic};
use highwater_types::{NodeId, PartitionId, TopicPartition};

use super::harness::{Cluster, Wire, run, until};

fn node(number: u64) -> NodeId {
    NodeId::new(number)
}

fn nodes(numbers: &[u64]) -> BTreeSet<NodeId> {
    numbers.iter().copied().map(NodeId::new).collect()
}

impl Cluster {
    /// What a node knows of the cluster.
    fn image(&self, number: usize) -> Arc<MetadataImage> {
        self.server(number).node().router().image()
    }

    /// Gives a command to a node, whichever leads.
    async fn order(&self, number: usize, command: Command) -> Reply {
        self.server(number).node().controller().submit(command).await.unwrap()
    }

    /// Waits until the image of a node is like that.
    async fn until_image(&self, number: usize, what: &str, is_so: impl Fn(&MetadataImage) -> bool) {
        until(what, async || is_so(&self.image(number))).await;
    }

    /// How many partitions of a topic a node leads.
    fn leads(&self, number: usize, topic: &Topic) -> usize {
        let leads =
            |partition: u32| self.handle(number, topic, partition).is_some_and(|handle| handle.leadership().is_leader);
        (0..topic.partition_count()).filter(|partition| leads(*partition)).count()
    }

    /// Writes to every partition in turn until told to stop; returns what was acknowledged in each, and the longest
    /// time that one record took.
    async fn write_until(&self, topic: &Topic, stop: &AtomicBool) -> (Vec<Vec<Bytes>>, Duration) {
        let mut acked = vec![Vec::new(); topic.partitions.len()];
        let (mut longest, mut count) = (Duration::ZERO, 0_u32);
        while !stop.load(Ordering::Relaxed) || count < topic.partition_count() {
            let partition = count % topic.partition_count();
            let value = format!("record {count}");
            let began = Instant::now();
            self.append(topic, partition, value.as_bytes()).await;
            longest = longest.max(began.elapsed());
            acked[partition as usize].push(Bytes::from(value));
            count += 1;
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        (acked, longest)
    }

    /// Does something while records are written, and checks that all of them are kept, in order. A record whose
    /// acknowledgement was lost may be there more than once. Returns the longest time that one record took.
    async fn under_writes(&self, topic: &Topic, work: impl Future<Output = ()>) -> Duration {
        let stop = AtomicBool::new(false);
        let work = async {
            work.await;
            stop.store(true, Ordering::Relaxed);
        };
        let ((acked, longest), ()) = tokio::join!(self.write_until(topic, &stop), work);
        for (partition, acked) in (0..).zip(&acked) {
            let mut kept = self.read_all(topic, partition).await;
            kept.dedup();
            assert_eq!(&kept, acked, "partition {partition}");
            assert!(!acked.is_empty());
        }
        longest
    }

    async fn until_held_by(&self, number: usize, topic: &Topic, by: &[u64]) {
        let by = nodes(by);
        self.until_image(number, "the partitions are where they should be", |image| {
            let found = image.topic_by_id(topic.id).unwrap();
            found
                .partitions
                .iter()
                .all(|held| !held.is_moving() && held.replicas.iter().copied().collect::<BTreeSet<_>>() == by)
        })
        .await;
    }

    async fn until_voters(&self, number: usize, voters: &[u64]) {
        until("the right nodes vote on the metadata", async || {
            let members = self.server(number).node().metadata().status().members;
            members.voters == nodes(voters) && members.incoming.is_none()
        })
        .await;
    }
}

#[test]
fn a_node_that_is_decommissioned_ends_empty_and_leaves() {
    run(async {
        let mut cluster = Cluster::start(3, Wire::Memory).await;
        cluster.add(4);
        cluster.start_one(4).await.unwrap();
        cluster.until_image(1, "node 4 is heard", |image| image.member(node(4)).is_some_and(Member::is_ready)).await;
        cluster.create_topic("early", 1, 1).await;
        // Held by the first three: the fourth is drained while it is created.
        cluster.order(2, Command::SetNodeState { node: node(4), state: NodeState::Draining }).await;
        let topic = cluster.create_topic("orders", 4, 3).await;
        cluster.order(2, Command::SetNodeState { node: node(4), state: NodeState::Active }).await;
        cluster.until_held_by(1, &topic, &[1, 2, 3]).await;
        let work = async {
            cluster.order(4, Command::SetNodeState { node: node(3), state: NodeState::Decommissioning }).await;
            cluster.until_image(1, "node 3 is removed", |image| image.is_removed(node(3))).await;
        };
        cluster.under_writes(&topic, work).await;
        cluster.until_held_by(4, &topic, &[1, 2, 4]).await;
        cluster.until_voters(1, &[1, 2, 4]).await;
        cluster.kill(3).await;
        cluster.append(&topic, 0, b"after").await;
        cluster.stop_and_compare(&topic, 1).await;
    });
}

#[test]
fn a_dead_node_is_fenced_and_replaced() {
    run(async {
        let mut cluster = Cluster::start(3, Wire::Memory).await;
        let topic = cluster.create_topic("orders", 3, 3).await;
        cluster.add(4);
        cluster.start_one(4).await.unwrap();
        cluster.kill(2).await;
        cluster.until_image(1, "node 2 is fenced", |image| image.member(node(2)).unwrap().is_fenced).await;
        cluster.until_image(1, "node 4 is heard", |image| image.member(node(4)).is_some_and(Member::is_ready)).await;
        let work = async {
            cluster.order(4, Command::ReplaceNode { node: node(2), by: node(4) }).await;
            cluster.until_image(1, "node 2 is removed", |image| image.is_removed(node(2))).await;
        };
        cluster.under_writes(&topic, work).await;
        cluster.until_held_by(1, &topic, &[1, 3, 4]).await;
        cluster.until_voters(1, &[1, 3, 4]).await;
        cluster.stop_and_compare(&topic, 0).await;
    });
}

#[test]
fn a_node_that_comes_back_is_fenced_no_more_and_leads_again() {
    run(async {
        let mut cluster = Cluster::start(3, Wire::Memory).await;
        let topic = cluster.create_topic("orders", 6, 3).await;
        cluster.kill(3).await;
        cluster.until_image(1, "node 3 is fenced", |image| image.member(node(3)).unwrap().is_fenced).await;
        cluster.start_one(3).await.unwrap();
        cluster.until_image(1, "node 3 is heard", |image| image.member(node(3)).unwrap().is_ready()).await;
        let preferred =
            |number: u64| topic.partitions.iter().filter(|held| held.preferred_leader() == Some(node(number))).count();
        until("the preferred leaders lead", async || {
            (1..=3).all(|number| cluster.leads(number, &topic) == preferred(number as u64))
        })
        .await;
        cluster.stop_all().await;
    });
}

#[test]
fn a_drained_node_leads_nothing_and_an_asked_leader_leads() {
    run(async {
        let mut cluster = Cluster::start(3, Wire::Memory).await;
        let topic = cluster.create_topic("orders", 6, 3).await;
        let longest = cluster
            .under_writes(&topic, async {
                cluster.order(2, Command::SetNodeState { node: node(1), state: NodeState::Draining }).await;
                until("node 1 leads nothing", async || {
                    let metadata = cluster.server(1).node().controller_leadership();
                    let leads = metadata.borrow().is_leader;
                    cluster.leads(1, &topic) == 0 && !leads
                })
                .await;
            })
            .await;
        println!("the longest write while a node was drained took {longest:?}");
        cluster.order(3, Command::SetNodeState { node: node(1), state: NodeState::Active }).await;
        let partition = TopicPartition { topic: topic.id, partition: PartitionId::new(0) };
        for to in [1_usize, 2, 3] {
            cluster.order(2, Command::PreferLeader { partition, node: node(to as u64) }).await;
            until("the asked leader leads", async || cluster.leader(&topic, 0).await == to).await;
        }
        cluster.stop_all().await;
    });
}

#[test]
fn a_rolling_restart_loses_nothing() {
    run(async {
        let mut cluster = Cluster::start(3, Wire::Memory).await;
        let topic = cluster.create_topic("orders", 3, 3).await;
        let mut count = 0_u32;
        let mut longest = Duration::ZERO;
        for number in 1..=3 {
            cluster.stop(number).await;
            for _ in 0..30 {
                let began = Instant::now();
                cluster.append(&topic, count % 3, format!("{count}").as_bytes()).await;
                longest = longest.max(began.elapsed());
                count += 1;
            }
            cluster.start_one(number).await.unwrap();
        }
        println!("the longest write right after a stop took {longest:?}");
        for partition in 0..3 {
            let mut kept = cluster.read_all(&topic, partition).await;
            kept.dedup();
            let expected: Vec<Bytes> =
                (0..count).filter(|n| n % 3 == partition).map(|n| Bytes::from(n.to_string())).collect();
            assert_eq!(kept, expected);
        }
        cluster.stop_and_compare(&topic, 2).await;
    });
}

#[test]
fn a_move_waits_for_a_node_that_is_cut_off_and_can_be_taken_back() {
    run(async {
        let mut cluster = Cluster::start(3, Wire::Memory).await;
        let topic = cluster.create_topic("orders", 1, 3).await;
        cluster.add(4);
        cluster.start_one(4).await.unwrap();
        cluster.until_image(1, "node 4 is heard", |image| image.member(node(4)).is_some_and(Member::is_ready)).await;
        let partition = TopicPartition { topic: topic.id, partition: PartitionId::new(0) };
        let move_to = |target: &[u64]| Command::MoveReplicas {
            partition,
            target: target.iter().copied().map(NodeId::new).collect(),
        };
        let cut = |cluster: &Cluster, heals: bool| {
            for other in 1..=3 {
                let (one, other) = (cluster.peer_address(4), cluster.peer_address(other));
                if heals { cluster.memory.heal(one, other) } else { cluster.memory.cut(one, other) }
            }
        };
        let work = async {
            cut(&cluster, false);
            cluster.order(1, move_to(&[1, 2, 4])).await;
            cluster.until_image(1, "node 4 is fenced", |image| image.member(node(4)).unwrap().is_fenced).await;
            assert!(cluster.image(1).assignment(partition).unwrap().is_moving());
            cluster.order(2, Command::CancelMove { partition }).await;
            cluster.until_held_by(1, &topic, &[1, 2, 3]).await;
            cut(&cluster, true);
            cluster.until_image(1, "node 4 is heard", |image| image.member(node(4)).unwrap().is_ready()).await;
            cluster.order(1, move_to(&[4, 2, 1])).await;
            cluster.until_held_by(1, &topic, &[1, 2, 4]).await;
        };
        cluster.under_writes(&topic, work).await;
        until("the preferred leader leads", async || cluster.leader(&topic, 0).await == 4).await;
        cluster.stop(3).await;
        cluster.stop_and_compare(&topic, 0).await;
    });
}

#[test]
fn a_controller_that_is_cut_off_decides_nothing() {
    run(async {
        let mut cluster = Cluster::start(3, Wire::Memory).await;
        cluster.create_topic("early", 1, 3).await;
        let old = (1..=3).find(|number| cluster.server(*number).node().controller_leadership().borrow().is_leader);
        let old = old.unwrap();
        let others: Vec<usize> = (1..=3).filter(|number| *number != old).collect();
        for other in &others {
            cluster.memory.cut(cluster.peer_address(old), cluster.peer_address(*other));
        }
        let set = |replicas: u32| Command::SetReplicas { name: "early".parse().unwrap(), replicas };
        let server = cluster.server(old);
        let (alone, together) =
            tokio::join!(server.node().controller().submit(set(1)), cluster.order(others[0], set(2)));
        drop(server);
        let alone = alone.unwrap_err();
        assert_eq!(together, Reply::Done, "{alone}");
        cluster.memory.heal_all();
        until("all see the same", async || {
            let images: Vec<_> = (1..=3).map(|number| cluster.image(number)).collect();
            images.iter().all(|image| image == &images[0] && image.members().all(Member::is_ready))
        })
        .await;
        assert_eq!(cluster.image(old).topic(&"early".parse().unwrap()).unwrap().replicas, 2);
        cluster.stop_all().await;
    });
}
