//! Golden files of the tests: scripts that are replayed, and bytes of formats in hexadecimal digits.
//!
//! Owns: comparing with what is kept, and writing it anew where `HIGHWATER_UPDATE_SCRIPTS` is set: after a wanted change, set it
//! and read the difference before it is committed. Never: knows what a script or a format is about.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]
#![allow(clippy::disallowed_methods, reason = "reads and writes the tests' own files")]

pub mod hex;
pub mod script;

fn is_update() -> bool {
    std::env::var_os("HIGHWATER_UPDATE_SCRIPTS").is_some()
}
