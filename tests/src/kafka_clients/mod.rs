//! Clients of Kafka that other people wrote, against real nodes: installed, run, and told when a leader has been killed.
//!
//! Owns: the way to `tests/kafka_clients`, one script of Python a client. A script asserts; what is here gives it nodes.
//!
//! Invariant: a script that this started is dead when its test ends.

mod install;
mod script;
mod tap;

pub use install::{Tool, installed};
pub use script::{Script, run};
pub use tap::Tap;
