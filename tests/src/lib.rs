//! The harness of tests with real processes: nodes that are started, killed and started again, and the verbs of the
//! one binary as a user types them.
//!
//! Owns: starting `highwater dev` and waiting until it says `ready`, running a verb to its end, test data, the history of
//! what clients were told and the checker that judges it, clusters behind proxies, and the runs that bring them together.
//!
//! Never: ends a process that it did not start, and waits for luck: it waits for a condition, with a limit.
#![allow(clippy::expect_used, clippy::panic, reason = "a harness fails by panicking, which fails the test")]
#![allow(clippy::disallowed_methods, reason = "test data and deadlines come from the machine itself")]

pub mod binary;
pub mod chaos;
pub mod cluster;
pub mod compose;
pub mod history;
pub mod kafka_clients;
pub mod node;
pub mod run;
pub mod text;

pub use node::{Failed, Node};
pub use run::{Outcome, highwater};
pub use text::{line_start, text};
