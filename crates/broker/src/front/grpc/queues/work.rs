//! A worker's stream: messages of all partitions of a topic while it has credit, and what became of them.
//!
//! Owns: the worker's credit, and which partition it is granted to next: those that have something, in turns.
//!
//! ```text
//!   requests ─► session ─grant, settle─► taps, one a partition
//!   answers  ◄─────────  ◄─messages, settled, available─
//! ```
//!
//! Invariants:
//! - No more messages are with the worker than it gave credit for.
//! - What waits for a client that does not read is bounded: then nothing more is taken from it, and nothing is granted.

mod session;

use std::pin::Pin;
use std::sync::Arc;

use futures_util::stream::{Stream, StreamExt};
use highwater_groups::queue::{GroupId, WorkerId};
use highwater_proto::v1;
use highwater_proto::v1::work_request::Kind;
use highwater_types::{PartitionId, TopicName};
use prost::Message as _;
use tonic::body::Body;
use tonic::codegen::http;

use super::Queues;
use super::tap::Tap;
use crate::front::failure::Failure;
use crate::front::grpc::proxy;
use crate::front::grpc::wire::{self, Answers, Message, MessageLimits};

pub(super) use session::{Options, Session};

/// What a client says on its stream, one message after another.
type Requests = Pin<Box<dyn Stream<Item = Result<Kind, Failure>> + Send>>;

impl Queues {
    pub(super) fn work(self, request: http::Request<Body>) -> http::Response<Body> {
        // Also for a client that finds leaders itself: a topic has many of them.
        let may_pass_on = !proxy::was_passed_on(request.headers());
        let tasks = self.context.shutdown.clone();
        let limits = self.context.control_messages.clone();
        let requests: Requests = Box::pin(requests(request.into_body(), limits));
        wire::answered_by(&tasks, |answers| async move {
            let context = Arc::clone(&self.context);
            let result = self.run(requests, answers, may_pass_on).await;
            result.map_err(|failure| context.located(failure))
        })
    }

    async fn run(self, mut requests: Requests, answers: Answers, may_pass_on: bool) -> Result<(), Failure> {
        let open = match requests.next().await {
            Some(Ok(Kind::Open(open))) => open,
            Some(Ok(_)) => return Err(Failure::invalid("the first message of a worker's stream is `open`")),
            Some(Err(failure)) => return Err(failure),
            None => return Ok(()),
        };
        let group = GroupId::new(&open.group)?;
        let worker = self.worker_of(&open.worker)?;
        let settings = self.prepare(&open.topic, &group, open.partition, may_pass_on).await?;
        let tap = self.tap(&open.topic, &group, worker, open.keeps_messages, may_pass_on)?;
        let options = Options {
            credit: open.credit,
            partition: open.partition.map(PartitionId::new),
            credit_lapses: open.credit_lapses,
            lease_ms: settings.lease_ms,
        };
        Session::new(tap, options)?.run(requests, answers).await
    }

    /// Who a worker is; one that does not say is given a name.
    pub(super) fn worker_of(&self, name: &str) -> Result<WorkerId, Failure> {
        match name {
            "" => Ok(WorkerId::new(&format!("worker-{}", self.context.clock.unique_id().simple()))?),
            name => Ok(WorkerId::new(name)?),
        }
    }

    /// A tap of any partition of a topic.
    pub(super) fn tap(
        &self,
        topic: &str,
        group: &GroupId,
        worker: WorkerId,
        keeps_messages: bool,
        may_pass_on: bool,
    ) -> Result<Tap, Failure> {
        let topic_id = self.context.router.topic(&TopicName::new(topic)?)?.id;
        Ok(Tap {
            context: Arc::clone(&self.context),
            topic: topic.to_owned(),
            topic_id,
            partition: PartitionId::new(0),
            group: group.clone(),
            worker,
            keeps_messages,
            may_pass_on,
        })
    }
}

/// What the body says. A message stands for its bytes only until it is taken apart.
fn requests(body: Body, limits: MessageLimits) -> impl Stream<Item = Result<Kind, Failure>> + Send {
    wire::messages(body, limits).map(|message| {
        let Message { bytes, permit: _permit } = message?;
        let request = v1::WorkRequest::decode(bytes)
            .map_err(|error| Failure::invalid(format!("not a request of a worker: {error}")))?;
        let unknown = "a request of a worker that this version does not know; start the newer one on all nodes";
        request.kind.ok_or_else(|| Failure::invalid(unknown))
    })
}
