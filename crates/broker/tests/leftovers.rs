//! What a partition leaves in the process once it is closed or deleted: no task, no open file, no map (P7).
//!
//! A test binary of its own: it looks at what the process has open and at every task of its runtime.
#![allow(clippy::unwrap_used, clippy::panic, clippy::expect_used)]
#![allow(clippy::disallowed_methods, reason = "the test looks at the process from outside")]

use std::fs;
use std::path::Path;
use std::time::Duration;

use highwater_broker::admission::ByteBudget;
use highwater_broker::node::{Node, NodeOptions};
use highwater_broker::partition::Acks;
use highwater_metadata::CreateTopic;
use highwater_types::batch::{BatchBuilder, Compression, NO_HEADERS, ValidBatch};
use highwater_types::{PartitionId, Timestamp, TopicName};
use tempfile::TempDir;
use tokio::runtime::Handle;

const PARTITIONS: u32 = 20;

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Held {
    tasks: usize,
    open_files: usize,
    maps: usize,
}

impl Held {
    fn now(data: &Path) -> Self {
        let is_ours = |path: &Path| path.starts_with(data);
        let open = fs::read_dir("/proc/self/fd").unwrap().filter_map(|fd| fs::read_link(fd.unwrap().path()).ok());
        let maps = fs::read_to_string("/proc/self/maps").unwrap();
        Self {
            tasks: Handle::current().metrics().num_alive_tasks(),
            open_files: open.filter(|path| is_ours(path)).count(),
            maps: maps
                .lines()
                .filter_map(|line| line.find('/').map(|at| &line[at..]))
                .filter(|p| is_ours(p.as_ref()))
                .count(),
        }
    }

    /// What openraft stops without waiting for it, and a thread between two tasks, may take a moment.
    async fn comes_to(self, data: &Path, of: &str) {
        let expected = async {
            while Self::now(data) != self {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let came = tokio::time::timeout(Duration::from_secs(10), expected).await;
        assert!(came.is_ok(), "{of}: {:?} is held instead of {self:?}", Self::now(data));
    }
}

async fn start(dir: &TempDir) -> Node {
    let mut options = NodeOptions::new(dir.path().join("data"), "127.0.0.1:7400");
    options.free_bytes_min = Some(0);
    options.maintenance_pause = Duration::from_millis(50);
    Node::start(options).await.unwrap()
}

/// Makes the topic `orders` and writes something to each of its partitions.
async fn create(node: &Node) {
    let (name, settings) = (TopicName::new("orders").unwrap(), Vec::new());
    let topic = CreateTopic { name, partitions: PARTITIONS, replicas: 0, settings, is_validate_only: false };
    let topic = node.controller().create_topic(topic).await.unwrap();
    node.router().wait_until_open(topic.id, Duration::from_secs(10)).await;
    for partition in 0..PARTITIONS {
        let handle = node.router().partition(&topic.name, PartitionId::new(partition)).unwrap();
        let mut builder = BatchBuilder::new(Compression::None);
        builder.append(Timestamp::from_ms(1), None, Some(b"a record"), NO_HEADERS).unwrap();
        let batch = ValidBatch::check(builder.finish().unwrap(), 1 << 20).unwrap();
        let permit = ByteBudget::new(1 << 20).acquire(8).await.unwrap();
        handle.append(batch, Acks::Quorum, permit).await.unwrap().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_left_of_a_deleted_partition_or_a_stopped_node() {
    let dir = TempDir::new().unwrap();
    let data = dir.path().join("data");
    let none = Held { tasks: 0, open_files: 0, maps: 0 };
    assert_eq!(Held::now(&data), none);

    let node = start(&dir).await;
    // Its first look at the metadata may open what the log keeps open from then on.
    tokio::time::sleep(Duration::from_millis(200)).await;
    let empty = Held::now(&data);
    for round in 0..3 {
        create(&node).await;
        let full = Held::now(&data);
        assert!(full.tasks > empty.tasks && full.open_files > empty.open_files && full.maps > empty.maps);
        node.controller().delete_topic(TopicName::new("orders").unwrap()).await.unwrap();
        empty.comes_to(&data, &format!("after deletion {round}")).await;
    }

    create(&node).await;
    node.shutdown().await.unwrap();
    none.comes_to(&data, "after the first stop").await;
    for round in 0..2 {
        start(&dir).await.shutdown().await.unwrap();
        none.comes_to(&data, &format!("after restart {round}")).await;
    }
}
