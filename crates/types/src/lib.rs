//! The vocabulary of Highwater: what two or more crates must agree on.
//!
//! Owns: ids, offsets, log positions, watermarks, timestamps, the Kafka v2 record batch (the one record format from
//! client to disk to client), hard limits, and the stable error codes that every front maps from.
//!
//! Never: reads a clock, touches a disk or a socket, spawns a thread, or awaits.
//!
//! | word | meaning |
//! |---|---|
//! | topic, partition | a topic is a set of partitions; a partition is one ordered log |
//! | offset | the position of one record in its partition; names that record for ever |
//! | index, term | the position and the leader's term of one *entry* of the Raft log below; never shown to users |
//! | batch | one or more records, checksummed and perhaps compressed together, that enter the log as one entry |
//! | high watermark | the first offset that is not yet committed; readers stop below it |

pub mod batch;
pub mod error_code;
pub mod ids;
pub mod limits;
pub mod offset;
pub mod partitioner;
pub mod position;
pub mod timestamp;
pub mod watermark;

pub use error_code::ErrorCode;
pub use ids::{
    ClusterId, NodeId, NodeUuid, PartitionId, ProducerEpoch, ProducerId, Sequence, TopicId, TopicName, TopicNameError,
    TopicPartition,
};
pub use offset::{Offset, OffsetRange};
pub use position::{EntryId, LeaderEpoch, LogIndex, Term};
pub use timestamp::Timestamp;
pub use watermark::{Watermark, Watermarks};
