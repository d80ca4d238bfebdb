//! Going down and coming back: all nodes in any order, and what was created meanwhile.

use std::time::Instant;

use highwater_types::{NodeId, PartitionId};

use super::harness::{Cluster, Wire, run, until};

#[test]
fn a_cluster_that_lost_its_power_comes_back_in_any_order() {
    run(async {
        let mut cluster = Cluster::start(3, Wire::Memory).await;
        let topic = cluster.create_topic("orders", 2, 3).await;
        let mut written = Vec::new();
        for order in [[1, 2, 3], [2, 3, 1], [3, 1, 2]] {
            let value = format!("before {order:?}");
            cluster.append(&topic, 0, value.as_bytes()).await;
            written.push(bytes::Bytes::from(value));
            for number in 1..=3 {
                cluster.kill(number).await;
            }
            // The first waits for the second; the third is not needed.
            let first = cluster.begin(order[0]);
            cluster.start_one(order[1]).await.unwrap();
            cluster.finish(order[0], first).await.unwrap();
            let value = format!("two of {order:?}");
            cluster.append(&topic, 0, value.as_bytes()).await;
            written.push(bytes::Bytes::from(value));
            cluster.start_one(order[2]).await.unwrap();
            let mut kept = cluster.read_all(&topic, 0).await;
            kept.dedup();
            assert_eq!(kept, written);
        }
        cluster.stop_and_compare(&topic, 0).await;
    });
}

#[test]
fn one_node_after_the_other_is_restarted() {
    run(async {
        let mut cluster = Cluster::start(3, Wire::Memory).await;
        let topic = cluster.create_topic("orders", 3, 3).await;
        for round in 0..3_usize {
            for number in 1..=3 {
                cluster.stop(number).await;
                cluster.append(&topic, 0, format!("{round} without {number}").as_bytes()).await;
                cluster.start_one(number).await.unwrap();
            }
        }
        let mut kept = cluster.read_all(&topic, 0).await;
        kept.dedup();
        assert_eq!(kept.len(), 9, "{kept:?}");
        cluster.stop_and_compare(&topic, 0).await;
    });
}

#[test]
fn a_partition_begins_although_one_of_its_nodes_is_down() {
    run(async {
        let mut cluster = Cluster::start(3, Wire::Memory).await;
        cluster.kill(2).await;
        // One of three partitions is to be led by each node: so the group of one of them begins without its first.
        let topic = cluster.create_topic("orders", 3, 3).await;
        let first: Vec<NodeId> =
            (0..3).map(|partition| topic.partition(PartitionId::new(partition)).unwrap().replicas[0]).collect();
        assert!(first.contains(&NodeId::new(2)), "{first:?}");
        for partition in 0..3 {
            cluster.append(&topic, partition, b"without one").await;
        }
        cluster.start_one(2).await.unwrap();
        until("the node that was down has its replicas", async || {
            (0..3).all(|partition| cluster.handle(2, &topic, partition).is_some())
        })
        .await;
        for partition in 0..3 {
            cluster.append(&topic, partition, b"all").await;
            cluster.until_caught_up(&topic, partition).await;
        }
        cluster.stop_and_compare(&topic, 1).await;
    });
}

#[test]
fn a_topic_that_was_deleted_meanwhile_is_gone_from_a_node_that_comes_back() {
    run(async {
        let mut cluster = Cluster::start(3, Wire::Memory).await;
        let kept = cluster.create_topic("kept", 1, 3).await;
        let gone = cluster.create_topic("gone", 1, 3).await;
        cluster.append(&kept, 0, b"stays").await;
        cluster.append(&gone, 0, b"goes").await;
        cluster.kill(3).await;
        cluster.server(1).node().controller().delete_topic(gone.name.clone()).await.unwrap();
        cluster.start_one(3).await.unwrap();
        let logs = cluster.data_dir(3).join("logs");
        // The metadata's and the one of the topic that stays.
        until("the log is deleted", async || std::fs::read_dir(&logs).unwrap().count() == 2).await;
        cluster.append(&kept, 0, b"still").await;
        cluster.until_caught_up(&kept, 0).await;
        cluster.stop_and_compare(&kept, 0).await;
    });
}

/// Few, because each replica costs ten times as much where nothing is optimised, and a machine that is busy with other
/// tests must still elect leaders in time; `HIGHWATER_PARTITIONS=1000` in a release build measures what is promised.
#[test]
fn many_partitions_are_created_and_opened_in_seconds() {
    let partitions = std::env::var("HIGHWATER_PARTITIONS").map_or(12, |count| count.parse().unwrap());
    run(async move {
        let mut cluster = Cluster::start(3, Wire::Memory).await;
        let began = Instant::now();
        let topic = cluster.create_topic("many", partitions, 3).await;
        let created = began.elapsed();
        cluster.append(&topic, partitions - 1, b"first").await;
        let began = Instant::now();
        cluster.kill(1).await;
        for partition in 0..partitions {
            cluster.leader(&topic, partition).await;
        }
        let failed_over = began.elapsed();
        for number in [2, 3] {
            cluster.kill(number).await;
        }
        let began = Instant::now();
        cluster.start_all().await;
        let ready = began.elapsed();
        for partition in 0..partitions {
            cluster.leader(&topic, partition).await;
        }
        let led = began.elapsed();
        cluster.append(&topic, partitions - 1, b"last").await;
        println!(
            "{partitions} x 3: created {created:?}, led again after a kill {failed_over:?}, all started {ready:?}, led {led:?}"
        );
        let began = Instant::now();
        cluster.stop_all().await;
        println!("stopped {:?}", began.elapsed());
    });
}
