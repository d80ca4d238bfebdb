//! Passing calls on: a client that knows nothing of leaders may talk to any node, which asks the leader for it.
//!
//! Owns: the connections to the other nodes' gRPC listeners, what was learnt of who leads, and how long one goes on
//! looking for a leader.
//!
//! Never: passes on what was passed on already, so no call goes round in circles; repeats what may have been done (P8).
//!
//! Invariants: a call that our own client makes says that it goes to the leader itself, and is never passed on. Calls
//! under way are bounded; at the bound one is refused as overloaded.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use highwater_proto::{PROXIED_METADATA_KEY, REDIRECT_METADATA_KEY};
use highwater_types::{ErrorCode, NodeId, TopicPartition};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use tonic::codegen::http::HeaderMap;
use tonic::metadata::MetadataValue;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Response, Status};

use super::context::Context;
use super::error::failure_of;
use crate::front::failure::Failure;

/// Between two looks for a leader, and how many there are at most: five seconds, where an election takes one or two.
const SEARCH_PAUSE: Duration = Duration::from_millis(50);
const SEARCH_LOOKS: u32 = 100;
/// So often a hint is followed without a pause.
const HINTS_AT_ONCE: u32 = 2;
const CONNECT_PATIENCE: Duration = Duration::from_secs(2);
/// A node that is asked while something waits for it and does not answer in time is given up.
const KEEPALIVE: Duration = Duration::from_secs(2);
/// A promise to take so many bytes, to each other node: enough for gigabytes a second, and no more.
const WINDOW_BYTES: u32 = 4 << 20;
const FRAME_BYTES_MAX: u32 = 1 << 20;
/// Calls that are passed on at a time.
const CALLS_MAX: usize = 1024;
/// Leaders that are remembered; beyond that all are forgotten and learnt again.
const LEADERS_MAX: usize = 16_384;
/// Connections that are kept; addresses change seldom, and nodes are few.
const CHANNELS_MAX: usize = 256;

/// Passes calls on. Clones are the same.
#[derive(Clone, Debug)]
pub(crate) struct Proxy {
    shared: Arc<Shared>,
    calls: Arc<Semaphore>,
}

#[derive(Debug, Default)]
struct Shared {
    channels: Mutex<BTreeMap<String, Channel>>,
    /// Of partitions that this node does not hold: who said that it leads.
    leaders: Mutex<BTreeMap<TopicPartition, NodeId>>,
}

/// Whether a call may be passed on: its client did not say that it finds the leader itself, and it comes from a client.
pub(super) fn may_pass_on(headers: &HeaderMap) -> bool {
    !headers.contains_key(REDIRECT_METADATA_KEY) && !was_passed_on(headers)
}

/// Whether another node passed the call on.
pub(super) fn was_passed_on(headers: &HeaderMap) -> bool {
    headers.contains_key(PROXIED_METADATA_KEY)
}

/// A call that is passed on.
pub(super) fn passed_on<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert(PROXIED_METADATA_KEY, MetadataValue::from_static("1"));
    request
}

/// Whether the failure says that the leader is elsewhere or not known at the moment; nothing was done then.
pub(super) fn is_search(failure: &Failure) -> bool {
    matches!(failure.code, ErrorCode::NotLeader | ErrorCode::LeaderUnavailable)
}

/// The same of another node's answer: one that stops has handed over what it led.
pub(super) fn is_search_there(failure: &Failure) -> bool {
    is_search(failure) || failure.code == ErrorCode::ShuttingDown
}

/// A search for one leader.
#[derive(Debug)]
pub(super) struct Search {
    looks_left: u32,
    hints_left: u32,
}

impl Proxy {
    pub(crate) fn new() -> Self {
        Self { shared: Arc::default(), calls: Arc::new(Semaphore::new(CALLS_MAX)) }
    }

    /// A place for one call.
    pub(super) fn place(&self) -> Result<OwnedSemaphorePermit, Failure> {
        Arc::clone(&self.calls).try_acquire_owned().map_err(|_| {
            let message = format!("{CALLS_MAX} calls are passed on to other nodes already; ask the leader itself");
            Failure::new(ErrorCode::Overloaded, message)
        })
    }

