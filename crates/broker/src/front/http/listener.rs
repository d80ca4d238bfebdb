//! The listener of the HTTP front: accepts connections, each for one request.
//!
//! Owns: the bounds of what a stranger may hold: connections, bytes of a head, and time.
//!
//! Why one request a connection: who asks comes every few seconds at the most, and a connection that is not kept needs no
//! rule for how long it may be silent. It has one deadline, whatever it does.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1::Builder;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::pages;
use crate::shutdown::Shutdown;

/// Connections at a time. More are closed at once.
const CONNECTIONS_MAX: usize = 64;
/// How long a client may take to send the head of its request.
const HEAD_PATIENCE: Duration = Duration::from_secs(5);
/// How long a connection may last in all.
const CONNECTION_PATIENCE: Duration = Duration::from_secs(30);
const HEAD_BYTES_MAX: usize = 16 << 10;
const HEADERS_MAX: usize = 64;
/// How long to leave the system alone when it has no more files or memory for a connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The address cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on http.listen = {address}: {source}")]
pub struct BindError {
    /// The address.
    pub address: SocketAddr,
    /// What the system said.
    pub source: io::Error,
}

/// A bound address, not served yet.
#[derive(Debug)]
pub(super) struct Listener {
    listener: TcpListener,
    address: SocketAddr,
}

/// The task that serves. Dropping it stops it, and its connections, without waiting.
#[derive(Debug)]
pub(super) struct Serving(JoinSet<()>);

impl Listener {
    /// Takes the address.
    pub(super) async fn bind(address: SocketAddr) -> Result<Self, BindError> {
        let failed = |source| BindError { address, source };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        Ok(Self { listener, address })
    }

    /// The address with the port that it really has.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `stop` is requested; then nothing more is accepted, and requests under way may end.
    pub(super) fn serve(self, pages: Router, stop: &Shutdown) -> Serving {
        let mut task = JoinSet::new();
        task.spawn(accept(self.listener, pages, stop.clone()));
        Serving(task)
    }
}

impl Serving {
    /// Waits until every connection is closed.
    pub(super) async fn ended(&mut self) {
        while self.0.join_next().await.is_some() {}
    }
}

async fn accept(listener: TcpListener, pages: Router, stop: Shutdown) {
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            biased;
            () = stop.requested() => break,
            Some(_ended) = connections.join_next() => continue,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((_, from)) if connections.len() >= CONNECTIONS_MAX => {
                tracing::warn!(%from, "an HTTP connection was closed: {CONNECTIONS_MAX} are open already");
            }
            Ok((stream, from)) => {
                connections.spawn(connection(stream, from, pages.clone(), stop.clone()));
            }
            Err(error) => {
                tracing::warn!(%error, "an HTTP connection could not be accepted");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

/// Answers one request, unless it does not come.
async fn connection(stream: TcpStream, from: SocketAddr, pages: Router, stop: Shutdown) {
    let service = service_fn(move |request| {
        let pages = pages.clone();
        async move { Ok::<_, Infallible>(pages::answer(pages, request).await) }
    });
    let serving = Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_PATIENCE)
        .max_buf_size(HEAD_BYTES_MAX)
        .max_headers(HEADERS_MAX)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service);
    let mut serving = pin!(serving);
    let until_stop = async {
        tokio::select! {
            ended = serving.as_mut() => return ended,
            () = stop.requested() => serving.as_mut().graceful_shutdown(),
        }
        serving.await
    };
    match timeout(CONNECTION_PATIENCE, until_stop).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%from, %error, "an HTTP connection ended"),
        Err(_) => tracing::debug!(%from, "an HTTP connection took too long and was closed"),
    }
}
