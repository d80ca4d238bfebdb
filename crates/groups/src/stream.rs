//! Stream groups: the members of a group share the partitions of topics, and the group remembers how far it has read.
//!
//! One engine under two fronts: Kafka's classic protocol, where a member of the group assigns, and our own session,
//! where the server does.
//!
//! Owns, in two parts that must not be confused:
//! - the durable [`GroupsImage`]: what the committed [records](record) add up to, on every replica of a coordinator;
//! - the volatile [`Sessions`]: who waits for what and until when, on the leader only, made anew from the image after
//!   each election.
//!
//! ```text
//!   command ──► sessions.decide(image, …) ──► Decision { records, then, now }
//!                  ▲          ▲                    │       │      └── answers that may go at once
//!                  │          │                    │       └───────── answers that wait in the Outbox ──┐
//!                sessions   image ◄── replay ◄── commit ◄── records                                     │
//!                                                  └──────────────── released when committed ◄──────────┘
//! ```
//!
//! Invariants:
//! - A generation of a group never goes back, not even when the group is deleted and made again.
//! - A committed offset changes only by a record; a record carries absolute values.
//! - Sessions run ahead of the image by what was decided and is not committed yet. When any of it cannot be committed,
//!   [`Outbox::fail`] takes the sessions away: they are never repaired, only made again.
//! - In a group that the server assigns, a partition has at most one owner in each generation.

pub mod assignor;
pub mod command;
pub mod ids;
pub mod image;
pub mod limits;
pub mod member;
pub mod offsets;
pub mod outbox;
pub mod record;
pub mod sessions;

pub use assignor::Assignor;
pub use command::{Answer, Command, Context, Decision, Reply};
pub use ids::{
    ClientHost, ClientId, GenerationId, GroupId, IdError, InstanceId, MemberId, Moment, ProtocolName, ProtocolType,
    Ticket,
};
pub use image::{Group, GroupsImage};
pub use member::{Assignment, Client, Member, Protocol};
pub use offsets::{CommittedOffset, OffsetTable};
pub use outbox::Outbox;
pub use record::{DecodeError, GroupRecord};
pub use sessions::{Config, Sessions};
