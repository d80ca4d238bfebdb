//! `ListGroups`: the groups that this node coordinates. Clients ask every node.

use highwater_groups::stream::command::Listing;
use highwater_groups::stream::{Answer, Command};
use highwater_types::PartitionId;

use super::{ask, mismatched, refused};
use crate::front::coordinators;
use crate::front::kafka::call::Call;
use crate::front::kafka::context::Context;
use crate::front::kafka::error::{Refusal, code_of};
use crate::front::kafka::wire::{Malformed, Reader, Writer};

/// The only type of group that there is here.
const CLASSIC: &str = "classic";

pub(in crate::front::kafka) async fn answer(mut call: Call, context: &Context) -> Result<Writer, Malformed> {
    let version = call.version;
    let states = if version >= 4 { call.body.array(Reader::text)? } else { Vec::new() };
    let types = if version >= 5 { call.body.array(Reader::text)? } else { Vec::new() };
    call.body.tags()?;
    let mut groups = list(context).await;
    if let Ok(groups) = &mut groups {
        let is_asked = |listing: &Listing| {
            let state = listing.state.to_string();
            states.is_empty() || states.iter().any(|asked| asked.eq_ignore_ascii_case(&state))
        };
        let has_type = types.is_empty() || types.iter().any(|asked| asked.eq_ignore_ascii_case(CLASSIC));
        groups.retain(|listing| has_type && is_asked(listing));
    }
    let mut body = call.writer();
    if version >= 1 {
        body.i32(0);
    }
    body.i16(code_of(&groups));
    body.array(groups.unwrap_or_default(), |body, listing| {
        body.text(listing.group.as_str());
        body.text(&listing.protocol_type.map(|kind| kind.to_string()).unwrap_or_default());
        if version >= 4 {
            body.text(&listing.state.to_string());
        }
        if version >= 5 {
            body.text(CLASSIC);
        }
        body.tags();
    });
    body.tags();
    Ok(body)
}

async fn list(context: &Context) -> Result<Vec<Listing>, Refusal> {
    let mut groups = Vec::new();
    for number in 0..coordinators::count(&context.router).unwrap_or(0) {
        // Another node lists what it leads.
        let Ok(handle) = coordinators::led_here(&context.router, PartitionId::new(number)) else { continue };
        handle.confirm().await.map_err(refused)?;
        match ask(context, &handle, Command::ListGroups { states: Vec::new() }).await? {
            Answer::List(found) => groups.extend(found),
            other => return Err(mismatched(&other)),
        }
    }
    groups.sort_by(|a, b| a.group.cmp(&b.group));
    Ok(groups)
}
