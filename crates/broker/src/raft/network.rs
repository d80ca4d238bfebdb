//! The way to the other replicas of a group, over the node's links to its peers.
//!
//! - Appends are pipelined: requests go out while replies are awaited, up to a number and a size. openraft backs off
//!   inside the stream of requests, so that one is polled before anything may fail; a stream that fails always ends with
//!   an error, as its silent end would be taken for success.
//! - Heartbeats go on the urgent lane and share frames with those of other groups. So do votes.
//! - Whatever the other node refuses, an unknown group above all, is to openraft a node that cannot be reached.

use std::collections::VecDeque;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use highwater_storage::LogKey;
use highwater_types::NodeId;
use openraft::OptionalSend;
use openraft::entry::RaftEntry as _;
use openraft::errors::{RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::{Backoff, RPCOption, RaftNetworkFactory, RaftNetworkV2};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, StreamAppendResult, TransferLeaderRequest,
    TransferLeaderResponse, VoteRequest, VoteResponse,
};
use tokio::time::{Instant, timeout, timeout_at};

use super::catch_up::{CatchUp, Progress};
use super::groups::Groups;
use super::types::{LogId, Snapshot, TypeConfig, Vote};
use super::wire::{self, Reply, Request, SnapshotPart};
use crate::clock::Clock;
use crate::peer::{Answer, Lane, PeerError, Peers, Timing};

/// Appends of one group to one peer that are not answered yet: so many, and so many bytes.
const IN_FLIGHT_MAX: usize = 64;
const IN_FLIGHT_BYTES_MAX: usize = 8 * 1024 * 1024;
/// How long news of nothing but a commit wait for entries that take them along. Only reads at a follower notice.
const COMMIT_LINGER: Duration = Duration::from_millis(5);
/// How long an append waits for its answer. A disk may be slow; a hanging peer is noticed by its silence long before.
const APPEND_PATIENCE: Duration = Duration::from_secs(10);
/// How long a part of a snapshot waits, and its last one, which is answered when it is installed.
const SNAPSHOT_PATIENCE: Duration = Duration::from_secs(30);
/// A snapshot travels in parts, so that appends of other groups pass in between.
const SNAPSHOT_PART_BYTES: usize = 1024 * 1024;
/// How long appends wait for a link to a node that is away, before they are tried again. A node has thousands of groups,
/// and all of them would try.
const LINK_PATIENCE: Duration = Duration::from_secs(1);
/// Between attempts to reach a peer that cannot be reached.
const BACKOFF_MS: [u64; 5] = [10, 20, 50, 100, 200];

type Rpc = RPCError<TypeConfig>;
type Appended = Result<StreamAppendResult<TypeConfig>, Rpc>;
type Responses<'s> = Pin<Box<dyn Stream<Item = Appended> + Send + 's>>;
type Opening<'s> = Pin<Box<dyn Future<Output = Result<Responses<'s>, Rpc>> + Send + 's>>;

/// The network of a node's replicas: the links to the peers, and the table by which their requests find a replica.
/// Clones are the same network.
#[derive(Clone)]
pub struct PeerNetwork {
    peers: Option<Peers>,
    groups: Groups,
    catch_up: CatchUp,
}

impl PeerNetwork {
    /// Over the given peers, whose requests are answered from here on.
    #[must_use]
    pub fn new(peers: Peers) -> Self {
        let groups = Groups::default();
        peers.on_raft(std::sync::Arc::new(groups.answering()));
        Self { peers: Some(peers), groups, catch_up: CatchUp::unlimited() }
    }

    /// Replicas that are far behind are brought up to date with so many bytes a second, all together.
    #[must_use]
    pub fn with_catch_up_rate(mut self, bytes_per_second: u64) -> Self {
        let clock = self.peers.as_ref().map_or_else(Clock::system, |peers| peers.clock().clone());
        self.catch_up = CatchUp::at(bytes_per_second, clock);
        self
    }

    /// For a node that has no peers: nobody can be reached.
    #[must_use]
    pub fn alone() -> Self {
        Self { peers: None, groups: Groups::default(), catch_up: CatchUp::unlimited() }
    }

    /// The links, unless this node has none.
    pub(super) const fn peers(&self) -> Option<&Peers> {
        self.peers.as_ref()
    }

    /// The table of this node's replicas.
    pub(crate) const fn groups(&self) -> &Groups {
        &self.groups
    }

