//! A data directory on a simulated disk, and what runs on it.

use std::path::Path;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use highwater_storage::disk::Disk;
use highwater_storage::disk::sim::SimDisk;
use highwater_storage::{DataDir, DataDirOptions, Entry, Identity, Log, LogKey, LogOptions};
use highwater_types::batch::{BatchBuilder, Compression, NO_HEADERS, ProducerStamp};
use highwater_types::{ClusterId, EntryId, NodeId, NodeUuid, Timestamp};
use openraft::storage::RaftLogStorageExt;

use tokio_util::task::TaskTracker;

use crate::clock::Clock;
use crate::raft::log_store::{Installed, LogStore};
use crate::raft::types::RaftEntry;
use crate::raft::{ApplyError, GroupState, PeerNetwork, Replica, ReplicaError, ReplicaSpec, RestoreError};

pub(crate) const KEY: LogKey = LogKey::new([7; 16], 0);
pub(crate) const NODE: NodeId = NodeId::new(1);

/// One run of a process on a simulated machine.
pub(crate) struct Rig {
    pub(crate) disk: SimDisk,
    pub(crate) data: DataDir,
    pub(crate) clock: Clock,
    pub(crate) options: LogOptions,
}

impl Rig {
    /// A new machine with a flusher thread.
    pub(crate) fn new() -> Self {
        Self::start(SimDisk::new(1), true)
    }

    /// A new machine on which rounds run by hand.
    pub(crate) fn without_flusher() -> Self {
        Self::start(SimDisk::new(1), false)
    }

    pub(crate) fn start(disk: SimDisk, starts_flusher: bool) -> Self {
        let options = DataDirOptions { starts_flusher, ..DataDirOptions::default() };
        let data = DataDir::open(Arc::new(disk.clone()) as Arc<dyn Disk>, Path::new("/data"), options).unwrap();
        let identity =
            Identity { cluster: ClusterId::from_bytes([1; 16]), node: NODE, uuid: NodeUuid::from_bytes([2; 16]) };
        data.set_identity(identity).unwrap();
        let clock = Clock::manual(Timestamp::from_ms(1_000_000));
        Self { disk, data, clock, options: LogOptions::default() }
    }

    /// The power is cut, losing all that is not durable, and the machine starts again.
    pub(crate) fn crash(self) -> Self {
        let disk = self.disk.reboot();
        let options = self.options.clone();
        drop(self);
        Self { options, ..Self::start(disk, true) }
    }

    /// The process ends and another one starts; the page cache stays.
    pub(crate) fn restart(self) -> Self {
        let (disk, options) = (self.disk.clone(), self.options.clone());
        drop(self);
        Self { options, ..Self::start(disk, true) }
    }

    pub(crate) fn log(&self) -> Log {
        self.data.open_log(KEY, self.options.clone()).unwrap().0
    }

    pub(crate) fn store(&self, log: &Log) -> LogStore {
        LogStore::new(
            KEY,
            log.clone(),
            Arc::clone(self.data.votes()),
            self.clock.clone(),
            Installed::default(),
            TaskTracker::new().token(),
        )
    }

    pub(crate) fn spec<S>(&self, log: Log, state: S) -> ReplicaSpec<S> {
        ReplicaSpec {
            group: "test".to_owned(),
            key: KEY,
            log,
            votes: Arc::clone(self.data.votes()),
            node: NODE,
            network: PeerNetwork::alone(),
            clock: self.clock.clone(),
            state,
        }
    }

    /// A replica that is alone in its group, and leads it.
    pub(crate) async fn replica(&self, state: Seen) -> Result<(Replica, Log), ReplicaError> {
        let log = self.log();
        let replica = Replica::open(self.spec(log.clone(), state)).await?;
        if !replica.is_initialized().await? {
            replica.initialize(&[NODE]).await?;
        }
        replica.wait_until_serving().await?;
        Ok((replica, log))
    }
}

/// A state that is the list of the entries it was given.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen(Arc<Mutex<Vec<(EntryId, u64)>>>);

impl Seen {
    /// Id and base offset of each entry.
    pub(crate) fn entries(&self) -> Vec<(EntryId, u64)> {
        self.0.lock().unwrap().clone()
    }
}

impl GroupState for Seen {
    fn apply(&mut self, entry: &Entry) -> Result<(), ApplyError> {
        self.0.lock().unwrap().push((entry.id, entry.base_offset.get()));
        Ok(())
    }

    fn encode(&self) -> Bytes {
        let numbers = |(id, offset): &(EntryId, u64)| [id.term.get(), id.index.get(), *offset];
        self.0.lock().unwrap().iter().flat_map(numbers).flat_map(u64::to_le_bytes).collect()
    }

    fn restore(&mut self, bytes: &[u8]) -> Result<(), RestoreError> {
        let number = |bytes: &[u8]| u64::from_le_bytes(bytes.try_into().unwrap());
        let entry = |b: &[u8]| (EntryId::new(number(&b[..8]), number(&b[8..16])), number(&b[16..]));
        *self.0.lock().unwrap() = bytes.chunks(24).map(entry).collect();
        Ok(())
    }
}

/// A batch of `records` records of `bytes` bytes each.
pub(crate) fn batch(records: usize, bytes: usize, producer: Option<ProducerStamp>) -> Bytes {
    let mut builder = BatchBuilder::new(Compression::None);
    for _ in 0..records {
        builder.append(Timestamp::from_ms(1_000_000), None, Some(&vec![b'x'; bytes]), NO_HEADERS).unwrap();
    }
    if let Some(producer) = producer {
        builder.set_producer(producer);
    }
    builder.finish().unwrap()
}

/// Appends and waits until it is durable.
pub(crate) async fn append(store: &mut LogStore, entries: impl IntoIterator<Item = RaftEntry>) {
    store.blocking_append(entries.into_iter().collect::<Vec<_>>()).await.unwrap();
}
