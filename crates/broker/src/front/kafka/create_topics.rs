//! `CreateTopics`.

use std::sync::Arc;
use std::time::Duration;

use highwater_metadata::{CreateTopic, Setting, Topic};
use highwater_types::TopicId;

use super::call::Call;
use super::context::{Context, own_name};
use super::describe_configs::write_source;
use super::error::{KafkaCode, Refusal, code_of, message_of};
use super::wire::{Malformed, Reader, Writer};
use crate::front::failure::Failure;

/// How long the answer waits for the partitions to be open, so that the next call finds them.
const OPEN_PATIENCE: Duration = Duration::from_secs(5);

struct Asked {
    name: String,
    partitions: i32,
    replicas: i16,
    has_assignments: bool,
    settings: Vec<(String, Option<String>)>,
}

pub(super) async fn answer(mut call: Call, context: &Context) -> Result<Writer, Malformed> {
    let version = call.version;
    let (topics, is_validate_only) = read(&mut call.body)?;
    let mut told = Vec::with_capacity(topics.len());
    for asked in topics {
        let name = asked.name.clone();
        told.push((name, create(asked, is_validate_only, context).await));
    }
    let mut body = call.writer();
    body.i32(0);
    body.array(told, |body, (name, created)| write(body, version, &name, &created));
    body.tags();
    Ok(body)
}

fn read(body: &mut Reader) -> Result<(Vec<Asked>, bool), Malformed> {
    let topics = body.array(|body| {
        let (name, partitions, replicas) = (body.text()?, body.i32()?, body.i16()?);
        let assignments = body.array(|body| {
            let _partition = body.i32()?;
            let _nodes = body.array(Reader::i32)?;
            body.tags()
        })?;
        let settings = body.array(|body| {
            let setting = (body.text()?, body.nullable_text()?);
            body.tags()?;
            Ok(setting)
        })?;
        body.tags()?;
        Ok(Asked { name, partitions, replicas, has_assignments: !assignments.is_empty(), settings })
    })?;
    let _timeout_ms = body.i32()?;
    let is_validate_only = body.bool()?;
    body.tags()?;
    Ok((topics, is_validate_only))
}

async fn create(asked: Asked, is_validate_only: bool, context: &Context) -> Result<Arc<Topic>, Refusal> {
    let Asked { name, partitions, replicas, has_assignments, settings } = asked;
    let name = own_name(&name)?;
    if has_assignments {
        let message = "the server places replicas itself; give numbers of partitions and of replicas";
        return Err(Refusal::new(KafkaCode::INVALID_REPLICA_ASSIGNMENT, message));
    }
    let partitions = count(partitions, KafkaCode::INVALID_PARTITIONS)?;
    let replicas = count(replicas.into(), KafkaCode::INVALID_REPLICATION_FACTOR)?;
    // A setting without a value has its default.
    let mut settings: Vec<_> = settings.into_iter().filter_map(|(name, value)| Some((name, value?))).collect();
    settings.sort_unstable();
    let topic = CreateTopic { name, partitions, replicas, settings, is_validate_only };
    let topic = context.controller.create_topic(topic).await.map_err(Failure::from)?;
    if !is_validate_only {
        context.router.wait_until_open(topic.id, OPEN_PATIENCE).await;
    }
    Ok(topic)
}

/// A count, where -1 leaves it to the server, as 0 does there.
fn count(asked: i32, code: KafkaCode) -> Result<u32, Refusal> {
    match asked {
        -1 => Ok(0),
        1.. => Ok(asked.unsigned_abs()),
        _ => Err(Refusal::new(code, format!("{asked}: give a number from 1 on, or -1 for the server's default"))),
    }
}

fn write(body: &mut Writer, version: i16, name: &str, created: &Result<Arc<Topic>, Refusal>) {
    let topic = created.as_ref().ok();
    body.text(name);
    if version >= 7 {
        body.topic_id(topic.map_or(TopicId::from_bytes([0; 16]), |topic| topic.id));
    }
    body.i16(code_of(created));
    body.nullable_text(message_of(created));
    if version >= 5 {
        let number = |count: Option<u32>| count.and_then(|count| i32::try_from(count).ok()).unwrap_or(-1);
        body.i32(number(topic.map(|topic| topic.partition_count())));
        body.i16(i16::try_from(number(topic.map(|topic| topic.replicas))).unwrap_or(-1));
        // Never null: a client in wide use does not survive it.
        let settings = topic.map(|topic| Setting::ALL.iter().map(|setting| (topic, *setting)).collect::<Vec<_>>());
        body.array(settings.unwrap_or_default(), |body, (topic, setting)| {
            body.text(setting.name());
            body.nullable_text(Some(&topic.settings.get(setting).to_string()));
            body.bool(false);
            write_source(body, topic, setting);
            body.bool(false);
            body.tags();
        });
    }
    body.tags();
}