    /// The network of one group.
    pub(crate) fn of_group(&self, key: LogKey) -> GroupNetwork {
        GroupNetwork { peers: self.peers.clone(), key, catch_up: self.catch_up.clone() }
    }
}

impl std::fmt::Debug for PeerNetwork {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PeerNetwork").field("peers", &self.peers).finish_non_exhaustive()
    }
}

/// Makes ways to the other replicas of one group.
pub(crate) struct GroupNetwork {
    peers: Option<Peers>,
    key: LogKey,
    catch_up: CatchUp,
}

impl GroupNetwork {
    fn client(&self, target: u64, lane: Lane) -> ReplicaClient {
        let (peers, target, progress) = (self.peers.clone(), NodeId::new(target), Progress::new(self.catch_up.clone()));
        ReplicaClient { peers, key: self.key, target, lane, progress }
    }
}

impl RaftNetworkFactory<TypeConfig> for GroupNetwork {
    type Network = ReplicaClient;

    async fn new_client(&mut self, target: u64, (): &()) -> ReplicaClient {
        self.client(target, Lane::Bulk)
    }

    async fn new_heartbeat_client(&mut self, target: u64, (): &()) -> ReplicaClient {
        self.client(target, Lane::Urgent)
    }
}

/// The way to one replica of one group.
pub(crate) struct ReplicaClient {
    peers: Option<Peers>,
    key: LogKey,
    target: NodeId,
    /// Where its appends go.
    lane: Lane,
    progress: Progress,
}

impl ReplicaClient {
    fn peers(&self) -> Result<&Peers, PeerError> {
        self.peers.as_ref().ok_or(PeerError::UnknownNode { node: self.target })
    }

    async fn send(
        &self,
        lane: Lane,
        timing: Timing,
        request: &Request,
        patience: Duration,
    ) -> Result<Answer, PeerError> {
        let body = wire::encode_request(self.key, request);
        self.peers()?.send_raft(self.target, lane, timing, body, patience).await
    }

    /// Sends a request and waits for its reply.
    async fn call(&self, lane: Lane, timing: Timing, request: &Request, patience: Duration) -> Result<Reply, Rpc> {
        let sent = async {
            let mut answer = self.send(lane, timing, request, patience).await.map_err(unreachable)?;
            reply(answer.get().await)
        };
        match timeout(patience, sent).await {
            Ok(reply) => reply,
            Err(_) => Err(self.silent(patience)),
        }
    }

    fn silent(&self, patience: Duration) -> Rpc {
        let (node, ms) = (self.target, patience.as_millis());
        RPCError::Unreachable(Unreachable::from_string(format!("node {node} did not answer within {ms} ms")))
    }

    async fn heartbeat(&self, request: AppendEntriesRequest<TypeConfig>, patience: Duration) -> Appended {
        let prev = request.prev_log_id;
        match self.call(Lane::Urgent, Timing::Soon, &Request::Append(request), patience).await? {
            Reply::Append(response) => stream_result(response, prev, prev),
            _ => Err(unexpected()),
        }
    }
}

fn unreachable(error: PeerError) -> Rpc {
    RPCError::Unreachable(Unreachable::new(&error))
}

fn unexpected() -> Rpc {
    RPCError::Unreachable(Unreachable::from_string("the other node answered something else than it was asked"))
}

fn reply(answer: Result<crate::peer::Frame, PeerError>) -> Result<Reply, Rpc> {
    let frame = answer.map_err(unreachable)?;
    wire::decode_reply(frame).map_err(|error| RPCError::Unreachable(Unreachable::new(&error)))
}

fn stream_result(response: AppendEntriesResponse<TypeConfig>, prev: Option<LogId>, last: Option<LogId>) -> Appended {
    if response == AppendEntriesResponse::Conflict && prev.is_none() {
        // Nothing comes before the first entry that could conflict; openraft would panic.
        return Err(unexpected());
    }
    Ok(response.into_stream_result(prev, last))
}

/// A pipeline of appends to one replica.
struct Appends<'s, S> {
    client: &'s ReplicaClient,
    peers: Peers,
    input: S,
    /// A request that was taken and is not sent yet.
    taken: Option<AppendEntriesRequest<TypeConfig>>,
    /// A request without entries that is sent at this time, unless one with entries comes before.
    lingering: Option<(AppendEntriesRequest<TypeConfig>, Instant)>,
    /// The last entry that was sent.
    sent: Option<LogId>,
    in_flight: VecDeque<InFlight>,
    in_flight_bytes: usize,
    /// When the oldest in flight became the oldest.
    oldest_since: Instant,
    input_ended: bool,
    ended: bool,
}

