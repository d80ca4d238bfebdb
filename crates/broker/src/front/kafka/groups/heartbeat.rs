//! `Heartbeat`: a member says that it is alive, and learns when it is to join again.

use highwater_groups::stream::{Answer, Command};

use super::{ask, coordinator, identity, mismatched, refused};
use crate::front::kafka::call::Call;
use crate::front::kafka::context::Context;
use crate::front::kafka::error::{Refusal, code_of};
use crate::front::kafka::wire::{Malformed, Writer};

pub(in crate::front::kafka) async fn answer(mut call: Call, context: &Context) -> Result<Writer, Malformed> {
    let version = call.version;
    let (group, generation, member) = (call.body.text()?, call.body.i32()?, call.body.text()?);
    let instance = if version >= 3 { call.body.nullable_text()? } else { None };
    call.body.tags()?;
    let beaten = beat(&group, generation, &member, instance.as_deref(), context).await;
    let mut body = call.writer();
    if version >= 1 {
        body.i32(0);
    }
    body.i16(code_of(&beaten));
    body.tags();
    Ok(body)
}

async fn beat(
    group: &str,
    generation: i32,
    member: &str,
    instance: Option<&str>,
    context: &Context,
) -> Result<(), Refusal> {
    let (group, handle) = coordinator(context, group).await?;
    let by = identity(member, instance, generation)?;
    match ask(context, &handle, Command::Heartbeat { group, by }).await? {
        Answer::Heartbeat(beaten) => beaten.map_err(refused),
        other => Err(mismatched(&other)),
    }
}
