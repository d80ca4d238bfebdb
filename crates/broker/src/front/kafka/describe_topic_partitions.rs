//! `DescribeTopicPartitions`: who leads partitions and who holds them, in pages.
//!
//! Topics come in the order of their names, whatever order they are asked for in, so a cursor says where to go on.

use std::collections::BTreeSet;
use std::sync::Arc;

use highwater_metadata::Topic;
use highwater_types::{TopicId, TopicPartition};

use super::call::Call;
use super::context::Context;
use super::error::{Refusal, code_of};
use super::metadata::{NO_OPERATIONS, View, write_nodes};
use super::wire::{Malformed, Reader, Writer};

/// The most partitions of one answer, whatever a client asks for.
const PARTITIONS_MAX: usize = 2_000;

struct Cursor {
    topic: String,
    partition: i32,
}

struct Question {
    /// Empty: all of them.
    topics: BTreeSet<String>,
    partitions_max: usize,
    from: Option<Cursor>,
}

/// A topic, and which of its partitions are told of.
struct Part {
    name: String,
    found: Result<Arc<Topic>, Refusal>,
    partitions: std::ops::Range<usize>,
}

pub(super) async fn answer(mut call: Call, context: &Context) -> Result<Writer, Malformed> {
    let question = read(&mut call.body)?;
    let (parts, next) = page(question, context);
    let view = View::of(parts.iter().flat_map(partitions_of).collect(), call.listener.as_deref(), context).await;
    let mut body = call.writer();
    body.i32(0);
    body.array(parts, |body, part| write(body, &part, &view));
    match next {
        None => body.i8(-1),
        Some(next) => {
            body.i8(1);
            body.text(&next.topic);
            body.i32(next.partition);
            body.tags();
        }
    }
    body.tags();
    Ok(body)
}

fn read(body: &mut Reader) -> Result<Question, Malformed> {
    let topics = body.array(|body| {
        let name = body.text()?;
        body.tags()?;
        Ok(name)
    })?;
    let partitions_max = usize::try_from(body.i32()?).unwrap_or(0).clamp(1, PARTITIONS_MAX);
    // A struct that may be absent begins with a byte: below 0 it is.
    let from = match body.i8()? {
        ..0 => None,
        _ => {
            let cursor = Cursor { topic: body.text()?, partition: body.i32()? };
            body.tags()?;
            Some(cursor)
        }
    };
    body.tags()?;
    Ok(Question { topics: topics.into_iter().collect(), partitions_max, from })
}

/// The topics and partitions of one answer, and where the next one begins.
fn page(question: Question, context: &Context) -> (Vec<Part>, Option<Cursor>) {
    let Question { topics, partitions_max: mut left, from } = question;
    let mut parts = Vec::new();
    for (name, found) in find(topics, context) {
        let (first, is_behind) = match &from {
            Some(from) if from.topic == name => (usize::try_from(from.partition).unwrap_or(0), false),
            Some(from) => (0, name < from.topic),
            None => (0, false),
        };
        if is_behind {
            continue;
        }
        let count = found.as_ref().map_or(0, |topic| topic.partitions.len());
        let partitions = first.min(count)..count.min(first.saturating_add(left));
        if left == 0 && count > 0 {
            return (parts, Some(Cursor { topic: name, partition: 0 }));
        }
        left -= partitions.len();
        let end = partitions.end;
        parts.push(Part { name: name.clone(), found, partitions });
        if end < count {
            return (parts, Some(Cursor { topic: name, partition: i32::try_from(end).unwrap_or(i32::MAX) }));
        }
    }
    (parts, None)
}

fn find(topics: BTreeSet<String>, context: &Context) -> Vec<(String, Result<Arc<Topic>, Refusal>)> {
    if topics.is_empty() {
        let image = context.router.image();
        let own = image.topics().filter(|topic| !topic.is_internal()).map(Arc::clone);
        return own.map(|topic| (topic.name.to_string(), Ok(topic))).collect();
    }
    let find = |name: String| {
        let found = context.topic(&name).map_err(Refusal::from);
        (name, found)
    };
    topics.into_iter().map(find).collect()
}

fn partitions_of(part: &Part) -> Vec<TopicPartition> {
    let topic = part.found.iter();
    let all = topic.flat_map(|topic| topic.numbered_partitions().map(|(number, _)| (topic.id, number)));
    let told = all.skip(part.partitions.start).take(part.partitions.len());
    told.map(|(topic, partition)| TopicPartition { topic, partition }).collect()
}

fn write(body: &mut Writer, part: &Part, view: &View) {
    let topic = part.found.as_ref().ok();
    body.i16(code_of(&part.found));
    body.nullable_text(Some(&part.name));
    body.topic_id(topic.map_or(TopicId::from_bytes([0; 16]), |topic| topic.id));
    body.bool(false);
    body.array(partitions_of(part), |body, at| {
        view.write_leader(body, at, true);
        let held = topic.and_then(|topic| topic.partition(at.partition));
        let (online, offline) = held.map(|held| view.replicas(held)).unwrap_or_default();
        write_nodes(body, held.map_or(&[], |held| &held.replicas));
        write_nodes(body, &online);
        // Nobody leads without all records, so there are no others to choose from. Never null: a client in wide use does
        // not survive it.
        body.empty_array();
        body.empty_array();
        write_nodes(body, &offline);
        body.tags();
    });
    body.i32(NO_OPERATIONS);
    body.tags();
}
