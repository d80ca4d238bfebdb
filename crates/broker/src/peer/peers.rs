//! The other nodes, as this node reaches them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};
use std::time::Duration;

use highwater_proto::internal::v1::{ControlRequest, ControlResponse};
use highwater_types::{NodeId, NodeUuid};
use prost::Message as _;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::DIAL_PATIENCE;
use super::dialer::{Dialer, State};
use super::error::PeerError;
use super::frame::{Frame, Malformed};
use super::hello::{Hello, Known, Refusal};
use super::link::{self, Answer, LinkHandle};
use super::message::Kind;
use super::serve::{self, Handling, Requests};
use super::traffic::{Counters, Traffic};
use super::transport::{Accept, Lane, Link, Transport};
use super::writer::Timing;
use crate::admission::ByteBudget;
use crate::clock::Clock;

/// Bytes of the bulk lanes, over all peers, that have arrived and are not dealt with.
const RECEIVED_BYTES_MAX: usize = 96 * 1024 * 1024;
/// How long a control request waits for its answer.
const ASK_PATIENCE: Duration = Duration::from_secs(10);

/// Answers what other nodes ask, beside Raft.
pub trait ControlService: Send + Sync + 'static {
    /// Answers one request. `from` is the node that asks, when it has an id already.
    fn answer(
        &self,
        from: Option<NodeId>,
        request: ControlRequest,
    ) -> Pin<Box<dyn Future<Output = ControlResponse> + Send>>;
}

/// Takes the requests of Raft. Called in the order in which one node sent them; it must not wait before it returns.
pub trait RaftRequests: Send + Sync + 'static {
    /// Begins to handle a request; a failure is told in words.
    fn handle(&self, from: NodeId, body: Frame) -> Pin<Box<dyn Future<Output = Result<Frame, String>> + Send>>;
}

/// The other nodes. Clones are the same.
#[derive(Clone)]
pub struct Peers(Arc<Shared>);

pub(super) struct Shared {
    pub(super) transport: Arc<dyn Transport>,
    pub(super) clock: Clock,
    pub(super) sent: Counters,
    pub(super) stop: CancellationToken,
    pub(super) tasks: TaskTracker,
    me: RwLock<Hello>,
    known: RwLock<Known>,
    dialers: Mutex<BTreeMap<NodeId, Dialer>>,
    heard: Mutex<BTreeMap<NodeId, Instant>>,
    raft: OnceLock<Arc<dyn RaftRequests>>,
    control: OnceLock<Arc<dyn ControlService>>,
    received: ByteBudget,
}

impl Peers {
    /// Nobody yet. `me` is what this node says of itself.
    #[must_use]
    pub fn new(transport: Arc<dyn Transport>, me: Hello, clock: Clock) -> Self {
        Self(Arc::new(Shared {
            transport,
            clock,
            sent: Counters::default(),
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
            me: RwLock::new(me),
            known: RwLock::default(),
            dialers: Mutex::default(),
            heard: Mutex::default(),
            raft: OnceLock::new(),
            control: OnceLock::new(),
            received: ByteBudget::new(RECEIVED_BYTES_MAX),
        }))
    }

    /// What this node says of itself.
    #[must_use]
    pub fn me(&self) -> Hello {
        self.0.me()
    }

    /// What this node says of itself from now on, in new connections. Before the first [`Self::set_addresses`].
    pub fn set_me(&self, me: Hello) {
        *self.0.me.write().unwrap_or_else(PoisonError::into_inner) = me;
    }

    /// Where the other nodes are. All that are not named are let go; a connection is kept to each that is.
    pub fn set_addresses(&self, addresses: BTreeMap<NodeId, String>) {
        let me = self.me().node;
        let mut dialers = self.0.dialers.lock().unwrap_or_else(PoisonError::into_inner);
        if self.0.stop.is_cancelled() {
            return;
        }
        dialers.retain(|node, _| addresses.contains_key(node));
        for (node, address) in addresses.into_iter().filter(|(node, _)| Some(*node) != me) {
            match dialers.get(&node) {
                Some(dialer) => {
                    dialer.address.send_if_modified(|old| {
                        let is_new = *old != address;
                        *old = address;
                        is_new
                    });
                }
                None => {
                    dialers.insert(node, Dialer::start(&self.0, node, address));
                }
            }
        }
    }

