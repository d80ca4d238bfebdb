//! The gRPC front as a client meets it: a real server on a real socket and disk, and a client of generated code.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]
#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_precision_loss,
    clippy::disallowed_methods,
    missing_docs
)]

mod admin;
mod bad_batches;
mod bad_clients;
mod bad_frames;
mod batches;
mod harness;
mod lifecycle;
mod produce;
mod raw;
mod read;
mod real_producer;
mod speed;
