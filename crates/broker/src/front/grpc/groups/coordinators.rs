//! The way of a call about groups to the node that coordinates them.

use std::time::Duration;

use highwater_groups::stream::command::{GroupState, Listing};
use highwater_groups::stream::{Answer, Command, GroupId};
use highwater_proto::v1;
use highwater_proto::v1::group_service_client::GroupServiceClient;
use highwater_types::{NodeId, PartitionId, TopicPartition, limits};
use tonic::transport::Channel;
use tonic::{Response, Status};

use super::{Asked, Groups, mismatched};
use crate::coordinator::CoordinatorHandle;
use crate::front::coordinators;
use crate::front::failure::Failure;
use crate::front::grpc::proxy::{Search, is_search, is_search_there, passed_on};

/// How long another node may take to answer.
const PATIENCE: Duration = Duration::from_secs(30);

pub(super) type Client = GroupServiceClient<Channel>;

impl Groups {
    /// How many coordinators there are; nothing before the first group.
    pub(super) fn coordinator_count(&self) -> Option<u32> {
        coordinators::count(&self.context.router)
    }

    /// The coordinator of a group, which is there once this is answered.
    pub(super) async fn coordinator_of(&self, group: &GroupId) -> Result<TopicPartition, Failure> {
        coordinators::of_group(&self.context.router, &self.context.controller, group).await
    }

    /// A coordinator, if this node leads it.
    pub(super) fn coordinator(&self, partition: PartitionId) -> Result<CoordinatorHandle, Failure> {
        coordinators::led_here(&self.context.router, partition)
    }

    /// Has a request answered by a coordinator, here or where it is.
    pub(super) async fn at<Q: Asked>(
        &self,
        id: TopicPartition,
        request: &Q,
        may_pass_on: bool,
    ) -> Result<Q::Answer, Failure> {
        let mut search = Search::start();
        loop {
            let tried = match self.coordinator(id.partition) {
                Ok(handle) => request.here(self, handle).await,
                Err(failure) => Err(failure),
            };
            let failure = match tried {
                Err(failure) if may_pass_on && is_search(&failure) => failure,
                result => return result,
            };
            let message = passed_on(request.clone());
            let send = async move |channel| Q::there(client(channel), message).await;
            let failure = match self.context.ask_leader(id, failure, PATIENCE, send).await {
                Err(failure) if is_search_there(&failure) => failure,
                result => return result,
            };
            search.pause(failure).await?;
        }
    }

    /// The groups of one coordinator.
    pub(super) async fn list_of(
        &self,
        coordinator: u32,
        states: &[i32],
        may_pass_on: bool,
    ) -> Result<Vec<v1::GroupListing>, Failure> {
        let partition = PartitionId::new(coordinator);
        let id = TopicPartition { topic: self.context.router.topic(&coordinators::topic_name()?)?.id, partition };
        let request = v1::ListGroupsRequest { states: states.to_vec(), coordinator: Some(coordinator) };
        Ok(self.at(id, &request, may_pass_on).await?.groups)
    }
}

impl Asked for v1::ListGroupsRequest {
    type Answer = v1::ListGroupsResponse;

    async fn here(&self, groups: &Groups, handle: CoordinatorHandle) -> Result<Self::Answer, Failure> {
        let states = self.states.iter().map(|state| state_of(*state)).collect::<Result<Vec<_>, Failure>>()?;
        handle.confirm().await?;
        match handle.ask(Command::ListGroups { states }).await? {
            Answer::List(found) => {
                Ok(v1::ListGroupsResponse { groups: listings(&handle, groups.context.router.node(), found) })
            }
            other => Err(mismatched(&other)),
        }
    }

    async fn there(mut client: Client, request: tonic::Request<Self>) -> Result<Response<Self::Answer>, Status> {
        client.list_groups(request).await
    }
}

fn listings(handle: &CoordinatorHandle, node: NodeId, groups: Vec<Listing>) -> Vec<v1::GroupListing> {
    let image = handle.image();
    let members = |group: &GroupId| image.group(group).map_or(0, |group| group.members.len());
    let listing = |listing: Listing| v1::GroupListing {
        members: u32::try_from(members(&listing.group)).unwrap_or(u32::MAX),
        group: listing.group.to_string(),
        state: wire_state_of(listing.state).into(),
        protocol_type: listing.protocol_type.map(|kind| kind.to_string()).unwrap_or_default(),
        coordinator: node.get(),
    };
    groups.into_iter().map(listing).collect()
}

pub(super) fn client(channel: Channel) -> Client {
    GroupServiceClient::new(channel).max_decoding_message_size(limits::MESSAGE_BYTES_MAX)
}

fn state_of(state: i32) -> Result<GroupState, Failure> {
    match v1::GroupState::try_from(state) {
        Ok(v1::GroupState::Empty) => Ok(GroupState::Empty),
        Ok(v1::GroupState::PreparingRebalance) => Ok(GroupState::PreparingRebalance),
        Ok(v1::GroupState::CompletingRebalance) => Ok(GroupState::CompletingRebalance),
        Ok(v1::GroupState::Stable) => Ok(GroupState::Stable),
        Ok(v1::GroupState::Dead) => Ok(GroupState::Dead),
        Ok(v1::GroupState::Unspecified) | Err(_) => Err(Failure::invalid(format!("{state} is no state of a group"))),
    }
}

pub(super) const fn wire_state_of(state: GroupState) -> v1::GroupState {
    match state {
        GroupState::Empty => v1::GroupState::Empty,
        GroupState::PreparingRebalance => v1::GroupState::PreparingRebalance,
        GroupState::CompletingRebalance => v1::GroupState::CompletingRebalance,
        GroupState::Stable => v1::GroupState::Stable,
        GroupState::Dead => v1::GroupState::Dead,
    }
}
