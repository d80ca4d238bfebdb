//! Forming a cluster, coming back to it, and joining it.

use super::harness::{Cluster, Wire, run};

#[test]
fn three_nodes_form_one_cluster_and_find_it_again() {
    run(async {
        let mut cluster = Cluster::start(3, Wire::Memory).await;
        let identities: Vec<_> = (1..=3).map(|number| cluster.server(number).node().identity()).collect();
        assert!(identities.iter().all(|identity| identity.cluster == identities[0].cluster));
        assert_eq!(identities.iter().map(|identity| identity.node.get()).collect::<Vec<_>>(), [1, 2, 3]);
        for number in 1..=3 {
            let image = cluster.server(number).node().router().image();
            assert_eq!(image.cluster(), Some(identities[0].cluster));
            assert_eq!(
                image.nodes().map(|node| node.uuid).collect::<Vec<_>>(),
                identities.iter().map(|i| i.uuid).collect::<Vec<_>>()
            );
        }
        let topic = cluster.create_topic("orders", 3, 3).await;
        cluster.stop_all().await;
        // In whatever order: one alone waits, and two are enough.
        let third = cluster.begin(3);
        cluster.start_one(2).await.unwrap();
        cluster.finish(3, third).await.unwrap();
        assert_eq!(cluster.server(3).node().identity(), identities[2]);
        cluster.append(&topic, 1, b"two of three").await;
        cluster.start_one(1).await.unwrap();
        cluster.append(&topic, 2, b"all").await;
        cluster.stop_all().await;
    });
}

#[test]
fn a_wiped_node_finds_its_place_taken() {
    run(async {
        let mut cluster = Cluster::start(3, Wire::Memory).await;
        for number in [1, 2] {
            cluster.stop(number).await;
            let (data, kept) = (cluster.data_dir(number), cluster.data_dir(number + 10));
            std::fs::rename(&data, &kept).unwrap();
            let refused = cluster.start_one(number).await.unwrap_err().to_string();
            assert!(refused.contains(&format!("node {number} of cluster")), "{refused}");
            assert!(refused.contains("set cluster.join"), "{refused}");
            assert!(!data.join("identity").exists(), "nothing was written");
            std::fs::remove_dir_all(&data).unwrap();
            std::fs::rename(&kept, &data).unwrap();
            cluster.start_one(number).await.unwrap();
        }
        cluster.stop_all().await;
    });
}
