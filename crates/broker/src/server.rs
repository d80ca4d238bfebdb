//! The server: a node with its fronts, from the bound address to the last connection.
//!
//! Owns: the order in which a process starts and stops, and the budgets that all clients share.
//!
//! ```text
//!   start:  bind (clients wait) ─► node ─► ready: the cluster has taken it in ─► serve ─► health "serving"
//!   stop:   health "not serving" ─► leaderships go to others ─► accept no more, end streams ─► calls under way finish ─► node
//! ```
//!
//! Invariant: nobody is told "ready", and no call is answered, before the node has recovered and leads what it holds.

use std::net::SocketAddr;
use std::time::Duration;

use highwater_metadata::Policy;
use tokio::time::timeout;

use crate::admission::ByteBudget;
use crate::clock::Clock;
use crate::config::{ClusterConfig, Config};
use crate::front::grpc::{
    BindError, Context, Health, Listener, ListenerLimits, MessageLimits, Proxy, ReflectionError, Serving, routes,
};
use crate::node::{ClusterOptions, Node, NodeFailure, NodeNetwork, NodeOptions};
use crate::peer::grpc::PeerListener;
use crate::shutdown::Shutdown;

/// The largest message that brings no records: a request to read, to create a topic with all its settings.
const CONTROL_MESSAGE_BYTES_MAX: usize = 256 * 1024;
/// Such messages together. Small beside everything else, and never asked of the budget for records.
const CONTROL_BYTES: usize = 16 * 1024 * 1024;

/// A running server.
#[derive(Debug)]
pub struct Server {
    node: Node,
    address: SocketAddr,
    health: Health,
    /// What the front listens to for its end.
    front: Shutdown,
    serving: Serving,
    produce_budget: ByteBudget,
    grace: Duration,
}

