//! `highwater.v1.QueueService`: workers of queues, and queues for operators.
//!
//! Owns: from names to ids and back, and passing a call on to where a partition is led. A worker's stream stands in `work`,
//! what it gets a partition's messages by in `tap`.
//!
//! Never: decides about a message; its queue does.

mod calls;
mod dead;
mod deliver;
mod inspect;
mod locate;
mod operate;
mod outcomes;
mod receive;
mod settings;
mod status;
mod tap;
mod token;
mod work;

use std::sync::Arc;

use bytes::Bytes;
use highwater_proto::v1;
use tonic::body::Body;
use tonic::codegen::http;

use super::context::Context;
use super::wire;
use crate::front::failure::Failure;

/// The service. Clones are the same.
#[derive(Clone, Debug)]
pub(crate) struct Queues {
    context: Arc<Context>,
}

impl Queues {
    pub(crate) const fn new(context: Arc<Context>) -> Self {
        Self { context }
    }

    /// Answers one call, by the path of its method.
    pub(super) async fn call(self, request: http::Request<Body>) -> http::Response<Body> {
        let Some(method) = request.uri().path().strip_prefix("/highwater.v1.QueueService/") else {
            return wire::unknown_method(request.uri().path());
        };
        let result = match method {
            "Work" => return self.work(request),
            "Receive" => self.receive(request).await,
            "Settle" => self.settle(request).await,
            "SetQueue" => self.set(request).await,
            "DeleteQueue" => self.each::<v1::DeleteQueueRequest>(request).await,
            "ListQueues" => self.list(request).await,
            "DescribeQueue" => self.each::<v1::DescribeQueueRequest>(request).await,
            "PeekQueue" => self.each::<v1::PeekQueueRequest>(request).await,
            "PauseQueue" => self.each::<v1::PauseQueueRequest>(request).await,
            "ResumeQueue" => self.each::<v1::ResumeQueueRequest>(request).await,
            "Reschedule" => self.each::<v1::RescheduleRequest>(request).await,
            "Cancel" => self.each::<v1::CancelRequest>(request).await,
            "ListDead" => self.each::<v1::ListDeadRequest>(request).await,
            "Redrive" => self.move_dead(request, false).await,
            "DropDead" => self.move_dead(request, true).await,
            "Locate" => self.each::<v1::LocateRequest>(request).await,
            _ => return wire::unknown_method(request.uri().path()),
        };
        wire::single(result.map_err(|failure| self.context.located(failure)))
    }

    /// A call of any node: its request, and whether it may be passed on.
    async fn read_call<Q: prost::Message + Default>(&self, request: http::Request<Body>) -> Result<(Q, bool), Failure> {
        // Also for a client that finds leaders itself: a topic has many of them.
        let may_pass_on = !super::proxy::was_passed_on(request.headers());
        let request = self.context.control_request(request.into_body()).await?;
        Ok((request, may_pass_on))
    }
}

fn pieces(message: &impl prost::Message) -> Vec<Bytes> {
    wire::pieces_of_message(message)
}
