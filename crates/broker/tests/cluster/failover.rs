//! A node goes, the others go on, and all end with the same.

use super::harness::{Cluster, Wire, run};

#[test]
fn the_leader_is_killed_and_writing_goes_on() {
    run(async {
        let mut cluster = Cluster::start(3, Wire::Memory).await;
        let topic = cluster.create_topic("orders", 1, 3).await;
        for number in 0..20_u32 {
            cluster.append(&topic, 0, format!("before {number}").as_bytes()).await;
        }
        let leader = cluster.leader(&topic, 0).await;
        cluster.kill(leader).await;
        for number in 0..20_u32 {
            cluster.append(&topic, 0, format!("without {number}").as_bytes()).await;
        }
        cluster.start_one(leader).await.unwrap();
        for number in 0..20_u32 {
            cluster.append(&topic, 0, format!("after {number}").as_bytes()).await;
        }
        let values = cluster.read_all(&topic, 0).await;
        let expected =
            ["before", "without", "after"].iter().flat_map(|when| (0..20).map(move |n| format!("{when} {n}")));
        // One that was not acknowledged in time was sent again, and may be there twice.
        let mut kept = values.clone();
        kept.dedup();
        assert_eq!(kept, expected.map(bytes::Bytes::from).collect::<Vec<_>>());
        cluster.stop_and_compare(&topic, 0).await;
    });
}
