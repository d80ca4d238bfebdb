//! Who reads what. Stream groups today ([`stream`]); queues will stand beside them.
//!
//! Owns: decisions about groups, the records that those decisions are persisted as, and the image that the records add
//! up to.
//!
//! Never: reads a clock, draws a random number, touches a disk or a socket, awaits. Time and chance are arguments.

pub mod stream;
