//! The front doors: what clients speak, turned into calls of the node and back.
//!
//! Owns: decoding, checking and encoding, and the one table from errors to what a client sees ([`failure`]).
//!
//! Never: decides anything. A front decodes, checks, calls, encodes.

mod coordinators;
pub mod failure;
pub mod grpc;
pub mod http;
pub mod kafka;
