//! The server: a node with its fronts, from the bound address to the last connection.
//!
//! Owns: the order in which a process starts and stops, and the budgets that all clients share.
//!
//! ```text
//!   start:  bind (clients wait, HTTP says "not ready") ─► node ─► ready: the cluster has taken it in ─► serve ─► health "serving"
//!   stop:   health "not serving" ─► leaderships go to others ─► accept no more, end streams ─► calls under way finish ─►
//!           HTTP ─► node
//! ```
//!
//! Invariant: nobody is told "ready", and no call is answered, before the node has recovered and leads what it holds.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use highwater_metadata::Policy;
use tokio::time::timeout;

use crate::admission::ByteBudget;
use crate::clock::Clock;
use crate::config::{ClusterConfig, Config};
use crate::front::grpc::{
    BindError, Context, Groups, Health, Listener, ListenerLimits, MessageLimits, Proxy, ReflectionError, Serving,
    routes,
};
use crate::front::http::{self, Stage};
use crate::front::kafka;
use crate::metrics::{GroupSource, NodeSource, ProcessSource, QueueSource};
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
    http: http::Front,
    kafka: kafka::Serving,
    kafka_places: kafka::Places,
    produce_budget: ByteBudget,
    grace: Duration,
}

/// Why a server did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The address is in use, or not this machine's.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The address of the HTTP front is in use, or not this machine's.
    #[error(transparent)]
    BindHttp(#[from] http::BindError),
    /// The address of the Kafka front is in use, or not this machine's.
    #[error(transparent)]
    BindKafka(#[from] kafka::BindError),
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
        let http = http::Front::start(config.http.listen).await?;
        let kafka = kafka::Listeners::bind(&config.kafka, config.limits.connections).await?;
        let kafka_places = kafka.places().clone();
        let peers = PeerListener::bind(config.cluster.listen)
            .await
            .map_err(|source| BindPeersError { address: config.cluster.listen, source })?;
        let options = adjust(node_options(&config, address, &kafka_places, peers));
        let clock = options.clock.clone();
        http.show(Arc::new(ProcessSource::new(clock.now())));
        let node = Node::start(options).await?;
        if let Err(failure) = node.until_ready().await {
            // It says itself what else is wrong.
            let _stopped = node.shutdown().await;
            return Err(crate::node::StartError::Failed(failure).into());
        }
        let front = Shutdown::new();
        let context = context(&config, &node, clock, front.clone());
        let produce_budget = context.data_messages.budget.clone();
        let kafka_context = Arc::new(kafka::Context::new(kafka_parts(&config, &context)));
        show(&http, &node, &produce_budget, Groups::new(Arc::new(context.clone())));
        let (routes, health) = match routes(context).await {
            Ok(served) => served,
            Err(error) => {
                // The node says itself what else is wrong.
                let _stopped = node.shutdown().await;
                return Err(error.into());
            }
        };
        let serving = listener.serve(&routes, &front);
        let kafka = kafka.serve(&kafka_context);
        health.set_serving(true).await;
        http.set_stage(Stage::Serving);
        let kafka_address = kafka_places.main.map(tracing::field::display);
        tracing::info!(grpc = %address, http = http.address().map(tracing::field::display), kafka = kafka_address, "ready");
        let grace = config.node.shutdown_grace;
        Ok(Self { node, address, health, front, serving, http, kafka, kafka_places, produce_budget, grace })
    }

    /// Where the gRPC API is reached, with the port that it really has.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where `/metrics`, `/healthz` and `/readyz` are reached, with the port that it really has; `None` when that is
    /// switched off.
    #[must_use]
    pub fn http_address(&self) -> Option<SocketAddr> {
        self.http.address()
    }

    /// Where Kafka's protocol is spoken, with the port that it really has; `None` when that is switched off.
    #[must_use]
    pub fn kafka_address(&self) -> Option<SocketAddr> {
        self.kafka_places.main
    }

    /// Where it is spoken with those who come in through the listener of each name.
    #[must_use]
    pub fn kafka_listeners(&self) -> &BTreeMap<String, SocketAddr> {
        &self.kafka_places.named
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
        self.http.set_stage(Stage::Stopping);
        self.health.end().await;
        self.node.hand_over().await;
        self.front.request();
        let ended = async {
            self.serving.ended().await;
            self.kafka.ended().await;
        };
        if timeout(self.grace, ended).await.is_err() {
            tracing::warn!("breaking off calls that did not end in time");
        }
        drop((self.serving, self.kafka));
        self.http.end().await;
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

/// What the node has to show. A part of the node with values of its own adds its source here.
fn show(http: &http::Front, node: &Node, produce_budget: &ByteBudget, groups: Groups) {
    let (router, metadata) = (node.router().clone(), node.controller_leadership());
    http.show(Arc::new(QueueSource::new(router.clone())));
    http.show(Arc::new(NodeSource::new(node.identity(), router, metadata, produce_budget.clone())));
    http.show(Arc::new(GroupSource::new(groups)));
}

fn listener_limits(config: &Config) -> ListenerLimits {
    ListenerLimits {
        connections: config.limits.connections,
        streams_per_connection: config.limits.streams_per_connection,
        window_bytes: config.limits.receive_window_bytes,
    }
}

fn kafka_parts(config: &Config, context: &Context) -> kafka::Parts {
    kafka::Parts {
        router: context.router.clone(),
        controller: context.controller.clone(),
        controller_leadership: context.controller_leadership.clone(),
        survey: context.survey.clone(),
        data_dir: config.data.dir.clone(),
        clock: context.clock.clone(),
        produce_budget: context.data_messages.budget.clone(),
        auto_create_topics: config.kafka.auto_create_topics,
        shutdown: context.shutdown.clone(),
    }
}

fn node_options(
    config: &Config,
    address: SocketAddr,
    kafka_places: &kafka::Places,
    peers: PeerListener,
) -> NodeOptions {
    let advertised = config.node.advertised.clone().unwrap_or_else(|| address.to_string());
    let peer_address = config.cluster.advertised.clone().unwrap_or_else(|| peers.address().to_string());
    let kafka_advertised =
        kafka_places.main.map(|bound| config.kafka.advertised.clone().unwrap_or_else(|| bound.to_string()));
    let kafka_address = kafka_advertised.unwrap_or_default();
    let kafka_listeners = config.kafka.listeners.iter().filter_map(|listener| {
        let bound = kafka_places.named.get(&listener.name)?;
        let advertised = listener.advertised.clone().unwrap_or_else(|| bound.to_string());
        Some((listener.name.clone(), advertised))
    });
    let kafka_listeners = kafka_listeners.collect();
    let ClusterConfig { first_voters, join, rack, .. } = config.cluster.clone();
    NodeOptions {
        cluster: ClusterOptions { peer_address, first_voters, join, rack, kafka_address, kafka_listeners },
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
