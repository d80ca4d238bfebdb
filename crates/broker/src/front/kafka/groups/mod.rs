//! Groups by Kafka's classic protocol: one file an API. The engine below is the one of our own sessions, so a group is the
//! same group by either front.
//!
//! Owns: the coordinator of a group, texts and ids, and what the engine's answers are called here.

pub(super) mod delete;
pub(super) mod describe;
pub(super) mod fetch;
pub(super) mod find;
pub(super) mod heartbeat;
pub(super) mod join;
pub(super) mod leave;
pub(super) mod list;
pub(super) mod offset_commit;
pub(super) mod offset_delete;
pub(super) mod sync;

use super::context::Context;
use super::error::{KafkaCode, Refusal};
use crate::coordinator::CoordinatorHandle;
use crate::front::coordinators;
use crate::front::failure::Failure;
use highwater_groups::stream::command::Identity;
use highwater_groups::stream::{Answer, Command, GenerationId, GroupId, InstanceId, MemberId};

/// A group and its coordinator, if this node leads that.
async fn coordinator(context: &Context, group: &str) -> Result<(GroupId, CoordinatorHandle), Refusal> {
    let group = GroupId::new(group).map_err(|error| Refusal::new(KafkaCode::INVALID_GROUP_ID, error.to_string()))?;
    let id = coordinators::of_group(&context.router, &context.controller, &group).await.map_err(refused)?;
    let handle = coordinators::led_here(&context.router, id.partition).map_err(refused)?;
    Ok((group, handle))
}

/// Asks, for as long as the server is not asked to stop: a member may wait for minutes for the others.
async fn ask(context: &Context, handle: &CoordinatorHandle, command: Command) -> Result<Answer, Refusal> {
    tokio::select! {
        answer = handle.ask(command) => answer.map_err(refused),
        () = context.shutdown.requested() => Err(refused(Failure::shutting_down())),
    }
}

/// What fails at a coordinator, in the codes after which clients look for another one.
fn refused(failure: impl Into<Failure>) -> Refusal {
    let failure = failure.into();
    Refusal { code: KafkaCode::of_coordinator(failure.code), message: failure.message }
}

/// The engine answered something else than was asked.
fn mismatched(answer: &Answer) -> Refusal {
    Refusal::new(KafkaCode::UNKNOWN_SERVER_ERROR, format!("the coordinator answered something else: {answer:?}"))
}

/// A member's id; empty is none.
fn member_id(text: &str) -> Result<Option<MemberId>, Refusal> {
    let unknown =
        |error: highwater_groups::stream::IdError| Refusal::new(KafkaCode::UNKNOWN_MEMBER_ID, error.to_string());
    (!text.is_empty()).then(|| MemberId::new(text).map_err(unknown)).transpose()
}

fn instance_id(text: Option<&str>) -> Result<Option<InstanceId>, Refusal> {
    Ok(text.map(InstanceId::new).transpose().map_err(Failure::from)?)
}

/// Who asks; one that names no member is unknown.
fn identity(member: &str, instance: Option<&str>, generation: i32) -> Result<Identity, Refusal> {
    let nobody = || Refusal::new(KafkaCode::UNKNOWN_MEMBER_ID, "the request names no member");
    Ok(Identity {
        member: member_id(member)?.ok_or_else(nobody)?,
        instance: instance_id(instance)?,
        generation: GenerationId::new(generation),
    })
}
