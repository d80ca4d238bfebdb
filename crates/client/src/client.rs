//! The entry: where the servers are, and the handles that do the work.

use std::sync::{Arc, Weak};
use std::time::Duration;

use crate::admin::Admin;
use crate::broadcast::BroadcastBuilder;
use crate::connection::Connections;
use crate::consumer::ConsumerBuilder;
use crate::error::ConnectionError;
use crate::producer::ProducerBuilder;
use crate::queue::Queue;
use crate::reader::ReaderBuilder;
use crate::worker::WorkerBuilder;

/// How often the nodes of the cluster are asked for when nothing fails, and at most.
const LEARN_EVERY: Duration = Duration::from_secs(60);
const LEARN_PAUSE: Duration = Duration::from_secs(1);

/// A cluster, as a client sees it. Cheap to clone; all clones share their connections.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use highwater_client::{Client, Record};
///
/// let client = Client::connect("127.0.0.1:7400").await?;
/// let producer = client.producer().build();
/// let placed = producer.send_and_wait("orders", Record::new("placed").key("order-17")).await?;
/// println!("partition {}, offset {:?}", placed.partition, placed.offset);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Client {
    pub(crate) shared: Arc<Shared>,
}

/// What all handles of one client share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) connections: Arc<Connections>,
    pub(crate) request_timeout: Duration,
    pub(crate) topics_refresh: Duration,
}

impl Client {
    /// Connects to a cluster through one of its servers, given as `HOST:PORT`; several are separated by commas, and
    /// the first that answers is used. The other nodes of the cluster are learnt from it.
    ///
    /// # Errors
    /// When an address is not of that form, or none of the servers can be reached within 5 seconds each.
    ///
    /// ```no_run
    /// # async fn example() -> Result<(), highwater_client::ConnectError> {
    /// use highwater_client::Client;
    /// let client = Client::connect("10.0.0.1:7400,10.0.0.2:7400").await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn connect(servers: &str) -> Result<Self, ConnectError> {
        Self::builder().servers(servers.split(',')).connect().await
    }

    /// A client with settings of its own.
    ///
    /// ```no_run
    /// # async fn example() -> Result<(), highwater_client::ConnectError> {
    /// use std::time::Duration;
    /// use highwater_client::Client;
    /// let client = Client::builder()
    ///     .server("10.0.0.1:7400")
    ///     .server("10.0.0.2:7400")
    ///     .request_timeout(Duration::from_secs(10))
    ///     .connect()
    ///     .await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn builder() -> ClientBuilder {
        ClientBuilder::default()
    }

    /// Settings for a [`Producer`](crate::Producer), which puts records into topics.
    pub fn producer(&self) -> ProducerBuilder {
        ProducerBuilder::new(self.clone())
    }

    /// Settings for a [`Reader`](crate::Reader), which reads a topic from any position on.
    pub fn reader(&self) -> ReaderBuilder {
        ReaderBuilder::new(self.clone())
    }

    /// Settings for a [`Broadcast`](crate::Broadcast), which follows several topics without a group.
    pub fn broadcast(&self) -> BroadcastBuilder {
        BroadcastBuilder::new(self.clone())
    }

    /// Settings for a [`Consumer`](crate::Consumer), which reads topics as a member of a group.
    pub fn consumer(&self, group: impl Into<String>) -> ConsumerBuilder {
        ConsumerBuilder::new(self.clone(), group.into())
    }

    /// Settings for a [`Worker`](crate::Worker), which works on the messages of a queue group of a topic.
    pub fn worker(&self, topic: impl Into<String>, group: impl Into<String>) -> WorkerBuilder {
        WorkerBuilder::new(self.clone(), topic.into(), group.into())
    }

    /// Messages of a queue group of a topic, taken and settled by hand.
    #[must_use]
    pub fn queue(&self, topic: impl Into<String>, group: impl Into<String>) -> Queue {
        Queue::new(self.clone(), topic.into(), group.into())
    }

    /// Topics, offsets, groups, queues, and what the cluster is.
    #[must_use]
    pub fn admin(&self) -> Admin {
        Admin::new(self.clone())
    }

    fn keep_learning(&self) {
        tokio::spawn(learn(Arc::downgrade(&self.shared)));
    }
}

