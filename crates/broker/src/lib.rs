//! The Highwater node: everything that runs in one server process.
//!
//! Owns: the clock, the Raft groups, the partitions and their writers, the metadata controller, the router, the front
//! doors, and the order in which all of that starts and stops.
//!
//! Never: decides what the cluster is (crate `metadata`) or how bytes lie on disk (crate `storage`).

pub mod admission;
pub mod clock;
pub mod config;
pub mod controller;
pub mod coordinator;
pub mod disk_gate;
pub mod front;
mod inbox;
mod metrics;
pub mod node;
pub mod partition;
pub mod peer;
#[doc(hidden)]
pub mod planted;
pub mod queues;
pub mod raft;
pub mod router;
pub mod runtime;
pub mod server;
pub mod shutdown;
pub mod survey;
pub mod usage;
