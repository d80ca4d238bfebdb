//! What a Highwater cluster is: nodes, topics with their settings and places, producer ids.
//!
//! Owns: the records that are persisted ([`record`]), the image that they add up to ([`image`]), the decisions that
//! make records ([`decide()`]), placement, planning ([`plan`]), and the table of topic settings.
//!
//! Never: reads a clock, draws a random number, touches a disk, awaits. Time and chance are arguments.
//!
//! ```text
//!   command ──► decide(image, command, context) ──► records + reply, or a refusal
//!                  ▲                                   │ committed
//!                image ◄──── replay(record) ◄──────────┘
//! ```

pub mod assignment;
pub mod command;
pub mod decide;
pub mod image;
pub mod node;
pub mod placement;
pub mod plan;
pub mod record;
pub mod settings;
pub mod topic;
pub mod units;

pub use assignment::Assignment;
pub use command::{AlterTopic, Command, CommandError, Context, CreateTopic, Decision, JoinNode, Policy, Reply};
pub use decide::decide;
pub use image::MetadataImage;
pub use node::{Member, NodeRegistration, NodeState};
pub use placement::PlacementError;
pub use plan::{Leading, PlanLimits, better_leader, metadata_voters, next_steps};
pub use record::{DecodeError, MetadataRecord};
pub use settings::{QueueRetention, Setting, SettingError, SettingValue, TimestampType, TopicSettings};
pub use topic::{GROUPS_TOPIC, Topic, is_internal};
