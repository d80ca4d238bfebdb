//! `OffsetCommit`: how far a group has read.

use std::collections::HashMap;

use highwater_groups::stream::command::{CommitOffsets, NewOffset, OffsetError};
use highwater_groups::stream::{Answer, Command};
use highwater_types::{ErrorCode, LeaderEpoch, Offset, TopicPartition};

use super::{ask, coordinator, identity, mismatched, refused};
use crate::front::failure::Failure;
use crate::front::kafka::call::Call;
use crate::front::kafka::context::Context;
use crate::front::kafka::error::{KafkaCode, Refusal, code_of};
use crate::front::kafka::wire::{Malformed, Reader, Writer};

struct Question {
    group: String,
    generation: i32,
    member: String,
    instance: Option<String>,
    retention_ms: i64,
    topics: Vec<(String, Vec<Asked>)>,
}

struct Asked {
    partition: i32,
    offset: i64,
    epoch: i32,
    metadata: Option<String>,
}

/// What a partition's commit is called inside, or why it is none.
type Placed = (i32, Result<TopicPartition, Refusal>);

pub(in crate::front::kafka) async fn answer(mut call: Call, context: &Context) -> Result<Writer, Malformed> {
    let version = call.version;
    let mut question = read(&mut call.body, version)?;
    let topics = std::mem::take(&mut question.topics);
    let (placed, offsets) = place(topics, context);
    let committed = commit(&question, offsets, context).await;
    let mut body = call.writer();
    if version >= 3 {
        body.i32(0);
    }
    body.array(placed, |body, (topic, partitions)| {
        body.text(&topic);
        body.array(partitions, |body, (partition, placed)| {
            body.i32(partition);
            body.i16(code_of(&placed.and_then(|at| outcome(&committed, at))));
            body.tags();
        });
        body.tags();
    });
    body.tags();
    Ok(body)
}

fn read(body: &mut Reader, version: i16) -> Result<Question, Malformed> {
    let (group, generation, member) = (body.text()?, body.i32()?, body.text()?);
    let instance = if version >= 7 { body.nullable_text()? } else { None };
    let retention_ms = if (2..=4).contains(&version) { body.i64()? } else { -1 };
    let topics = body.array(|body| {
        let name = body.text()?;
        let asked = body.array(|body| {
            let (partition, offset) = (body.i32()?, body.i64()?);
            let epoch = if version >= 6 { body.i32()? } else { -1 };
            let metadata = body.nullable_text()?;
            body.tags()?;
            Ok(Asked { partition, offset, epoch, metadata })
        })?;
        body.tags()?;
        Ok((name, asked))
    })?;
    body.tags()?;
    Ok(Question { group, generation, member, instance, retention_ms, topics })
}

type Offsets = Vec<(TopicPartition, NewOffset)>;

fn place(topics: Vec<(String, Vec<Asked>)>, context: &Context) -> (Vec<(String, Vec<Placed>)>, Offsets) {
    let mut offsets = Vec::new();
    let mut one = |topic: &str, asked: Asked| {
        let at = context.partition_at(topic, asked.partition)?;
        let below = || Failure::new(ErrorCode::OffsetOutOfRange, "an offset is not below 0");
        let offset = Offset::from_wire(asked.offset).ok_or_else(below)?;
        let leader_epoch = Some(asked.epoch).filter(|epoch| *epoch >= 0).map(LeaderEpoch::new);
        offsets.push((at, NewOffset { offset, leader_epoch, metadata: asked.metadata.unwrap_or_default() }));
        Ok(at)
    };
    let mut placed = Vec::with_capacity(topics.len());
    for (topic, asked) in topics {
        let of_topic = asked.into_iter().map(|asked| (asked.partition, one(&topic, asked))).collect();
        placed.push((topic, of_topic));
    }
    (placed, offsets)
}

/// Commits; says where that was refused.
async fn commit(
    question: &Question,
    offsets: Offsets,
    context: &Context,
) -> Result<HashMap<TopicPartition, Refusal>, Refusal> {
    let (group, handle) = coordinator(context, &question.group).await?;
    let is_member = question.generation >= 0 || !question.member.is_empty();
    let by = match is_member {
        true => Some(identity(&question.member, question.instance.as_deref(), question.generation)?),
        false => None,
    };
    let retention_ms = u64::try_from(question.retention_ms).ok();
    let command = CommitOffsets { group, by, retention_ms, offsets, is_beginning: false };
    match ask(context, &handle, Command::CommitOffsets(command)).await? {
        Answer::Commit(Ok(committed)) => {
            Ok(committed.refused.into_iter().map(|refused| (refused.at, refusal_of(refused.error))).collect())
        }
        Answer::Commit(Err(error)) => Err(refused(error)),
        other => Err(mismatched(&other)),
    }
}

fn refusal_of(error: OffsetError) -> Refusal {
    match error {
        OffsetError::MetadataTooLarge { .. } => Refusal::new(KafkaCode::OFFSET_METADATA_TOO_LARGE, error.to_string()),
        OffsetError::Subscribed { .. } => refused(error),
    }
}

fn outcome(committed: &Result<HashMap<TopicPartition, Refusal>, Refusal>, at: TopicPartition) -> Result<(), Refusal> {
    match committed {
        Ok(refused) => refused.get(&at).map_or(Ok(()), |refusal| Err(refusal.clone())),
        Err(refusal) => Err(refusal.clone()),
    }
}
