//! Records in and out of a cluster, and what the replicas hold of them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use highwater_broker::admission::ByteBudget;
use highwater_broker::clock::Clock;
use highwater_broker::partition::{Acks, PartitionHandle, ReadFrom};
use highwater_metadata::Topic;
use highwater_storage::disk::os::OsDisk;
use highwater_storage::{EntryKind, LogKey, inspect};
use highwater_types::batch::{BatchBuilder, Compression, ValidBatch, records};
use highwater_types::{Offset, PartitionId, TopicPartition};

use super::harness::{Cluster, PATIENCE, until};

pub(crate) fn batch(value: &[u8]) -> ValidBatch {
    let mut builder = BatchBuilder::new(Compression::None);
    let headers: [(&str, Option<&[u8]>); 0] = [];
    builder.append(Clock::system().now(), None, Some(value), &headers).unwrap();
    ValidBatch::check(builder.finish().unwrap(), 8 << 20).unwrap()
}

impl Cluster {
    /// The handle of a partition on a node, if it is open there.
    pub(crate) fn handle(&self, number: usize, topic: &Topic, partition: u32) -> Option<PartitionHandle> {
        let id = TopicPartition { topic: topic.id, partition: PartitionId::new(partition) };
        self.server(number).node().router().open_partition(id)
    }

    /// The number of the node that leads a partition and serves writes; waits for one.
    pub(crate) async fn leader(&self, topic: &Topic, partition: u32) -> usize {
        let leads = |number: &usize| {
            let handle = self.handle(*number, topic, partition);
            handle.is_some_and(|handle| handle.status().leadership.serves_writes)
        };
        let began = Instant::now();
        while began.elapsed() < PATIENCE {
            if let Some(leader) = self.running().into_iter().find(leads) {
                return leader;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let seen = |number: usize| (number, self.handle(number, topic, partition).map(|handle| handle.status()));
        let seen: Vec<_> = self.running().into_iter().map(seen).collect();
        panic!("partition {partition} of {} has no leader after {PATIENCE:?}: {seen:#?}", topic.name);
    }

    /// Appends one record and waits until it is acknowledged, at whatever node leads; tries again where that is allowed,
    /// so a record of unknown outcome may be there twice.
    pub(crate) async fn append(&self, topic: &Topic, partition: u32, value: &[u8]) -> Offset {
        let mut offset = None;
        until("a record is acknowledged", async || {
            let leader = self.leader(topic, partition).await;
            let Some(handle) = self.handle(leader, topic, partition) else { return false };
            let permit = ByteBudget::new(16 << 20).acquire(value.len()).await.unwrap();
            let acked = match handle.append(batch(value), Acks::Quorum, permit).await {
                Ok(ticket) => tokio::time::timeout(Duration::from_secs(5), ticket).await.ok(),
                Err(_) => None,
            };
            offset = acked.and_then(Result::ok).and_then(|ack| ack.base_offset);
            offset.is_some()
        })
        .await;
        offset.unwrap()
    }

    /// The values of all records from the start to the high watermark, read at the leader.
    pub(crate) async fn read_all(&self, topic: &Topic, partition: u32) -> Vec<Bytes> {
        let leader = self.leader(topic, partition).await;
        let handle = self.handle(leader, topic, partition).unwrap();
        let mut values = Vec::new();
        let mut from = handle.watermarks().log_start;
        let end = handle.watermarks().committed;
        while from < end {
            let request =
                ReadFrom { from, bytes_max: 8 << 20, bytes_min: 0, wait: Duration::from_secs(5), may_follow: false };
            for batch in handle.read(request).await.unwrap().batches {
                let read: Vec<_> = records(batch).unwrap().map(|record| record.unwrap()).collect();
                from = from.checked_add(read.len() as u64).unwrap();
                values.extend(read.into_iter().map(|record| record.value.unwrap()));
            }
        }
        values
    }

    /// Waits until every replica that runs has applied what the leader has.
    pub(crate) async fn until_caught_up(&self, topic: &Topic, partition: u32) {
        until("the replicas have everything", async || {
            let applied = self.running().into_iter().filter_map(|number| {
                let status = self.handle(number, topic, partition)?.status();
                Some((status.last_index, status.applied_index))
            });
            let applied: Vec<_> = applied.collect();
            applied.iter().all(|(last, at)| last == at && *at == applied[0].1)
        })
        .await;
    }

    /// What a stopped node's disk holds of a partition: every entry, with its place and its payload.
    pub(crate) fn entries_on_disk(
        &self,
        number: usize,
        topic: &Topic,
        partition: u32,
    ) -> Vec<(u64, u64, EntryKind, Bytes)> {
        let key = LogKey::new(topic.id.to_bytes(), partition);
        let folder = self.data_dir(number).join("logs").join(key.to_string());
        let disk = OsDisk::new();
        let mut entries = Vec::new();
        for file in inspect::log_files(&disk, &folder).unwrap().segments.into_iter().filter(|file| file.facts.is_some())
        {
            for frame in inspect::segment(&disk, &file.path).unwrap() {
                let frame = frame.unwrap();
                let Ok(header) = frame.header else { continue };
                entries.push((header.id.term.get(), header.id.index.get(), header.kind, frame.payload));
            }
        }
        entries
    }

    /// Stops all nodes, and checks that their disks hold the same.
    pub(crate) async fn stop_and_compare(&mut self, topic: &Arc<Topic>, partition: u32) {
        let numbers: Vec<usize> =
            self.running().into_iter().filter(|number| self.handle(*number, topic, partition).is_some()).collect();
        self.until_caught_up(topic, partition).await;
        self.stop_all().await;
        let first = self.entries_on_disk(numbers[0], topic, partition);
        assert!(!first.is_empty());
        for number in &numbers[1..] {
            let other = self.entries_on_disk(*number, topic, partition);
            // A node that stopped first may lack what came of its own going: an entry of the next leader.
            let common = first.len().min(other.len());
            assert!(first[..common] == other[..common], "nodes {} and {number} differ", numbers[0]);
            let data = |entries: &[(u64, u64, EntryKind, Bytes)]| {
                entries.iter().filter(|entry| entry.2 == EntryKind::Data).count()
            };
            assert_eq!(data(&first), data(&other));
        }
    }
}
