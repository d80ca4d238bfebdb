//! `ListConfigResources`: what has settings that can be changed here. Topics do.

use super::call::Call;
use super::context::Context;
use super::describe_configs::{BROKER, TOPIC};
use super::error::{KafkaCode, Refusal, code_of};
use super::wire::{Malformed, Reader, Writer};

/// Kinds that Kafka knows, and of which there are none here.
const BROKER_LOGGER: i8 = 8;
const CLIENT_METRICS: i8 = 16;
const GROUP: i8 = 32;

pub(super) fn answer(mut call: Call, context: &Context) -> Result<Writer, Malformed> {
    let version = call.version;
    // The first version asks for the settings of telemetry, and for nothing else.
    let kinds = if version >= 1 { call.body.array(Reader::i8)? } else { vec![CLIENT_METRICS] };
    call.body.tags()?;
    let found = find(&kinds, context);
    let mut body = call.writer();
    body.i32(0);
    body.i16(code_of(&found));
    body.array(found.unwrap_or_default(), |body, name| {
        body.text(&name);
        if version >= 1 {
            body.i8(TOPIC);
        }
        body.tags();
    });
    body.tags();
    Ok(body)
}

/// The names of topics, if they are asked for; no kind is every kind.
fn find(kinds: &[i8], context: &Context) -> Result<Vec<String>, Refusal> {
    let unknown = |kind: &&i8| ![TOPIC, BROKER, BROKER_LOGGER, CLIENT_METRICS, GROUP].contains(kind);
    if let Some(kind) = kinds.iter().find(unknown) {
        return Err(Refusal::new(KafkaCode::UNSUPPORTED_VERSION, format!("there are no resources of type {kind}")));
    }
    if !kinds.is_empty() && !kinds.contains(&TOPIC) {
        return Ok(Vec::new());
    }
    let image = context.router.image();
    let own = image.topics().filter(|topic| !topic.is_internal());
    Ok(own.map(|topic| topic.name.to_string()).collect())
}
