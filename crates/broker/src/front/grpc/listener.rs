//! The listener of the gRPC API: accepts connections, and serves them with windows that fit a budget.
//!
//! Owns: the settings of HTTP/2, the number of connections, and what the network may buffer for each.
//!
//! Why windows come in classes: one connection needs a window of 16 MiB to move gigabytes a second, and a window is a
//! promise to take that many bytes. Promised to every one of thousands of connections it would be more than any machine
//! has (P7). So the first connections get large windows while the budget lasts, the next smaller ones, and when not even
//! the smallest is left, a connection is closed at once.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use tonic::service::Routes;
use tonic::transport::Server;

use super::connection::Connection;
use crate::admission::{ByteBudget, BytePermit};
use crate::shutdown::Shutdown;

/// The windows that connections may have, the largest first, each with the share of the budget that it leaves alone.
const WINDOWS: [Window; 3] = [
    Window { bytes: 16 << 20, leaves_one_in: 4 },
    Window { bytes: 1 << 20, leaves_one_in: 16 },
    Window { bytes: 64 << 10, leaves_one_in: usize::MAX },
];
/// Large frames cost less each; measured, they double what one connection moves.
const FRAME_BYTES_MAX: u32 = 1 << 20;
const HEADER_LIST_BYTES_MAX: u32 = 16 << 10;
/// A silent peer is asked after this time whether it is there, and given as long to answer.
const KEEPALIVE: Duration = Duration::from_secs(20);
/// How long a new connection may take to open HTTP/2.
const OPENING_PATIENCE: Duration = Duration::from_secs(10);
/// Streams that a client resets before we have looked at them, per connection (rapid reset).
const RESETS_PENDING_MAX: usize = 20;
/// How long to leave the system alone when it has no more files or memory for a connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Connections that were accepted and wait to be served.
const HANDOVER_CONNECTIONS: usize = 16;

#[derive(Clone, Copy, Debug)]
struct Window {
    bytes: u32,
    /// Taken only while more than this part of the budget is free, so that the smaller ones find some.
    leaves_one_in: usize,
}

/// What bounds the connections.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ListenerLimits {
    /// Connections at a time.
    pub(crate) connections: usize,
    /// Calls at a time on one connection.
    pub(crate) streams_per_connection: u32,
    /// Bytes of receive windows of all connections together.
    pub(crate) window_bytes: usize,
}

/// The address cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on grpc.listen = {address}: {source}")]
pub struct BindError {
    /// The address.
    pub address: SocketAddr,
    /// What the system said.
    pub source: io::Error,
}

/// A bound address, not served yet.
#[derive(Debug)]
pub(crate) struct Listener {
    listener: TcpListener,
    address: SocketAddr,
    limits: ListenerLimits,
}

/// The tasks that serve. Dropping it stops them without waiting.
#[derive(Debug)]
pub(crate) struct Serving(JoinSet<()>);

impl Listener {
    /// Takes the address; clients that connect now wait.
    pub(crate) async fn bind(address: SocketAddr, limits: ListenerLimits) -> Result<Self, BindError> {
        let failed = |source| BindError { address, source };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        Ok(Self { listener, address, limits })
    }

    /// The address with the port that it really has.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `shutdown` is requested; then nothing more is accepted, and calls under way may end.
    pub(crate) fn serve(self, routes: &Routes, shutdown: &Shutdown) -> Serving {
        let mut tasks = JoinSet::new();
        let senders = WINDOWS.map(|window| {
            let (sender, connections) = mpsc::channel::<Connection>(HANDOVER_CONNECTIONS);
            let incoming = ReceiverStream::new(connections).map(Ok::<_, io::Error>);
            let server = server(window, self.limits.streams_per_connection);
            let serving = server.serve_with_incoming_shutdown(routes.clone(), incoming, shutdown.requested());
            tasks.spawn(async move {
                if let Err(error) = serving.await {
                    tracing::error!(%error, "the gRPC server stopped");
                }
            });
            (window, sender)
        });
        let accept = Accept {
            listener: self.listener,
            places: Arc::new(Semaphore::new(self.limits.connections)),
            windows: ByteBudget::new(self.limits.window_bytes),
            senders,
        };
        let requested = shutdown.requested();
        tasks.spawn(async move {
            tokio::select! {
                () = requested => {},
                () = accept.run() => {},
            }
        });
        Serving(tasks)
    }
}

impl Serving {
    /// Waits until every connection is closed.
    pub(crate) async fn ended(&mut self) {
        while self.0.join_next().await.is_some() {}
    }
}

fn server(window: Window, streams: u32) -> Server {
    Server::builder()
        .initial_connection_window_size(window.bytes)
        .initial_stream_window_size(window.bytes)
        .max_frame_size(FRAME_BYTES_MAX)
        .max_concurrent_streams(streams)
        .http2_adaptive_window(Some(false))
        .http2_keepalive_interval(Some(KEEPALIVE))
        .http2_keepalive_timeout(Some(KEEPALIVE))
        .http2_max_header_list_size(HEADER_LIST_BYTES_MAX)
        .http2_max_pending_accept_reset_streams(Some(RESETS_PENDING_MAX))
}

/// The accept loop.
struct Accept {
    listener: TcpListener,
    places: Arc<Semaphore>,
    windows: ByteBudget,
    senders: [(Window, mpsc::Sender<Connection>); WINDOWS.len()],
}

impl Accept {
    async fn run(self) {
        loop {
            match self.listener.accept().await {
                Ok((stream, peer)) => self.admit(stream, peer).await,
                Err(error) => {
                    // Too many open files and the like: what is open may close, so go on after a while.
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    async fn admit(&self, stream: TcpStream, peer: SocketAddr) {
        let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else {
            tracing::warn!(%peer, "a connection was closed: limits.connections are open already");
            return;
        };
        let Some((permit, sender)) = self.window() else {
            tracing::warn!(%peer, "a connection was closed: no memory is left for its window, see limits.memory_bytes");
            return;
        };
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%peer, %error, "a connection broke while it was accepted");
            return;
        }
        let connection = Connection::new(stream, peer, OPENING_PATIENCE, place, permit);
        // Nobody receives only when the server stops, and then the connection is to be closed.
        let _closed = sender.send(connection).await;
    }

    /// The largest window that there is room for.
    fn window(&self) -> Option<(BytePermit, &mpsc::Sender<Connection>)> {
        self.senders.iter().find_map(|(window, sender)| {
            let bytes = usize::try_from(window.bytes).ok()?;
            let spare = self.windows.total() / window.leaves_one_in;
            let permit = if self.windows.available() >= bytes.saturating_add(spare) {
                self.windows.try_acquire(bytes)
            } else {
                None
            };
            permit.map(|permit| (permit, sender))
        })
    }
}
