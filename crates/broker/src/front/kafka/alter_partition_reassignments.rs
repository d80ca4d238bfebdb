//! `AlterPartitionReassignments`: partitions move to other nodes, or a move that is under way is taken back.
//!
//! The answer says that the move is wanted from now on, not that it is done.

use highwater_metadata::Command;
use highwater_types::{ErrorCode, NodeId, TopicPartition};

use super::call::Call;
use super::context::Context;
use super::error::{KafkaCode, Refusal, code_of, message_of};
use super::wire::{Malformed, Reader, Writer};
use crate::front::failure::Failure;

struct Asked {
    partition: i32,
    /// The nodes, the preferred leader first; `None`: a move is to be taken back.
    target: Option<Vec<i32>>,
}

struct Question {
    may_change_count: bool,
    topics: Vec<(String, Vec<Asked>)>,
}

pub(super) async fn answer(mut call: Call, context: &Context) -> Result<Writer, Malformed> {
    let version = call.version;
    let Question { may_change_count, topics } = read(&mut call.body, version)?;
    let mut told = Vec::with_capacity(topics.len());
    for (topic, partitions) in topics {
        let mut altered = Vec::with_capacity(partitions.len());
        for asked in partitions {
            altered.push((asked.partition, alter(&topic, asked, may_change_count, context).await));
        }
        told.push((topic, altered));
    }
    let mut body = call.writer();
    body.i32(0);
    if version >= 1 {
        body.bool(may_change_count);
    }
    body.i16(KafkaCode::NONE.number());
    body.nullable_text(None);
    body.array(told, |body, (topic, partitions)| {
        body.text(&topic);
        body.array(partitions, |body, (partition, altered)| {
            body.i32(partition);
            body.i16(code_of(&altered));
            body.nullable_text(message_of(&altered));
            body.tags();
        });
        body.tags();
    });
    body.tags();
    Ok(body)
}

fn read(body: &mut Reader, version: i16) -> Result<Question, Malformed> {
    let _timeout_ms = body.i32()?;
    let may_change_count = if version >= 1 { body.bool()? } else { true };
    let topics = body.array(|body| {
        let topic = body.text()?;
        let partitions = body.array(|body| {
            let asked = Asked { partition: body.i32()?, target: body.nullable_array(Reader::i32)? };
            body.tags()?;
            Ok(asked)
        })?;
        body.tags()?;
        Ok((topic, partitions))
    })?;
    body.tags()?;
    Ok(Question { may_change_count, topics })
}

async fn alter(topic: &str, asked: Asked, may_change_count: bool, context: &Context) -> Result<(), Refusal> {
    let at = context.partition_at(topic, asked.partition)?;
    match asked.target {
        Some(target) => begin(at, &target, may_change_count, context).await,
        None => cancel(at, context).await,
    }
}

async fn begin(at: TopicPartition, target: &[i32], may_change_count: bool, context: &Context) -> Result<(), Refusal> {
    let target = target.iter().map(|node| node_id(*node)).collect::<Result<Vec<_>, _>>()?;
    let refused = match submit(Command::MoveReplicas { partition: at, target: target.clone() }, context).await {
        Ok(()) => return Ok(()),
        Err(refused) => refused,
    };
    let image = context.router.image();
    let (held, topic) = (image.assignment(at), image.topic_by_id(at.topic));
    let is_moving = held.is_some_and(|held| held.is_moving() && held.wanted() != target);
    let has_other_count = topic.is_some_and(|topic| usize::try_from(topic.replicas) != Ok(target.len()));
    Err(match refused.code {
        ErrorCode::InvalidRequest if is_moving => Refusal::new(KafkaCode::REASSIGNMENT_IN_PROGRESS, refused.message),
        ErrorCode::InvalidRequest if has_other_count && !may_change_count => {
            Refusal::new(KafkaCode::INVALID_REPLICATION_FACTOR, refused.message)
        }
        ErrorCode::InvalidRequest => Refusal::new(KafkaCode::INVALID_REPLICA_ASSIGNMENT, refused.message),
        _ => refused.into(),
    })
}

async fn cancel(at: TopicPartition, context: &Context) -> Result<(), Refusal> {
    let Err(refused) = submit(Command::CancelMove { partition: at }, context).await else { return Ok(()) };
    // The other refusal: a move that adds nothing is not taken back.
    let is_moving = context.router.image().assignment(at).is_some_and(highwater_metadata::Assignment::is_moving);
    Err(match refused.code {
        ErrorCode::InvalidRequest if !is_moving => {
            Refusal::new(KafkaCode::NO_REASSIGNMENT_IN_PROGRESS, refused.message)
        }
        _ => refused.into(),
    })
}

async fn submit(command: Command, context: &Context) -> Result<(), Failure> {
    context.controller.submit(command).await?;
    Ok(())
}

fn node_id(node: i32) -> Result<NodeId, Refusal> {
    let none = |_| Refusal::new(KafkaCode::INVALID_REPLICA_ASSIGNMENT, format!("there is no node {node}"));
    u64::try_from(node).map(NodeId::new).map_err(none)
}
