//! The fronts as a client meets them: a real server on a real socket and disk, a client of generated code, and one that
//! speaks plain HTTP.
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
mod groups;
mod harness;
mod http;
mod lifecycle;
mod produce;
mod queues;
mod raw;
mod read;
mod real_producer;
mod speed;
