//! `OffsetFetch`: how far groups have read.
//!
//! A group that is not there has read nothing: every offset is -1, and that is no error. Clients rely on it.

use std::collections::{BTreeMap, HashMap};

use highwater_groups::stream::{Answer, Command, CommittedOffset};
use highwater_types::{Offset, TopicPartition};

use super::{ask, coordinator, mismatched, refused};
use crate::front::kafka::call::Call;
use crate::front::kafka::context::{Context, partition_number};
use crate::front::kafka::error::{KafkaCode, Refusal, code_of};
use crate::front::kafka::wire::{Malformed, Reader, Writer};

type Topics = Vec<(String, Vec<i32>)>;

struct Asked {
    group: String,
    /// `None`: everywhere.
    topics: Option<Topics>,
}

type Found = Vec<(String, Vec<(i32, Option<CommittedOffset>)>)>;

pub(in crate::front::kafka) async fn answer(mut call: Call, context: &Context) -> Result<Writer, Malformed> {
    let version = call.version;
    let groups = read(&mut call.body, version)?;
    let mut told = Vec::with_capacity(groups.len());
    for asked in groups {
        let found = find(&asked, context).await;
        told.push((asked, found));
    }
    let mut body = call.writer();
    if version >= 3 {
        body.i32(0);
    }
    match version >= 8 {
        true => body.array(told, |body, (asked, found)| {
            body.text(&asked.group);
            let code = code_of(&found);
            write_topics(body, version, asked, found);
            body.i16(code);
            body.tags();
        }),
        false => told.into_iter().for_each(|(asked, found)| {
            let code = code_of(&found);
            write_topics(&mut body, version, asked, found);
            if version >= 2 {
                body.i16(code);
            }
        }),
    }
    body.tags();
    Ok(body)
}

fn read(body: &mut Reader, version: i16) -> Result<Vec<Asked>, Malformed> {
    let groups = match version >= 8 {
        true => body.array(|body| {
            let asked = read_group(body)?;
            body.tags()?;
            Ok(asked)
        })?,
        false => vec![read_group(body)?],
    };
    if version >= 7 {
        // Without transactions every offset is stable.
        let _stable = body.bool()?;
    }
    body.tags()?;
    Ok(groups)
}

fn read_group(body: &mut Reader) -> Result<Asked, Malformed> {
    let group = body.text()?;
    let topics = body.nullable_array(|body| {
        let topic = (body.text()?, body.array(Reader::i32)?);
        body.tags()?;
        Ok(topic)
    })?;
    Ok(Asked { group, topics })
}

async fn find(asked: &Asked, context: &Context) -> Result<Found, Refusal> {
    let (group, handle) = coordinator(context, &asked.group).await?;
    let at = |topic: &str, partition: i32| context.partition_at(topic, partition).ok();
    let partitions = asked.topics.as_ref().map(|topics| {
        let each = topics.iter().flat_map(|(topic, partitions)| partitions.iter().map(move |one| (topic, *one)));
        each.filter_map(|(topic, partition)| at(topic, partition)).collect()
    });
    handle.confirm().await.map_err(refused)?;
    let offsets = match ask(context, &handle, Command::FetchOffsets { group, partitions }).await? {
        Answer::Fetch(offsets) => offsets.map_err(refused)?,
        other => return Err(mismatched(&other)),
    };
    let Some(topics) = &asked.topics else { return Ok(by_topic(offsets, context)) };
    let mut known: HashMap<TopicPartition, CommittedOffset> =
        offsets.into_iter().filter_map(|(at, offset)| Some((at, offset?))).collect();
    let mut found = Found::with_capacity(topics.len());
    for (topic, partitions) in topics {
        // A partition that is not there was not read.
        let offset = |partition: &i32| (*partition, at(topic, *partition).and_then(|at| known.remove(&at)));
        found.push((topic.clone(), partitions.iter().map(offset).collect()));
    }
    Ok(found)
}

/// All that a group has read, of topics that are there.
fn by_topic(offsets: Vec<(TopicPartition, Option<CommittedOffset>)>, context: &Context) -> Found {
    let image = context.router.image();
    let mut found: BTreeMap<String, Vec<(i32, Option<CommittedOffset>)>> = BTreeMap::new();
    for (at, offset) in offsets {
        if let Some(topic) = image.topic_by_id(at.topic) {
            found.entry(topic.name.to_string()).or_default().push((partition_number(at.partition), offset));
        }
    }
    found.into_iter().collect()
}

fn write_topics(body: &mut Writer, version: i16, asked: Asked, found: Result<Found, Refusal>) {
    // Older versions tell a failure beside each partition.
    let code = found.as_ref().map_or_else(|refusal| refusal.code, |_| KafkaCode::NONE);
    let nothing =
        |(topic, partitions): (String, Vec<i32>)| (topic, partitions.into_iter().map(|one| (one, None)).collect());
    let found = found.unwrap_or_else(|_| asked.topics.unwrap_or_default().into_iter().map(nothing).collect());
    body.array(found, |body, (topic, partitions)| {
        body.text(&topic);
        body.array(partitions, |body, (partition, offset)| {
            body.i32(partition);
            body.i64(offset.as_ref().map_or(-1, |offset| Offset::to_wire(offset.offset)));
            if version >= 5 {
                let epoch = offset.as_ref().and_then(|offset| offset.leader_epoch);
                body.i32(epoch.map_or(-1, highwater_types::LeaderEpoch::get));
            }
            body.nullable_text(Some(offset.as_ref().map_or("", |offset| &offset.metadata)));
            body.i16(code.number());
            body.tags();
        });
        body.tags();
    });
}
