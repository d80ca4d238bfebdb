//! Groups as a whole: describing, listing, deleting.

use std::collections::BTreeMap;

use super::Sessions;
use super::live::{LiveGroup, LiveMember, Phase};
use super::step::Step;
use crate::stream::command::{
    Answer, DeleteGroupError, DescribeError, Description, GroupState, Listing, MemberDescription,
};
use crate::stream::ids::{GroupId, Ticket};
use crate::stream::image::{Group, GroupsImage};
use crate::stream::limits;
use crate::stream::record::GroupRecord;

impl Sessions {
    pub(super) fn describe(&self, image: &GroupsImage, id: &GroupId) -> Result<Description, DescribeError> {
        match (self.live.get(id), image.group(id)) {
            (Some(live), _) if live.phase != Phase::Dead => Ok(describe_live(live)),
            (None, Some(known)) => Ok(describe_empty(known)),
            _ => Err(DescribeError::GroupNotFound { group: id.clone() }),
        }
    }

    /// Sorted by id.
    pub(super) fn list(&self, image: &GroupsImage, states: &[GroupState]) -> Vec<Listing> {
        let empty = image.groups().map(|(id, group)| (id, (GroupState::Empty, &group.protocol_type)));
        let live = self.live.iter().map(|(id, group)| (id, (group.state(), &group.protocol_type)));
        let groups: BTreeMap<_, _> = empty.chain(live).collect();
        let is_wanted = |state| state != GroupState::Dead && (states.is_empty() || states.contains(&state));
        let wanted = groups.into_iter().filter(|(_, (state, _))| is_wanted(*state));
        wanted
            .map(|(id, (state, protocol_type))| Listing {
                group: id.clone(),
                state,
                protocol_type: protocol_type.clone(),
            })
            .collect()
    }

    pub(super) fn delete(&mut self, image: &GroupsImage, step: &mut Step<'_>, ticket: Ticket, id: &GroupId) {
        let result = match self.live.get(id) {
            Some(live) if live.has_members() => Err(DeleteGroupError::NotEmpty { group: id.clone() }),
            Some(live) if live.phase == Phase::Dead || !live.is_recorded => {
                Err(DeleteGroupError::GroupNotFound { group: id.clone() })
            }
            None if image.group(id).is_none() => Err(DeleteGroupError::GroupNotFound { group: id.clone() }),
            _ => Ok(()),
        };
        if result.is_ok() {
            let settle_at = step.now().plus_ms(limits::SETTLE_MS);
            let live = self.make_live(image, id);
            live.reserved.clear();
            (live.phase, live.is_recorded, live.settle_at) = (Phase::Dead, false, settle_at);
            step.record(GroupRecord::GroupDeleted { group: id.clone() });
            self.reschedule(id);
        }
        step.answer(ticket, Answer::DeleteGroup(result));
    }
}

fn describe_live(live: &LiveGroup) -> Description {
    let member = |LiveMember { member, .. }: &LiveMember| MemberDescription {
        id: member.id.clone(),
        instance: member.instance.clone(),
        client: member.client.clone(),
        subscription: member.subscription.clone(),
        metadata: live.protocol.as_ref().map(|name| member.metadata(name)).unwrap_or_default(),
        assignment: member.assignment.clone(),
    };
    Description {
        state: live.state(),
        generation: live.generation,
        protocol_type: live.protocol_type.clone(),
        protocol: live.protocol.clone(),
        leader: live.leader.clone(),
        members: live.members.values().map(member).collect(),
    }
}

fn describe_empty(group: &Group) -> Description {
    Description {
        state: GroupState::Empty,
        generation: group.generation,
        protocol_type: group.protocol_type.clone(),
        protocol: None,
        leader: None,
        members: Vec::new(),
    }
}
