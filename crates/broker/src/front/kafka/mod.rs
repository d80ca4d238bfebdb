//! The Kafka front: clients that speak Kafka's wire protocol.
//!
//! Owns: the protocol: frames, both encodings, the table of APIs and versions (`api`), the table of error codes (`error`),
//! and one file an API.
//!
//! Never: decides anything, or changes a batch. What arrives is stored as it came, and what is stored is sent as it lies.
//!
//! ```text
//!   socket ─► frame (bounds, admission) ─► call (head) ─► dispatch ─► one file an API ─► router, controller
//!   socket ◄─ connection (in order)     ◄─ envelope    ◄─ writer: small fields, and slices of the log's maps
//! ```
//!
//! Invariants: answers leave in the order of the requests; what a client may make us hold is admitted first (P7); a
//! request that cannot be read ends its connection and nothing else.

mod alter_configs;
mod alter_partition_reassignments;
pub mod api;
mod api_versions;
mod call;
mod connection;
mod context;
mod create_partitions;
mod create_topics;
mod delete_records;
mod delete_topics;
mod describe_cluster;
mod describe_configs;
mod describe_log_dirs;
mod describe_producers;
mod describe_topic_partitions;
mod dispatch;
mod elect_leaders;
mod error;
mod fetch;
mod frame;
mod groups;
mod incremental_alter_configs;
mod init_producer_id;
mod list_config_resources;
mod list_offsets;
mod list_partition_reassignments;
mod listener;
mod metadata;
mod offset_for_leader_epoch;
mod produce;
mod unserved;
mod wire;

pub(crate) use context::{Context, Parts};
pub use listener::BindError;
pub(crate) use listener::{Listeners, Places, Serving};
