//! One accepted connection, and what it holds of the node while it lasts.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Sleep, sleep};
use tonic::transport::server::Connected;

use crate::admission::BytePermit;

/// The opening of HTTP/2 and the first, empty settings: until so much has come, nobody pings the other side, so this
/// is where a client could sit silent for ever.
const OPENING_BYTES: usize = 24 + 9;

/// A connection. Gives back its place and its receive window when it is dropped.
#[derive(Debug)]
pub(super) struct Connection {
    stream: TcpStream,
    peer: SocketAddr,
    /// Until when the client must have opened, while it has not.
    opening: Option<Opening>,
    _place: OwnedSemaphorePermit,
    _window: BytePermit,
}

#[derive(Debug)]
struct Opening {
    bytes: usize,
    deadline: Pin<Box<Sleep>>,
}

impl Connection {
    pub(super) fn new(
        stream: TcpStream,
        peer: SocketAddr,
        opening_patience: Duration,
        place: OwnedSemaphorePermit,
        window: BytePermit,
    ) -> Self {
        let opening = Some(Opening { bytes: 0, deadline: Box::pin(sleep(opening_patience)) });
        Self { stream, peer, opening, _place: place, _window: window }
    }
}

impl Connected for Connection {
    type ConnectInfo = SocketAddr;

    fn connect_info(&self) -> SocketAddr {
        self.peer
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let this = &mut *self;
        let Some(opening) = &mut this.opening else {
            return Pin::new(&mut this.stream).poll_read(context, buffer);
        };
        if opening.deadline.as_mut().poll(context).is_ready() {
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client did not open HTTP/2 in time")));
        }
        ready!(Pin::new(&mut this.stream).poll_read(context, buffer))?;
        opening.bytes += buffer.filled().len() - before;
        if opening.bytes >= OPENING_BYTES {
            this.opening = None;
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

/// The host that a call comes from; empty when that is not known.
pub(super) fn peer_host<B>(request: &tonic::codegen::http::Request<B>) -> String {
    request.extensions().get::<SocketAddr>().map(|peer| peer.ip().to_string()).unwrap_or_default()
}
