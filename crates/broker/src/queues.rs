//! The queues of a partition on this node: one task over the partition's Raft group that decides for its queue groups, and
//! handles for the fronts.
//!
//! Owns: the way of a command through the engine of crate `groups`: decided where the partition leads, its records
//! committed, its answer released; reading the log ahead for the engine; who is told that there is something to get.
//! Never: decides anything (the engine does), writes records of its own topic, or knows a protocol.
//!
//! ```text
//!   QueueHandle ──command──► task: desk.decide(queue) ──records──► Replica ──commit──► PartitionState
//!        ▲                      │  ▲          ▲                        │                    │ replay
//!        └────── answers ◄── outbox│          └── desk.offer ◄── scan ◄── Log               ▼
//!                                  └───── desk.committed ◄─────────────┘                  image
//! ```
//!
//! A desk is made when somebody first asks for its group in this term: a partition whose queues nobody works at costs
//! nothing, also after an election. Why a queue is decided like this: `docs/adr/085`.

mod error;
mod handle;
mod headers;
mod kept;
mod leading;
mod scan;
mod served;
mod state;
mod task;

pub use error::QueueError;
pub use handle::{QueueHandle, Reply, received};
pub(crate) use headers::MESSAGE_ID;
pub(crate) use kept::from_bytes as kept_record;
pub(crate) use state::SharedQueues;
pub(crate) use task::{QueueTask, REQUESTS_WAITING_MAX};
