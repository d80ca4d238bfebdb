//! The replicas of this node by the key of their group: where the requests of other nodes go.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, Weak};

use bytes::{Bytes, BytesMut};
use highwater_storage::{Log, LogKey, ReserveError, framed_bytes};
use highwater_types::{NodeId, Term};
use openraft::EntryPayload;
use openraft::raft::AppendEntriesResponse;

use super::codec;
use super::pulse::{self, Pacer};
use super::recovery::Recovery;
use super::types::{Command, Raft, RaftEntry, Snapshot, entry_id};
use super::wire::{self, Received, Reply, Request, SnapshotPart};
use crate::peer::{Frame, RaftRequests};

/// The largest snapshot that is taken: the state of a group without its log.
const SNAPSHOT_BYTES_MAX: u64 = 1024 * 1024 * 1024;

/// More than what openraft writes by itself between two reservations: the members of a group and their changes, and the
/// entry with which a leader begins. Whoever reserves space for entries of its own asks for this much more, because
/// reservations do not add up.
pub(crate) const OWN_BYTES_MAX: u64 = 4096;

type Table = RwLock<BTreeMap<LogKey, Arc<Group>>>;

/// A table of replicas. Clones are the same table.
#[derive(Clone, Default)]
pub(crate) struct Groups(Arc<Table>);

/// Answers for the replicas of a table as long as somebody has it. The links to the peers may outlive a node that was not
/// stopped in order; the logs in the table must not, as they keep the data directory locked.
pub(crate) struct Answering(Looking);

/// The table, as long as somebody has it.
pub(super) struct Looking(Weak<Table>);

impl Looking {
    pub(super) fn upgrade(&self) -> Option<Groups> {
        self.0.upgrade().map(Groups)
    }
}

/// A replica's place in the table, which is free again when this is dropped.
pub(crate) struct Registered {
    groups: Groups,
    key: LogKey,
    group: Arc<Group>,
}

impl Registered {
    /// See [`Group::make_room_for_own`].
    pub(super) fn make_room_for_own(&self) -> Result<(), ReserveError> {
        self.group.make_room_for_own()
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        let mut groups = self.groups.0.write().unwrap_or_else(PoisonError::into_inner);
        // Another replica of the group may have been opened since.
        if groups.get(&self.key).is_some_and(|group| Arc::ptr_eq(group, &self.group)) {
            groups.remove(&self.key);
        }
    }
}

/// A replica, and the snapshot that it is being sent.
pub(super) struct Group {
    raft: Raft,
    recovery: Recovery,
    log: Log,
    pub(super) pacer: Arc<Pacer>,
    /// Bytes of appends that were handed to openraft and are not answered.
    arriving: Arc<AtomicU64>,
    incoming: Mutex<Option<Incoming>>,
}

/// The parts of a snapshot that came so far.
struct Incoming {
    from: NodeId,
    total: u64,
    bytes: BytesMut,
}

/// The bytes of an append under way; not any more when it is dropped.
struct Arriving {
    all: Arc<AtomicU64>,
    bytes: u64,
}

impl Drop for Arriving {
    fn drop(&mut self) {
        self.all.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// What an entry takes in the log.
fn bytes_in_log(entry: &RaftEntry) -> u64 {
    match &entry.payload {
        EntryPayload::Blank => framed_bytes(0),
        EntryPayload::Membership(membership) => framed_bytes(codec::encode_membership(membership).len()),
        EntryPayload::Normal(Command::Stored(stored)) => framed_bytes(stored.payload.len()),
        EntryPayload::Normal(Command::Proposed(proposed)) => framed_bytes(proposed.payload.len()),
    }
}

impl Groups {
    /// From here on requests for `key` go to `raft`, until the result is dropped.
    pub(super) fn register(
        &self,
        key: LogKey,
        raft: Raft,
        log: Log,
        recovery: Recovery,
        pacer: Arc<Pacer>,
    ) -> Registered {
        let (arriving, incoming) = (Arc::default(), Mutex::default());
        let group = Arc::new(Group { raft, log, recovery, pacer, arriving, incoming });
        self.0.write().unwrap_or_else(PoisonError::into_inner).insert(key, Arc::clone(&group));
        Registered { groups: self.clone(), key, group }
    }

    /// A look at the table that does not keep it.
    pub(super) fn downgrade(&self) -> Looking {
        Looking(Arc::downgrade(&self.0))
    }

    /// For the links to the peers.
    pub(crate) fn answering(&self) -> Answering {
        Answering(self.downgrade())
    }

    /// Requests for `key` are refused from here on.
    pub(crate) fn remove(&self, key: LogKey) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).remove(&key);
    }

    pub(super) fn get(&self, key: LogKey) -> Option<Arc<Group>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(&key).cloned()
    }

    /// Shows all replicas, in the order of their keys. Nothing may be registered meanwhile.
    pub(super) fn for_each(&self, mut see: impl FnMut(LogKey, &Group)) {
        self.0.read().unwrap_or_else(PoisonError::into_inner).iter().for_each(|(key, group)| see(*key, group));
    }
}

