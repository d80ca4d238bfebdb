//! A whole node on a real disk: first start, restart, kill, deletion, and what it refuses to start on.
//!
//! A kill is a runtime that is dropped: every task is gone where it stood, nothing is closed.
#![allow(clippy::disallowed_methods, reason = "the tests look at and damage what is on the disk")]

use std::fs;
use std::path::Path;

use bytes::Bytes;
use highwater_metadata::{AlterTopic, CommandError, CreateTopic, Setting, Topic};
use highwater_types::batch::{BatchBuilder, Compression, ValidBatch};
use highwater_types::{ClusterId, ErrorCode, NodeId, Offset, PartitionId, TopicName};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use super::*;
use crate::admission::ByteBudget;
use crate::controller::ControllerError;
use crate::partition::{Acks, AppendError, ReadFrom};
use crate::router::RouteError;

mod formation_on_simulated_disks;
mod on_a_simulated_disk;

fn options(dir: &TempDir) -> NodeOptions {
    let mut options = NodeOptions::new(dir.path().join("data"), "127.0.0.1:7400");
    options.free_bytes_min = Some(0);
    options.maintenance_pause = Duration::from_millis(50);
    options
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

/// Runs a node's life from its start to a proper end.
fn live<T>(dir: &TempDir, life: impl AsyncFnOnce(&Node) -> T) -> T {
    runtime().block_on(async {
        let node = Node::start(options(dir)).await.unwrap();
        let result = life(&node).await;
        node.shutdown().await.unwrap();
        result
    })
}

/// Runs a node's life and kills it: the runtime goes, and with it every task where it stood.
fn live_and_kill<T>(dir: &TempDir, life: impl AsyncFnOnce(&Node) -> T) -> T {
    let runtime = runtime();
    runtime.block_on(async {
        let node = Node::start(options(dir)).await.unwrap();
        life(&node).await
    })
}

fn start_error(dir: &TempDir) -> StartError {
    runtime().block_on(async { Node::start(options(dir)).await.unwrap_err() })
}

fn name(name: &str) -> TopicName {
    TopicName::new(name).unwrap()
}

fn topic(named: &str, partitions: u32) -> CreateTopic {
    CreateTopic { name: name(named), partitions, replicas: 0, settings: Vec::new(), is_validate_only: false }
}

async fn create(node: &Node, topic: CreateTopic) -> Arc<Topic> {
    let topic = node.controller().create_topic(topic).await.unwrap();
    node.router().wait_until_open(topic.id, Duration::from_secs(10)).await;
    topic
}

fn batch(value: &[u8]) -> ValidBatch {
    let mut builder = BatchBuilder::new(Compression::None);
    let headers: [(&str, Option<&[u8]>); 0] = [];
    builder.append(Clock::system().now(), None, Some(value), &headers).unwrap();
    ValidBatch::check(builder.finish().unwrap(), 8 << 20).unwrap()
}

async fn append(node: &Node, topic: &str, value: &[u8]) -> Result<Offset, AppendError> {
    let handle = node.router().partition(&name(topic), PartitionId::new(0)).unwrap();
    let permit = ByteBudget::new(16 << 20).acquire(value.len()).await.unwrap();
    let ack = handle.append(batch(value), Acks::Quorum, permit).await?.await?;
    Ok(ack.base_offset.unwrap())
}

async fn read(node: &Node, topic: &str, from: u64) -> Vec<Bytes> {
    let handle = node.router().partition(&name(topic), PartitionId::new(0)).unwrap();
    let from = Offset::new(from).unwrap();
    let wait = Duration::from_secs(5);
    let request = ReadFrom { from, bytes_max: 8 << 20, bytes_min: 0, wait, may_follow: false };
    let records =
        handle.read(request).await.unwrap().batches.into_iter().flat_map(|batch| {
            highwater_types::batch::records(batch).unwrap().map(|record| record.unwrap().value.unwrap())
        });
    records.collect()
}

#[test]
fn a_cluster_is_formed_once_and_topics_survive_a_restart() {
    let dir = TempDir::new().unwrap();
    let (identity, before) = live(&dir, async |node| {
        let mut orders = topic("orders", 3);
        orders.settings.push(("retention.ms".to_owned(), "7d".to_owned()));
        create(node, orders).await;
        let change = AlterTopic { name: name("orders"), set: vec![], unset: vec![], partitions: Some(5) };
        node.controller().alter_topic(change).await.unwrap();
        (node.identity(), node.router().image())
    });
    live(&dir, async |node| {
        assert_eq!(node.identity(), identity);
        let after = node.router().image();
        assert_eq!(after.cluster(), Some(identity.cluster));
        let topics = |image: &highwater_metadata::MetadataImage| image.topics().cloned().collect::<Vec<_>>();
        assert_eq!(topics(&after), topics(&before));
        for partition in 0..5 {
            node.router().partition(&name("orders"), PartitionId::new(partition)).unwrap();
        }
        assert_eq!(node.controller_leadership().borrow().leader, Some(identity.node));
    });
}

#[test]
fn what_was_acknowledged_survives_a_kill() {
    let dir = TempDir::new().unwrap();
    live_and_kill(&dir, async |node| {
        create(node, topic("orders", 1)).await;
        for offset in 0..20 {
            let value = format!("record {offset}");
            assert_eq!(append(node, "orders", value.as_bytes()).await.unwrap().get(), offset);
        }
    });
    live(&dir, async |node| {
        assert_eq!(append(node, "orders", b"after").await.unwrap().get(), 20);
        let values = read(node, "orders", 0).await;
        assert_eq!(values.len(), 21);
        assert_eq!(values[19], "record 19");
    });
}

#[test]
fn a_name_is_taken_once_however_many_ask() {
    let dir = TempDir::new().unwrap();
    live(&dir, async |node| {
        let asks = (0..20).map(|_| node.controller().create_topic(topic("orders", 1)));
        let answers = futures_util::future::join_all(asks).await;
        assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 1);
        for refused in answers.into_iter().filter_map(Result::err) {
            assert_eq!(refused, ControllerError::Refused(CommandError::TopicExists { name: name("orders") }));
            assert_eq!(refused.code(), ErrorCode::TopicExists);
        }
    });
}

