//! openraft's types as this broker fills them in, and the way between them and ours.
//!
//! One leader a term (`leader_id_std`), so the leader epoch of a batch is its term. A log id is therefore a term and an
//! index: exactly an [`EntryId`]. Nothing here is serialised by serde; `codec` frames what goes to disk.

use std::fmt;

use bytes::Bytes;
use highwater_storage::{Entry, EntryKind};
use highwater_types::{EntryId, NodeId, Offset};
use openraft::impls::{BoxedErrorSource, InlineBatch, leader_id_std};
use openraft::vote::{RaftLeaderId, RaftLeaderIdExt};
use openraft::{OptionalSend, RaftTypeConfig};
use tokio::sync::oneshot;

use super::fence::{Fence, FencedResponder};
use super::state_machine::StateMachine;

/// The types of every Raft group of this broker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct TypeConfig;

impl RaftTypeConfig for TypeConfig {
    type D = Command;
    type R = Applied;
    type NodeId = u64;
    type Node = ();
    type Term = u64;
    type LeaderId = leader_id_std::LeaderId<u64, u64>;
    type Vote = openraft::impls::Vote<Self::LeaderId>;
    type Payload = openraft::EntryPayload<Self::D, u64, ()>;
    type Entry = openraft::Entry<<Self::LeaderId as RaftLeaderId>::Committed, Self::Payload>;
    type AsyncRuntime = super::runtime::Runtime;
    type Responder<T>
        = FencedResponder<T>
    where
        T: OptionalSend + 'static;
    type Batch<T>
        = InlineBatch<T>
    where
        T: OptionalSend + 'static;
    type ErrorSource = BoxedErrorSource;
}

pub(crate) type LogId = openraft::alias::LogIdOf<TypeConfig>;
pub(crate) type Vote = openraft::alias::VoteOf<TypeConfig>;
pub(crate) type RaftEntry = openraft::alias::EntryOf<TypeConfig>;
pub(crate) type Membership = openraft::Membership<u64, ()>;
pub(crate) type StoredMembership = openraft::alias::StoredMembershipOf<TypeConfig>;
pub(crate) type SnapshotMeta = openraft::alias::SnapshotMetaOf<TypeConfig>;
pub(crate) type Snapshot = openraft::alias::SnapshotOf<TypeConfig, Bytes>;
pub(crate) type ApplyResponder = openraft::storage::ApplyResponder<TypeConfig>;
pub(crate) type Raft = openraft::Raft<TypeConfig, StateMachine>;

/// What an entry of the application carries through openraft.
pub(crate) enum Command {
    /// On its way into the log of the leader.
    Proposed(Proposed),
    /// Read from the log: a slice of it, and its place.
    Stored(Entry),
}

/// A proposal on its way into the log.
pub(crate) struct Proposed {
    pub(crate) kind: EntryKind,
    pub(crate) payload: Bytes,
    /// Told when the entry is in this node's log and readable, which is before it is durable or committed.
    pub(crate) on_append: Option<oneshot::Sender<Appended>>,
    /// What it was checked together with.
    pub(crate) fence: Option<Fence>,
}

/// Where an entry went in the log of the leader. It may still be lost with the leadership.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// Its identity.
    pub id: EntryId,
    /// The offset of its first record.
    pub base_offset: Offset,
}

/// Where a committed entry is, told to who proposed it once it is applied here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Applied {
    pub(crate) base_offset: Offset,
    /// Whether its place holds nothing, because it came behind a fallen [`Fence`].
    pub(crate) is_blank: bool,
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Proposed(p) => write!(f, "{:?} of {} bytes", p.kind, p.payload.len()),
            Self::Stored(e) => write!(f, "{:?} of {} bytes at offset {}", e.kind, e.payload.len(), e.base_offset),
        }
    }
}

impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Our name for a log id.
pub(crate) fn entry_id(id: &LogId) -> EntryId {
    EntryId::new(id.leader_id.term, id.index)
}

/// openraft's name for an entry id.
pub(crate) fn log_id(id: EntryId) -> LogId {
    // The node is not part of a committed leader id of this kind; any will do.
    LogId::new(leader_id_std::LeaderId::new_committed(id.term.get(), 0), id.index.get())
}

/// openraft's number for a node.
pub(crate) const fn raft_node(id: NodeId) -> u64 {
    id.get()
}
