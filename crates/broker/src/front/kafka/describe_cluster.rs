//! `DescribeCluster`: the nodes.

use super::call::Call;
use super::context::{Context, node_number};
use super::error::{KafkaCode, Refusal, code_of, message_of};
use super::wire::{Malformed, Writer};

const BROKERS: i8 = 1;
/// "Not asked for": authorized operations.
const NO_OPERATIONS: i32 = i32::MIN;

pub(super) fn answer(mut call: Call, context: &Context) -> Result<Writer, Malformed> {
    let version = call.version;
    let _operations = call.body.bool()?;
    let endpoint = if version >= 1 { call.body.i8()? } else { BROKERS };
    let has_fenced = if version >= 2 { call.body.bool()? } else { false };
    call.body.tags()?;
    let checked = match endpoint {
        BROKERS => Ok(()),
        other => Err(Refusal::new(KafkaCode::INVALID_REQUEST, format!("there are no endpoints of type {other} here"))),
    };
    let mut brokers = if checked.is_ok() { context.brokers(call.listener.as_deref()) } else { Vec::new() };
    brokers.retain(|broker| has_fenced || !broker.is_fenced);
    let mut body = call.writer();
    body.i32(0);
    body.i16(code_of(&checked));
    body.nullable_text(message_of(&checked));
    if version >= 1 {
        body.i8(BROKERS);
    }
    let cluster = context.router.image().cluster().map(|cluster| cluster.to_string());
    body.text(&cluster.unwrap_or_default());
    body.i32(context.controller_leadership.borrow().leader.map_or(-1, node_number));
    body.array(brokers, |body, broker| {
        body.i32(node_number(broker.node));
        body.text(&broker.host);
        body.i32(broker.port);
        body.nullable_text(broker.rack.as_deref());
        if version >= 2 {
            body.bool(broker.is_fenced);
        }
        body.tags();
    });
    body.i32(NO_OPERATIONS);
    body.tags();
    Ok(body)
}
