//! The client of Highwater: produce, consume, read and replay records, work on queues, and administer topics, over gRPC.
//!
//! Owns: connections, batching, retries, partitioning, flow control. Needs a tokio runtime around it.
//!
//! Never: sees the server's crates. What both sides must agree on is in `highwater-types` and `highwater-proto`.
//!
//! | start here | for |
//! |---|---|
//! | [`Client`] | connecting |
//! | [`Producer`], [`Record`] | putting records into topics: batched, in order, stored once |
//! | [`Consumer`] | reading topics together with others: a group shares the partitions and remembers how far it is |
//! | [`Reader`], [`ReadRecord`] | reading partitions from any position, live or as a replay |
//! | [`Broadcast`] | following several topics without a group: every process gets every record |
//! | [`Worker`], [`Queue`] | working on the messages of a topic, each with one worker of a group until it is acked or dead |
//! | [`Admin`] | topics, offsets, groups, queues, the cluster |
//!
//! Every operation has one error type, which tells whether trying again may help (`is_retryable`) and what is known about
//! the thing that failed ([`Outcome`]): what the server refused did not happen, and what could not be decided says so.

mod admin;
mod broadcast;
mod client;
mod clock;
mod connection;
mod consumer;
mod error;
mod finder;
mod growth;
mod health;
mod position;
mod producer;
mod queue;
mod read_service;
mod reader;
mod record;
mod request;
mod retry;
mod worker;

pub use admin::{
    Admin, Cluster, ConfigValue, DeadFilter, DeadMessage, DeadPage, DeadPages, Death, DeathCause, GroupDescription,
    GroupGeneration, GroupListing, GroupMember, GroupOffset, GroupState, LocateBy, LocatedMessage, MessageState,
    MessageStatus, MovedDead, NewTopic, Node, NodeState, NodeUsage, OnExpiry, Partition, PartitionOffset, PausedBy,
    PeekQueue, PeekedMessage, PlannedMove, Problem, QueueAttempt, QueueBackoff, QueueBreaker, QueueDescription,
    QueueListing, QueueOrder, QueuePartition, QueuePause, QueueSettings, QueueStart, RefusedOffset, ReplicaRole,
    ReplicaStatus, SeekChange, SeekGroup, SeekTo, Severity, Topic, TopicChange, TopicDescription,
};
pub use broadcast::{Broadcast, BroadcastBuilder};
pub use client::{Client, ClientBuilder, ConnectError};
pub use consumer::{
    AssignedPartition, Assignor, Commit, CommitOffset, ConsumeError, Consumer, ConsumerBuilder, OffsetReset,
    PendingCommit, RebalanceListener, TopicPartitionName,
};
pub use error::{ConnectionError, Outcome, ServerError};
pub use health::{HealthError, check_health};
pub use position::Position;
pub use producer::{
    Acks, Delivery, ProduceError, Producer, ProducerBuilder, RecordMetadata, SendAndWaitError, SendError,
};
pub use queue::{IntoOutcome, MessageOutcome, MessageToken, Queue, QueueMessage, Settle, Settled};
pub use reader::{OutOfRange, ReadBatch, ReadError, ReadRecord, ReadRecords, Reader, ReaderBuilder};
pub use record::Record;
pub use request::RequestError;
pub use worker::{SettledMessage, WorkError, Worker, WorkerBuilder, WorkerHandle, WorkerStats};

pub use bytes::Bytes;
pub use highwater_types::batch::{BatchError, Compression, HeaderName, RecordHeader};
pub use highwater_types::{
    ErrorCode, LeaderEpoch, NodeId, Offset, OffsetRange, PartitionId, Timestamp, TopicName, TopicNameError, limits,
};
