//! Connections to servers: which addresses there are, the HTTP/2 settings, and which streams share a connection.
//!
//! A connection is opened when it is first used and reopened by itself after a break; this module never retries a
//! request. Requests, produce streams and read streams have connections apart, so that none waits behind the bytes
//! of another; a connection carries at most [`STREAMS_PER_CONNECTION`] long-lived streams.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::Notify;
use tonic::transport::{Channel, Endpoint};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use crate::client::ConnectError;
use crate::error::{ConnectionError, Failure, describe_transport};

/// HTTP/2 servers commonly allow 100 to 200 streams on a connection and make the rest wait for ever.
const STREAMS_PER_CONNECTION: usize = 64;
/// The 64 KiB that HTTP/2 starts with starve a connection: a fifth of the throughput, measured.
const WINDOW_BYTES: u32 = 16 * 1024 * 1024;
const FRAME_BYTES_MAX: u32 = 1024 * 1024;
/// A server that is asked while something waits for it and does not answer in time is given up: it may be stopped, or
/// cut off, while its connections stay open. Another may lead by then.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(3);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(3);
/// The most servers that are learnt of a cluster.
const LEARNT_SERVERS_MAX: usize = 256;

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Purpose {
    Requests,
    Produce,
    Read,
}

/// The servers of one cluster and the connections to them.
#[derive(Debug)]
pub(crate) struct Connections {
    /// Those that the program named: they stay.
    named: Vec<Arc<str>>,
    /// Those, and after them what the cluster told of its nodes.
    servers: RwLock<Vec<Arc<str>>>,
    /// Which of `servers` is used now; counts up, modulo their number.
    current: AtomicUsize,
    connect_timeout: Duration,
    pool: Mutex<Pool>,
    /// Rung when a server did not work, so that the cluster is asked where else to go.
    failed: Arc<Notify>,
}

#[derive(Debug, Default)]
struct Pool {
    channels: HashMap<(Arc<str>, Purpose, usize), Channel>,
    /// How many streams use the first, second ... connection of a purpose.
    produce_streams: Vec<usize>,
    read_streams: Vec<usize>,
}

impl Pool {
    fn streams(&mut self, purpose: Purpose) -> &mut Vec<usize> {
        match purpose {
            Purpose::Read => &mut self.read_streams,
            Purpose::Produce | Purpose::Requests => &mut self.produce_streams,
        }
    }
}

impl Connections {
    /// Checks the addresses; opens nothing.
    pub(crate) fn new(servers: &[String], connect_timeout: Duration) -> Result<Self, ConnectError> {
        if servers.is_empty() {
            return Err(ConnectError::NoServers);
        }
        let named: Vec<Arc<str>> = servers.iter().map(|server| Arc::from(server.trim())).collect();
        for server in &named {
            endpoint(server, connect_timeout)?;
        }
        Ok(Self {
            servers: RwLock::new(named.clone()),
            named,
            current: AtomicUsize::new(0),
            connect_timeout,
            pool: Mutex::default(),
            failed: Arc::default(),
        })
    }