/// Settings of a [`Client`]; made by [`Client::builder`].
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until `connect` is called"]
pub struct ClientBuilder {
    servers: Vec<String>,
    connect_timeout: Duration,
    request_timeout: Duration,
    topics_refresh: Duration,
}

impl Default for ClientBuilder {
    fn default() -> Self {
        Self {
            servers: Vec::new(),
            connect_timeout: Duration::from_secs(5),
            request_timeout: Duration::from_secs(30),
            topics_refresh: Duration::from_secs(30),
        }
    }
}

impl ClientBuilder {
    /// Adds a server, as `HOST:PORT`. At least one is needed; each is tried in turn.
    pub fn server(mut self, address: impl Into<String>) -> Self {
        self.servers.push(address.into());
        self
    }

    /// Adds several servers.
    pub fn servers(mut self, addresses: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.servers.extend(addresses.into_iter().map(Into::into));
        self
    }

    /// How long to wait for a connection to one server. Default 5 seconds.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// How long a request may take, retries included; and how long a batch may stay unanswered before its connection
    /// counts as broken. Default 30 seconds.
    pub fn request_timeout(mut self, timeout: Duration) -> Self {
        self.request_timeout = timeout;
        self
    }

    /// How often producers and readers look, at the latest, whether their topics have got more partitions. Default
    /// 30 seconds.
    pub fn topics_refresh(mut self, every: Duration) -> Self {
        self.topics_refresh = every;
        self
    }

    /// Connects to the first server that answers.
    ///
    /// # Errors
    /// When there is no address, one is not `HOST:PORT`, or none of the servers can be reached.
    pub async fn connect(self) -> Result<Client, ConnectError> {
        let client = self.build()?;
        let connections = &client.shared.connections;
        let mut failed = ConnectError::NoServers;
        for _ in 0..connections.server_count() {
            let server = connections.current();
            match connections.connect(&server).await {
                Ok(()) => {
                    client.keep_learning();
                    return Ok(client);
                }
                Err(error) => failed = error,
            }
            connections.rotate(&server);
        }
        Err(failed)
    }

    /// Checks the addresses and connects when the client is first used. For programs that start before their servers.
    ///
    /// Needs a tokio runtime around it, as everything of this crate does.
    ///
    /// # Errors
    /// When there is no address, or one is not `HOST:PORT`.
    pub fn connect_lazily(self) -> Result<Client, ConnectError> {
        let client = self.build()?;
        client.keep_learning();
        Ok(client)
    }

    fn build(self) -> Result<Client, ConnectError> {
        let connections = Arc::new(Connections::new(&self.servers, self.connect_timeout)?);
        Ok(Client {
            shared: Arc::new(Shared {
                connections,
                request_timeout: self.request_timeout,
                topics_refresh: self.topics_refresh,
            }),
        })
    }
}

/// Keeps the list of servers as the cluster tells it, for as long as the client lives: those that were named at the
/// start may all be gone one day.
async fn learn(client: Weak<Shared>) {
    loop {
        let Some(shared) = client.upgrade() else { return };
        let connections = Arc::clone(&shared.connections);
        match Admin::new(Client { shared }).describe_cluster().await {
            Ok(cluster) => connections.learn(cluster.nodes.into_iter().map(|node| node.address)),
            Err(error) => tracing::debug!(%error, "the nodes of the cluster could not be asked for"),
        }
        let failed = connections.failed();
        // Nothing is held from here on that would keep the client or its connections.
        drop(connections);
        // Not at every failure at once: many may notice the same one.
        tokio::time::sleep(LEARN_PAUSE).await;
        let _quiet = tokio::time::timeout(LEARN_EVERY, failed.notified()).await;
    }
}

/// Why a client could not be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// No address was given.
    #[error("no server was given; name at least one, for instance 127.0.0.1:7400")]
    NoServers,
    /// An address is not of the form `HOST:PORT`.
    #[error("{address:?} is not the address of a server; it has the form HOST:PORT, for instance 127.0.0.1:7400")]
    InvalidAddress {
        /// What was given.
        address: String,
    },
    /// No server could be reached. This is the last one that was tried.
    #[error("{0}; is the server running there?")]
    Unreachable(ConnectionError),
}

impl ConnectError {
    /// Whether the same call may succeed later.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Unreachable(_))
    }
}
