//! A member's stream: joined, assigned, fed with records, and its commits taken, for as long as it lasts.
//!
//! Owns: finding the coordinator, handing the stream on where that is another node, and what becomes of a member whose
//! stream broke. The member itself stands in `member`.
//!
//! ```text
//!   requests ─► member ─► coordinator (join, sync, heartbeat, commit, leave)
//!                 │  ▲
//!    answers ◄────┘  └── feeds, one a partition: read here or at its leader, while there is credit
//! ```
//!
//! Invariant: one stream speaks for a member. A newer one of the same member ends the older.

mod attached;
mod commits;
mod feed;
mod held;
mod join;
mod member;
mod open;
mod relay;
mod starts;
mod subscription;

use std::pin::Pin;

use futures_util::stream::{Stream, StreamExt};
use highwater_groups::stream::GroupId;
use highwater_proto::v1;
use highwater_proto::v1::session_request::Kind;
use prost::Message as _;
use tonic::body::Body;
use tonic::codegen::http;

use super::Groups;
use crate::front::failure::Failure;
use crate::front::grpc::connection::peer_host;
use crate::front::grpc::proxy::{self, Search, is_search, is_search_there};
use crate::front::grpc::wire::{self, Answers, Message, MessageLimits};

pub(super) use attached::Attached;

use member::Member;
use open::Opening;
use relay::Relay;

/// What a client says on its stream, one message after another.
type Requests = Pin<Box<dyn Stream<Item = Result<Kind, Failure>> + Send>>;

impl Groups {
    pub(super) fn session(self, request: http::Request<Body>) -> http::Response<Body> {
        let may_pass_on = proxy::may_pass_on(request.headers());
        let host = peer_host(&request);
        let tasks = self.context.shutdown.clone();
        let limits = self.context.control_messages.clone();
        let requests: Requests = Box::pin(requests(request.into_body(), limits));
        wire::answered_by(&tasks, |answers| async move {
            let context = self.context.clone();
            let result = self.run(requests, answers, host, may_pass_on).await;
            result.map_err(|failure| context.located(failure))
        })
    }

    async fn run(
        self,
        mut requests: Requests,
        answers: Answers,
        host: String,
        may_pass_on: bool,
    ) -> Result<(), Failure> {
        let open = match requests.next().await {
            Some(Ok(Kind::Open(open))) => open,
            Some(Ok(_)) => return Err(Failure::invalid("the first message of a session is `open`")),
            Some(Err(failure)) => return Err(failure),
            None => return Ok(()),
        };
        let group = GroupId::new(&open.group)?;
        let opening = Opening::of(&open, host)?;
        let id = self.coordinator_of(&group).await?;
        let mut search = Search::start();
        loop {
            let failure = match self.coordinator(id.partition) {
                Ok(handle) => {
                    let member = Member::new(self, handle, group, opening)?;
                    return member.run(requests, answers).await;
                }
                Err(failure) if may_pass_on && is_search(&failure) => failure,
                Err(failure) => return Err(failure),
            };
            match Relay::open(&self.context, id, open.clone(), failure).await {
                Ok(relay) => return relay.run(&self.context, requests, answers).await,
                Err(failure) if is_search_there(&failure) => search.pause(failure).await?,
                Err(failure) => return Err(failure),
            }
        }
    }
}

/// What the body says. A message stands for its bytes only until it is taken apart.
fn requests(body: Body, limits: MessageLimits) -> impl Stream<Item = Result<Kind, Failure>> + Send {
    wire::messages(body, limits).map(|message| {
        let Message { bytes, permit: _permit } = message?;
        let request = v1::SessionRequest::decode(bytes)
            .map_err(|error| Failure::invalid(format!("not a request of a session: {error}")))?;
        let unknown = "a request of a session that this version does not know; start the newer one on all nodes";
        request.kind.ok_or_else(|| Failure::invalid(unknown))
    })
}
