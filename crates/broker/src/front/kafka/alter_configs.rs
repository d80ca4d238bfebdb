//! `AlterConfigs`: all settings of topics at once. What is not named has its default from then on.
//!
//! Owns also what it shares with `IncrementalAlterConfigs`: how a change is checked and made, and the answer to both.

use std::collections::{HashMap, HashSet};

use highwater_metadata::{AlterTopic, Command, Policy, Setting, decide};
use highwater_types::{Timestamp, TopicId};

use super::call::Call;
use super::context::{Context, own_name};
use super::describe_configs::{BROKER, TOPIC};
use super::error::{KafkaCode, Refusal, code_of, message_of};
use super::wire::{Malformed, Writer};
use crate::front::failure::Failure;

/// A resource whose settings are to change.
pub(super) struct Asked {
    pub(super) kind: i8,
    pub(super) name: String,
    /// Or why that is no change.
    pub(super) change: Result<Change, Refusal>,
}

/// What is to change.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Change {
    /// Settings and their values, as they were written.
    pub(super) set: Vec<(String, String)>,
    /// Settings that return to their defaults.
    pub(super) unset: Vec<String>,
}

pub(super) async fn answer(mut call: Call, context: &Context) -> Result<Writer, Malformed> {
    let resources = call.body.array(|body| {
        let (kind, name) = (body.i8()?, body.text()?);
        let settings = body.array(|body| {
            let setting = (body.text()?, body.nullable_text()?);
            body.tags()?;
            Ok(setting)
        })?;
        body.tags()?;
        Ok(Asked { kind, name, change: whole(settings) })
    })?;
    alter(call, resources, context).await
}

/// The change to these settings and no others.
fn whole(settings: Vec<(String, Option<String>)>) -> Result<Change, Refusal> {
    check_once(settings.iter().map(|(name, _)| name))?;
    let mut change = Change::default();
    for (name, value) in settings {
        let value = value.ok_or_else(|| no_value(&name))?;
        change.set.push((name, value));
    }
    let is_named = |setting: &Setting| change.set.iter().any(|(name, _)| name == setting.name());
    change.unset = Setting::ALL.iter().filter(|setting| !is_named(setting)).map(ToString::to_string).collect();
    Ok(change)
}

/// Refuses settings of which one is named twice.
pub(super) fn check_once<'a>(mut names: impl Iterator<Item = &'a String>) -> Result<(), Refusal> {
    let mut named = HashSet::new();
    let twice = |name: &String| Refusal::new(KafkaCode::INVALID_REQUEST, format!("'{name}' is given more than once"));
    names.find(|name| !named.insert(*name)).map_or(Ok(()), |name| Err(twice(name)))
}

/// A setting that is to be set to nothing.
pub(super) fn no_value(name: &str) -> Refusal {
    Refusal::new(KafkaCode::INVALID_REQUEST, format!("'{name}' is to be set and has no value"))
}

/// Reads the rest of either request, makes the changes, and answers.
pub(super) async fn alter(mut call: Call, resources: Vec<Asked>, context: &Context) -> Result<Writer, Malformed> {
    let is_validate_only = call.body.bool()?;
    call.body.tags()?;
    let mut times: HashMap<(i8, String), usize> = HashMap::new();
    for asked in &resources {
        *times.entry((asked.kind, asked.name.clone())).or_default() += 1;
    }
    let mut told = Vec::with_capacity(resources.len());
    for Asked { kind, name, change } in resources {
        let is_once = times.get(&(kind, name.clone())) == Some(&1);
        let altered = match change {
            Ok(_) if !is_once => Err(Refusal::new(KafkaCode::INVALID_REQUEST, "the resource is named more than once")),
            Ok(change) => apply(kind, &name, change, is_validate_only, context).await,
            Err(refusal) => Err(refusal),
        };
        told.push((kind, name, altered));
    }
    let mut body = call.writer();
    body.i32(0);
    body.array(told, |body, (kind, name, altered)| {
        body.i16(code_of(&altered));
        body.nullable_text(message_of(&altered));
        body.i8(kind);
        body.text(&name);
        body.tags();
    });
    body.tags();
    Ok(body)
}

async fn apply(kind: i8, name: &str, change: Change, is_validate_only: bool, context: &Context) -> Result<(), Refusal> {
    match kind {
        TOPIC => {}
        BROKER => {
            let message = "a node has its settings in a file; change them there, and start it again";
            return Err(Refusal::new(KafkaCode::INVALID_REQUEST, message));
        }
        other => {
            let message = format!("resources of type {other} have no settings here");
            return Err(Refusal::new(KafkaCode::INVALID_REQUEST, message));
        }
    }
    let Change { mut set, unset } = change;
    // So that the first complaint is always the same.
    set.sort_unstable();
    let change = AlterTopic { name: own_name(name)?, set, unset, partitions: None };
    match is_validate_only {
        true => validate(change, context),
        false => {
            context.controller.submit(Command::AlterTopic(change)).await.map_err(Failure::from)?;
            Ok(())
        }
    }
}

/// What the controller would say, by the image of this node.
fn validate(change: AlterTopic, context: &Context) -> Result<(), Refusal> {
    // No topic is created by it, and nothing is placed.
    let (now, topic_id) = (Timestamp::from_ms(0), TopicId::from_bytes([0; 16]));
    let decided = highwater_metadata::Context { now, topic_id, seed: 0, policy: Policy::default() };
    match decide(&context.router.image(), &Command::AlterTopic(change), &decided) {
        Ok(_) => Ok(()),
        Err(error) => Err(Failure::new(error.code(), error.to_string()).into()),
    }
}
