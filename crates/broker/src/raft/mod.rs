//! One replica of a Raft group, for partitions and for the metadata of the cluster alike.
//!
//! Owns: everything that is openraft. No type of that crate leaves this folder.
//! Never: knows what an entry means; that is the [`GroupState`]'s.
//!
//! ```text
//!   propose ──► replica ──► openraft core ──► log_store ──► storage::Log ──► flush round
//!                  ▲              │  commit                                      │
//!                  └── answer ── state_machine ◄──── entries from the log ◄──────┘
//!                                  └► watermarks: applied, committed; leadership beside them
//! ```

mod barrier;
mod catch_up;
mod checkpoint;
mod codec;
mod config;
mod fence;
mod groups;
mod handover;
mod log_store;
mod members;
mod network;
mod pace;
mod pulse;
mod recovery;
mod replica;
mod runtime;
mod state_machine;
mod status;
mod supervisor;
#[cfg(test)]
pub(crate) mod tests;
mod ticket;
mod types;
mod under_way;
mod wire;

pub use barrier::ReadBarrierError;
pub use checkpoint::CheckpointError;
pub use codec::DecodeError;
pub use fence::Fence;
pub(crate) use groups::OWN_BYTES_MAX;
pub use handover::TransferError;
pub use members::MembershipError;
pub use network::PeerNetwork;
pub use recovery::open_log;
pub use replica::{Replica, ReplicaError, ReplicaSpec};
pub use state_machine::{ApplyError, GroupState, RestoreError};
pub use status::{Members, PeerProgress, ReplicaStatus};
pub use supervisor::{Leadership, ReplicaFailure};
pub use ticket::{Committed, Proposal, ProposeError, ProposeTicket};
pub use types::Appended;
pub(crate) use under_way::UnderWay;
