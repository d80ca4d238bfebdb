//! `DescribeGroups`: what groups are, and who is in them.

use highwater_groups::stream::command::{DescribeError, Description, GroupState, MemberDescription};
use highwater_groups::stream::{Answer, Command, InstanceId};

use super::sync::opaque;
use super::{ask, coordinator, mismatched, refused};
use crate::front::kafka::call::Call;
use crate::front::kafka::context::Context;
use crate::front::kafka::error::{KafkaCode, Refusal, code_of, message_of};
use crate::front::kafka::wire::{Malformed, Reader, Writer};

/// "Not asked for": authorized operations.
const NO_OPERATIONS: i32 = i32::MIN;

pub(in crate::front::kafka) async fn answer(mut call: Call, context: &Context) -> Result<Writer, Malformed> {
    let version = call.version;
    let groups = call.body.array(Reader::text)?;
    if version >= 3 {
        let _operations = call.body.bool()?;
    }
    call.body.tags()?;
    let mut told = Vec::with_capacity(groups.len());
    for group in groups {
        let found = describe(&group, version, context).await;
        told.push((group, found));
    }
    let mut body = call.writer();
    if version >= 1 {
        body.i32(0);
    }
    body.array(told, |body, (group, found)| write(body, version, &group, &found));
    body.tags();
    Ok(body)
}

async fn describe(group: &str, version: i16, context: &Context) -> Result<Description, Refusal> {
    let (group, handle) = coordinator(context, group).await?;
    handle.confirm().await.map_err(refused)?;
    match ask(context, &handle, Command::DescribeGroup { group }).await? {
        Answer::Describe(Ok(found)) => Ok(found),
        // Older clients know a group that is not there as one that is dead.
        Answer::Describe(Err(DescribeError::GroupNotFound { .. })) if version < 6 => Ok(dead()),
        Answer::Describe(Err(error)) => Err(refused(error)),
        other => Err(mismatched(&other)),
    }
}

fn dead() -> Description {
    Description {
        state: GroupState::Dead,
        generation: highwater_groups::stream::GenerationId::new(0),
        protocol_type: None,
        protocol: None,
        leader: None,
        members: Vec::new(),
    }
}

fn write(body: &mut Writer, version: i16, group: &str, found: &Result<Description, Refusal>) {
    body.i16(code_of(found));
    if version >= 6 {
        body.nullable_text(message_of(found));
    }
    body.text(group);
    let told = found.as_ref().ok();
    let is_absent = found.as_ref().is_err_and(|refusal| refusal.code == KafkaCode::GROUP_ID_NOT_FOUND);
    let state = told.map(|told| told.state).or(is_absent.then_some(GroupState::Dead));
    body.text(&state.map(|state| state.to_string()).unwrap_or_default());
    body.text(&told.and_then(|told| told.protocol_type.as_ref()).map(ToString::to_string).unwrap_or_default());
    body.text(&told.and_then(|told| told.protocol.as_ref()).map(ToString::to_string).unwrap_or_default());
    body.array(told.map_or(&[][..], |told| &told.members), |body, member| write_member(body, version, member));
    if version >= 3 {
        body.i32(NO_OPERATIONS);
    }
    body.tags();
}

fn write_member(body: &mut Writer, version: i16, member: &MemberDescription) {
    body.text(member.id.as_str());
    if version >= 4 {
        body.nullable_text(member.instance.as_ref().map(InstanceId::as_str));
    }
    body.text(member.client.id.as_str());
    body.text(member.client.host.as_str());
    body.bytes(&member.metadata);
    body.bytes(opaque(&member.assignment));
    body.tags();
}
