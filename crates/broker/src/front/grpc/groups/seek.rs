//! Where a group goes on reading, set by an operator: to a position, or by so many records.

use std::collections::BTreeMap;

use highwater_groups::stream::command::SeekOffsets;
use highwater_groups::stream::{Answer, Command, CommittedOffset, GroupId};
use highwater_proto::v1;
use highwater_proto::v1::seek_target::To;
use highwater_types::{Offset, OffsetRange, PartitionId, TopicName, TopicPartition};
use tonic::{Response, Status};

use super::coordinators::Client;
use super::{Asked, Groups, OfGroup, mismatched};
use crate::coordinator::CoordinatorHandle;
use crate::front::failure::Failure;

/// Where one partition goes.
struct Change {
    at: TopicPartition,
    to: Offset,
    said: v1::SeekChange,
}

impl Groups {
    async fn seek_here(
        &self,
        handle: &CoordinatorHandle,
        group: &GroupId,
        request: &v1::SeekGroupRequest,
    ) -> Result<v1::SeekGroupResponse, Failure> {
        handle.confirm().await?;
        let committed = self.offsets_of(handle, group).await?;
        let mut changes = BTreeMap::new();
        for target in &request.targets {
            for change in self.changes(target, &committed).await? {
                if changes.insert(change.at, change).is_some() {
                    let message = format!("topic '{}' is named twice; name each partition once", target.topic);
                    return Err(Failure::invalid(message));
                }
            }
        }
        if !request.validate_only {
            let offsets = changes.values().map(|change| (change.at, change.to)).collect();
            let command = SeekOffsets { group: group.clone(), offsets, is_forced: request.force };
            match handle.ask(Command::SeekOffsets(command)).await? {
                Answer::Seek(result) => result?,
                other => return Err(mismatched(&other)),
            }
        }
        Ok(v1::SeekGroupResponse { changes: changes.into_values().map(|change| change.said).collect() })
    }

    /// What one target comes to.
    async fn changes(
        &self,
        target: &v1::SeekTarget,
        committed: &BTreeMap<TopicPartition, CommittedOffset>,
    ) -> Result<Vec<Change>, Failure> {
        let topic = self.context.router.topic(&TopicName::new(&target.topic)?)?;
        let partitions: Vec<u32> = match target.partition {
            Some(partition) => {
                self.partition_id(&target.topic, partition)?;
                vec![partition]
            }
            None => (0..topic.partition_count()).collect(),
        };
        let holds = self.ends(&target.topic, &partitions).await?;
        let found = self.positions(target, &partitions).await?;
        let mut changes = Vec::with_capacity(partitions.len());
        for (partition, holds) in holds {
            let at = TopicPartition { topic: topic.id, partition: PartitionId::new(partition) };
            let from = committed.get(&at).map(|committed| committed.offset);
            let to = match &target.to {
                Some(To::Shift(by)) => shifted(from, *by, holds).ok_or_else(|| no_offset(target, partition))?,
                _ => clamp(found.get(&partition).copied().unwrap_or(holds.start), holds),
            };
            let said = v1::SeekChange {
                topic: target.topic.clone(),
                partition,
                from: from.map(Offset::to_wire),
                to: to.to_wire(),
                log_start: holds.start.to_wire(),
                log_end: holds.end.to_wire(),
            };
            changes.push(Change { at, to, said });
        }
        Ok(changes)
    }

    /// The offset of the position in each partition, where one is named. An offset is taken as it is.
    async fn positions(&self, target: &v1::SeekTarget, partitions: &[u32]) -> Result<BTreeMap<u32, Offset>, Failure> {
        let position = match &target.to {
            Some(To::Position(position)) => *position,
            Some(To::Shift(_)) => return Ok(BTreeMap::new()),
            None => return Err(Failure::invalid("the request does not say where the group shall go on")),
        };
        if let Some(v1::position::At::Offset(offset)) = position.at {
            let offset = Offset::from_wire(offset).ok_or_else(|| {
                Failure::invalid(format!("offset {offset} is below 0; the first record has offset 0"))
            })?;
            return Ok(partitions.iter().map(|partition| (*partition, offset)).collect());
        }
        let asked = partitions.iter().map(|partition| (*partition, position)).collect();
        let found = self.read.lookup_positions(&target.topic, asked, true).await?;
        Ok(found.iter().filter_map(|found| Some((found.partition, Offset::from_wire(found.offset)?))).collect())
    }
}

impl Asked for v1::SeekGroupRequest {
    type Answer = v1::SeekGroupResponse;

    async fn here(&self, groups: &Groups, handle: CoordinatorHandle) -> Result<Self::Answer, Failure> {
        if self.targets.is_empty() {
            let message = "the request names no topic; say what the group shall read, and from where";
            return Err(Failure::invalid(message));
        }
        groups.seek_here(&handle, &GroupId::new(&self.group)?, self).await
    }

    async fn there(mut client: Client, request: tonic::Request<Self>) -> Result<Response<Self::Answer>, Status> {
        client.seek_group(request).await
    }
}

impl OfGroup for v1::SeekGroupRequest {
    const MAKES_GROUPS: bool = true;

    fn group(&self) -> &str {
        &self.group
    }
}

fn no_offset(target: &v1::SeekTarget, partition: u32) -> Failure {
    Failure::invalid(format!(
        "the group has committed no offset for partition {partition} of topic '{}', so there is none to go on from; \
         name a position instead",
        target.topic
    ))
}

/// The nearest offset that is there to be read from.
fn clamp(offset: Offset, holds: OffsetRange) -> Offset {
    offset.max(holds.start).min(holds.end)
}

fn shifted(from: Option<Offset>, by: i64, holds: OffsetRange) -> Option<Offset> {
    let to = from?.get().saturating_add_signed(by);
    Some(clamp(Offset::new(to).unwrap_or(holds.end), holds))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offset(offset: u64) -> Offset {
        Offset::new(offset).unwrap()
    }

    #[test]
    fn a_shift_stays_inside_of_what_is_kept() {
        let holds = OffsetRange::new(offset(10), offset(20));
        assert_eq!(shifted(Some(offset(15)), 3, holds), Some(offset(18)));
        assert_eq!(shifted(Some(offset(15)), -100, holds), Some(offset(10)));
        assert_eq!(shifted(Some(offset(15)), i64::MAX, holds), Some(offset(20)));
        assert_eq!(shifted(None, 1, holds), None);
    }
}
