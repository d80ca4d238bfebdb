//! Several nodes in one process, each on its own runtime, its own data directory and its own sockets: formation, failover,
//! restarts, and what is refused.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]
#![allow(clippy::disallowed_methods, missing_docs, dead_code)]

mod absence;
mod catch_up;
mod clients;
mod failover;
mod formation;
mod groups;
mod harness;
mod operations;
mod queues;
mod records;
mod restart;
