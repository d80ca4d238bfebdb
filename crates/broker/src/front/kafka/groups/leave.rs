//! `LeaveGroup`: members are gone for good.

use highwater_groups::stream::command::{Leaver, Left};
use highwater_groups::stream::{Answer, Command, InstanceId, MemberId};

use super::{ask, coordinator, instance_id, member_id, mismatched, refused};
use crate::front::kafka::call::Call;
use crate::front::kafka::context::Context;
use crate::front::kafka::error::{KafkaCode, Refusal, code_of};
use crate::front::kafka::wire::{Malformed, Reader, Writer};

pub(in crate::front::kafka) async fn answer(mut call: Call, context: &Context) -> Result<Writer, Malformed> {
    let version = call.version;
    let (group, members) = read(&mut call.body, version)?;
    let left = leave(&group, members, context).await;
    Ok(write(call.writer(), version, left))
}

type Named = (String, Option<String>);

fn read(body: &mut Reader, version: i16) -> Result<(String, Vec<Named>), Malformed> {
    let group = body.text()?;
    let members = match version >= 3 {
        false => vec![(body.text()?, None)],
        true => body.array(|body| {
            let named = (body.text()?, body.nullable_text()?);
            if version >= 5 {
                let _reason = body.nullable_text()?;
            }
            body.tags()?;
            Ok(named)
        })?,
    };
    body.tags()?;
    Ok((group, members))
}

async fn leave(group: &str, members: Vec<Named>, context: &Context) -> Result<Vec<Left>, Refusal> {
    let (group, handle) = coordinator(context, group).await?;
    let leaver = |(member, instance): Named| {
        Ok(Leaver { member: member_id(&member)?, instance: instance_id(instance.as_deref())? })
    };
    let members = members.into_iter().map(leaver).collect::<Result<Vec<_>, Refusal>>()?;
    match ask(context, &handle, Command::Leave { group, members }).await? {
        Answer::Leave(left) => left.map_err(refused),
        other => Err(mismatched(&other)),
    }
}

fn write(mut body: Writer, version: i16, left: Result<Vec<Left>, Refusal>) -> Writer {
    let of_one = |left: &Left| left.result.clone().map_err(refused);
    if version >= 1 {
        body.i32(0);
    }
    if version < 3 {
        // There was one; what became of it is what became of the request.
        let one = left.and_then(|left| left.first().map_or(Ok(()), of_one));
        body.i16(code_of(&one));
        return body;
    }
    body.i16(code_of(&left));
    body.array(left.unwrap_or_default(), |body, left| {
        body.text(left.member.as_ref().map_or("", MemberId::as_str));
        body.nullable_text(left.instance.as_ref().map(InstanceId::as_str));
        body.i16(of_one(&left).map_or_else(|refusal| refusal.code, |()| KafkaCode::NONE).number());
        body.tags();
    });
    body.tags();
    body
}
