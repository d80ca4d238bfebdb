//! The way to the other replicas of a group. There is none yet: a group has one voter, this node.
//!
//! Every peer is unreachable, and says so in words. Were a second member configured by mistake, the group would stand
//! still and explain itself; it would not lose anything, and it would not burn the processor: a replication stream
//! that fails before it takes its first request gets no back-off from openraft, so this one takes it first.

use std::future::Future;
use std::pin::Pin;

use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use openraft::OptionalSend;
use openraft::errors::{RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::{RPCOption, RaftNetworkFactory, RaftNetworkV2};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, StreamAppendResult, TransferLeaderRequest,
    TransferLeaderResponse, VoteRequest, VoteResponse,
};

use super::types::{Snapshot, TypeConfig, Vote};

type Responses<'s> =
    Pin<Box<dyn Stream<Item = Result<StreamAppendResult<TypeConfig>, RPCError<TypeConfig>>> + Send + 's>>;
type Opening<'s> = Pin<Box<dyn Future<Output = Result<Responses<'s>, RPCError<TypeConfig>>> + Send + 's>>;

/// Makes ways to peers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NoPeers;

/// The way to one peer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct UnreachablePeer {
    target: u64,
}

impl RaftNetworkFactory<TypeConfig> for NoPeers {
    type Network = UnreachablePeer;

    async fn new_client(&mut self, target: u64, (): &()) -> UnreachablePeer {
        UnreachablePeer { target }
    }
}

impl UnreachablePeer {
    fn unreachable(self) -> Unreachable<TypeConfig> {
        let target = self.target;
        Unreachable::from_string(format!("node {target}: this version of highwater does not talk to other nodes yet"))
    }

    fn error(self) -> RPCError<TypeConfig> {
        RPCError::Unreachable(self.unreachable())
    }
}

impl RaftNetworkV2<TypeConfig> for UnreachablePeer {
    type SnapshotData = Bytes;

    async fn append_entries(
        &mut self,
        _request: AppendEntriesRequest<TypeConfig>,
        _option: RPCOption,
    ) -> Result<AppendEntriesResponse<TypeConfig>, RPCError<TypeConfig>> {
        Err(self.error())
    }

    fn stream_append<'s, S>(&'s mut self, mut input: S, _option: RPCOption) -> Opening<'s>
    where
        S: Stream<Item = AppendEntriesRequest<TypeConfig>> + OptionalSend + Unpin + 'static,
    {
        let peer = *self;
        Box::pin(async move {
            // openraft backs off inside this stream, so it has to be polled before anything may fail.
            match input.next().await {
                None => Ok(Box::pin(futures_util::stream::empty()) as Responses<'s>),
                Some(_) => Err(peer.error()),
            }
        })
    }

    async fn vote(
        &mut self,
        _request: VoteRequest<TypeConfig>,
        _option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RPCError<TypeConfig>> {
        Err(self.error())
    }

    async fn pre_vote(
        &mut self,
        _request: VoteRequest<TypeConfig>,
        _option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RPCError<TypeConfig>> {
        // Never granted unasked, as the default would.
        Err(self.error())
    }

    async fn full_snapshot(
        &mut self,
        _vote: Vote,
        _snapshot: Snapshot,
        _cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<TypeConfig>, StreamingError<TypeConfig>> {
        Err(StreamingError::Unreachable(self.unreachable()))
    }

    async fn transfer_leader(
        &mut self,
        _request: TransferLeaderRequest<TypeConfig>,
        _option: RPCOption,
    ) -> Result<TransferLeaderResponse<TypeConfig>, RPCError<TypeConfig>> {
        Err(self.error())
    }
}
