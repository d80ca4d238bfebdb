//! `SyncGroup`: a member asks what it was given; the one that assigns says what each is given.

use bytes::Bytes;
use highwater_groups::stream::command::{SyncGroup, Synced};
use highwater_groups::stream::{Answer, Assignment, Command, ProtocolName, ProtocolType};

use super::{ask, coordinator, identity, member_id, mismatched, refused};
use crate::front::failure::Failure;
use crate::front::kafka::call::Call;
use crate::front::kafka::context::Context;
use crate::front::kafka::error::{Refusal, code_of};
use crate::front::kafka::wire::{Malformed, Reader, Writer};

struct Question {
    group: String,
    generation: i32,
    member: String,
    instance: Option<String>,
    protocol_type: Option<String>,
    protocol: Option<String>,
    assignments: Vec<(String, Bytes)>,
}

pub(in crate::front::kafka) async fn answer(mut call: Call, context: &Context) -> Result<Writer, Malformed> {
    let version = call.version;
    let question = read(&mut call.body, version)?;
    let synced = sync(question, context).await;
    Ok(write(call.writer(), version, &synced))
}

fn read(body: &mut Reader, version: i16) -> Result<Question, Malformed> {
    let (group, generation, member) = (body.text()?, body.i32()?, body.text()?);
    let instance = if version >= 3 { body.nullable_text()? } else { None };
    let protocol_type = if version >= 5 { body.nullable_text()? } else { None };
    let protocol = if version >= 5 { body.nullable_text()? } else { None };
    let assignments = body.array(|body| {
        let assignment = (body.text()?, body.bytes()?);
        body.tags()?;
        Ok(assignment)
    })?;
    body.tags()?;
    Ok(Question { group, generation, member, instance, protocol_type, protocol, assignments })
}

async fn sync(question: Question, context: &Context) -> Result<Synced, Refusal> {
    let (group, handle) = coordinator(context, &question.group).await?;
    let mut assignments = Vec::with_capacity(question.assignments.len());
    for (member, given) in question.assignments {
        if let Some(member) = member_id(&member)? {
            // Kept for as long as the generation lasts, so not as a slice of the whole request.
            assignments.push((member, Bytes::copy_from_slice(&given)));
        }
    }
    let command = SyncGroup {
        group,
        by: identity(&question.member, question.instance.as_deref(), question.generation)?,
        protocol_type: question.protocol_type.as_deref().map(ProtocolType::new).transpose().map_err(Failure::from)?,
        protocol: question.protocol.as_deref().map(ProtocolName::new).transpose().map_err(Failure::from)?,
        assignments,
    };
    match ask(context, &handle, Command::Sync(command)).await? {
        Answer::Sync(synced) => synced.map_err(refused),
        other => Err(mismatched(&other)),
    }
}

fn write(mut body: Writer, version: i16, synced: &Result<Synced, Refusal>) -> Writer {
    if version >= 1 {
        body.i32(0);
    }
    body.i16(code_of(synced));
    let synced = synced.as_ref().ok();
    if version >= 5 {
        body.nullable_text(synced.and_then(|synced| synced.protocol_type.as_ref()).map(ProtocolType::as_str));
        body.nullable_text(synced.and_then(|synced| synced.protocol.as_ref()).map(ProtocolName::as_str));
    }
    body.bytes(synced.map_or(&[], |synced| opaque(&synced.assignment)));
    body.tags();
    body
}

/// What a member assigned; what the server assigned is for our own sessions, and of another form.
pub(super) fn opaque(assignment: &Assignment) -> &[u8] {
    match assignment {
        Assignment::Opaque(bytes) => bytes,
        Assignment::Partitions(_) => &[],
    }
}
