//! Keeps a link to one peer: dials, and dials again when it is lost, sooner at first and then every half second.

use std::sync::Arc;
use std::time::Duration;

use highwater_types::NodeId;
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::DIAL_PATIENCE;
use super::error::PeerError;
use super::hello::Refusal;
use super::link::{self, LinkHandle};
use super::peers::Shared;
use super::transport::Link;

const RETRY_MIN: Duration = Duration::from_millis(25);
const RETRY_MAX: Duration = Duration::from_millis(500);
/// A link that lasted so long was no failure.
const GOOD_LINK: Duration = Duration::from_secs(1);

/// How a peer can be reached at the moment.
#[derive(Clone, Debug)]
pub(super) enum State {
    /// It is being dialed; who has time waits.
    Dialing,
    Up(LinkHandle),
    Down(PeerError),
}

/// A peer that is kept dialed until this is dropped.
#[derive(Debug)]
pub(super) struct Dialer {
    pub(super) state: watch::Receiver<State>,
    pub(super) address: watch::Sender<String>,
    stop: CancellationToken,
}

impl Drop for Dialer {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Dialer {
    pub(super) fn start(shared: &Arc<Shared>, node: NodeId, address: String) -> Self {
        let (address, addresses) = watch::channel(address);
        let (states, state) = watch::channel(State::Dialing);
        let stop = shared.stop.child_token();
        let (stopped, worker) = (stop.clone(), Arc::clone(shared));
        shared.tasks.spawn(async move {
            tokio::select! {
                biased;
                () = stopped.cancelled() => {}
                () = keep(&worker, node, addresses, &states) => {}
            }
            states.send_replace(State::Down(PeerError::Stopped));
        });
        Self { state, address, stop }
    }
}

async fn keep(
    shared: &Arc<Shared>,
    node: NodeId,
    mut addresses: watch::Receiver<String>,
    states: &watch::Sender<State>,
) {
    let mut retry = RETRY_MIN;
    let mut told: Option<String> = None;
    let mut failures = 0;
    loop {
        let address = addresses.borrow_and_update().clone();
        let error = match dial(shared, node, &address).await {
            Ok(link) => {
                (told, failures) = (None, 0);
                let since = shared.clock.instant();
                let reason = run(shared, node, link, &address, &mut addresses, states).await;
                tracing::info!(%node, address, reason, "the connection to a node was lost");
                if since.elapsed() >= GOOD_LINK {
                    retry = RETRY_MIN;
                    states.send_replace(State::Dialing);
                    continue;
                }
                PeerError::Unreachable { address, reason }
            }
            Err(error) => error,
        };
        let words = error.to_string();
        failures += 1;
        // Once is nothing: nodes that start together find each other half started.
        if failures > 1 && told.as_ref() != Some(&words) {
            tracing::warn!(%node, %error, "a node cannot be reached; trying again");
            told = Some(words);
        }
        states.send_replace(State::Down(error));
        // A new address is tried at once.
        if let Ok(Err(_)) = timeout(retry, addresses.changed()).await {
            return;
        }
        retry = (retry * 2).min(RETRY_MAX);
    }
}

async fn dial(shared: &Arc<Shared>, node: NodeId, address: &str) -> Result<Link, PeerError> {
    let dialing = shared.transport.dial(address, shared.me());
    let silent = || PeerError::Unreachable { address: address.to_owned(), reason: "it does not answer".to_owned() };
    let link = timeout(DIAL_PATIENCE, dialing).await.map_err(|_| silent())??;
    let refused = |refusal| PeerError::Refused { address: address.to_owned(), refusal };
    shared.check(&link.theirs).map_err(refused)?;
    if link.theirs.node == Some(node) {
        return Ok(link);
    }
    let theirs = link.theirs.node.unwrap_or(NodeId::new(0));
    Err(refused(Refusal::OtherNode { expected: node, theirs }))
}

/// Returns why the link ended. A new address ends it too.
async fn run(
    shared: &Arc<Shared>,
    node: NodeId,
    link: Link,
    address: &str,
    addresses: &mut watch::Receiver<String>,
    states: &watch::Sender<State>,
) -> String {
    tracing::info!(%node, address, "connected to a node");
    let heard = Arc::clone(shared);
    heard.heard(node);
    let (handle, running) =
        link::start(link, address, shared.clock.clone(), shared.sent.clone(), move || heard.heard(node));
    states.send_replace(State::Up(handle));
    tokio::select! {
        biased;
        reason = running => reason,
        _ = addresses.wait_for(|new| new != address) => "it has another address".to_owned(),
    }
}
