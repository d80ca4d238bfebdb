//! Kafka's encoding, as far as a broker needs it: requests are read, answers are written.
//!
//! Owns: integers, texts, arrays and tags in both encodings, the old one and the flexible one (KIP-482).
//!
//! Never: knows an API. Each reads and writes its own fields, in order, by version.

mod reader;
mod writer;

pub(super) use reader::{Malformed, Reader};
pub(super) use writer::Writer;

#[cfg(test)]
mod tests;
