//! A session that another node serves, for a client that knows nothing of coordinators.

use std::time::Duration;

use futures_util::StreamExt;
use highwater_proto::v1;
use highwater_proto::v1::session_request::Kind;
use highwater_types::{ErrorCode, NodeId, TopicPartition};
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

use super::Requests;
use crate::front::failure::Failure;
use crate::front::grpc::context::Context;
use crate::front::grpc::groups::coordinators::client;
use crate::front::grpc::proxy::{failure_of_status, passed_on};
use crate::front::grpc::read::bytes_of_records;
use crate::front::grpc::wire::{self, Answers};

/// How long the coordinator may take to take the session.
const PATIENCE: Duration = Duration::from_secs(10);
/// Requests that wait for the coordinator.
const REQUESTS_WAITING_MAX: usize = 64;

pub(super) struct Relay {
    node: NodeId,
    address: String,
    requests: mpsc::Sender<v1::SessionRequest>,
    responses: Streaming<v1::SessionResponse>,
    _place: OwnedSemaphorePermit,
}

impl Relay {
    /// Opens the session at the coordinator that a failure names, or what was learnt.
    pub(super) async fn open(
        context: &Context,
        id: TopicPartition,
        open: v1::SessionOpen,
        failure: Failure,
    ) -> Result<Self, Failure> {
        let failure = context.placed(id, failure);
        let (Some(node), Some(address)) = (failure.leader, failure.leader_address.clone()) else {
            return Err(failure);
        };
        let place = context.proxy.place()?;
        let channel = context.proxy.channel(&address)?;
        let lost = || Failure::new(ErrorCode::LeaderUnavailable, format!("node {node} ({address}) did not answer"));
        let (requests, outgoing) = mpsc::channel(REQUESTS_WAITING_MAX);
        // In the channel before the call: a server may want it before it answers.
        let first = v1::SessionRequest { kind: Some(Kind::Open(open)) };
        requests.try_send(first).map_err(|_| lost())?;
        let mut client = client(channel);
        let opening = client.session(passed_on(ReceiverStream::new(outgoing)));
        let result = match timeout(PATIENCE, opening).await {
            Ok(Ok(opened)) => Ok(opened.into_inner()),
            Ok(Err(status)) => Err(failure_of_status(node, &address, &status)),
            Err(_) => Err(lost()),
        };
        context.learn_of(id, node, &result);
        Ok(Self { node, address, requests, responses: result?, _place: place })
    }

    /// Hands both sides on until one ends. Neither waits for the other: a client that does not read is still heard.
    pub(super) async fn run(self, context: &Context, mut asked: Requests, answers: Answers) -> Result<(), Failure> {
        let Self { node, address, requests, mut responses, _place } = self;
        let up = async move {
            while let Some(request) = asked.next().await {
                let request = v1::SessionRequest { kind: Some(request?) };
                // When it is gone, its answers say why.
                if requests.send(request).await.is_err() {
                    break;
                }
            }
            Ok::<(), Failure>(())
        };
        let down = async {
            loop {
                match responses.message().await {
                    Ok(Some(response)) => {
                        let pieces = relayed(context, response).await?;
                        if answers.send(pieces).await.is_err() {
                            return Ok(());
                        }
                    }
                    Ok(None) => return Ok(()),
                    Err(status) => return Err(unled(failure_of_status(node, &address, &status))),
                }
            }
        };
        tokio::pin!(up, down);
        let mut is_heard = true;
        loop {
            tokio::select! {
                () = answers.gone() => return Ok(()),
                () = context.shutdown.requested() => return Err(Failure::shutting_down()),
                ended = &mut down => return ended,
                said = &mut up, if is_heard => {
                    is_heard = false;
                    said?;
                }
            }
        }
    }
}

/// Another node's message, as ours, admitted while it is on its way.
async fn relayed(context: &Context, response: v1::SessionResponse) -> Result<Vec<bytes::Bytes>, Failure> {
    let Some(v1::session_response::Kind::Records(v1::SessionRecords { topic, partition, read: Some(read) })) =
        &response.kind
    else {
        return Ok(wire::pieces_of_message(&response));
    };
    let permit = context.decoded.acquire(bytes_of_records(read)).await?;
    Ok(wire::holding(wire::pieces_of_session_records(topic, *partition, read), permit))
}

/// A client that knows nothing of coordinators tries again here. What broke may be begun anew: it does nothing twice.
fn unled(failure: Failure) -> Failure {
    match failure.code {
        ErrorCode::NotLeader | ErrorCode::OutcomeUnknown | ErrorCode::ShuttingDown => {
            Failure { code: ErrorCode::LeaderUnavailable, leader: None, leader_address: None, ..failure }
        }
        _ => failure,
    }
}
