//! `ListPartitionReassignments`: which partitions are moving, from where to where.

use std::collections::{BTreeMap, BTreeSet};

use highwater_metadata::{Assignment, MetadataImage};
use highwater_types::{NodeId, TopicName, TopicPartition};

use super::call::Call;
use super::context::{Context, partition_number};
use super::error::KafkaCode;
use super::metadata::write_nodes;
use super::wire::{Malformed, Reader, Writer};

/// A partition that moves.
struct Moving {
    partition: i32,
    /// All that hold it or shall, those first that shall.
    replicas: Vec<NodeId>,
    added: Vec<NodeId>,
    removed: Vec<NodeId>,
}

pub(super) fn answer(mut call: Call, context: &Context) -> Result<Writer, Malformed> {
    let asked = read(&mut call.body, context)?;
    let moving = moving(asked.as_ref(), &context.router.image());
    let mut body = call.writer();
    body.i32(0);
    body.i16(KafkaCode::NONE.number());
    body.nullable_text(None);
    body.array(moving, |body, (topic, partitions)| {
        body.text(topic.as_str());
        body.array(partitions, |body, moving| {
            body.i32(moving.partition);
            write_nodes(body, &moving.replicas);
            write_nodes(body, &moving.added);
            write_nodes(body, &moving.removed);
            body.tags();
        });
        body.tags();
    });
    body.tags();
    Ok(body)
}

/// The partitions that are asked for; `None`: all. What is not there does not move.
fn read(body: &mut Reader, context: &Context) -> Result<Option<BTreeSet<TopicPartition>>, Malformed> {
    let _timeout_ms = body.i32()?;
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

fn moving(asked: Option<&BTreeSet<TopicPartition>>, image: &MetadataImage) -> BTreeMap<TopicName, Vec<Moving>> {
    let mut found: BTreeMap<TopicName, Vec<Moving>> = BTreeMap::new();
    for (at, topic, held) in image.partitions() {
        if held.is_moving() && !topic.is_internal() && asked.is_none_or(|asked| asked.contains(&at)) {
            found.entry(topic.name.clone()).or_default().push(of(partition_number(at.partition), held));
        }
    }
    found
}

fn of(partition: i32, held: &Assignment) -> Moving {
    let wanted = held.wanted();
    let removed: Vec<NodeId> = held.replicas.iter().copied().filter(|node| !wanted.contains(node)).collect();
    let replicas = wanted.iter().chain(&removed).copied().collect();
    Moving { partition, replicas, added: held.added().collect(), removed }
}