struct InFlight {
    answer: Answer,
    prev: Option<LogId>,
    last: Option<LogId>,
    bytes: usize,
}

impl<S> Appends<'_, S>
where
    S: Stream<Item = AppendEntriesRequest<TypeConfig>> + OptionalSend + Unpin + 'static,
{
    async fn next(mut self) -> Option<(Appended, Self)> {
        if self.ended {
            return None;
        }
        let answered = loop {
            if self.input_ended && self.taken.is_none() {
                self.taken = self.lingering.take().map(|(request, _)| request);
            }
            if let Some(request) = self.taken.take() {
                // Entries bring the commit too, and their answer stands for both.
                self.lingering = None;
                match self.send(request).await {
                    Ok(()) => continue,
                    Err(error) => break Err(error),
                }
            }
            if self.input_ended && self.in_flight.is_empty() {
                return None;
            }
            let has_room = self.in_flight.len() < IN_FLIGHT_MAX && self.in_flight_bytes < IN_FLIGHT_BYTES_MAX;
            let deadline = self.oldest_since + APPEND_PATIENCE;
            tokio::select! {
                biased;
                answer = oldest(&mut self.in_flight, deadline), if !self.in_flight.is_empty() => {
                    match answer {
                        Some(answer) => break self.answered(answer),
                        None => break Err(self.client.silent(APPEND_PATIENCE)),
                    }
                }
                () = lingered(self.lingering.as_ref()) => self.taken = self.lingering.take().map(|(request, _)| request),
                request = self.input.next(), if has_room && !self.input_ended => match request {
                    Some(request) if self.may_linger(&request) => {
                        let since = self.lingering.as_ref().map(|(_, until)| *until);
                        let until = since.unwrap_or_else(|| self.peers.clock().instant() + COMMIT_LINGER);
                        self.lingering = Some((request, until));
                    }
                    Some(request) => self.taken = Some(request),
                    None => self.input_ended = true,
                },
            }
        };
        // Nothing follows what openraft has to act on.
        self.ended = !matches!(answered, Ok(Ok(_)));
        Some((answered, self))
    }

    /// Whether a request tells nothing but how far the log is committed. A probe has no entries either, but says where
    /// the logs may agree.
    fn may_linger(&self, request: &AppendEntriesRequest<TypeConfig>) -> bool {
        request.entries.is_empty() && self.sent.is_some() && request.prev_log_id == self.sent
    }

    async fn send(&mut self, request: AppendEntriesRequest<TypeConfig>) -> Result<(), Rpc> {
        let prev = request.prev_log_id;
        let last = request.entries.last().map(|entry| entry.log_id()).or(prev);
        self.sent = last;
        let is_late = last <= request.leader_commit;
        let carries = !request.entries.is_empty();
        let body = wire::encode_request(self.client.key, &Request::Append(request));
        let bytes = body.len();
        if carries {
            self.client.progress.send(bytes, is_late).await;
        }
        let patience = APPEND_PATIENCE;
        let sent = self.peers.send_raft(self.client.target, self.client.lane, Timing::Now, body, patience);
        let answer = match timeout(patience, sent).await {
            Ok(sent) => sent.map_err(unreachable)?,
            Err(_) => return Err(self.client.silent(patience)),
        };
        if self.in_flight.is_empty() {
            self.oldest_since = self.peers.clock().instant();
        }
        self.in_flight_bytes += bytes;
        self.in_flight.push_back(InFlight { answer, prev, last, bytes });
        Ok(())
    }

    /// Takes in the answer to the oldest request, and those after it that have come as well: only the last success of
    /// them matters.
    fn answered(&mut self, mut answer: Result<crate::peer::Frame, PeerError>) -> Appended {
        loop {
            let Some(oldest) = self.in_flight.pop_front() else { return Err(unexpected()) };
            self.in_flight_bytes -= oldest.bytes;
            self.oldest_since = self.peers.clock().instant();
            let result = match reply(answer)? {
                Reply::Append(response) => stream_result(response, oldest.prev, oldest.last)?,
                _ => return Err(unexpected()),
            };
            if result.is_err() {
                return Ok(result);
            }
            match self.in_flight.front_mut().and_then(|next| next.answer.try_get()) {
                Some(next) => answer = next,
                None => return Ok(result),
            }
        }
    }
}

/// Until a lingering request is to be sent; for ever when there is none.
async fn lingered(lingering: Option<&(AppendEntriesRequest<TypeConfig>, Instant)>) {
    match lingering {
        Some((_, until)) => tokio::time::sleep_until(*until).await,
        None => std::future::pending().await,
    }
}

