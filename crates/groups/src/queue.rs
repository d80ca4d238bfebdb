//! Queues: each message of a partition is with one worker at a time, until it is acked or dead. Streams, other groups
//! and replays read the same log beside it.
//!
//! Owns, for each (partition, group), in two parts that must not be confused:
//! - the durable [`Queue`] in a [`QueuesImage`]: what the committed [records](record) add up to, on every replica of the
//!   partition;
//! - the volatile [`Desk`]: who has what and until when, and what is known of messages that lie ahead, on the leader
//!   only, made anew from the image after each election.
//!
//! ```text
//!   log ──► Scan ──► desk.offer(queue, …)
//!   command ───────► desk.decide(queue, …) ──► Decision { records, then, now }
//!   clock ─────────► desk.tick(queue, …)           │       │      └── answers that may go at once: leases, refusals
//!                      ▲          ▲                │       └───────── answers that wait in the Outbox ──┐
//!            desk.committed     queue ◄── replay ◄── commit ◄── records                                 │
//!                                                        └────────── released when committed ◄──────────┘
//! ```
//!
//! Never: reads the log, or keeps anything of a message that is done.
//!
//! Invariants:
//! - While a record about a message is under way the message is locked: nobody gets it, and no other record about it is
//!   decided. So the desk never has to guess what the image will be, and a record that is lost takes back nothing that
//!   was promised.
//! - An offset is leased to one worker at a time; a token of another lease, worker, desk or queue does nothing.
//! - What is acked is never handed out again; attempts go down by a redrive and by nothing else.
//! - Memory is bounded by settings: at the bound the queue looks no further ahead, and says so ([`command::Stall`]).

pub mod command;
pub mod config;
pub mod desk;
pub mod entry;
pub mod ids;
pub mod image;
pub mod limits;
pub mod message;
pub mod outbox;
pub mod ranges;
pub mod record;

pub use crate::stream::ids::{GroupId, Moment, Ticket};
pub use command::{Acquired, Answer, Command, Context, Decision, Lease, Outcome, Reply, Settled, Stall};
pub use config::{Backoff, BreakerConfig, OnExpiry, Order, QueueConfig};
pub use desk::{Desk, MessageState, Stats};
pub use entry::{Attempt, DeathCause, DropCause, Entry, Standing};
pub use ids::{AckToken, KeyHash, Nonce, Priority, Reason, Serial, Tenant, WorkerId};
pub use image::{Queue, QueuesImage};
pub use message::{Message, Scan};
pub use outbox::Outbox;
pub use ranges::RangeSet;
pub use record::{Change, DecodeError, Pause, PausedBy, QueueRecord};
