//! `DeleteGroups`: groups without members, with what they committed.

use highwater_groups::stream::{Answer, Command};

use super::{ask, coordinator, mismatched, refused};
use crate::front::kafka::call::Call;
use crate::front::kafka::context::Context;
use crate::front::kafka::error::{Refusal, code_of};
use crate::front::kafka::wire::{Malformed, Reader, Writer};

pub(in crate::front::kafka) async fn answer(mut call: Call, context: &Context) -> Result<Writer, Malformed> {
    let groups = call.body.array(Reader::text)?;
    call.body.tags()?;
    let mut told = Vec::with_capacity(groups.len());
    for group in groups {
        let deleted = delete(&group, context).await;
        told.push((group, deleted));
    }
    let mut body = call.writer();
    body.i32(0);
    body.array(told, |body, (group, deleted)| {
        body.text(&group);
        body.i16(code_of(&deleted));
        body.tags();
    });
    body.tags();
    Ok(body)
}

async fn delete(group: &str, context: &Context) -> Result<(), Refusal> {
    let (group, handle) = coordinator(context, group).await?;
    match ask(context, &handle, Command::DeleteGroup { group }).await? {
        Answer::DeleteGroup(deleted) => deleted.map_err(refused),
        other => Err(mismatched(&other)),
    }
}