    /// Which data directory each node has, and which nodes were removed: others that claim to be them are refused.
    pub fn set_known(&self, directories: BTreeMap<NodeId, NodeUuid>, removed: BTreeSet<NodeId>) {
        *self.0.known.write().unwrap_or_else(PoisonError::into_inner) = Known { directories, removed };
    }

    /// Who answers what other nodes ask. Once; a second call changes nothing.
    pub fn on_request(&self, service: Arc<dyn ControlService>) {
        let _ = self.0.control.set(service);
    }

    /// Who takes the requests of Raft. Once; a second call changes nothing.
    pub fn on_raft(&self, requests: Arc<dyn RaftRequests>) {
        let _ = self.0.raft.set(requests);
    }

    /// Asks a node; this node too. Waits a while for a connection, and then for the answer.
    ///
    /// # Errors
    /// When there is no answer; [`PeerError::is_definite`] tells whether the request may have been acted on.
    pub async fn ask(&self, node: NodeId, request: ControlRequest) -> Result<ControlResponse, PeerError> {
        if Some(node) == self.me().node
            && let Some(service) = self.0.control.get()
        {
            return Ok(service.answer(Some(node), request).await);
        }
        let deadline = self.0.clock.instant() + ASK_PATIENCE;
        let link = self.link(node, deadline).await?;
        ask_on(&link, request, ASK_PATIENCE).await
    }

    /// Asks whoever is at an address, over a connection for this one request.
    ///
    /// # Errors
    /// As [`Self::ask`].
    pub async fn ask_address(&self, address: &str, request: ControlRequest) -> Result<ControlResponse, PeerError> {
        let silent = || PeerError::Unreachable { address: address.to_owned(), reason: "it does not answer".to_owned() };
        let link = timeout(DIAL_PATIENCE, self.0.transport.dial(address, self.me())).await.map_err(|_| silent())??;
        self.0.check(&link.theirs).map_err(|refusal| PeerError::Refused { address: address.to_owned(), refusal })?;
        let (handle, running) = link::start(link, address, self.0.clock.clone(), self.0.sent.clone(), || {});
        tokio::select! {
            biased;
            answer = ask_on(&handle, request, ASK_PATIENCE) => answer,
            reason = running => Err(PeerError::Lost { address: address.to_owned(), reason }),
            () = self.0.stop.cancelled() => Err(PeerError::Stopped),
        }
    }

    /// How long ago anything came from a node; nothing when it was never heard.
    #[must_use]
    pub fn heard(&self, node: NodeId) -> Option<Duration> {
        let heard = self.0.heard.lock().unwrap_or_else(PoisonError::into_inner);
        heard.get(&node).map(|at| self.0.clock.instant().saturating_duration_since(*at))
    }

    /// Whether there is a connection to a node this moment.
    #[must_use]
    pub fn is_connected(&self, node: NodeId) -> bool {
        let dialers = self.0.dialers.lock().unwrap_or_else(PoisonError::into_inner);
        dialers.get(&node).is_some_and(|dialer| matches!(&*dialer.state.borrow(), State::Up(_)))
    }

    /// How much was sent to all of them.
    #[must_use]
    pub fn sent(&self) -> Traffic {
        self.0.sent.read()
    }

    /// Ends all connections, and waits until they are gone. There are no more afterwards.
    pub async fn shutdown(&self) {
        self.0.stop.cancel();
        self.0.dialers.lock().unwrap_or_else(PoisonError::into_inner).clear();
        self.0.tasks.close();
        self.0.tasks.wait().await;
    }

    /// The clock that the links go by.
    pub(crate) fn clock(&self) -> &Clock {
        &self.0.clock
    }

    /// Sends a request of Raft.
    pub(crate) async fn send_raft(
        &self,
        node: NodeId,
        lane: Lane,
        timing: Timing,
        body: Frame,
        patience: Duration,
    ) -> Result<Answer, PeerError> {
        let deadline = self.0.clock.instant() + patience;
        let link = self.link(node, deadline).await?;
        link.send(lane, timing, Kind::Raft, body).await
    }

    /// Waits until there is a link to a node, or no longer: for who would only try again until there is.
    pub(crate) async fn wait_until_up(&self, node: NodeId, patience: Duration) {
        let state = {
            let dialers = self.0.dialers.lock().unwrap_or_else(PoisonError::into_inner);
            dialers.get(&node).map(|dialer| dialer.state.clone())
        };
        if let Some(mut state) = state {
            // Without one the sender finds out by itself.
            let _ = timeout(patience, state.wait_for(|state| matches!(state, State::Up(_)))).await;
        }
    }

