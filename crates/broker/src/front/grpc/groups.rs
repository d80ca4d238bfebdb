//! `highwater.v1.GroupService`: members of stream groups, and groups for operators.
//!
//! Owns: from names to ids and back, who coordinates a group, and passing a call on to there. A member's stream stands in
//! `session`.
//!
//! Never: decides about a group; its coordinator does.

mod coordinators;
mod describe;
mod lag;
mod offsets;
mod seek;
mod session;

use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::try_join_all;
use highwater_groups::stream::{Answer, Command, GroupId, MemberId};
use highwater_proto::v1;
use highwater_types::ErrorCode;
use prost::Message;
use tonic::body::Body;
use tonic::codegen::http;
use tonic::{Response, Status};

use super::context::Context;
use super::proxy;
use super::read::Read;
use super::wire;
use crate::coordinator::CoordinatorHandle;
use crate::front::failure::Failure;

pub(crate) use lag::GroupLag;

use coordinators::Client;
use session::Attached;

/// The service. Clones are the same.
#[derive(Clone, Debug)]
pub(crate) struct Groups {
    context: Arc<Context>,
    /// Where records and positions come from, whoever leads.
    read: Read,
    attached: Attached,
}

impl Groups {
    pub(crate) fn new(context: Arc<Context>) -> Self {
        Self { read: Read::new(Arc::clone(&context)), context, attached: Attached::default() }
    }

    /// Answers one call, by the path of its method.
    pub(super) async fn call(self, request: http::Request<Body>) -> http::Response<Body> {
        let Some(method) = request.uri().path().strip_prefix("/highwater.v1.GroupService/") else {
            return wire::unknown_method(request.uri().path());
        };
        let result = match method {
            "Session" => return self.session(request),
            "CommitOffsets" => self.answer::<v1::CommitOffsetsRequest>(request).await,
            "ListGroups" => self.list(request).await,
            "DescribeGroup" => self.answer::<v1::DescribeGroupRequest>(request).await,
            "SeekGroup" => self.answer::<v1::SeekGroupRequest>(request).await,
            "DeleteGroup" => self.answer::<v1::DeleteGroupRequest>(request).await,
            "DeleteOffsets" => self.answer::<v1::DeleteOffsetsRequest>(request).await,
            "FenceMember" => self.answer::<v1::FenceMemberRequest>(request).await,
            _ => return wire::unknown_method(request.uri().path()),
        };
        wire::single(result.map_err(|failure| self.context.located(failure)))
    }

    /// Has a request about one group answered by its coordinator.
    async fn answer<Q: OfGroup + Default>(&self, request: http::Request<Body>) -> Result<Vec<Bytes>, Failure> {
        let (request, may_pass_on) = self.read_call::<Q>(request).await?;
        let group = GroupId::new(request.group())?;
        if !Q::MAKES_GROUPS && self.coordinator_count().is_none() {
            // Before the first group there are no coordinators, and looking for one makes none.
            return Err(Failure::new(ErrorCode::UnknownGroup, format!("there is no group '{group}'")));
        }
        let id = self.coordinator_of(&group).await?;
        let answer = self.at(id, &request, may_pass_on).await?;
        Ok(wire::pieces_of_message(&answer))
    }

    async fn read_call<Q: Message + Default>(&self, request: http::Request<Body>) -> Result<(Q, bool), Failure> {
        // Also for a client that finds leaders itself: these are rare, and answered wherever they are asked.
        let may_pass_on = !proxy::was_passed_on(request.headers());
        let request = self.context.control_request(request.into_body()).await?;
        Ok((request, may_pass_on))
    }

    /// Groups of all coordinators, or of the one that another node asks for.
    async fn list(&self, request: http::Request<Body>) -> Result<Vec<Bytes>, Failure> {
        let (request, may_pass_on) = self.read_call::<v1::ListGroupsRequest>(request).await?;
        let count = self.coordinator_count().unwrap_or(0);
        let asked: Vec<u32> = request.coordinator.map_or_else(|| (0..count).collect(), |asked| vec![asked]);
        let lists = asked.into_iter().map(|coordinator| self.list_of(coordinator, &request.states, may_pass_on));
        let mut groups: Vec<_> = try_join_all(lists).await?.into_iter().flatten().collect();
        groups.sort_by(|a, b| a.group.cmp(&b.group));
        Ok(wire::pieces_of_message(&v1::ListGroupsResponse { groups }))
    }
}

/// A request that a coordinator answers.
trait Asked: Message + Clone + Sync {
    /// The answer.
    type Answer: Message;

    /// Has it answered by a coordinator that this node leads.
    fn here(
        &self,
        groups: &Groups,
        handle: CoordinatorHandle,
    ) -> impl Future<Output = Result<Self::Answer, Failure>> + Send;

    /// Asks another node.
    fn there(
        client: Client,
        request: tonic::Request<Self>,
    ) -> impl Future<Output = Result<Response<Self::Answer>, Status>> + Send;
}

/// A request about one group.
trait OfGroup: Asked {
    /// Whether it makes sense for a group that is not there yet.
    const MAKES_GROUPS: bool = false;

    /// The group.
    fn group(&self) -> &str;
}

impl Asked for v1::DeleteGroupRequest {
    type Answer = v1::DeleteGroupResponse;

    async fn here(&self, _: &Groups, handle: CoordinatorHandle) -> Result<Self::Answer, Failure> {
        match handle.ask(Command::DeleteGroup { group: GroupId::new(&self.group)? }).await? {
            Answer::DeleteGroup(result) => Ok(result.map(|()| v1::DeleteGroupResponse {})?),
            other => Err(mismatched(&other)),
        }
    }

    async fn there(mut client: Client, request: tonic::Request<Self>) -> Result<Response<Self::Answer>, Status> {
        client.delete_group(request).await
    }
}

impl OfGroup for v1::DeleteGroupRequest {
    fn group(&self) -> &str {
        &self.group
    }
}

impl Asked for v1::FenceMemberRequest {
    type Answer = v1::FenceMemberResponse;

    async fn here(&self, _: &Groups, handle: CoordinatorHandle) -> Result<Self::Answer, Failure> {
        let (group, member) = (GroupId::new(&self.group)?, MemberId::new(&self.member_id)?);
        match handle.ask(Command::FenceMember { group, member }).await? {
            Answer::Fence(result) => Ok(result.map(|()| v1::FenceMemberResponse {})?),
            other => Err(mismatched(&other)),
        }
    }

    async fn there(mut client: Client, request: tonic::Request<Self>) -> Result<Response<Self::Answer>, Status> {
        client.fence_member(request).await
    }
}

impl OfGroup for v1::FenceMemberRequest {
    fn group(&self) -> &str {
        &self.group
    }
}

/// The engine answered something else than was asked.
fn mismatched(answer: &Answer) -> Failure {
    Failure::new(ErrorCode::Internal, format!("the coordinator answered something else: {answer:?}; this is a bug"))
}