#[test]
fn a_producer_id_is_handed_out_once_in_the_life_of_a_cluster() {
    let dir = TempDir::new().unwrap();
    let mut all = std::collections::BTreeSet::new();
    for round in 0..6 {
        let take = async |node: &Node| {
            let asks = (0..1_200).map(|_| node.controller().allocate_producer_id());
            futures_util::future::try_join_all(asks).await.unwrap()
        };
        let ids = if round % 2 == 0 { live_and_kill(&dir, take) } else { live(&dir, take) };
        for (id, epoch) in ids {
            assert_eq!(epoch.get(), 0);
            assert!(all.insert(id), "{id} came twice");
        }
    }
    assert_eq!(all.len(), 7_200);
}

#[test]
fn a_deleted_topic_is_gone_and_its_name_is_free() {
    let dir = TempDir::new().unwrap();
    let logs = dir.path().join("data/logs");
    live(&dir, async |node| {
        let first = create(node, topic("orders", 2)).await;
        append(node, "orders", b"old").await.unwrap();
        let handle = node.router().partition(&name("orders"), PartitionId::new(0)).unwrap();
        node.controller().delete_topic(name("orders")).await.unwrap();
        let again = create(node, topic("orders", 1)).await;
        assert_ne!(again.id, first.id);
        let permit = ByteBudget::new(1 << 20).acquire(10).await.unwrap();
        let refused = match handle.append(batch(b"late"), Acks::Quorum, permit).await {
            Ok(ticket) => ticket.await.unwrap_err(),
            Err(refused) => refused,
        };
        assert_eq!(refused, AppendError::Stopped);
        assert_eq!(append(node, "orders", b"new").await.unwrap().get(), 0);
        assert_eq!(read(node, "orders", 0).await, ["new"]);
    });
    // The metadata's log and the one of the new topic.
    assert_eq!(fs::read_dir(&logs).unwrap().count(), 2);
    live(&dir, async |node| assert_eq!(read(node, "orders", 0).await, ["new"]));
}

