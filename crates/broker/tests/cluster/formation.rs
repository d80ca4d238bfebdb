//! Forming a cluster, coming back to it, and joining it.

use super::harness::{Cluster, Wire, run, until};

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

#[test]
fn a_fourth_node_joins_and_knows_everything() {
    run(async {
        let mut cluster = Cluster::start(3, Wire::Memory).await;
        let topic = cluster.create_topic("orders", 1, 3).await;
        cluster.append(&topic, 0, b"before").await;
        cluster.add(4);
        cluster.start_one(4).await.unwrap();
        let joined = cluster.server(4);
        assert_eq!(joined.node().identity().node.get(), 4);
        until("the new node knows the topic", async || joined.node().router().topic(&topic.name).is_ok()).await;
        drop(joined);
        cluster.stop(4).await;
        cluster.start_one(4).await.unwrap();
        assert_eq!(cluster.server(4).node().identity().node.get(), 4);
        cluster.stop_all().await;
    });
}

#[test]
fn a_cluster_forms_over_sockets() {
    run(async {
        let mut cluster = Cluster::of(3, Wire::Grpc);
        cluster.set("cluster.rack", "here");
        cluster.start_all().await;
        let topic = cluster.create_topic("orders", 3, 3).await;
        cluster.append(&topic, 0, b"before").await;
        cluster.add(4);
        cluster.start_one(4).await.unwrap();
        let image = cluster.server(4).node().router().image();
        assert!(image.nodes().all(|node| node.rack == "here" && node.peer_address != node.address));
        let leader = cluster.leader(&topic, 0).await;
        cluster.kill(leader).await;
        cluster.append(&topic, 0, b"without").await;
        cluster.start_one(leader).await.unwrap();
        cluster.append(&topic, 0, b"after").await;
        let mut kept = cluster.read_all(&topic, 0).await;
        kept.dedup();
        assert_eq!(kept, ["before", "without", "after"]);
        cluster.stop_and_compare(&topic, 0).await;
    });
}