/// The answer to the oldest request; nothing when it does not come in time.
async fn oldest(
    in_flight: &mut VecDeque<InFlight>,
    deadline: Instant,
) -> Option<Result<crate::peer::Frame, PeerError>> {
    let oldest = in_flight.front_mut()?;
    timeout_at(deadline, oldest.answer.get()).await.ok()
}

impl RaftNetworkV2<TypeConfig> for ReplicaClient {
    type SnapshotData = Bytes;

    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<TypeConfig>, Rpc> {
        match self.call(self.lane, Timing::Now, &Request::Append(request), option.soft_ttl()).await? {
            Reply::Append(response) => Ok(response),
            _ => Err(unexpected()),
        }
    }

    fn stream_append<'s, S>(&'s mut self, mut input: S, option: RPCOption) -> Opening<'s>
    where
        S: Stream<Item = AppendEntriesRequest<TypeConfig>> + OptionalSend + Unpin + 'static,
    {
        let client = &*self;
        Box::pin(async move {
            // openraft backs off inside this stream, so it has to be polled before anything may fail.
            let Some(first) = input.next().await else {
                return Ok(Box::pin(futures_util::stream::empty()) as Responses<'s>);
            };
            if client.lane == Lane::Urgent {
                let appended = client.heartbeat(first, option.soft_ttl()).await?;
                return Ok(Box::pin(futures_util::stream::iter([Ok(appended)])) as Responses<'s>);
            }
            let peers = client.peers().map_err(unreachable)?.clone();
            peers.wait_until_up(client.target, LINK_PATIENCE).await;
            let appends = Appends {
                client,
                oldest_since: peers.clock().instant(),
                peers,
                input,
                taken: Some(first),
                lingering: None,
                sent: None,
                in_flight: VecDeque::new(),
                in_flight_bytes: 0,
                input_ended: false,
                ended: false,
            };
            Ok(Box::pin(futures_util::stream::unfold(appends, Appends::next)) as Responses<'s>)
        })
    }

    async fn vote(
        &mut self,
        request: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, Rpc> {
        match self.call(Lane::Urgent, Timing::Now, &Request::Vote(request), option.soft_ttl()).await? {
            Reply::Vote(response) => Ok(response),
            _ => Err(unexpected()),
        }
    }

    async fn pre_vote(
        &mut self,
        request: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, Rpc> {
        // Never granted unasked, as the default would.
        match self.call(Lane::Urgent, Timing::Now, &Request::PreVote(request), option.soft_ttl()).await? {
            Reply::Vote(response) => Ok(response),
            _ => Err(unexpected()),
        }
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: Snapshot,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<TypeConfig>, StreamingError<TypeConfig>> {
        tokio::select! {
            biased;
            closed = cancel => Err(StreamingError::Closed(closed)),
            sent = self.send_snapshot(vote, snapshot) => Ok(sent?),
        }
    }

    async fn transfer_leader(
        &mut self,
        request: TransferLeaderRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<TransferLeaderResponse<TypeConfig>, Rpc> {
        match self.call(Lane::Urgent, Timing::Now, &Request::TransferLeader(request), option.soft_ttl()).await? {
            Reply::TransferLeader(response) => Ok(response),
            _ => Err(unexpected()),
        }
    }

    fn backoff(&self) -> Option<Backoff> {
        let longest = BACKOFF_MS.last().copied().into_iter().cycle();
        Some(Backoff::new(BACKOFF_MS.into_iter().chain(longest).map(Duration::from_millis)))
    }
}

impl ReplicaClient {
    async fn send_snapshot(&self, vote: Vote, snapshot: Snapshot) -> Result<SnapshotResponse<TypeConfig>, Rpc> {
        let Snapshot { meta, snapshot: mut rest } = snapshot;
        let total = rest.len() as u64;
        loop {
            let at = total - rest.len() as u64;
            let bytes = rest.split_to(rest.len().min(SNAPSHOT_PART_BYTES));
            let part = SnapshotPart { vote, meta: meta.clone(), at, total, bytes };
            match self.call(Lane::Bulk, Timing::Now, &Request::Snapshot(part), SNAPSHOT_PATIENCE).await? {
                Reply::Snapshot(response) => return Ok(response),
                Reply::SnapshotTaken if !rest.is_empty() => {}
                _ => return Err(unexpected()),
            }
        }
    }
}
