//! Node to node: links between nodes, and what travels on them.
//!
//! Owns: the seam of the network ([`Transport`]), the greeting of a connection, one link from this node to each other
//! node with its reconnecting, what is in flight on it, and when a node was last heard.
//!
//! Never: knows what a message of Raft means (`raft::network` does), nor what the nodes of the cluster are (it is told).
//!
//! ```text
//!   raft::network ──► Peers ──► dialer ──► link ──► Transport ─ ─ ─► Transport ──► serve ──► raft::network
//!   ask           ──►            (one a peer)   urgent │ bulk                             └─► ControlService
//! ```
//!
//! - A link carries requests from the node that dialed and replies back to it. Two nodes have one link each way.
//! - A link has two lanes, each in order by itself. **Urgent**: heartbeats, votes, control, every reply. **Bulk**: appends
//!   and snapshots. So load cannot delay what elections depend on.
//! - Bytes in flight are bounded: requests of the bulk lane by a budget of the sender until they are answered, and by a
//!   budget of the receiver over all peers.
//! - A link on which nothing is heard for [`SILENCE_MAX`] is closed, and everything in flight on it fails: a peer that
//!   hangs never blocks anybody for longer.

mod dialer;
mod error;
mod frame;
pub mod grpc;
mod hello;
mod link;
mod memory;
mod message;
mod peers;
mod serve;
#[cfg(test)]
mod tests;
mod traffic;
mod transport;
mod writer;

pub use error::PeerError;
pub use frame::{Frame, Malformed};
pub(crate) use frame::{FrameReader, FrameWriter};
pub use hello::{Hello, PROTOCOL_VERSION, Refusal};
pub(crate) use link::Answer;
pub use memory::{Hop, MemoryNetwork, MemoryTransport};
pub use peers::{ControlService, Peers, RaftRequests};
pub use traffic::Traffic;
pub use transport::{Accept, Dialing, Lane, Link, Pipe, Transport};
pub(crate) use writer::Timing;

use std::time::Duration;

/// How often a side that has nothing to say says so.
const PING_INTERVAL: Duration = Duration::from_millis(400);
/// A link on which nothing was heard for so long is closed.
pub const SILENCE_MAX: Duration = Duration::from_millis(1_600);
/// How long a dial may take.
const DIAL_PATIENCE: Duration = Duration::from_millis(1_500);
