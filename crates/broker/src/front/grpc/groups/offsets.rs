//! Offsets of groups without members: committed by readers that share partitions by themselves, and deleted.

use std::collections::BTreeMap;

use highwater_groups::stream::command::{CommitOffsets, NewOffset, Refused};
use highwater_groups::stream::{Answer, Command, GroupId};
use highwater_proto::v1;
use highwater_types::{ErrorCode, LeaderEpoch, Offset, OffsetRange, PartitionId, TopicName, TopicPartition};
use tonic::{Response, Status};

use super::coordinators::Client;
use super::{Asked, Groups, OfGroup, mismatched};
use crate::coordinator::CoordinatorHandle;
use crate::front::failure::Failure;
use crate::front::grpc::error::error_of;

impl Groups {
    async fn commit_here(
        &self,
        handle: &CoordinatorHandle,
        group: &GroupId,
        commits: &[v1::OffsetCommit],
    ) -> Result<v1::CommitOffsetsResponse, Failure> {
        let ends = self.ends_of(commits).await?;
        let (mut offsets, mut refused) = (Vec::new(), Vec::new());
        for commit in commits {
            let known = ends.get(&(commit.topic.clone(), commit.partition)).copied();
            match self.new_offset(commit, known) {
                Ok(offset) => offsets.push(offset),
                Err(failure) => refused.push(refused_of(&commit.topic, commit.partition, &failure)),
            }
        }
        let command =
            CommitOffsets { group: group.clone(), by: None, retention_ms: None, offsets, is_beginning: false };
        match handle.ask(Command::CommitOffsets(command)).await? {
            Answer::Commit(result) => {
                refused.extend(result?.refused.into_iter().map(|one| self.refused(one)));
                Ok(v1::CommitOffsetsResponse { refused })
            }
            other => Err(mismatched(&other)),
        }
    }

    /// What the partitions of commits hold; those of topics that are not there are left out.
    async fn ends_of(&self, commits: &[v1::OffsetCommit]) -> Result<BTreeMap<(String, u32), OffsetRange>, Failure> {
        let mut topics: BTreeMap<String, Vec<u32>> = BTreeMap::new();
        for commit in commits {
            if self.partition_id(&commit.topic, commit.partition).is_ok() {
                topics.entry(commit.topic.clone()).or_default().push(commit.partition);
            }
        }
        let mut ends = BTreeMap::new();
        for (topic, partitions) in topics {
            let found = self.ends(&topic, &partitions).await?;
            ends.extend(found.into_iter().map(|(partition, range)| ((topic.clone(), partition), range)));
        }
        Ok(ends)
    }

    /// What partitions of one topic hold, from the first record that is kept to the high watermark.
    pub(super) async fn ends(&self, topic: &str, partitions: &[u32]) -> Result<Vec<(u32, OffsetRange)>, Failure> {
        let end = v1::Position { at: Some(v1::position::At::End(v1::position::End {})) };
        let positions = partitions.iter().map(|partition| (*partition, end)).collect();
        let found = self.read.lookup_positions(topic, positions, true).await?;
        let range = |found: v1::PartitionOffset| {
            let (start, end) = (Offset::from_wire(found.log_start), Offset::from_wire(found.high_watermark));
            let range = OffsetRange::new(start.unwrap_or(Offset::ZERO), end.unwrap_or(Offset::ZERO));
            (found.partition, range)
        };
        Ok(found.into_iter().map(range).collect())
    }