/// Why a server did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The address is in use, or not this machine's.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The address between nodes is in use, or not this machine's.
    #[error(transparent)]
    BindPeers(#[from] BindPeersError),
    /// The node did not start.
    #[error(transparent)]
    Node(#[from] crate::node::StartError),
    /// The descriptors of the API are damaged.
    #[error(transparent)]
    Reflection(#[from] ReflectionError),
}

/// The address between nodes cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on cluster.listen = {address}: {source}")]
pub struct BindPeersError {
    /// The address.
    pub address: SocketAddr,
    /// What the system said.
    pub source: std::io::Error,
}

/// Why a server ended, other than by being asked to.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// It did not start.
    #[error(transparent)]
    Start(#[from] StartError),
    /// It started, and could not go on.
    #[error(transparent)]
    Failed(#[from] NodeFailure),
}

impl Server {
    /// Starts a node and its fronts. When it returns, clients are served.
    ///
    /// # Errors
    /// [`StartError`]; it names the address or what is wrong with the data. Nothing goes on running then.
    pub async fn start(config: Config) -> Result<Self, StartError> {
        Self::start_with(config, |options| options).await
    }

    /// The same, with a say in what the node is started with: another disk, another clock.
    ///
    /// # Errors
    /// As [`Server::start`].
    pub async fn start_with(
        config: Config,
        adjust: impl FnOnce(NodeOptions) -> NodeOptions,
    ) -> Result<Self, StartError> {
        let listener = Listener::bind(config.grpc.listen, listener_limits(&config)).await?;
        let address = listener.address();
        let peers = PeerListener::bind(config.cluster.listen)
            .await
            .map_err(|source| BindPeersError { address: config.cluster.listen, source })?;
        let options = adjust(node_options(&config, address, peers));
        let clock = options.clock.clone();
        let node = Node::start(options).await?;
        if let Err(failure) = node.until_ready().await {
            // It says itself what else is wrong.
            let _stopped = node.shutdown().await;
            return Err(crate::node::StartError::Failed(failure).into());
        }
        let front = Shutdown::new();
        let context = context(&config, &node, clock, front.clone());
        let produce_budget = context.data_messages.budget.clone();
        let (routes, health) = match routes(context).await {
            Ok(served) => served,
            Err(error) => {
                // The node says itself what else is wrong.
                let _stopped = node.shutdown().await;
                return Err(error.into());
            }
        };
        let serving = listener.serve(&routes, &front);
        health.set_serving(true).await;
        tracing::info!(grpc = %address, "ready");
        Ok(Self { node, address, health, front, serving, produce_budget, grace: config.node.shutdown_grace })
    }

    /// Where the gRPC API is reached, with the port that it really has.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The node below.
    #[must_use]
    pub fn node(&self) -> &Node {
        &self.node
    }

    /// The bytes of produce requests under way.
    #[must_use]
    pub fn produce_budget(&self) -> &ByteBudget {
        &self.produce_budget
    }

    /// Resolves when the node cannot go on.
    pub async fn failed(&self) -> NodeFailure {
        self.node.failed().await
    }

    /// Stops: what this node leads goes to others while clients are still answered, so that they are told who leads
    /// now; then no more calls, those under way finish or are broken off after the configured grace, then the node stops.
    ///
    /// # Errors
    /// The [`NodeFailure`] that happened before or meanwhile.
    pub async fn shutdown(mut self) -> Result<(), NodeFailure> {
        self.health.end().await;
        self.node.hand_over().await;
        self.front.request();
        if timeout(self.grace, self.serving.ended()).await.is_err() {
            tracing::warn!("breaking off calls that did not end in time");
        }
        drop(self.serving);
        self.node.shutdown().await
    }
}

/// Runs a server until `stop` resolves, or it cannot go on.
///
/// # Errors
/// [`RunError`]; the process should end with another code than 0.
pub async fn run(
    config: Config,
    on_ready: impl FnOnce(&Server),
    stop: impl Future<Output = ()>,
) -> Result<(), RunError> {
    let server = Server::start(config).await?;
    on_ready(&server);
    let failure = tokio::select! {
        () = stop => None,
        failure = server.failed() => Some(failure),
    };
    let stopped = server.shutdown().await;
    match failure {
        Some(failure) => Err(failure.into()),
        None => Ok(stopped?),
    }
}

fn listener_limits(config: &Config) -> ListenerLimits {
    ListenerLimits {
        connections: config.limits.connections,
        streams_per_connection: config.limits.streams_per_connection,
        window_bytes: config.limits.receive_window_bytes,
    }
}

fn node_options(config: &Config, address: SocketAddr, peers: PeerListener) -> NodeOptions {
    let advertised = config.node.advertised.clone().unwrap_or_else(|| address.to_string());
    let peer_address = config.cluster.advertised.clone().unwrap_or_else(|| peers.address().to_string());
    let ClusterConfig { first_voters, join, rack, .. } = config.cluster.clone();
    NodeOptions {
        cluster: ClusterOptions { peer_address, first_voters, join, rack },
        network: NodeNetwork::grpc(peers),
        policy: Policy {
            partitions_default: config.topic.default_partitions,
            replicas_default: config.topic.default_replicas,
            replicas_per_node_max: config.limits.replicas,
        },
        free_bytes_min: config.data.free_bytes_min,
        catch_up_bytes_per_second: config.limits.catch_up_bytes_per_second,
        shutdown_grace: config.node.shutdown_grace,
        clock: Clock::system(),
        ..NodeOptions::new(&config.data.dir, advertised)
    }
}

fn context(config: &Config, node: &Node, clock: Clock, shutdown: Shutdown) -> Context {
    let messages = |bytes, bytes_max| MessageLimits {
        budget: ByteBudget::new(bytes),
        bytes_max,
        patience: config.limits.message_timeout,
    };
    Context {
        router: node.router().clone(),
        controller: node.controller().clone(),
        controller_leadership: node.controller_leadership(),
        survey: node.survey(),
        clock,
        data_messages: messages(config.limits.produce_in_flight_bytes, highwater_types::limits::MESSAGE_BYTES_MAX),
        control_messages: messages(CONTROL_BYTES, CONTROL_MESSAGE_BYTES_MAX),
        decoded: ByteBudget::new(config.limits.read_decoded_bytes),
        proxy: Proxy::new(),
        shutdown,
    }
}