    /// The link to a node. Waits while it is being dialed, not while the peer is known to be away.
    pub(crate) async fn link(&self, node: NodeId, deadline: Instant) -> Result<LinkHandle, PeerError> {
        let mut state = {
            let dialers = self.0.dialers.lock().unwrap_or_else(PoisonError::into_inner);
            dialers.get(&node).map(|dialer| dialer.state.clone()).ok_or(PeerError::UnknownNode { node })?
        };
        let known = timeout_at(deadline, state.wait_for(|state| !matches!(state, State::Dialing))).await;
        match known {
            Err(_) => {
                Err(PeerError::Unreachable { address: format!("node {node}"), reason: "it does not answer".to_owned() })
            }
            Ok(Err(_)) => Err(PeerError::Stopped),
            Ok(Ok(state)) => match &*state {
                State::Up(link) => Ok(link.clone()),
                State::Down(error) => Err(error.clone()),
                State::Dialing => Err(PeerError::UnknownNode { node }),
            },
        }
    }
}

async fn ask_on(link: &LinkHandle, request: ControlRequest, patience: Duration) -> Result<ControlResponse, PeerError> {
    let body = bytes::Bytes::from(request.encode_to_vec());
    let mut answer = link.send(Lane::Urgent, Timing::Now, Kind::Control, body.into()).await?;
    let address = answer.address().to_owned();
    let reply = match timeout(patience, answer.get()).await {
        Ok(reply) => reply?,
        Err(_) => return Err(PeerError::TimedOut { address }),
    };
    ControlResponse::decode(bytes::Bytes::from(reply.into_pieces().concat()))
        .map_err(|_| PeerError::Malformed { address, malformed: Malformed { what: "control response" } })
}

impl Shared {
    pub(super) fn me(&self) -> Hello {
        *self.me.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn check(&self, theirs: &Hello) -> Result<(), Refusal> {
        self.known.read().unwrap_or_else(PoisonError::into_inner).check(&self.me(), theirs)
    }

    pub(super) fn heard(&self, node: NodeId) {
        let now = self.clock.instant();
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).insert(node, now);
    }
}

impl Accept for Peers {
    fn greet(&self, theirs: &Hello) -> Result<Hello, Refusal> {
        self.0.check(theirs).map(|()| self.me())
    }

    fn accept(&self, link: Link) {
        let shared = Arc::clone(&self.0);
        let theirs = link.theirs;
        let from = Arc::new(From { shared: Arc::clone(&shared), theirs });
        self.0.tasks.spawn(async move {
            let serving = serve::serve(link, from, shared.received.clone(), shared.clock.clone(), shared.sent.clone());
            tokio::select! {
                biased;
                () = shared.stop.cancelled() => {}
                reason = serving => tracing::debug!(node = ?theirs.node, reason, "a connection from a node ended"),
            }
        });
    }
}

/// The requests of one link.
struct From {
    shared: Arc<Shared>,
    theirs: Hello,
}

impl Requests for From {
    fn handle(&self, kind: Kind, body: Frame) -> Handling {
        let refuse = |words: &str| -> Handling { Box::pin(std::future::ready(Err(words.to_owned()))) };
        match (kind, self.theirs.node) {
            (Kind::Raft, Some(node)) => match self.shared.raft.get() {
                Some(raft) => raft.handle(node, body),
                None => refuse("this node has no replicas yet"),
            },
            (Kind::Control, node) => {
                let Some(control) = self.shared.control.get() else { return refuse("this node is not ready yet") };
                match ControlRequest::decode(bytes::Bytes::from(body.into_pieces().concat())) {
                    Err(_) => refuse("the control request is malformed"),
                    Ok(request) => {
                        let answering = control.answer(node, request);
                        Box::pin(async move { Ok(bytes::Bytes::from(answering.await.encode_to_vec()).into()) })
                    }
                }
            }
            _ => refuse("only nodes of a cluster have replicas"),
        }
    }

    fn heard(&self) {
        if let Some(node) = self.theirs.node {
            self.shared.heard(node);
        }
    }
}

impl fmt::Debug for Peers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Peers").field(&self.me()).finish()
    }
}
