//! A node on the simulated disk: power cuts at any moment, and a disk that fills up.

use highwater_storage::disk::sim::{CrashMode, SimDisk};

use super::*;

const MIB: u64 = 1 << 20;

fn sim_options(disk: &SimDisk) -> NodeOptions {
    let mut options = NodeOptions::new("/data", "127.0.0.1:7400");
    options.disk = Arc::new(disk.clone());
    options.free_bytes_min = Some(0);
    options.shutdown_grace = Duration::from_secs(2);
    options
}

/// A first start, a topic, a few records and a deletion, as far as the disk lets it come. Returns what was confirmed.
async fn first_day(disk: &SimDisk) -> Confirmed {
    let mut confirmed = Confirmed::default();
    let Ok(node) = Node::start(sim_options(disk)).await else { return confirmed };
    confirmed.identity = Some(node.identity());
    if node.controller().create_topic(topic("orders", 1)).await.is_ok() {
        confirmed.has_topic = true;
        let orders = node.router().topic(&name("orders")).unwrap();
        node.router().wait_until_open(orders.id, Duration::from_millis(500)).await;
        while confirmed.records < 5 && node.router().partition(&name("orders"), PartitionId::new(0)).is_ok() {
            match append(&node, "orders", b"record").await {
                Ok(_) => confirmed.records += 1,
                Err(_) => break,
            }
        }
    }
    confirmed.producer_id = node.controller().allocate_producer_id().await.ok().map(|(id, _)| id.get());
    // As after a kill; a proper end would wait for a disk that is gone.
    drop(node);
    confirmed
}

#[derive(Debug, Default)]
struct Confirmed {
    identity: Option<Identity>,
    has_topic: bool,
    records: u64,
    producer_id: Option<i64>,
}

/// Starts again after the cut: nothing that was confirmed may be missing, and the node must serve.
async fn second_day(disk: &SimDisk, confirmed: &Confirmed) {
    let node = Node::start(sim_options(disk)).await.unwrap();
    if let Some(identity) = confirmed.identity {
        assert_eq!(node.identity(), identity);
    }
    if node.router().topic(&name("orders")).is_err() {
        assert!(!confirmed.has_topic, "a confirmed topic is gone");
        create(&node, topic("orders", 1)).await;
    }
    let offset = append(&node, "orders", b"again").await.unwrap().get();
    assert!(offset >= confirmed.records, "{} records were confirmed, {offset} are there", confirmed.records);
    assert_eq!(read(&node, "orders", offset).await, ["again"]);
    let (id, _) = node.controller().allocate_producer_id().await.unwrap();
    assert!(confirmed.producer_id.is_none_or(|earlier| earlier < id.get()), "{id} was handed out before");
    node.shutdown().await.unwrap();
}

#[test]
fn power_may_go_at_any_moment_of_the_first_day() {
    let whole = SimDisk::new(1);
    runtime().block_on(first_day(&whole));
    let operations = whole.operations();
    assert!(operations > 40, "only {operations} calls to the disk");
    for at in 1..=operations {
        let disk = SimDisk::new(at);
        let mode = if at % 2 == 0 { CrashMode::LosePending } else { CrashMode::KeepSome };
        disk.crash_at(at, mode);
        let confirmed = runtime().block_on(first_day(&disk));
        let disk = disk.reboot();
        // Shown when the test fails.
        eprintln!("power cut at call {at} of {operations}: {confirmed:?}");
        runtime().block_on(second_day(&disk, &confirmed));
    }
}

#[test]
fn a_full_disk_refuses_records_and_takes_them_again_once_there_is_room() {
    let disk = SimDisk::new(7);
    disk.set_capacity(Some(256 * MIB));
    runtime().block_on(async {
        let mut options = sim_options(&disk);
        options.free_bytes_min = Some(64 * MIB);
        let node = Node::start(options).await.unwrap();
        create(&node, topic("orders", 1)).await;
        create(&node, topic("other", 1)).await;
        let gate = node.router().disk_gate();
        let mut taken = 0;
        while gate.check().is_ok() {
            append(&node, "orders", &[7; 900_000]).await.unwrap();
            taken += 1;
            assert!(taken < 400, "the gate never closed");
        }
        // Reading and deleting go on, and deleting makes room.
        assert_eq!(read(&node, "orders", 0).await[0].len(), 900_000);
        node.controller().delete_topic(name("orders")).await.unwrap();
        let opened = async {
            while gate.check().is_err() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), opened).await.expect("the gate opens again");
        append(&node, "other", b"room again").await.unwrap();
        node.shutdown().await.unwrap();
    });
}

#[test]
fn a_partition_that_found_no_room_is_opened_once_there_is_some() {
    let disk = SimDisk::new(8);
    runtime().block_on(async {
        let node = Node::start(sim_options(&disk)).await.unwrap();
        let space = node.data.space().unwrap();
        disk.set_capacity(Some(space.total_bytes - space.free_bytes + 4_096));
        let orders = node.controller().create_topic(topic("orders", 1)).await.unwrap();
        node.router().wait_until_open(orders.id, Duration::from_millis(500)).await;
        let not_open = node.router().partition(&name("orders"), PartitionId::new(0)).unwrap_err();
        assert!(not_open.is_retryable(), "{not_open}");
        disk.set_capacity(None);
        node.router().wait_until_open(orders.id, Duration::from_secs(20)).await;
        assert_eq!(append(&node, "orders", b"first").await.unwrap().get(), 0);
        node.shutdown().await.unwrap();
    });
}