    /// The connection to a node's gRPC listener, opened when it is first used.
    pub(super) fn channel(&self, address: &str) -> Result<Channel, Failure> {
        let mut channels = self.shared.channels.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(channel) = channels.get(address) {
            return Ok(channel.clone());
        }
        let endpoint = Endpoint::from_shared(format!("http://{address}")).map_err(|error| {
            Failure::new(ErrorCode::LeaderUnavailable, format!("{address:?} is no address of a node: {error}"))
        })?;
        let channel = endpoint
            .connect_timeout(CONNECT_PATIENCE)
            .tcp_nodelay(true)
            .initial_stream_window_size(WINDOW_BYTES)
            .initial_connection_window_size(WINDOW_BYTES)
            .max_frame_size(FRAME_BYTES_MAX)
            .http2_keep_alive_interval(KEEPALIVE)
            .keep_alive_timeout(KEEPALIVE)
            .connect_lazy();
        if channels.len() >= CHANNELS_MAX {
            channels.clear();
        }
        channels.insert(address.to_owned(), channel.clone());
        Ok(channel)
    }

    /// Remembers who leads a partition that this node does not hold; `None` forgets.
    pub(super) fn learn(&self, partition: TopicPartition, leader: Option<NodeId>) {
        let mut leaders = self.shared.leaders.lock().unwrap_or_else(PoisonError::into_inner);
        match leader {
            Some(leader) => {
                if leaders.len() >= LEADERS_MAX {
                    leaders.clear();
                }
                leaders.insert(partition, leader);
            }
            None => drop(leaders.remove(&partition)),
        }
    }

    /// Who leads a partition, as far as that was learnt.
    pub(super) fn learnt(&self, partition: TopicPartition) -> Option<NodeId> {
        self.shared.leaders.lock().unwrap_or_else(PoisonError::into_inner).get(&partition).copied()
    }

    /// Passes one call on, and tells what became of it.
    pub(super) async fn call<T>(
        &self,
        leader: NodeId,
        address: &str,
        patience: Duration,
        send: impl AsyncFnOnce(Channel) -> Result<Response<T>, Status>,
    ) -> Result<T, Failure> {
        let _place = self.place()?;
        let channel = self.channel(address)?;
        match timeout(patience, send(channel)).await {
            Ok(Ok(answer)) => Ok(answer.into_inner()),
            Ok(Err(status)) => Err(failure_of_status(leader, address, &status)),
            Err(_) => {
                let message = format!("node {leader} ({address}) did not answer in time; it may have been done");
                Err(Failure::new(ErrorCode::OutcomeUnknown, message))
            }
        }
    }
}

impl Search {
    /// A search that begins now.
    pub(super) fn start() -> Self {
        Self { looks_left: SEARCH_LOOKS, hints_left: HINTS_AT_ONCE }
    }

    /// Waits before the next look, unless the failure tells where to look; the failure, as one that is worth trying
    /// again, when there shall be no more.
    pub(super) async fn pause(&mut self, failure: Failure) -> Result<(), Failure> {
        if failure.leader.is_some() && self.hints_left > 0 {
            self.hints_left -= 1;
            return Ok(());
        }
        let Some(looks_left) = self.looks_left.checked_sub(1) else {
            // A client that knows nothing of leaders shall try again here, not look for one.
            return Err(Failure { code: ErrorCode::LeaderUnavailable, leader: None, leader_address: None, ..failure });
        };
        self.looks_left = looks_left;
        tokio::time::sleep(SEARCH_PAUSE).await;
        Ok(())
    }
}

impl Context {
    /// The failure of an attempt on this node, with where the leader is: what was learnt goes before the guess that is
    /// made of a partition that this node does not hold.
    pub(super) fn placed(&self, partition: TopicPartition, failure: Failure) -> Failure {
        let mut failure = failure;
        if failure.code == ErrorCode::NotLeader
            && !self.router.is_open(partition)
            && let Some(learnt) = self.proxy.learnt(partition)
        {
            failure.leader = Some(learnt);
            failure.leader_address = None;
        }
        self.located(failure)
    }

    /// Takes in how a call fared that was passed on: who leads is learnt from it.
    pub(super) fn learn_of<T>(&self, partition: TopicPartition, asked: NodeId, result: &Result<T, Failure>) {
        match result {
            Ok(_) => self.proxy.learn(partition, Some(asked)),
            Err(failure) if is_search_there(failure) => self.proxy.learn(partition, failure.leader),
            Err(_) => {}
        }
    }
}

/// What a call that another node answered came to.
pub(super) fn failure_of_status(node: NodeId, address: &str, status: &Status) -> Failure {
    if let Some(failure) = failure_of(status) {
        return failure;
    }
    let message = format!("node {node} ({address}) could not be asked: {}", status.message());
    let code = if is_connect_failure(status) { ErrorCode::LeaderUnavailable } else { ErrorCode::OutcomeUnknown };
    Failure::new(code, message)
}

fn is_connect_failure(status: &Status) -> bool {
    let mut cause = std::error::Error::source(status);
    while let Some(error) = cause {
        if error.is::<tonic::ConnectError>() {
            return true;
        }
        cause = error.source();
    }
    false
}
