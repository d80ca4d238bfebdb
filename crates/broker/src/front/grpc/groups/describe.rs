//! One group for whoever looks at it: its members, and how far it has read.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::stream::{self, StreamExt};
use highwater_groups::stream::command::{Description, MemberDescription};
use highwater_groups::stream::{Answer, Command, CommittedOffset, GroupId};
use highwater_proto::v1;
use highwater_types::TopicPartition;
use tonic::{Response, Status};

use super::coordinators::{Client, wire_state_of};
use super::{Asked, Groups, OfGroup, mismatched};
use crate::coordinator::CoordinatorHandle;
use crate::front::failure::Failure;

/// How many partitions are asked how far they are, at a time.
const LOOKS_AT_ONCE: usize = 16;

impl Groups {
    async fn describe_here(
        &self,
        handle: &CoordinatorHandle,
        group: &GroupId,
    ) -> Result<v1::DescribeGroupResponse, Failure> {
        handle.confirm().await?;
        let described = match handle.ask(Command::DescribeGroup { group: group.clone() }).await? {
            Answer::Describe(described) => described?,
            other => return Err(mismatched(&other)),
        };
        let committed = self.offsets_of(handle, group).await?;
        let readers: BTreeMap<TopicPartition, &MemberDescription> =
            described.members.iter().flat_map(|member| held(member).map(move |at| (at, member))).collect();
        let all: BTreeSet<TopicPartition> = committed.keys().chain(readers.keys()).copied().collect();
        let looks = all.into_iter().map(|at| self.offset_of(at, committed.get(&at), readers.get(&at).copied()));
        let offsets = stream::iter(looks).buffered(LOOKS_AT_ONCE).collect().await;
        Ok(v1::DescribeGroupResponse { group: Some(self.description(group, described, offsets)) })
    }

    /// What a group has committed.
    pub(super) async fn offsets_of(
        &self,
        handle: &CoordinatorHandle,
        group: &GroupId,
    ) -> Result<BTreeMap<TopicPartition, CommittedOffset>, Failure> {
        match handle.ask(Command::FetchOffsets { group: group.clone(), partitions: None }).await? {
            Answer::Fetch(offsets) => {
                Ok(offsets?.into_iter().filter_map(|(at, committed)| Some((at, committed?))).collect())
            }
            other => Err(mismatched(&other)),
        }
    }

    async fn offset_of(
        &self,
        at: TopicPartition,
        committed: Option<&CommittedOffset>,
        reader: Option<&MemberDescription>,
    ) -> v1::GroupOffset {
        let lag = self.lag_of(at, committed.map(|committed| committed.offset)).await;
        let v1::PartitionName { topic, partition } = self.partition_name(at);
        v1::GroupOffset {
            topic,
            partition,
            offset: committed.map(|committed| committed.offset.to_wire()),
            leader_epoch: committed.and_then(|committed| committed.leader_epoch).map(|epoch| epoch.get()),
            metadata: committed.map(|committed| committed.metadata.clone()).unwrap_or_default(),
            committed_at_ms: committed.map(|committed| committed.committed_at.as_ms()),
            log_start: lag.map(|lag| lag.holds.start.to_wire()),
            log_end: lag.map(|lag| lag.holds.end.to_wire()),
            lag_records: lag.map(|lag| lag.records),
            lag_ms: lag.and_then(|lag| lag.ms),
            member_id: reader.map(|member| member.id.to_string()).unwrap_or_default(),
        }
    }

    fn description(
        &self,
        group: &GroupId,
        described: Description,
        offsets: Vec<v1::GroupOffset>,
    ) -> v1::GroupDescription {
        let member = |member: &MemberDescription| v1::GroupMember {
            member_id: member.id.to_string(),
            instance_id: member.instance.as_ref().map(ToString::to_string).unwrap_or_default(),
            client_id: member.client.id.to_string(),
            host: member.client.host.to_string(),
            partitions: held(member).map(|at| self.partition_name(at)).collect(),
        };
        v1::GroupDescription {
            group: group.to_string(),
            state: wire_state_of(described.state).into(),
            generation: described.generation.get(),
            protocol_type: described.protocol_type.map(|kind| kind.to_string()).unwrap_or_default(),
            assignor: described.protocol.map(|protocol| protocol.to_string()).unwrap_or_default(),
            coordinator: self.context.router.node().get(),
            members: described.members.iter().map(member).collect(),
            offsets,
        }
    }
}

impl Asked for v1::DescribeGroupRequest {
    type Answer = v1::DescribeGroupResponse;

    async fn here(&self, groups: &Groups, handle: CoordinatorHandle) -> Result<Self::Answer, Failure> {
        groups.describe_here(&handle, &GroupId::new(&self.group)?).await
    }

    async fn there(mut client: Client, request: tonic::Request<Self>) -> Result<Response<Self::Answer>, Status> {
        client.describe_group(request).await
    }
}

impl OfGroup for v1::DescribeGroupRequest {
    fn group(&self) -> &str {
        &self.group
    }
}

fn held(member: &MemberDescription) -> impl Iterator<Item = TopicPartition> {
    member.assignment.partitions().iter().copied()
}