/// As after a crash between the commit of a deletion and the removal of the folder.
#[test]
fn a_log_that_a_deletion_left_behind_is_deleted_by_the_next_start() {
    let dir = TempDir::new().unwrap();
    live(&dir, async |node| drop(create(node, topic("orders", 1)).await));
    let folder = partition_folder(&dir);
    let kept = dir.path().join("kept");
    copy_folder(&folder, &kept);
    live(&dir, async |node| node.controller().delete_topic(name("orders")).await.unwrap());
    assert!(!folder.exists());
    copy_folder(&kept, &folder);
    live(&dir, async |node| assert_eq!(node.router().image().topics().len(), 0));
    assert!(!folder.exists());
}

#[test]
fn a_missing_log_is_a_loss_and_not_a_new_log() {
    let dir = TempDir::new().unwrap();
    live(&dir, async |node| drop(create(node, topic("orders", 1)).await));
    let folder = partition_folder(&dir);
    fs::rename(&folder, dir.path().join("elsewhere")).unwrap();
    let refused = start_error(&dir);
    assert!(matches!(&refused, StartError::LogMissing { folder: named, .. } if *named == folder), "{refused}");
    assert!(refused.to_string().contains("partition 0 of topic 'orders'"), "{refused}");
    // Put back, it is as it was.
    fs::rename(dir.path().join("elsewhere"), &folder).unwrap();
    live(&dir, async |node| drop(node.router().partition(&name("orders"), PartitionId::new(0)).unwrap()));
}

#[test]
fn missing_metadata_is_a_loss_and_not_a_new_cluster() {
    let dir = TempDir::new().unwrap();
    live(&dir, async |node| drop(create(node, topic("orders", 1)).await));
    let folder = dir.path().join("data/logs").join(crate::controller::METADATA_LOG.to_string());
    fs::remove_dir_all(&folder).unwrap();
    let refused = start_error(&dir);
    assert!(
        matches!(&refused, StartError::LogMissing { of: GroupName::Metadata, folder: named } if *named == folder),
        "{refused}"
    );
    assert!(partition_folder(&dir).exists(), "what is left was not touched");
}

#[test]
fn two_nodes_cannot_have_one_data_directory() {
    let dir = TempDir::new().unwrap();
    live(&dir, async |_node| {
        let refused = Node::start(options(&dir)).await.unwrap_err();
        assert!(refused.to_string().contains("in use"), "{refused}");
    });
}

#[test]
fn a_first_start_that_was_cut_short_is_done_again() {
    let dir = TempDir::new().unwrap();
    let identity = runtime().block_on(async {
        let (data, logs) = open_data(&options(&dir)).await.unwrap();
        assert!(logs.is_empty());
        let (cluster, uuid) = (ClusterId::from_bytes([7; 16]), NodeUuid::from_bytes([8; 16]));
        let identity = Identity { cluster, node: NodeId::new(1), uuid };
        data.set_identity(identity).unwrap();
        identity
    });
    live(&dir, async |node| {
        assert_eq!(node.identity(), identity);
        assert_eq!(node.router().image().cluster(), Some(identity.cluster));
    });
}

#[test]
fn a_failed_disk_ends_the_node() {
    let dir = TempDir::new().unwrap();
    runtime().block_on(async {
        let node = Node::start(options(&dir)).await.unwrap();
        create(&node, topic("orders", 1)).await;
        let running = tokio::time::timeout(Duration::from_millis(100), node.failed()).await;
        assert!(running.is_err(), "nothing has failed yet");
        node.data.flusher().poison().set("sync of a segment: EIO, as planned");
        let failure = node.failed().await;
        assert!(matches!(&failure, NodeFailure::Disk(poisoned) if poisoned.reason().contains("as planned")));
        assert!(append(&node, "orders", b"too late").await.is_err());
        let refused = node.controller().create_topic(topic("more", 1)).await.unwrap_err();
        assert_eq!(refused.code(), ErrorCode::StorageFailed);
        assert_eq!(node.shutdown().await, Err(failure));
    });
}

