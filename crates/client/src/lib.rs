//! The client of Highwater: produce, read and replay records, and administer topics, over gRPC.
//!
//! Owns: connections, batching, retries, partitioning, flow control. Needs a tokio runtime around it.
//!
//! Never: sees the server's crates. What both sides must agree on is in `highwater-types` and `highwater-proto`.
//!
//! | start here | for |
//! |---|---|
//! | [`Client`] | connecting |
//! | [`Producer`], [`Record`] | putting records into topics: batched, in order, stored once |
//! | [`Reader`], [`ReadRecord`] | reading partitions from any position, live or as a replay |
//! | [`Admin`] | topics, offsets, the cluster |
//!
//! Every operation has one error type, which tells whether trying again may help (`is_retryable`) and what is known about
//! the thing that failed ([`Outcome`]): what the server refused did not happen, and what could not be decided says so.

mod admin;
mod client;
mod clock;
mod connection;
mod error;
mod finder;
mod growth;
mod health;
mod position;
mod producer;
mod read_service;
mod reader;
mod record;
mod request;
mod retry;

pub use admin::{
    Admin, Cluster, ConfigValue, NewTopic, Node, NodeState, NodeUsage, Partition, PartitionOffset, PlannedMove,
    Problem, ReplicaRole, ReplicaStatus, Severity, Topic, TopicChange, TopicDescription,
};
pub use client::{Client, ClientBuilder, ConnectError};
pub use error::{ConnectionError, Outcome, ServerError};
pub use health::{HealthError, check_health};
pub use position::Position;
pub use producer::{
    Acks, Delivery, ProduceError, Producer, ProducerBuilder, RecordMetadata, SendAndWaitError, SendError,
};
pub use reader::{OutOfRange, ReadBatch, ReadError, ReadRecord, ReadRecords, Reader, ReaderBuilder};
pub use record::Record;
pub use request::RequestError;

pub use bytes::Bytes;
pub use highwater_types::batch::{BatchError, Compression, HeaderName, RecordHeader};
pub use highwater_types::{
    ErrorCode, LeaderEpoch, NodeId, Offset, OffsetRange, PartitionId, Timestamp, TopicName, TopicNameError, limits,
};
