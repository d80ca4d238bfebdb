//! `OffsetDelete`: a group forgets how far it has read, where none of its members reads.

use std::collections::HashMap;

use highwater_groups::stream::command::Refused;
use highwater_groups::stream::{Answer, Command, GroupId, ProtocolType};
use highwater_types::TopicPartition;

use super::join::CONSUMERS;
use super::{ask, coordinator, mismatched, refused};
use crate::coordinator::CoordinatorHandle;
use crate::front::kafka::call::Call;
use crate::front::kafka::context::Context;
use crate::front::kafka::error::{KafkaCode, Refusal, code_of};
use crate::front::kafka::wire::{Malformed, Reader, Writer};

/// What a partition is called inside, or why it is none.
type Placed = (i32, Result<TopicPartition, Refusal>);

pub(in crate::front::kafka) async fn answer(mut call: Call, context: &Context) -> Result<Writer, Malformed> {
    let group = call.body.text()?;
    let topics = call.body.array(|body| Ok((body.text()?, body.array(Reader::i32)?)))?;
    let place = |(topic, partitions): (String, Vec<i32>)| {
        let placed = partitions.into_iter().map(|one| (one, context.partition_at(&topic, one))).collect();
        (topic, placed)
    };
    let placed: Vec<(String, Vec<Placed>)> = topics.into_iter().map(place).collect();
    let partitions = placed.iter().flat_map(|(_, placed)| placed).filter_map(|(_, at)| at.as_ref().ok().copied());
    let deleted = delete(&group, partitions.collect(), context).await;
    let mut body = call.writer();
    body.i16(code_of(&deleted));
    body.i32(0);
    // A refusal of the whole has no parts.
    let (refused, placed) = deleted.map(|refused| (refused, placed)).unwrap_or_default();
    body.array(placed, |body, (topic, partitions)| {
        body.text(&topic);
        body.array(partitions, |body, (partition, placed)| {
            body.i32(partition);
            body.i16(code_of(&placed.and_then(|at| refused.get(&at).cloned().map_or(Ok(()), Err))));
        });
    });
    Ok(body)
}

/// Deletes; says where that was refused.
async fn delete(
    group: &str,
    partitions: Vec<TopicPartition>,
    context: &Context,
) -> Result<HashMap<TopicPartition, Refusal>, Refusal> {
    let (group, handle) = coordinator(context, group).await?;
    let command = Command::DeleteOffsets { group: group.clone(), partitions };
    let kept = match ask(context, &handle, command).await? {
        Answer::DeleteOffsets(kept) => kept.map_err(refused)?,
        other => return Err(mismatched(&other)),
    };
    if !kept.is_empty() {
        check_kind(group, &handle, context).await?;
    }
    let of = |kept: Refused| (kept.at, Refusal::new(KafkaCode::GROUP_SUBSCRIBED_TO_TOPIC, kept.error.to_string()));
    Ok(kept.into_iter().map(of).collect())
}

/// What other kinds of members read is not known, so all of their group's offsets are kept, and that is a refusal of the
/// whole.
async fn check_kind(group: GroupId, handle: &CoordinatorHandle, context: &Context) -> Result<(), Refusal> {
    let message = format!("group '{group}' has members; stop them first");
    match ask(context, handle, Command::DescribeGroup { group }).await? {
        Answer::Describe(Ok(found)) => {
            let is_known = |kind: &ProtocolType| kind.as_str() == CONSUMERS || kind.is_session();
            match found.protocol_type.as_ref().is_none_or(is_known) {
                true => Ok(()),
                false => Err(Refusal::new(KafkaCode::NON_EMPTY_GROUP, message)),
            }
        }
        // It went away meanwhile; what was refused was refused.
        Answer::Describe(Err(_)) => Ok(()),
        other => Err(mismatched(&other)),
    }
}
