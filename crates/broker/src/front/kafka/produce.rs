//! `Produce`: batches in, as they are.
//!
//! Owns: handing the batches of a request to their partitions, and telling what became of each.
//!
//! Never: copies or changes a batch, but for topics whose records have the time of the node (`LogAppendTime`): else what is
//! stored is a slice of the request. Waits for a batch to be durable before the
//! next request is taken in; it waits for room in the partition's queue, which is the back-pressure.
//!
//! Invariant: batches of one partition enter its log in the order of the requests of a connection. Each batch's part of
//! the request's permit goes with it, and comes back when it is decided.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use highwater_metadata::TimestampType;
use highwater_types::batch::ValidBatch;
use highwater_types::{ErrorCode, Offset, Timestamp};
use tokio::time::sleep;

use super::call::{Call, Envelope, Outcome, Pending};
use super::context::{Context, no_batch};
use super::error::{KafkaCode, Refusal, code_of, message_of};
use super::wire::{Malformed, Reader, Writer};
use crate::admission::BytePermit;
use crate::front::failure::Failure;
use crate::partition::{Acks, AppendAck, AppendTicket, PartitionHandle};

/// How long a client may ask us to wait for its batches.
const PATIENCE_MAX: Duration = Duration::from_secs(300);

struct Question {
    transactional_id: Option<String>,
    acks: i16,
    timeout_ms: i32,
    topics: Vec<Topic<Option<Bytes>>>,
}

struct Topic<T> {
    name: String,
    partitions: Vec<Partition<T>>,
}

/// A partition of the request with what it brings, what was taken of it, or what became of that.
struct Partition<T> {
    index: i32,
    what: T,
}

/// A batch that its partition took.
struct Taken {
    handle: PartitionHandle,
    ticket: AppendTicket,
    /// The time that its records got, where they do not keep their producer's.
    stamped_at: Option<Timestamp>,
}

/// A batch that is stored.
struct Kept {
    handle: PartitionHandle,
    ack: AppendAck,
    stamped_at: Option<Timestamp>,
}

type Stored = Result<Kept, Refusal>;

/// Takes in a request: its batches are queued when this returns.
pub(super) async fn take(mut call: Call, mut permit: BytePermit, context: &Arc<Context>) -> Result<Pending, Malformed> {
    let Question { transactional_id, acks, timeout_ms, topics } = read(&mut call.body)?;
    let durability = acks_of(acks, transactional_id.as_deref());
    let mut taken = Vec::with_capacity(topics.len());
    for Topic { name, partitions } in topics {
        let mut of_topic = Vec::with_capacity(partitions.len());
        for Partition { index, what } in partitions {
            let what = match &durability {
                Ok(acks) => queue(context, &name, index, what, *acks, &mut permit).await.map_err(Refusal::from),
                Err(refusal) => Err(refusal.clone()),
            };
            of_topic.push(Partition { index, what });
        }
        taken.push(Topic { name, partitions: of_topic });
    }
    if acks == 0 {
        return Ok(Pending::Ready(unanswered(&taken)));
    }
    let patience = Duration::from_millis(u64::try_from(timeout_ms).unwrap_or(0)).min(PATIENCE_MAX);
    let (writer, version, envelope) = (call.writer(), call.version, call.envelope());
    Ok(Pending::Later(Box::pin(answer(taken, patience, writer, version, envelope))))
}

fn read(body: &mut Reader) -> Result<Question, Malformed> {
    let transactional_id = body.nullable_text()?;
    let (acks, timeout_ms) = (body.i16()?, body.i32()?);
    let topics = body.array(|body| {
        let name = body.text()?;
        let partitions = body.array(|body| {
            let (index, what) = (body.i32()?, body.nullable_bytes()?);
            body.tags()?;
            Ok(Partition { index, what })
        })?;
        body.tags()?;
        Ok(Topic { name, partitions })
    })?;
    body.tags()?;
    Ok(Question { transactional_id, acks, timeout_ms, topics })
}

