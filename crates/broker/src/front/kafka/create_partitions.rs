//! `CreatePartitions`: topics get more of them.

use highwater_metadata::{AlterTopic, Command};

use super::call::Call;
use super::context::{Context, own_name};
use super::error::{KafkaCode, Refusal, code_of, message_of};
use super::wire::{Malformed, Reader, Writer};
use crate::front::failure::Failure;

struct Asked {
    name: String,
    count: i32,
    has_assignments: bool,
}

pub(super) async fn answer(mut call: Call, context: &Context) -> Result<Writer, Malformed> {
    let (topics, is_validate_only) = read(&mut call.body)?;
    let mut told = Vec::with_capacity(topics.len());
    for asked in topics {
        let grown = grow(&asked, is_validate_only, context).await;
        told.push((asked.name, grown));
    }
    let mut body = call.writer();
    body.i32(0);
    body.array(told, |body, (name, grown)| {
        body.text(&name);
        body.i16(code_of(&grown));
        body.nullable_text(message_of(&grown));
        body.tags();
    });
    body.tags();
    Ok(body)
}

fn read(body: &mut Reader) -> Result<(Vec<Asked>, bool), Malformed> {
    let topics = body.array(|body| {
        let (name, count) = (body.text()?, body.i32()?);
        let assignments = body.nullable_array(|body| {
            let _nodes = body.array(Reader::i32)?;
            body.tags()
        })?;
        body.tags()?;
        Ok(Asked { name, count, has_assignments: assignments.is_some_and(|assignments| !assignments.is_empty()) })
    })?;
    let _timeout_ms = body.i32()?;
    let is_validate_only = body.bool()?;
    body.tags()?;
    Ok((topics, is_validate_only))
}

async fn grow(asked: &Asked, is_validate_only: bool, context: &Context) -> Result<(), Refusal> {
    let name = own_name(&asked.name)?;
    let topic = context.router.topic(&name)?;
    if asked.has_assignments {
        let message = "the server places replicas itself; leave assignments out";
        return Err(Refusal::new(KafkaCode::INVALID_REPLICA_ASSIGNMENT, message));
    }
    let (has, wants) = (topic.partition_count(), u32::try_from(asked.count).unwrap_or(0));
    if wants <= has {
        let message = format!("topic '{name}' has {has} partitions; it can only get more, not {}", asked.count);
        return Err(Refusal::new(KafkaCode::INVALID_PARTITIONS, message));
    }
    if is_validate_only {
        return Ok(());
    }
    let change = AlterTopic { name, set: Vec::new(), unset: Vec::new(), partitions: Some(wants) };
    context.controller.submit(Command::AlterTopic(change)).await.map_err(Failure::from)?;
    Ok(())
}
