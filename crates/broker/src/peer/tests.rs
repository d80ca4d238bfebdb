#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::expect_used)]
//! What holds of every transport, and what only one of them can be made to do.

mod conformance;
mod hanging;
mod rig;
