//! A replica that is far behind is filled at a bounded rate, and nobody else waits for it.

use std::time::{Duration, Instant};

use super::harness::{Cluster, PATIENCE, Wire, run};

const MIB: usize = 1 << 20;

#[test]
fn a_replica_that_was_away_is_filled_at_the_rate_while_producers_go_on() {
    run(async {
        let mut cluster = Cluster::of(3, Wire::Memory);
        cluster.set("limits.catch_up_bytes_per_second", "4MiB");
        cluster.start_all().await;
        let topic = cluster.create_topic("orders", 1, 3).await;
        cluster.append(&topic, 0, b"before").await;
        let leader = cluster.leader(&topic, 0).await;
        let away = cluster.running().into_iter().find(|number| *number != leader).unwrap();
        cluster.kill(away).await;
        let large = vec![7; MIB];
        let mut end = None;
        for _ in 0..40 {
            end = Some(cluster.append(&topic, 0, &large).await);
        }
        let began = Instant::now();
        cluster.start_one(away).await.unwrap();
        let is_behind =
            || cluster.handle(away, &topic, 0).is_none_or(|handle| Some(handle.watermarks().log_end) <= end);
        let mut acknowledged = 0;
        while is_behind() {
            assert!(began.elapsed() < PATIENCE, "it ends");
            cluster.append(&topic, 0, b"meanwhile").await;
            acknowledged += 1;
        }
        // 16 MiB go before anything counts as far behind, 24 MiB at 4 MiB a second.
        assert!(began.elapsed() >= Duration::from_secs(5), "{:?}", began.elapsed());
        assert!(acknowledged > 20, "{acknowledged} records while it was filled");
        cluster.stop_and_compare(&topic, 0).await;
    });
}