    /// A commit by ids, if it makes sense: not beyond the end of what the partition holds.
    pub(super) fn new_offset(
        &self,
        commit: &v1::OffsetCommit,
        holds: Option<OffsetRange>,
    ) -> Result<(TopicPartition, NewOffset), Failure> {
        let at = self.partition_id(&commit.topic, commit.partition)?;
        let offset = Offset::from_wire(commit.offset);
        let Some(offset) = offset.filter(|offset| holds.is_none_or(|holds| *offset <= holds.end)) else {
            let (asked, topic, partition) = (commit.offset, &commit.topic, commit.partition);
            let message = match holds {
                Some(holds) => format!(
                    "offset {asked} cannot be committed for partition {partition} of topic '{topic}': it ends at {}",
                    holds.end
                ),
                None => format!("offset {asked} is below 0"),
            };
            let failure = Failure::new(ErrorCode::OffsetOutOfRange, message);
            return Err(holds.map_or_else(|| failure.clone(), |holds| failure.clone().with_valid(holds)));
        };
        let leader_epoch = commit.leader_epoch.filter(|epoch| *epoch >= 0).map(LeaderEpoch::new);
        Ok((at, NewOffset { offset, leader_epoch, metadata: commit.metadata.clone() }))
    }

    /// The id of a partition of a client's topic.
    pub(super) fn partition_id(&self, topic: &str, partition: u32) -> Result<TopicPartition, Failure> {
        let name = TopicName::new(topic)?;
        if highwater_metadata::is_internal(&name) {
            return Err(crate::router::RouteError::Internal { topic: name }.into());
        }
        let found = self.context.router.topic(&name)?;
        let (count, partition) = (found.partition_count(), PartitionId::new(partition));
        if partition.get() >= count {
            return Err(crate::router::RouteError::UnknownPartition { topic: name, partition, count }.into());
        }
        Ok(TopicPartition { topic: found.id, partition })
    }

    /// The name of a partition; of a topic that is gone, its id.
    pub(super) fn partition_name(&self, at: TopicPartition) -> v1::PartitionName {
        let topic = self.context.router.image().topic_by_id(at.topic).map(|topic| topic.name.to_string());
        v1::PartitionName { topic: topic.unwrap_or_else(|| at.topic.to_string()), partition: at.partition.get() }
    }

    pub(super) fn refused(&self, refused: Refused) -> v1::RefusedOffset {
        let v1::PartitionName { topic, partition } = self.partition_name(refused.at);
        refused_of(&topic, partition, &refused.error.into())
    }
}

impl Asked for v1::CommitOffsetsRequest {
    type Answer = v1::CommitOffsetsResponse;

    async fn here(&self, groups: &Groups, handle: CoordinatorHandle) -> Result<Self::Answer, Failure> {
        groups.commit_here(&handle, &GroupId::new(&self.group)?, &self.offsets).await
    }

    async fn there(mut client: Client, request: tonic::Request<Self>) -> Result<Response<Self::Answer>, Status> {
        client.commit_offsets(request).await
    }
}

impl OfGroup for v1::CommitOffsetsRequest {
    const MAKES_GROUPS: bool = true;

    fn group(&self) -> &str {
        &self.group
    }
}

impl Asked for v1::DeleteOffsetsRequest {
    type Answer = v1::DeleteOffsetsResponse;

    async fn here(&self, groups: &Groups, handle: CoordinatorHandle) -> Result<Self::Answer, Failure> {
        let names = self.partitions.iter();
        let partitions = names.map(|name| groups.partition_id(&name.topic, name.partition));
        let partitions = partitions.collect::<Result<Vec<_>, Failure>>()?;
        match handle.ask(Command::DeleteOffsets { group: GroupId::new(&self.group)?, partitions }).await? {
            Answer::DeleteOffsets(result) => {
                let refused = result?.into_iter().map(|one| groups.refused(one)).collect();
                Ok(v1::DeleteOffsetsResponse { refused })
            }
            other => Err(mismatched(&other)),
        }
    }

    async fn there(mut client: Client, request: tonic::Request<Self>) -> Result<Response<Self::Answer>, Status> {
        client.delete_offsets(request).await
    }
}

impl OfGroup for v1::DeleteOffsetsRequest {
    fn group(&self) -> &str {
        &self.group
    }
}

pub(super) fn refused_of(topic: &str, partition: u32, failure: &Failure) -> v1::RefusedOffset {
    v1::RefusedOffset { topic: topic.to_owned(), partition, error: Some(error_of(failure)) }
}