#[test]
fn changed_segment_settings_take_hold_and_keep_the_records() {
    let dir = TempDir::new().unwrap();
    live(&dir, async |node| {
        create(node, topic("orders", 1)).await;
        append(node, "orders", b"before").await.unwrap();
        let set = vec![("segment.bytes".to_owned(), "1MiB".to_owned())];
        let change = AlterTopic { name: name("orders"), set, unset: vec![], partitions: None };
        let changed = node.controller().alter_topic(change).await.unwrap();
        assert_eq!(changed.settings.get(Setting::SegmentBytes).limit(), Some(1 << 20));
        // It is closed and opened again; clients are told to try again meanwhile.
        let mut offsets = Vec::new();
        while offsets.len() < 3 {
            match node.router().partition(&name("orders"), PartitionId::new(0)) {
                Ok(_) => offsets.extend(append(node, "orders", &[7; 700_000]).await.ok()),
                Err(not_open) => assert!(not_open.is_retryable(), "{not_open}"),
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert_eq!(read(node, "orders", 0).await[0], "before");
        let segments = fs::read_dir(partition_folder(&dir)).unwrap();
        let names = segments.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        assert!(names.filter(|name| name.ends_with(".segment")).count() >= 3);
    });
}

#[test]
fn retention_lets_go_of_old_segments_and_offsets_go_on() {
    let dir = TempDir::new().unwrap();
    let mut orders = topic("orders", 1);
    orders.settings.push(("segment.bytes".to_owned(), "1MiB".to_owned()));
    orders.settings.push(("retention.bytes".to_owned(), "2MiB".to_owned()));
    let log_start = live(&dir, async |node| {
        create(node, orders).await;
        for _ in 0..12 {
            append(node, "orders", &[7; 700_000]).await.unwrap();
        }
        let handle = node.router().partition(&name("orders"), PartitionId::new(0)).unwrap();
        let trimmed = async {
            while handle.watermarks().log_start < Offset::new(8).unwrap() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), trimmed).await.expect("old segments go");
        handle.watermarks().log_start
    });
    live_and_kill(&dir, async |node| {
        let handle = node.router().partition(&name("orders"), PartitionId::new(0)).unwrap();
        assert!(handle.watermarks().log_start >= log_start, "what is gone does not come back");
        assert_eq!(append(node, "orders", b"next").await.unwrap().get(), 12);
    });
    live(&dir, async |node| assert_eq!(read(node, "orders", 12).await, ["next"]));
}

#[test]
fn what_cannot_be_routed_is_refused_by_name() {
    let dir = TempDir::new().unwrap();
    live(&dir, async |node| {
        let unknown = node.router().partition(&name("orders"), PartitionId::new(0)).unwrap_err();
        assert_eq!(unknown, RouteError::UnknownTopic { topic: name("orders") });
        create(node, topic("orders", 2)).await;
        let unknown = node.router().partition(&name("orders"), PartitionId::new(2)).unwrap_err();
        assert_eq!(unknown.to_string(), "topic 'orders' has no partition 2; it has 2, counted from 0");
    });
}

#[test]
fn a_node_takes_as_many_partitions_as_it_may() {
    let dir = TempDir::new().unwrap();
    runtime().block_on(async {
        let mut options = options(&dir);
        options.policy.replicas_per_node_max = 3;
        let node = Node::start(options).await.unwrap();
        create(&node, topic("orders", 2)).await;
        let refused = node.controller().create_topic(topic("more", 2)).await.unwrap_err();
        assert!(refused.to_string().contains("room for 1 of the 2 partitions"), "{refused}");
        create(&node, topic("one", 1)).await;
        node.shutdown().await.unwrap();
    });
}

/// The folder of the only log that is not the metadata's.
fn partition_folder(dir: &TempDir) -> PathBuf {
    let metadata = crate::controller::METADATA_LOG.to_string();
    let folders = fs::read_dir(dir.path().join("data/logs")).unwrap().map(|entry| entry.unwrap().path());
    folders.filter(|folder| !folder.ends_with(&metadata)).last().unwrap()
}

fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}