    /// How many servers there are to try.
    pub(crate) fn server_count(&self) -> usize {
        self.servers.read().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// The server to use now.
    pub(crate) fn current(&self) -> Arc<str> {
        let servers = self.servers.read().unwrap_or_else(PoisonError::into_inner);
        let index = self.current.load(Ordering::Relaxed) % servers.len().max(1);
        servers.get(index).cloned().unwrap_or_default()
    }

    /// `failed` did not work: whoever asks next gets the server after it.
    pub(crate) fn rotate(&self, failed: &str) {
        let current = self.current.load(Ordering::Relaxed);
        if *self.current() == *failed {
            // Lost races mean that another caller has moved on already, which is as good.
            let _ = self.current.compare_exchange(current, current + 1, Ordering::Relaxed, Ordering::Relaxed);
        }
        self.failed.notify_one();
    }

    /// What is rung when a server did not work.
    pub(crate) fn failed(&self) -> Arc<Notify> {
        Arc::clone(&self.failed)
    }

    /// Takes in where the nodes of the cluster are reached, so that the ones that were named may be gone.
    pub(crate) fn learn(&self, told: impl IntoIterator<Item = String>) {
        let told = told.into_iter().filter(|server| endpoint(server, self.connect_timeout).is_ok()).map(Arc::from);
        let mut servers = self.named.clone();
        for server in told.take(LEARNT_SERVERS_MAX) {
            if !servers.contains(&server) {
                servers.push(server);
            }
        }
        let mut known = self.servers.write().unwrap_or_else(PoisonError::into_inner);
        if *known == servers {
            return;
        }
        // The one in use stays in use, wherever it stands now.
        let index = self.current.load(Ordering::Relaxed) % known.len().max(1);
        let place = known.get(index).and_then(|used| servers.iter().position(|server| server == used));
        self.current.store(place.unwrap_or(0), Ordering::Relaxed);
        *known = servers;
    }

    /// Connects now, to say early and clearly when that does not work.
    pub(crate) async fn connect(&self, server: &str) -> Result<(), ConnectError> {
        let channel = endpoint(server, self.connect_timeout)?
            .connect()
            .await
            .map_err(|error| ConnectError::Unreachable(ConnectionError::new(server, &describe_transport(&error))))?;
        self.is_answered(server, channel.clone()).await.map_err(ConnectError::Unreachable)?;
        let mut pool = self.pool.lock().unwrap_or_else(PoisonError::into_inner);
        pool.channels.insert((Arc::from(server), Purpose::Requests, 0), channel);
        Ok(())
    }

    /// Whether a server answers at all. What takes a connection may be something else, that stands before a server which
    /// is gone: the first request would break there, and nobody would know whether it was done.
    async fn is_answered(&self, server: &str, channel: Channel) -> Result<(), ConnectionError> {
        let question = HealthCheckRequest { service: String::new() };
        let mut client = HealthClient::new(channel);
        match tokio::time::timeout(self.connect_timeout, client.check(question)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(status)) => match Failure::from_status(server, &status) {
                // It answered, if only that it does not know the question.
                Failure::Server(_) | Failure::Rejected(_) => Ok(()),
                Failure::Unsent(error) | Failure::Broken(error) => Err(error),
            },
            Err(_) => Err(ConnectionError::new(server, "it takes connections and does not answer")),
        }
    }

    /// The connection for single requests to a server.
    pub(crate) fn channel(&self, server: &Arc<str>) -> Result<Channel, ConnectError> {
        self.shared_channel(server, Purpose::Requests, 0)
    }

    /// A place for one long-lived stream; free again when it is dropped.
    pub(crate) fn slot(self: &Arc<Self>, purpose: Purpose) -> StreamSlot {
        let mut pool = self.pool.lock().unwrap_or_else(PoisonError::into_inner);
        let streams = pool.streams(purpose);
        let number = streams.iter().position(|used| *used < STREAMS_PER_CONNECTION).unwrap_or(streams.len());
        match streams.get_mut(number) {
            Some(used) => *used += 1,
            None => streams.push(1),
        }
        StreamSlot { connections: Arc::clone(self), purpose, number }
    }

    fn shared_channel(&self, server: &Arc<str>, purpose: Purpose, number: usize) -> Result<Channel, ConnectError> {
        let key = (Arc::clone(server), purpose, number);
        let mut pool = self.pool.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(channel) = pool.channels.get(&key) {
            return Ok(channel.clone());
        }
        let channel = endpoint(server, self.connect_timeout)?.connect_lazy();
        pool.channels.insert(key, channel.clone());
        Ok(channel)
    }
}

/// The right to run one stream, on a connection with few enough others.
#[derive(Debug)]
pub(crate) struct StreamSlot {
    connections: Arc<Connections>,
    purpose: Purpose,
    number: usize,
}

impl StreamSlot {
    /// The connection to `server` that this stream belongs on.
    pub(crate) fn channel(&self, server: &Arc<str>) -> Result<Channel, ConnectError> {
        self.connections.shared_channel(server, self.purpose, self.number)
    }
}

