//! Who reads what: stream groups ([`stream`]) and, beside them on the same topics, queues ([`queue`]).
//!
//! Owns: decisions about groups, the records that those decisions are persisted as, and the image that the records add
//! up to.
//!
//! Never: reads a clock, draws a random number, touches a disk or a socket, awaits. Time and chance are arguments.

mod held;
#[doc(hidden)]
pub mod planted;
pub mod queue;
pub mod stream;
