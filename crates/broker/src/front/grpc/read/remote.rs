//! Reading what another node leads, for clients that know nothing of leaders.
//!
//! Owns: the calls to that node. Whether and how long to look for it, the callers decide.
//!
//! Never: keeps an answer without a permit for its bytes. A read does nothing, so one that broke may be made again.

use std::time::Duration;

use bytes::Bytes;
use highwater_proto::v1;
use highwater_proto::v1::read_service_client::ReadServiceClient;
use highwater_proto::v1::read_stream_request::Kind;
use highwater_types::{ErrorCode, NodeId, Offset, TopicPartition, limits};
use prost::Message as _;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Response, Status, Streaming};

use super::{Fetched, Read};
use crate::front::failure::Failure;
use crate::front::grpc::context::Context;
use crate::front::grpc::convert::wait_of;
use crate::front::grpc::proxy::{failure_of_status, passed_on};

/// How long a leader may take beyond what it was asked to wait.
const PATIENCE: Duration = Duration::from_secs(10);
/// Messages with credit that wait for the leader: it reads them between two answers.
const CREDITS_WAITING_MAX: usize = 64;

/// A read stream that another node serves.
#[derive(Debug)]
pub(super) struct Remote {
    leader: NodeId,
    address: String,
    requests: mpsc::Sender<v1::ReadStreamRequest>,
    responses: Streaming<v1::ReadResponse>,
    _place: OwnedSemaphorePermit,
}

impl Context {
    /// Asks the leader that a failure names, or what was learnt; gives back the failure where nobody is known.
    pub(in crate::front::grpc) async fn ask_leader<T>(
        &self,
        id: TopicPartition,
        failure: Failure,
        patience: Duration,
        send: impl AsyncFnOnce(Channel) -> Result<Response<T>, Status>,
    ) -> Result<T, Failure> {
        let failure = self.placed(id, failure);
        let (Some(leader), Some(address)) = (failure.leader, failure.leader_address.clone()) else {
            return Err(failure);
        };
        let result = self.proxy.call(leader, &address, patience, send).await.map_err(repeatable);
        self.learn_of(id, leader, &result);
        result
    }

    /// Looks for the leader of a partition that this node does not hold, beginning with the guess that `failure` names.
    pub(in crate::front::grpc) async fn find_leader(
        &self,
        topic: &str,
        id: TopicPartition,
        failure: Failure,
    ) -> Option<NodeId> {
        /// Who holds it knows who leads it.
        const LOOKS: usize = 3;
        let position = v1::Position { at: Some(v1::position::At::Start(v1::position::Start {})) };
        let positions = vec![v1::PartitionPosition { partition: id.partition.get(), position: Some(position) }];
        let request = v1::LookupOffsetsRequest { topic: topic.to_owned(), positions };
        let mut failure = failure;
        for _ in 0..LOOKS {
            let request = passed_on(request.clone());
            let send = async |channel| client(channel).lookup_offsets(request).await;
            match self.ask_leader(id, failure, PATIENCE, send).await {
                Ok(_) => break,
                Err(next) => failure = next,
            }
        }
        self.proxy.learnt(id)
    }
}

impl Read {
    /// Reads at the leader that a failure names.
    pub(super) async fn read_there(&self, request: &v1::ReadRequest, failure: Failure) -> Result<Fetched, Failure> {
        let id = self.id(&request.topic, request.partition)?;
        let patience = PATIENCE + wait_of(request.wait_ms_max);
        let request = passed_on(request.clone());
        let send = async |channel| client(channel).read(request).await;
        let response = self.context.ask_leader(id, failure, patience, send).await?;
        self.admitted(response).await
    }

    /// Another node's answer, as ours.
    pub(super) async fn admitted(&self, response: v1::ReadResponse) -> Result<Fetched, Failure> {
        let permit = Some(self.context.decoded.acquire(response.encoded_len()).await?);
        let next_offset = Offset::from_wire(response.next_offset)
            .ok_or_else(|| Failure::new(ErrorCode::Internal, "another node answered with an offset below 0"))?;
        Ok(Fetched { bytes: bytes_of_records(&response), next_offset, response, permit })
    }
}

/// What an answer takes of a reader's credit.
pub(in crate::front::grpc) fn bytes_of_records(response: &v1::ReadResponse) -> usize {
    response.batches.iter().map(Bytes::len).sum::<usize>()
        + response.records.iter().map(prost::Message::encoded_len).sum::<usize>()
}

impl Remote {
    /// Opens the stream at the leader that a failure names, or what was learnt.
    pub(super) async fn open(
        context: &Context,
        id: TopicPartition,
        open: v1::ReadOpen,
        failure: Failure,
    ) -> Result<Self, Failure> {
        let failure = context.placed(id, failure);
        let (Some(leader), Some(address)) = (failure.leader, failure.leader_address.clone()) else {
            return Err(failure);
        };
        let place = context.proxy.place()?;
        let channel = context.proxy.channel(&address)?;
        let (requests, outgoing) = mpsc::channel(CREDITS_WAITING_MAX);
        let lost = || Failure::new(ErrorCode::LeaderUnavailable, format!("node {leader} ({address}) did not answer"));
        // In the channel before the call: a server may want it before it answers.
        requests.try_send(v1::ReadStreamRequest { kind: Some(Kind::Open(open)) }).map_err(|_| lost())?;
        let mut client = client(channel);
        let opening = client.read_stream(passed_on(ReceiverStream::new(outgoing)));
        let result = match timeout(PATIENCE, opening).await {
            Ok(Ok(opened)) => Ok(opened.into_inner()),
            Ok(Err(status)) => Err(repeatable(failure_of_status(leader, &address, &status))),
            Err(_) => Err(lost()),
        };
        context.learn_of(id, leader, &result);
        Ok(Self { leader, address, requests, responses: result?, _place: place })
    }

    /// Hands more credit on.
    pub(super) fn give(&self, credit: v1::Credit) -> Result<(), Failure> {
        let request = v1::ReadStreamRequest { kind: Some(Kind::Credit(credit)) };
        match self.requests.try_send(request) {
            Ok(()) => Ok(()),
            Err(mpsc::error::TrySendError::Full(_)) => {
                Err(Failure::invalid(format!("{CREDITS_WAITING_MAX} messages with credit came at a time; send fewer")))
            }
            // It broke: its answers say why.
            Err(mpsc::error::TrySendError::Closed(_)) => Ok(()),
        }
    }

    /// The next answer; `None` at the end.
    pub(super) async fn next(&mut self) -> Result<Option<v1::ReadResponse>, Failure> {
        let failed = |status| repeatable(failure_of_status(self.leader, &self.address, &status));
        self.responses.message().await.map_err(failed)
    }
}

/// A read that broke may be made again, and does nothing twice.
pub(super) fn repeatable(failure: Failure) -> Failure {
    match failure.code {
        ErrorCode::OutcomeUnknown => Failure { code: ErrorCode::LeaderUnavailable, ..failure },
        _ => failure,
    }
}

pub(super) fn client(channel: Channel) -> ReadServiceClient<Channel> {
    ReadServiceClient::new(channel).max_decoding_message_size(limits::MESSAGE_BYTES_MAX)
}