impl Drop for StreamSlot {
    fn drop(&mut self) {
        let mut pool = self.connections.pool.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(used) = pool.streams(self.purpose).get_mut(self.number) {
            *used = used.saturating_sub(1);
        }
    }
}

/// The settings of a connection to `HOST:PORT`.
pub(crate) fn endpoint(server: &str, connect_timeout: Duration) -> Result<Endpoint, ConnectError> {
    let invalid = || ConnectError::InvalidAddress { address: server.to_owned() };
    let uri = format!("http://{server}").parse::<tonic::transport::Uri>().map_err(|_| invalid())?;
    // More than HOST:PORT is somebody's mistake; and port 80 is never what was meant by none.
    if uri.port().is_none()
        || uri.path() != "/"
        || uri.authority().is_none_or(|host| host.as_str() != server)
        || server.contains('@')
    {
        return Err(invalid());
    }
    Ok(Endpoint::from(uri)
        .connect_timeout(connect_timeout)
        .tcp_nodelay(true)
        .initial_stream_window_size(WINDOW_BYTES)
        .initial_connection_window_size(WINDOW_BYTES)
        .max_frame_size(FRAME_BYTES_MAX)
        .http2_keep_alive_interval(KEEP_ALIVE_INTERVAL)
        .keep_alive_timeout(KEEP_ALIVE_TIMEOUT)
        .keep_alive_while_idle(true))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn connections(servers: &[&str]) -> Result<Connections, ConnectError> {
        let servers: Vec<String> = servers.iter().map(|server| (*server).to_owned()).collect();
        Connections::new(&servers, Duration::from_secs(1))
    }

    #[test]
    fn an_address_is_a_host_and_a_port_and_nothing_else() {
        for good in ["127.0.0.1:7400", "localhost:7400", "[::1]:7400", "node-1.example.org:80"] {
            assert!(connections(&[good]).is_ok(), "{good}");
        }
        for bad in ["", "localhost", "http://localhost:7400", "localhost:7400/x", "a b:1", "host:port", "user@host:1"] {
            assert!(matches!(connections(&[bad]), Err(ConnectError::InvalidAddress { .. })), "{bad}");
        }
        assert!(matches!(connections(&[]), Err(ConnectError::NoServers)));
    }

    #[test]
    fn a_failed_server_is_left_once_however_many_notice() {
        let connections = connections(&["a:1", "b:1"]).unwrap();
        assert_eq!(&*connections.current(), "a:1");
        connections.rotate("a:1");
        connections.rotate("a:1");
        assert_eq!(&*connections.current(), "b:1");
        connections.rotate("b:1");
        assert_eq!(&*connections.current(), "a:1");
    }

    #[test]
    fn what_the_cluster_tells_is_tried_after_what_was_named() {
        let connections = connections(&["a:1", "b:1"]).unwrap();
        connections.rotate("a:1");
        connections.learn(["c:1".to_owned(), "b:1".to_owned(), "not an address".to_owned()]);
        assert_eq!((&*connections.current(), connections.server_count()), ("b:1", 3), "the one in use stays in use");
        connections.rotate("b:1");
        assert_eq!(&*connections.current(), "c:1");
        connections.learn(["d:1".to_owned()]);
        assert_eq!(&*connections.current(), "a:1", "one that is gone from the cluster is left");
    }

    #[test]
    fn streams_share_connections_up_to_the_cap_and_give_their_place_back() {
        let connections = Arc::new(connections(&["a:1"]).unwrap());
        let mut slots: Vec<StreamSlot> =
            (0..STREAMS_PER_CONNECTION).map(|_| connections.slot(Purpose::Produce)).collect();
        assert!(slots.iter().all(|slot| slot.number == 0));
        assert_eq!(connections.slot(Purpose::Produce).number, 1);
        assert_eq!(connections.slot(Purpose::Read).number, 0, "counted apart");
        slots.pop();
        assert_eq!(connections.slot(Purpose::Produce).number, 0);
    }
}
