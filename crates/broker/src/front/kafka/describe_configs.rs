//! `DescribeConfigs`: the settings of topics. Nodes have theirs in a file and tell none of them here.

use std::sync::Arc;

use highwater_metadata::settings::Unit;
use highwater_metadata::{Setting, Topic};

use super::call::Call;
use super::context::Context;
use super::error::{KafkaCode, Refusal, code_of, message_of};
use super::wire::{Malformed, Reader, Writer};

/// What has settings.
pub(super) const TOPIC: i8 = 2;
pub(super) const BROKER: i8 = 4;
/// Where a value comes from.
const SET_BY_TOPIC: i8 = 1;
const DEFAULT: i8 = 5;
/// A word.
const STRING: i8 = 2;
/// A whole number of 64 bits.
const LONG: i8 = 5;

struct Asked {
    kind: i8,
    name: String,
    /// `None`: all of them.
    keys: Option<Vec<String>>,
}

/// What is told: the settings of a topic that were asked for.
type Found = Option<(Arc<Topic>, Vec<Setting>)>;

pub(super) fn answer(mut call: Call, context: &Context) -> Result<Writer, Malformed> {
    let version = call.version;
    let (resources, is_documented) = read(&mut call.body, version)?;
    let mut body = call.writer();
    body.i32(0);
    body.array(resources, |body, asked| {
        let found = find(&asked, context);
        body.i16(code_of(&found));
        body.nullable_text(message_of(&found));
        body.i8(asked.kind);
        body.text(&asked.name);
        let (topic, settings) = found.ok().flatten().map_or((None, Vec::new()), |(topic, keys)| (Some(topic), keys));
        body.array(settings, |body, setting| {
            if let Some(topic) = &topic {
                write(body, version, topic, setting, is_documented);
            }
        });
        body.tags();
    });
    body.tags();
    Ok(body)
}

fn read(body: &mut Reader, version: i16) -> Result<(Vec<Asked>, bool), Malformed> {
    let resources = body.array(|body| {
        let (kind, name) = (body.i8()?, body.text()?);
        let keys = body.nullable_array(Reader::text)?;
        body.tags()?;
        Ok(Asked { kind, name, keys })
    })?;
    let _synonyms = body.bool()?;
    let is_documented = if version >= 3 { body.bool()? } else { false };
    body.tags()?;
    Ok((resources, is_documented))
}

fn find(asked: &Asked, context: &Context) -> Result<Found, Refusal> {
    match asked.kind {
        TOPIC => {
            let topic = context.topic(&asked.name)?;
            let is_asked =
                |setting: &Setting| asked.keys.as_ref().is_none_or(|keys| keys.iter().any(|key| key == setting.name()));
            Ok(Some((topic, Setting::ALL.iter().copied().filter(is_asked).collect())))
        }
        BROKER => Ok(None),
        other => {
            Err(Refusal::new(KafkaCode::INVALID_REQUEST, format!("resources of type {other} have no settings here")))
        }
    }
}

fn write(body: &mut Writer, version: i16, topic: &Topic, setting: Setting, is_documented: bool) {
    body.text(setting.name());
    body.nullable_text(Some(&topic.settings.get(setting).to_string()));
    body.bool(false);
    write_source(body, topic, setting);
    body.bool(false);
    // Synonyms: no setting of a node stands behind one of a topic.
    body.empty_array();
    if version >= 3 {
        body.i8(match setting.definition().unit {
            Unit::Milliseconds | Unit::Bytes => LONG,
            Unit::Queues | Unit::TimestampType => STRING,
        });
        body.nullable_text(is_documented.then_some(setting.definition().description));
    }
    body.tags();
}

/// Whether the topic sets it.
pub(super) fn write_source(body: &mut Writer, topic: &Topic, setting: Setting) {
    body.i8(if topic.settings.is_default(setting) { DEFAULT } else { SET_BY_TOPIC });
}
