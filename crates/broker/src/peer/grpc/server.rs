//! The side that is dialed.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hyper::body::Incoming as HyperBody;
use hyper::server::conn::http2::Builder;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::time::{sleep, timeout};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::http::{HeaderValue, Request, Response, header};

use super::body::{Incoming, Outgoing, hand_on, words};
use super::{
    BULK_PATH, CONNECTION_WINDOW_BYTES, FRAMES_WAITING, GREETING_PATIENCE, HTTP_FRAME_BYTES_MAX, LANE_WINDOW_BYTES,
    URGENT_PATH,
};
use crate::peer::hello::{self, Hello};
use crate::peer::transport::{Accept, Link, Pipe};

/// Connections of other nodes at a time.
const CONNECTIONS_MAX: usize = 256;
/// How long to leave the system alone when it has no more files or memory for a connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
const HEADER_LIST_BYTES_MAX: u32 = 16 << 10;

/// A bound address between nodes, not served yet.
#[derive(Debug)]
pub struct PeerListener {
    listener: TcpListener,
    address: SocketAddr,
}

impl PeerListener {
    /// Takes the address; nodes that connect now wait.
    ///
    /// # Errors
    /// What the system says.
    pub async fn bind(address: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        Ok(Self { listener, address })
    }

    /// The address with the port that it really has.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }
}

/// Serves other nodes until `stop` is cancelled; then every connection is gone when this returns.
pub async fn serve(listener: PeerListener, accept: Arc<dyn Accept>, stop: CancellationToken) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let connections = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            biased;
            () = stop.cancelled() => break,
            accepted = listener.listener.accept() => accepted,
        };
        let (stream, from) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "a node could not be let in");
                sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
            tracing::warn!(%from, "more than {CONNECTIONS_MAX} connections from other nodes: this one is closed");
            continue;
        };
        let (accept, stop) = (Arc::clone(&accept), stop.child_token());
        connections.spawn(async move {
            let _place = place;
            connection(stream, from, accept, stop).await;
        });
    }
    connections.close();
    connections.wait().await;
}

/// Serves one connection until it ends, its link is let go of, or it does not greet in time.
async fn connection(stream: TcpStream, from: SocketAddr, accept: Arc<dyn Accept>, stop: CancellationToken) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%from, %error, "a connection was gone at once");
        return;
    }
    let (greeted, mut is_greeted) = watch::channel(false);
    let calls = Arc::new(Calls { accept, stop: stop.clone(), greeted, opened: Mutex::new(None) });
    let service = service_fn(move |request| {
        let calls = Arc::clone(&calls);
        async move { Ok::<_, Infallible>(calls.answer(request).await) }
    });
    let serving = Builder::new(TokioExecutor::new())
        .initial_stream_window_size(LANE_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_frame_size(HTTP_FRAME_BYTES_MAX)
        .max_header_list_size(HEADER_LIST_BYTES_MAX)
        // Two lanes, and room for those that were just given up.
        .max_concurrent_streams(8)
        .serve_connection(TokioIo::new(stream), service);
    let greeting = async {
        if timeout(GREETING_PATIENCE, is_greeted.wait_for(|greeted| *greeted)).await.is_ok() {
            std::future::pending::<()>().await;
        }
    };
    tokio::select! {
        biased;
        () = stop.cancelled() => {}
        () = greeting => tracing::warn!(%from, "a connection that did not greet was closed"),
        ended = serving => if let Err(error) = ended {
            tracing::debug!(%from, error = words(&error), "a connection from a node ended");
        },
    }
}

/// The calls of one connection.
struct Calls {
    accept: Arc<dyn Accept>,
    stop: CancellationToken,
    greeted: watch::Sender<bool>,
    /// The urgent lane, while the other one is awaited.
    opened: Mutex<Option<(Hello, Pipe)>>,
}

impl Calls {
    async fn answer(&self, request: Request<HyperBody>) -> Response<Body> {
        let answered = match request.uri().path() {
            URGENT_PATH => self.greet(request).await,
            BULK_PATH => self.complete(request),
            path => Err(Status::unimplemented(format!("no method {path}; clients use another port"))),
        };
        answered.unwrap_or_else(Status::into_http)
    }

    /// The urgent lane opens with the greeting.
    async fn greet(&self, request: Request<HyperBody>) -> Result<Response<Body>, Status> {
        let mut incoming = Incoming::new(request.into_body());
        let first = incoming.next().await.map_err(Status::invalid_argument)?;
        let theirs = hello::decode(first.unwrap_or_default());
        let greeted = theirs.and_then(|theirs| self.accept.greet(&theirs).map(|ours| (theirs, ours)));
        let (theirs, ours) = greeted.map_err(|refusal| {
            tracing::warn!(%refusal, "a node was refused");
            Status::permission_denied(refusal.to_string())
        })?;
        let (to_peer, response) = respond();
        // The channel is new: it has room.
        let _ = to_peer.try_send(hello::encode(&ours));
        let from_peer = receive(incoming, self.stop.clone().drop_guard());
        *self.opened.lock().unwrap_or_else(PoisonError::into_inner) = Some((theirs, Pipe { to_peer, from_peer }));
        Ok(response)
    }

    fn complete(&self, request: Request<HyperBody>) -> Result<Response<Body>, Status> {
        let opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner).take();
        let (theirs, urgent) = opened.ok_or_else(|| Status::failed_precondition("the urgent lane comes first"))?;
        let (to_peer, response) = respond();
        let from_peer = receive(Incoming::new(request.into_body()), self.stop.clone().drop_guard());
        self.greeted.send_replace(true);
        self.accept.accept(Link { theirs, urgent, bulk: Pipe { to_peer, from_peer } });
        Ok(response)
    }
}

/// An answer whose messages are what is sent.
fn respond() -> (mpsc::Sender<crate::peer::Frame>, Response<Body>) {
    let (to_peer, frames) = mpsc::channel(FRAMES_WAITING);
    let mut response = Response::new(Body::new(Outgoing::new(frames, true)));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    (to_peer, response)
}

/// Reads a lane until either side lets go of it, and then closes the connection.
fn receive(incoming: Incoming<HyperBody>, connection: DropGuard) -> mpsc::Receiver<Result<crate::peer::Frame, String>> {
    let (frames, from_peer) = mpsc::channel(FRAMES_WAITING);
    tokio::spawn(hand_on(incoming, frames, connection));
    from_peer
}
