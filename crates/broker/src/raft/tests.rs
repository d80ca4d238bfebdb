#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::expect_used)]
//! The log store and the state machine under openraft's own suite, and the traps that lose data, one by one.

mod cluster;
mod damage;
mod members;
mod network;
pub(crate) mod rig;
mod snapshot;
mod suite;
mod supervision;
mod traps;
