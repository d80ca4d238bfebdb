//! Links over gRPC: one connection of HTTP/2 from each node to each peer, its two lanes two bidirectional calls on it.
//!
//! The framing is gRPC's; the messages are our frames. hyper is used directly, on both sides, so that the pieces of a
//! frame go to the socket as they are (slices of the log's map, gathered by the system call), and what arrives is sliced
//! out of the buffers that it was read into.
//!
//! ```text
//!   POST /highwater.internal.v1.Peer/Urgent   first message both ways: the greeting
//!   POST /highwater.internal.v1.Peer/Bulk     after it
//! ```
//!
//! Bounded: the windows below, so many connections, and a time in which a connection must have greeted. The receive
//! window of a connection is larger than that of one lane: a bulk lane that nobody reads leaves room for the urgent one.

mod body;
mod client;
mod server;

pub use client::GrpcTransport;
pub use server::{PeerListener, serve};

use std::time::Duration;

/// What a lane may have on its way without being read: it takes so much to move gigabytes a second.
const LANE_WINDOW_BYTES: u32 = 16 << 20;
/// The same for both lanes together.
const CONNECTION_WINDOW_BYTES: u32 = LANE_WINDOW_BYTES + (2 << 20);
/// Large frames of HTTP/2 cost less each; measured, they double what one connection moves.
const HTTP_FRAME_BYTES_MAX: u32 = 1 << 20;
/// The largest of our frames: what a link carries at a time, and room.
const FRAME_BYTES_MAX: usize = 48 << 20;
/// Frames between a link and its connection, each way.
const FRAMES_WAITING: usize = 2;
/// How long a new connection may take to greet.
const GREETING_PATIENCE: Duration = Duration::from_secs(3);

const URGENT_PATH: &str = "/highwater.internal.v1.Peer/Urgent";
const BULK_PATH: &str = "/highwater.internal.v1.Peer/Bulk";
