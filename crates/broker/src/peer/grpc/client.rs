//! The side that dials.

use std::future::Future;

use hyper::body::Incoming as HyperBody;
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tonic::Status;
use tonic::codegen::http::{Request, Response, header};

use super::body::{Incoming, Outgoing, hand_on, words};
use super::{BULK_PATH, CONNECTION_WINDOW_BYTES, FRAMES_WAITING, HTTP_FRAME_BYTES_MAX, LANE_WINDOW_BYTES, URGENT_PATH};
use crate::peer::error::PeerError;
use crate::peer::frame::Frame;
use crate::peer::hello::{self, Hello, Refusal};
use crate::peer::transport::{Dialing, Link, Pipe, Transport};

/// Dials other nodes over gRPC.
#[derive(Clone, Copy, Debug, Default)]
pub struct GrpcTransport;

impl Transport for GrpcTransport {
    fn dial(&self, address: &str, ours: Hello) -> Dialing {
        Box::pin(dial(address.to_owned(), ours))
    }
}

/// The connection's own task, which ends with the link.
struct Connection(JoinHandle<()>);

impl Drop for Connection {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn dial(address: String, ours: Hello) -> Result<Link, PeerError> {
    let unreachable = |reason: String| PeerError::Unreachable { address: address.clone(), reason };
    let stream = TcpStream::connect(&address).await.map_err(|error| unreachable(error.to_string()))?;
    stream.set_nodelay(true).map_err(|error| unreachable(error.to_string()))?;
    let (mut requests, connection) = Builder::new(TokioExecutor::new())
        .initial_stream_window_size(LANE_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_frame_size(HTTP_FRAME_BYTES_MAX)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(|error| unreachable(words(&error)))?;
    let connection = Connection(tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(error = words(&error), "a connection to a node ended");
        }
    }));
    let (urgent, greeting, response) = call(&mut requests, URGENT_PATH, &address);
    greeting.send(hello::encode(&ours)).await.map_err(|_| unreachable("it hung up".to_owned()))?;
    let (mut incoming, to_peer) = (answered(response.await, &address)?, urgent);
    let first = incoming.next().await.map_err(&unreachable)?;
    let first = first.ok_or_else(|| unreachable("it hung up without a greeting".to_owned()))?;
    let theirs = hello::decode(first).map_err(|refusal| PeerError::Refused { address: address.clone(), refusal })?;
    let (frames, from_peer) = mpsc::channel(FRAMES_WAITING);
    // When the link lets go of its urgent lane, the connection goes, and with it everything else.
    tokio::spawn(hand_on(incoming, frames, connection));
    let urgent = Pipe { to_peer, from_peer };

    let (to_peer, _, response) = call(&mut requests, BULK_PATH, &address);
    let incoming = answered(response.await, &address)?;
    let (frames, from_peer) = mpsc::channel(FRAMES_WAITING);
    tokio::spawn(hand_on(incoming, frames, requests));
    Ok(Link { theirs, urgent, bulk: Pipe { to_peer, from_peer } })
}

type Answering = Result<Response<HyperBody>, String>;

/// Opens a call: twice the way to send on it, and its answer.
fn call(
    requests: &mut SendRequest<Outgoing>,
    path: &str,
    address: &str,
) -> (mpsc::Sender<Frame>, mpsc::Sender<Frame>, impl Future<Output = Answering> + use<>) {
    let (to_peer, frames) = mpsc::channel(FRAMES_WAITING);
    let request = Request::post(format!("http://{address}{path}"))
        .header(header::CONTENT_TYPE, "application/grpc")
        .header(header::TE, "trailers")
        .body(Outgoing::new(frames, false));
    let response = request.map(|request| requests.send_request(request));
    let answering = async move {
        match response {
            Ok(response) => response.await.map_err(|error| words(&error)),
            Err(error) => Err(error.to_string()),
        }
    };
    (to_peer.clone(), to_peer, answering)
}

/// What was answered, unless it is a refusal or no answer of gRPC.
fn answered(response: Answering, address: &str) -> Result<Incoming<HyperBody>, PeerError> {
    let unreachable = |reason: String| PeerError::Unreachable { address: address.to_owned(), reason };
    let response = response.map_err(unreachable)?;
    if let Some(status) = Status::from_header_map(response.headers()) {
        let refusal = Refusal::Theirs { words: status.message().to_owned() };
        return Err(PeerError::Refused { address: address.to_owned(), refusal });
    }
    if response.status() != 200 {
        return Err(unreachable(format!("it is no node of Highwater: it answered {}", response.status())));
    }
    Ok(Incoming::new(response.into_body()))
}
