//! The Kafka front as clients meet it: a real server on a real socket and disk, bytes written by hand, and a client of
//! generated code that knows the protocol's schemas (see `docs/adr/095`).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]
#![allow(clippy::cast_possible_truncation, clippy::disallowed_methods, missing_docs)]

mod bad_input;
#[path = "../fronts/batches.rs"]
mod batches;
mod configs;
mod deletions;
mod documented;
mod groups;
mod harness;
mod listeners;
mod looks;
mod mutations;
mod records;
mod replicas;
mod transcripts;
mod witness;
