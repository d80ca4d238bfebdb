//! Stream groups as a client meets them: sessions, offsets, and groups for operators.

mod client;
mod faults;
mod operators;
mod sharing;
