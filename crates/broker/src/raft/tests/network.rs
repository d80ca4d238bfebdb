//! What a network owes openraft, or the node melts, stands still or elects without asking. Each was a trap.

use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::{Stream, StreamExt, stream};
use highwater_types::{ClusterId, EntryId, NodeId, NodeUuid};
use openraft::errors::RPCError;
use openraft::network::{RPCOption, RaftNetworkFactory, RaftNetworkV2};
use openraft::raft::{AppendEntriesRequest, AppendEntriesResponse, StreamAppendError, VoteRequest};
use tokio::time::timeout;

use super::rig::KEY;
use crate::clock::Clock;
use crate::peer::{Frame, Hello, MemoryNetwork, Peers, RaftRequests};
use crate::raft::PeerNetwork;
use crate::raft::network::ReplicaClient;
use crate::raft::types::{TypeConfig, Vote, log_id};
use crate::raft::wire::{self, Reply};

const PATIENCE: Duration = Duration::from_secs(20);

type Answering = Pin<Box<dyn Future<Output = Result<Frame, String>> + Send>>;

/// Answers the requests one after the other with what it was given, and then never.
struct Script(Mutex<Vec<Reply>>);

impl RaftRequests for Script {
    fn handle(&self, _: NodeId, _: Frame) -> Answering {
        match self.0.lock().unwrap().pop() {
            Some(reply) => Box::pin(async move { Ok(wire::encode_reply(&reply)) }),
            None => Box::pin(std::future::pending()),
        }
    }
}

/// A network, the two nodes on it, and the way from the first to a replica of the second.
async fn way_to(replies: Vec<AppendEntriesResponse<TypeConfig>>) -> (MemoryNetwork, [Peers; 2], ReplicaClient) {
    let network = MemoryNetwork::new(Clock::system());
    let [one, two] = [1_u8, 2].map(|number| {
        let (cluster, node) = (Some(ClusterId::from_bytes([1; 16])), Some(NodeId::new(number.into())));
        let me = Hello { cluster, node, uuid: NodeUuid::from_bytes([number; 16]) };
        let address = number.to_string();
        let peers = Peers::new(Arc::new(network.transport(&address)), me, Clock::system());
        network.listen(&address, Arc::new(peers.clone()));
        peers
    });
    let replies = replies.into_iter().rev().map(Reply::Append).collect();
    two.on_raft(Arc::new(Script(Mutex::new(replies))));
    one.set_addresses([(NodeId::new(2), "2".to_owned())].into());
    let client = PeerNetwork::new(one.clone()).of_group(KEY).new_client(2, &()).await;
    (network, [one, two], client)
}

fn append(index: u64) -> AppendEntriesRequest<TypeConfig> {
    let prev_log_id = Some(log_id(EntryId::new(1, index)));
    AppendEntriesRequest { vote: Vote::new_committed(1, 1), prev_log_id, entries: Vec::new(), leader_commit: None }
}

fn option() -> RPCOption {
    RPCOption::new(Duration::from_millis(250))
}

/// Requests without end, and how many were taken.
fn counted(taken: &Arc<AtomicUsize>) -> impl Stream<Item = AppendEntriesRequest<TypeConfig>> + Send + Unpin + 'static {
    let taken = Arc::clone(taken);
    stream::iter(0..).map(move |index| {
        taken.fetch_add(1, Ordering::Relaxed);
        append(index)
    })
}

#[tokio::test]
async fn a_stream_takes_its_first_request_before_it_fails() {
    let taken = Arc::new(AtomicUsize::new(0));
    let mut alone = PeerNetwork::alone().of_group(KEY);
    for mut client in [alone.new_client(2, &()).await, alone.new_heartbeat_client(2, &()).await] {
        let failed = match client.stream_append(counted(&taken), option()).await {
            Ok(mut answers) => answers.next().await.unwrap().is_err(),
            Err(_) => true,
        };
        assert!(failed);
        assert!(taken.swap(0, Ordering::Relaxed) > 0, "openraft backs off in there: it would spin");
        let mut nothing = client.stream_append(stream::empty(), option()).await.unwrap();
        assert!(nothing.next().await.is_none());
    }
}

#[tokio::test]
async fn nobody_votes_unasked() {
    let mut client = PeerNetwork::alone().of_group(KEY).new_client(2, &()).await;
    let request = VoteRequest::new(Vote::new(2, 1), None);
    assert!(matches!(client.pre_vote(request.clone(), option()).await, Err(RPCError::Unreachable(_))));
    assert!(matches!(client.vote(request, option()).await, Err(RPCError::Unreachable(_))));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_breaks_ends_with_an_error() {
    let (network, peers, mut client) = way_to(vec![AppendEntriesResponse::Success; 3]).await;
    let taken = Arc::new(AtomicUsize::new(0));
    let mut answers = client.stream_append(counted(&taken), option()).await.unwrap();
    let mut last = None;
    while last != Some(2) {
        let matching = timeout(PATIENCE, answers.next()).await.unwrap().unwrap().unwrap().unwrap();
        // Only the last of several successes may be told.
        last = matching.map(|id| id.index).max(last);
    }
    network.vanish("2");
    let end = timeout(PATIENCE, answers.next()).await.expect("no waiting for ever").expect("not a silent end");
    assert!(matches!(end, Err(RPCError::Unreachable(_))), "{end:?}");
    assert!(answers.next().await.is_none());
    assert!(taken.load(Ordering::Relaxed) <= 3 + 64 + 1, "what is in flight is bounded");
    drop(answers);
    for peers in peers {
        peers.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_ends_with_what_the_leader_must_act_on() {
    for (response, is_conflict) in
        [(AppendEntriesResponse::Conflict, true), (AppendEntriesResponse::HigherVote(Vote::new(9, 2)), false)]
    {
        let (_network, peers, mut client) = way_to(vec![response]).await;
        let mut answers = client.stream_append(counted(&Arc::default()), option()).await.unwrap();
        let end = timeout(PATIENCE, answers.next()).await.unwrap().unwrap().unwrap().unwrap_err();
        assert_eq!(is_conflict, end == StreamAppendError::Conflict(log_id(EntryId::new(1, 0))), "{end}");
        assert!(answers.next().await.is_none());
        drop(answers);
        for peers in peers {
            peers.shutdown().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_that_the_peer_does_not_have_is_out_of_reach() {
    let (network, [one, two], _) = way_to(Vec::new()).await;
    let me = Hello { node: Some(NodeId::new(3)), uuid: NodeUuid::from_bytes([3; 16]), ..two.me() };
    let three = Peers::new(Arc::new(network.transport("3")), me, Clock::system());
    network.listen("3", Arc::new(three.clone()));
    // It has a table of groups, and nothing in it.
    let _table = PeerNetwork::new(three.clone());
    one.set_addresses([(NodeId::new(3), "3".to_owned())].into());
    let mut client = PeerNetwork::new(one.clone()).of_group(KEY).new_client(3, &()).await;
    let error = client.append_entries(append(0), RPCOption::new(PATIENCE)).await.unwrap_err();
    assert!(matches!(error, RPCError::Unreachable(_)));
    assert!(error.to_string().contains("has no replica of group"), "{error}");
    for peers in [one, two, three] {
        peers.shutdown().await;
    }
}
