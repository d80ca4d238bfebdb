//! `DeleteTopics`, by name or by id.

use highwater_types::TopicId;

use super::call::Call;
use super::context::{Context, own_name};
use super::error::{Refusal, code_of, message_of};
use super::wire::{Malformed, Reader, Writer};
use crate::front::failure::Failure;

struct Asked {
    name: Option<String>,
    id: TopicId,
}

const NO_ID: TopicId = TopicId::from_bytes([0; 16]);

pub(super) async fn answer(mut call: Call, context: &Context) -> Result<Writer, Malformed> {
    let version = call.version;
    let topics = read(&mut call.body, version)?;
    let mut told = Vec::with_capacity(topics.len());
    for mut asked in topics {
        let deleted = delete(&mut asked, context).await;
        told.push((asked, deleted));
    }
    let mut body = call.writer();
    body.i32(0);
    body.array(told, |body, (asked, deleted)| {
        match version >= 6 {
            true => body.nullable_text(asked.name.as_deref()),
            false => body.text(asked.name.as_deref().unwrap_or_default()),
        }
        if version >= 6 {
            body.topic_id(asked.id);
        }
        body.i16(code_of(&deleted));
        if version >= 5 {
            body.nullable_text(message_of(&deleted));
        }
        body.tags();
    });
    body.tags();
    Ok(body)
}

fn read(body: &mut Reader, version: i16) -> Result<Vec<Asked>, Malformed> {
    let topics = body.array(|body| {
        if version < 6 {
            return Ok(Asked { name: Some(body.text()?), id: NO_ID });
        }
        let asked = Asked { name: body.nullable_text()?, id: body.topic_id()? };
        body.tags()?;
        Ok(asked)
    })?;
    let _timeout_ms = body.i32()?;
    body.tags()?;
    Ok(topics)
}

/// Deletes it; then both its name and its id are known.
async fn delete(asked: &mut Asked, context: &Context) -> Result<(), Refusal> {
    let name = match &asked.name {
        Some(name) => own_name(name)?,
        None => context.topic_by_id(asked.id)?.name.clone(),
    };
    let topic = context.router.topic(&name)?;
    context.controller.delete_topic(name).await.map_err(Failure::from)?;
    (asked.name, asked.id) = (Some(topic.name.to_string()), topic.id);
    Ok(())
}