fn acks_of(acks: i16, transactional_id: Option<&str>) -> Result<Acks, Refusal> {
    if transactional_id.is_some() {
        let code = KafkaCode::TRANSACTIONAL_ID_AUTHORIZATION_FAILED;
        return Err(Refusal::new(code, "this server has no transactions yet"));
    }
    match acks {
        0 => Ok(Acks::None),
        1 => Ok(Acks::Leader),
        -1 => Ok(Acks::Quorum),
        _ => Err(Refusal::new(KafkaCode::INVALID_REQUIRED_ACKS, format!("acks are 0, 1 or -1, not {acks}"))),
    }
}

/// Queues one batch at its partition.
async fn queue(
    context: &Context,
    topic: &str,
    index: i32,
    records: Option<Bytes>,
    acks: Acks,
    permit: &mut BytePermit,
) -> Result<Taken, Failure> {
    let found = context.topic(topic)?;
    let handle = context.led(topic, index)?;
    let batch = ValidBatch::check(records.ok_or_else(no_batch)?, found.settings.message_bytes_max())?;
    context.router.disk_gate().check()?;
    // The batches of a request are parts of it, so there is always enough.
    let own = permit.split_off(batch.bytes().len());
    let own = own.ok_or_else(|| Failure::new(ErrorCode::Internal, "a batch is larger than its request"))?;
    let (batch, stamped_at) = match found.settings.timestamp_type() {
        TimestampType::CreateTime => (batch, None),
        TimestampType::LogAppendTime => {
            let now = context.clock.now();
            (batch.stamped(now), Some(now))
        }
    };
    let ticket = handle.append(batch, acks, own).await?;
    Ok(Taken { handle, ticket, stamped_at })
}

/// A client that wants no answer learns of a failure by the end of its connection, and looks for the leader anew.
fn unanswered(taken: &[Topic<Result<Taken, Refusal>>]) -> Outcome {
    let failed = taken.iter().flat_map(|topic| &topic.partitions).any(|partition| partition.what.is_err());
    if failed { Outcome::Close } else { Outcome::Nothing }
}

async fn answer(
    taken: Vec<Topic<Result<Taken, Refusal>>>,
    patience: Duration,
    writer: Writer,
    version: i16,
    envelope: Envelope,
) -> Outcome {
    let mut deadline = Box::pin(sleep(patience));
    let mut stored = Vec::with_capacity(taken.len());
    for Topic { name, partitions } in taken {
        let mut of_topic = Vec::with_capacity(partitions.len());
        for Partition { index, what } in partitions {
            let what = match what {
                Ok(Taken { handle, ticket, stamped_at }) => tokio::select! {
                    biased;
                    decided = ticket => decided.map(|ack| Kept { handle, ack, stamped_at }).map_err(Refusal::from),
                    () = &mut deadline => Err(late()),
                },
                Err(refusal) => Err(refusal),
            };
            of_topic.push(Partition { index, what });
        }
        stored.push(Topic { name, partitions: of_topic });
    }
    envelope.seal(write(writer, version, stored))
}

fn late() -> Refusal {
    Refusal::new(KafkaCode::REQUEST_TIMED_OUT, "it was not decided in the time that the client gave; it may be stored")
}

fn write(mut body: Writer, version: i16, stored: Vec<Topic<Stored>>) -> Writer {
    body.array(stored, |body, topic| {
        body.text(&topic.name);
        body.array(topic.partitions, |body, partition| {
            body.i32(partition.index);
            write_stored(body, version, &partition.what);
            body.tags();
        });
        body.tags();
    });
    body.i32(0);
    body.tags();
    body
}

fn write_stored(body: &mut Writer, version: i16, stored: &Stored) {
    let base_offset = stored.as_ref().ok().and_then(|kept| kept.ack.base_offset);
    let stamped_at = stored.as_ref().ok().and_then(|kept| kept.stamped_at);
    body.i16(code_of(stored));
    body.i64(base_offset.map_or(-1, Offset::to_wire));
    // -1: that of the producer stays.
    body.i64(stamped_at.map_or(-1, Timestamp::as_ms));
    if version >= 5 {
        body.i64(stored.as_ref().map_or(-1, |kept| kept.handle.watermarks().log_start.to_wire()));
    }
    if version >= 8 {
        // Which records were wrong is not told apart.
        body.empty_array();
        body.nullable_text(message_of(stored));
    }
}
