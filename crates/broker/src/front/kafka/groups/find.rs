//! `FindCoordinator`: which node coordinates a group.

use highwater_groups::stream::GroupId;
use highwater_types::NodeId;

use super::refused;
use crate::front::coordinators;
use crate::front::kafka::call::Call;
use crate::front::kafka::context::{Broker, Context, node_number};
use crate::front::kafka::error::{KafkaCode, Refusal, code_of, message_of};
use crate::front::kafka::wire::{Malformed, Reader, Writer};

const GROUP: i8 = 0;

pub(in crate::front::kafka) async fn answer(mut call: Call, context: &Context) -> Result<Writer, Malformed> {
    let version = call.version;
    let (kind, keys) = read(&mut call.body, version)?;
    let mut told = Vec::with_capacity(keys.len());
    for key in keys {
        let found = find(kind, &key, call.listener.as_deref(), context).await;
        told.push((key, found));
    }
    let mut body = call.writer();
    if version >= 1 {
        body.i32(0);
    }
    match version >= 4 {
        true => body.array(told, |body, (key, found)| {
            body.text(&key);
            write_place(body, &found);
            body.i16(code_of(&found));
            body.nullable_text(message_of(&found));
            body.tags();
        }),
        false => told.iter().for_each(|(_, found)| {
            body.i16(code_of(found));
            if version >= 1 {
                body.nullable_text(message_of(found));
            }
            write_place(&mut body, found);
        }),
    }
    body.tags();
    Ok(body)
}

fn read(body: &mut Reader, version: i16) -> Result<(i8, Vec<String>), Malformed> {
    let first = if version < 4 { vec![body.text()?] } else { Vec::new() };
    let kind = if version >= 1 { body.i8()? } else { GROUP };
    let keys = if version >= 4 { body.array(Reader::text)? } else { first };
    body.tags()?;
    Ok((kind, keys))
}

async fn find(kind: i8, key: &str, listener: Option<&str>, context: &Context) -> Result<Broker, Refusal> {
    if kind != GROUP {
        return Err(Refusal::new(KafkaCode::INVALID_REQUEST, "this server coordinates groups only"));
    }
    let group = GroupId::new(key).map_err(|error| Refusal::new(KafkaCode::INVALID_GROUP_ID, error.to_string()))?;
    let id = coordinators::of_group(&context.router, &context.controller, &group).await.map_err(refused)?;
    let held = context.router.coordinator(&coordinators::topic_name()?, id.partition).ok();
    let known = held.and_then(|handle| handle.leadership().borrow().leader);
    let leader = match known {
        Some(leader) => Some(leader),
        None => context.survey.replicas(Some(vec![id])).await.leader(id).map(|(leader, _)| leader),
    };
    let broker = |leader: NodeId| context.brokers(listener).into_iter().find(|broker| broker.node == leader);
    let none = || Refusal::new(KafkaCode::COORDINATOR_NOT_AVAILABLE, "the group has no coordinator at the moment");
    leader.and_then(broker).ok_or_else(none)
}

fn write_place(body: &mut Writer, found: &Result<Broker, Refusal>) {
    let broker = found.as_ref().ok();
    body.i32(broker.map_or(-1, |broker| node_number(broker.node)));
    body.text(broker.map_or("", |broker| broker.host.as_str()));
    body.i32(broker.map_or(-1, |broker| broker.port));
}
