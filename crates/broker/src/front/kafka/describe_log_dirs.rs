//! `DescribeLogDirs`: what this node's replicas take on its disk. A node has one directory.

use std::collections::{BTreeMap, HashSet};

use highwater_types::{TopicName, TopicPartition};

use super::call::Call;
use super::context::{Context, partition_number};
use super::error::KafkaCode;
use super::wire::{Malformed, Reader, Writer};
use crate::partition::PartitionHandle;

/// A replica: its partition, its size in bytes, and the committed records that it lacks.
struct Held {
    partition: i32,
    size_bytes: u64,
    lag: u64,
}

pub(super) fn answer(mut call: Call, context: &Context) -> Result<Writer, Malformed> {
    let version = call.version;
    let asked = read(&mut call.body, context)?;
    let held = held(asked.as_ref(), context);
    let gate = context.router.disk_gate();
    let mut body = call.writer();
    body.i32(0);
    if version >= 3 {
        body.i16(KafkaCode::NONE.number());
    }
    body.array([held], |body, held| {
        body.i16(KafkaCode::NONE.number());
        body.text(&context.data_dir.to_string_lossy());
        body.array(held, |body, (topic, replicas)| {
            body.text(topic.as_str());
            body.array(replicas, |body, held| write(body, &held));
            body.tags();
        });
        if version >= 4 {
            body.i64(number(gate.total_bytes()));
            body.i64(number(gate.free_bytes()));
        }
        body.tags();
    });
    body.tags();
    Ok(body)
}

/// The partitions that are asked for; `None`: all. What is not there is left out of the answer.
fn read(body: &mut Reader, context: &Context) -> Result<Option<HashSet<TopicPartition>>, Malformed> {
    let topics = body.nullable_array(|body| {
        let topic = (body.text()?, body.array(Reader::i32)?);
        body.tags()?;
        Ok(topic)
    })?;
    body.tags()?;
    let Some(topics) = topics else { return Ok(None) };
    let each = topics.iter().flat_map(|(topic, partitions)| partitions.iter().map(move |one| (topic, *one)));
    Ok(Some(each.filter_map(|(topic, partition)| context.partition_at(topic, partition).ok()).collect()))
}

fn held(asked: Option<&HashSet<TopicPartition>>, context: &Context) -> BTreeMap<TopicName, Vec<Held>> {
    let image = context.router.image();
    let mut held: BTreeMap<TopicName, Vec<Held>> = BTreeMap::new();
    for (at, handle) in context.router.open_partitions() {
        let topic = image.topic_by_id(at.topic).filter(|topic| !topic.is_internal());
        if let Some(topic) = topic.filter(|_| asked.is_none_or(|asked| asked.contains(&at))) {
            let (partition, size_bytes) = (partition_number(at.partition), handle.size_bytes());
            held.entry(topic.name.clone()).or_default().push(Held { partition, size_bytes, lag: lag(&handle) });
        }
    }
    held
}

/// What it knows to be committed and has not got.
fn lag(handle: &PartitionHandle) -> u64 {
    let marks = handle.watermarks();
    marks.committed.records_since(marks.log_end)
}

fn write(body: &mut Writer, held: &Held) {
    body.i32(held.partition);
    body.i64(number(held.size_bytes));
    body.i64(number(held.lag));
    // No replica is on its way to another directory.
    body.bool(false);
    body.tags();
}

fn number(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
