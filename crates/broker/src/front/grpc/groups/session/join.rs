//! Joining: from the wish to be in the next generation to the partitions that it gives.

use std::sync::{Arc, OnceLock};

use highwater_groups::stream::command::{Identity, JoinError, JoinGroup, SyncError, SyncGroup};
use highwater_groups::stream::{Answer, Command, GenerationId, GroupId, MemberId};
use highwater_types::{ErrorCode, TopicPartition};

use crate::coordinator::CoordinatorHandle;
use crate::front::failure::Failure;
use crate::front::grpc::groups::mismatched;

/// A place in a generation, and what it gives.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) member: MemberId,
    pub(super) generation: GenerationId,
    pub(super) assignor: String,
    pub(super) partitions: Vec<TopicPartition>,
}

/// Joins, as often as it takes. `known` is the generation that the member was in; `named` is told its id as soon as it has
/// one.
pub(super) async fn join(
    handle: CoordinatorHandle,
    mut command: JoinGroup,
    mut known: Option<GenerationId>,
    named: Arc<OnceLock<MemberId>>,
) -> Result<Place, Failure> {
    loop {
        let joined = match handle.ask(Command::Join(command.clone())).await? {
            Answer::Join(Ok(joined)) => joined,
            Answer::Join(Err(JoinError::MemberIdRequired { member, .. })) => {
                // Told once; another one would be another member.
                let _again = named.set(member.clone());
                command.member = Some(member);
                continue;
            }
            Answer::Join(Err(refused)) => return Err(refused.into()),
            other => return Err(mismatched(&other)),
        };
        let _again = named.set(joined.member.clone());
        command.member = Some(joined.member.clone());
        check_fence(&command.group, known, joined.generation)?;
        known = Some(joined.generation);
        let by = Identity {
            member: joined.member.clone(),
            instance: command.instance.clone(),
            generation: joined.generation,
        };
        let sync = SyncGroup {
            group: command.group.clone(),
            by,
            protocol_type: None,
            protocol: None,
            assignments: Vec::new(),
        };
        match handle.ask(Command::Sync(sync)).await? {
            Answer::Sync(Ok(synced)) => {
                return Ok(Place {
                    member: joined.member,
                    generation: joined.generation,
                    assignor: joined.protocol.map(|name| name.to_string()).unwrap_or_default(),
                    partitions: synced.assignment.partitions().to_vec(),
                });
            }
            Answer::Sync(Err(SyncError::RebalanceInProgress { .. })) => {}
            Answer::Sync(Err(refused)) => return Err(refused.into()),
            other => return Err(mismatched(&other)),
        }
    }
}

/// A generation that is not the next one is the mark of an operator's seek: what was read before it does not count.
fn check_fence(group: &GroupId, known: Option<GenerationId>, now: GenerationId) -> Result<(), Failure> {
    match known {
        Some(before) if now != before && now != before.next() => {
            let message = format!(
                "group '{group}' is in generation {now}, not in {before} or the next: it was made to go on elsewhere; \
                 join again"
            );
            Err(Failure::new(ErrorCode::IllegalGeneration, message))
        }
        _ => Ok(()),
    }
}
