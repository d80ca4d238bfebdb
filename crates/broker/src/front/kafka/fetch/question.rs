//! What a fetch asks for.

use highwater_types::{ErrorCode, TopicId};

use crate::front::failure::Failure;
use crate::front::kafka::context::Context;
use crate::front::kafka::error::Refusal;
use crate::front::kafka::wire::{Malformed, Reader};

pub(super) struct Question {
    pub(super) wait_ms: u32,
    pub(super) bytes_min: usize,
    pub(super) bytes_max: usize,
    pub(super) session_id: i32,
    pub(super) topics: Vec<Topic>,
}

/// A topic by its name, or in newer versions by its id.
pub(super) struct Topic {
    pub(super) key: Key,
    pub(super) partitions: Vec<Asked>,
}

pub(super) enum Key {
    Name(String),
    Id(TopicId),
}

/// A partition of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked {
    pub(super) partition: i32,
    pub(super) current_epoch: i32,
    pub(super) offset: i64,
    pub(super) bytes_max: usize,
}

impl Topic {
    /// Its name.
    pub(super) fn name(&self, context: &Context) -> Result<String, Refusal> {
        match &self.key {
            Key::Name(name) if name.is_empty() => {
                Err(Failure::new(ErrorCode::InvalidTopicName, "a topic has a name").into())
            }
            Key::Name(name) => Ok(name.clone()),
            Key::Id(id) => context.topic_by_id(*id).map(|topic| topic.name.to_string()),
        }
    }
}

pub(super) fn read(body: &mut Reader, version: i16) -> Result<Question, Malformed> {
    if version < 15 {
        let _replica = body.i32()?;
    }
    let (wait_ms, bytes_min, bytes_max) = (body.i32()?, body.i32()?, body.i32()?);
    let _isolation = body.i8()?;
    let session_id = if version >= 7 { body.i32()? } else { 0 };
    if version >= 7 {
        let _session_epoch = body.i32()?;
    }
    let topics = body.array(|body| {
        let key = if version >= 13 { Key::Id(body.topic_id()?) } else { Key::Name(body.text()?) };
        let partitions = body.array(|body| asked(body, version))?;
        body.tags()?;
        Ok(Topic { key, partitions })
    })?;
    if version >= 7 {
        // What to drop out of a session that there is not.
        let _forgotten = body.array(|body| {
            match version >= 13 {
                true => drop(body.topic_id()?),
                false => drop(body.text()?),
            }
            let _partitions = body.array(Reader::i32)?;
            body.tags()
        })?;
    }
    if version >= 11 {
        let _rack = body.text()?;
    }
    body.tags()?;
    let wait_ms = u32::try_from(wait_ms).unwrap_or(0);
    Ok(Question { wait_ms, bytes_min: size(bytes_min), bytes_max: size(bytes_max), session_id, topics })
}

fn asked(body: &mut Reader, version: i16) -> Result<Asked, Malformed> {
    let partition = body.i32()?;
    let current_epoch = if version >= 9 { body.i32()? } else { -1 };
    let offset = body.i64()?;
    if version >= 12 {
        let _last_epoch = body.i32()?;
    }
    if version >= 5 {
        let _log_start = body.i64()?;
    }
    let bytes_max = size(body.i32()?);
    body.tags()?;
    Ok(Asked { partition, current_epoch, offset, bytes_max })
}

fn size(bytes: i32) -> usize {
    usize::try_from(bytes).unwrap_or(0)
}
