//! `JoinGroup`: a member asks to be part of the next generation, and waits for the others.

use highwater_groups::stream::command::{JoinError, JoinGroup, Joined};
use highwater_groups::stream::{
    Answer, Client, ClientHost, ClientId, Command, MemberId, Protocol, ProtocolName, ProtocolType,
};
use highwater_types::TopicId;

use super::{ask, coordinator, instance_id, member_id, mismatched, refused};
use crate::front::failure::Failure;
use crate::front::kafka::call::Call;
use crate::front::kafka::context::Context;
use crate::front::kafka::error::{KafkaCode, Refusal};
use crate::front::kafka::wire::{Malformed, Reader, Writer};

/// The kind of group whose members say in their metadata what they read.
pub(super) const CONSUMERS: &str = "consumer";

struct Question {
    group: String,
    session_timeout_ms: i32,
    rebalance_timeout_ms: i32,
    member: String,
    instance: Option<String>,
    protocol_type: String,
    protocols: Vec<(String, bytes::Bytes)>,
}

/// Why there is no place; with the id to come back with, where that is all.
struct Refused {
    refusal: Refusal,
    member: Option<MemberId>,
}

impl<R: Into<Refusal>> From<R> for Refused {
    fn from(refusal: R) -> Self {
        Self { refusal: refusal.into(), member: None }
    }
}

pub(in crate::front::kafka) async fn answer(mut call: Call, context: &Context) -> Result<Writer, Malformed> {
    let version = call.version;
    let question = read(&mut call.body, version)?;
    let member = question.member.clone();
    let joined = join(question, &call, context).await;
    Ok(write(call.writer(), version, &member, joined))
}

fn read(body: &mut Reader, version: i16) -> Result<Question, Malformed> {
    let (group, session_timeout_ms) = (body.text()?, body.i32()?);
    let rebalance_timeout_ms = if version >= 1 { body.i32()? } else { session_timeout_ms };
    let member = body.text()?;
    let instance = if version >= 5 { body.nullable_text()? } else { None };
    let protocol_type = body.text()?;
    let protocols = body.array(|body| {
        let protocol = (body.text()?, body.bytes()?);
        body.tags()?;
        Ok(protocol)
    })?;
    if version >= 8 {
        let _reason = body.nullable_text()?;
    }
    body.tags()?;
    Ok(Question { group, session_timeout_ms, rebalance_timeout_ms, member, instance, protocol_type, protocols })
}

async fn join(question: Question, call: &Call, context: &Context) -> Result<Joined, Refused> {
    let (group, handle) = coordinator(context, &question.group).await?;
    let instance = instance_id(question.instance.as_deref())?;
    let command = JoinGroup {
        group,
        member: member_id(&question.member)?,
        client: client_of(call)?,
        session_timeout_ms: u32::try_from(question.session_timeout_ms).unwrap_or(0),
        rebalance_timeout_ms: u32::try_from(question.rebalance_timeout_ms).unwrap_or(0),
        subscription: subscription(&question, context),
        protocol_type: ProtocolType::new(&question.protocol_type).map_err(inconsistent)?,
        protocols: protocols(question.protocols)?,
        owned: Vec::new(),
        needs_known_id: call.version >= 4 && instance.is_none(),
        can_skip_assignment: call.version >= 9,
        instance,
    };
    match ask(context, &handle, Command::Join(command)).await? {
        Answer::Join(Ok(joined)) => Ok(joined),
        Answer::Join(Err(error)) => Err(refusal_of(error)),
        other => Err(mismatched(&other).into()),
    }
}

fn inconsistent(error: highwater_groups::stream::IdError) -> Refusal {
    Refusal::new(KafkaCode::INCONSISTENT_GROUP_PROTOCOL, error.to_string())
}

fn protocols(offered: Vec<(String, bytes::Bytes)>) -> Result<Vec<Protocol>, Refusal> {
    let protocol = |(name, metadata): (String, bytes::Bytes)| {
        // Kept for as long as the member is there, so not as a slice of the whole request.
        let metadata = bytes::Bytes::copy_from_slice(&metadata);
        Ok(Protocol { name: ProtocolName::new(&name).map_err(inconsistent)?, metadata })
    };
    offered.into_iter().map(protocol).collect()
}

/// Who is behind it, as far as that can be said.
fn client_of(call: &Call) -> Result<Client, Failure> {
    let id = ClientId::new(call.client_id.as_deref().unwrap_or_default()).or_else(|_| ClientId::new(""))?;
    Ok(Client { id, host: ClientHost::new(&format!("/{}", call.peer))? })
}

/// The topics that a consumer reads, by what it tells the one that assigns; `None` where that is not of the usual form.
fn subscription(question: &Question, context: &Context) -> Option<Vec<TopicId>> {
    if question.protocol_type != CONSUMERS {
        return None;
    }
    let (_, metadata) = question.protocols.first()?;
    let mut metadata = Reader::new(metadata.clone(), false);
    let _version = metadata.i16().ok()?;
    let names = metadata.array(Reader::text).ok()?;
    // What is not there yet is told with the next join.
    let mut topics: Vec<TopicId> =
        names.iter().filter_map(|name| context.topic(name).ok()).map(|topic| topic.id).collect();
    topics.sort_unstable();
    topics.dedup();
    Some(topics)
}

fn refusal_of(error: JoinError) -> Refused {
    let message = error.to_string();
    match error {
        JoinError::MemberIdRequired { member, .. } => {
            Refused { refusal: Refusal::new(KafkaCode::MEMBER_ID_REQUIRED, message), member: Some(member) }
        }
        JoinError::InvalidSessionTimeout { .. } => Refusal::new(KafkaCode::INVALID_SESSION_TIMEOUT, message).into(),
        other => refused(Failure::from(other)).into(),
    }
}

fn write(mut body: Writer, version: i16, asked_as: &str, joined: Result<Joined, Refused>) -> Writer {
    let (code, joined, member) = match joined {
        Ok(joined) => (KafkaCode::NONE, Some(joined), None),
        Err(Refused { refusal, member }) => (refusal.code, None, member),
    };
    let joined = joined.as_ref();
    if version >= 2 {
        body.i32(0);
    }
    body.i16(code.number());
    body.i32(joined.map_or(-1, |joined| joined.generation.get()));
    let protocol = joined.and_then(|joined| joined.protocol.as_ref()).map(ProtocolName::as_str);
    if version >= 7 {
        body.nullable_text(joined.and_then(|joined| joined.protocol_type.as_ref()).map(ProtocolType::as_str));
        body.nullable_text(protocol);
    } else {
        body.text(protocol.unwrap_or_default());
    }
    body.text(joined.and_then(|joined| joined.leader.as_ref()).map_or("", MemberId::as_str));
    if version >= 9 {
        body.bool(joined.is_some_and(|joined| joined.skip_assignment));
    }
    let member = joined.map(|joined| &joined.member).or(member.as_ref());
    body.text(member.map_or(asked_as, MemberId::as_str));
    body.array(joined.map_or(&[][..], |joined| &joined.members), |body, member| {
        body.text(member.id.as_str());
        if version >= 5 {
            body.nullable_text(member.instance.as_ref().map(highwater_groups::stream::InstanceId::as_str));
        }
        body.bytes(&member.metadata);
        body.tags();
    });
    body.tags();
    body
}