impl RaftRequests for Answering {
    fn handle(&self, from: NodeId, body: Frame) -> Pin<Box<dyn Future<Output = Result<Frame, String>> + Send>> {
        let Some(groups) = self.0.upgrade() else {
            return Box::pin(std::future::ready(Err("it stops".to_owned())));
        };
        let (key, request) = match wire::decode_request(body) {
            Ok(Received::Request(key, request)) => (key, request),
            Ok(Received::Pulse(said)) => {
                let reply = wire::encode_reply(&pulse::take(&groups, from, &said));
                return Box::pin(std::future::ready(Ok(reply)));
            }
            Err(error) => {
                tracing::warn!(node = %from, %error, "a request of another node is not understood");
                return Box::pin(std::future::ready(Err(error.to_string())));
            }
        };
        let Some(group) = groups.get(key) else {
            return Box::pin(std::future::ready(Err(format!("it has no replica of group {key}"))));
        };
        Box::pin(async move { group.answer(from, request).await.map(|reply| wire::encode_reply(&reply)) })
    }
}

impl Group {
    async fn answer(&self, from: NodeId, request: Request) -> Result<Reply, String> {
        let asks_to_lead = matches!(request, Request::Vote(_) | Request::PreVote(_) | Request::TransferLeader(_));
        if asks_to_lead && self.recovery.is_on() {
            return Err("its replica is being rebuilt after damage and takes no part in elections".to_owned());
        }
        match request {
            Request::Append(append) => {
                let term = Term::new(append.vote.leader_id.term);
                let _arriving = self.make_room(&append.entries)?;
                let committed = append.leader_commit.as_ref().map(entry_id);
                let answer = self.raft.append_entries(append).await.map_err(|error| error.to_string())?;
                if matches!(answer, AppendEntriesResponse::Success | AppendEntriesResponse::PartialSuccess(_)) {
                    self.recovery.heard(committed);
                }
                if !matches!(answer, AppendEntriesResponse::HigherVote(_)) {
                    self.pacer.hear(from, term);
                }
                Ok(Reply::Append(answer))
            }
            Request::Vote(vote) => self.raft.vote(vote).await.map(Reply::Vote).map_err(|error| error.to_string()),
            Request::PreVote(_) if self.pacer.vouches_against(from) => Err("its leader is alive".to_owned()),
            Request::PreVote(vote) => {
                self.raft.pre_vote(vote).await.map(Reply::Vote).map_err(|error| error.to_string())
            }
            Request::TransferLeader(transfer) => {
                if self.make_room_for_own().is_err() {
                    return Err("its disk is full".to_owned());
                }
                self.pacer.forget_leader();
                let answered = self.raft.handle_transfer_leader(transfer).await;
                answered.map(Reply::TransferLeader).map_err(|fatal| fatal.to_string())
            }
            Request::Snapshot(part) => self.take_part(from, part).await,
        }
    }

    /// Makes sure that the log has space for entries that openraft makes by itself, such as the one with which a leader
    /// begins: one that finds none is the end of the group.
    pub(super) fn make_room_for_own(&self) -> Result<(), ReserveError> {
        self.log.reserve(self.arriving.load(Ordering::Relaxed) + OWN_BYTES_MAX)
    }

    /// Makes sure that the log has space for these entries, and for those before them. An append that finds none is the
    /// end of the group; a request that is refused before it comes to that is only tried again.
    fn make_room(&self, entries: &[RaftEntry]) -> Result<Arriving, String> {
        let bytes = entries.iter().map(bytes_in_log).sum();
        let arriving = Arriving { all: Arc::clone(&self.arriving), bytes };
        let before = arriving.all.fetch_add(bytes, Ordering::Relaxed);
        if bytes > 0 {
            self.log.reserve(before + bytes).map_err(|error| error.to_string())?;
        }
        Ok(arriving)
    }

    async fn take_part(&self, from: NodeId, part: SnapshotPart) -> Result<Reply, String> {
        let (vote, meta) = (part.vote, part.meta.clone());
        let Some(whole) = self.gather(from, &part)? else { return Ok(Reply::SnapshotTaken) };
        let installed = self.raft.install_full_snapshot(vote, Snapshot { meta, snapshot: whole }).await;
        installed.map(Reply::Snapshot).map_err(|fatal| fatal.to_string())
    }

    /// Adds a part; the whole when this was the last.
    fn gather(&self, from: NodeId, part: &SnapshotPart) -> Result<Option<Bytes>, String> {
        let mut incoming = self.incoming.lock().unwrap_or_else(PoisonError::into_inner);
        let SnapshotPart { at, total, .. } = *part;
        if total > SNAPSHOT_BYTES_MAX {
            return Err(format!("a snapshot of {total} bytes; at most {SNAPSHOT_BYTES_MAX} are taken"));
        }
        if at == 0 {
            *incoming = Some(Incoming { from, total, bytes: BytesMut::new() });
        }
        let fits = |one: &Incoming| one.from == from && one.total == total && one.bytes.len() as u64 == at;
        let Some(one) = incoming.as_mut().filter(|one| fits(one)) else {
            return Err("a part of a snapshot that does not follow the one before; send it from the start".to_owned());
        };
        one.bytes.extend_from_slice(&part.bytes);
        match one.bytes.len() as u64 {
            came if came < total => Ok(None),
            came if came == total => Ok(incoming.take().map(|one| one.bytes.freeze())),
            _ => {
                *incoming = None;
                Err("a snapshot longer than it said".to_owned())
            }
        }
    }
}
