//! The answer to a call: pieces of encoded messages, then trailers with the status.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_util::stream::{self, Stream, StreamExt};
use highwater_types::ErrorCode;
use http_body::Frame;
use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::http;

use crate::front::failure::Failure;
use crate::front::grpc::error::status_of;
use crate::shutdown::Shutdown;

/// Answers of a stream that wait for the connection: one is on its way while the next is made.
const ANSWERS_WAITING_MAX: usize = 1;

/// A response body: what the stream yields, as it yields it. The stream is polled only when the connection takes more,
/// so a client that does not read stops it without any queue in between.
struct Reply {
    pieces: Pin<Box<dyn Stream<Item = Result<Bytes, Failure>> + Send>>,
    is_ended: bool,
}

impl http_body::Body for Reply {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if self.is_ended {
            return Poll::Ready(None);
        }
        let status = match ready!(self.pieces.poll_next_unpin(context)) {
            Some(Ok(piece)) => return Poll::Ready(Some(Ok(Frame::data(piece)))),
            Some(Err(failure)) => status_of(failure),
            None => Status::ok(""),
        };
        self.is_ended = true;
        let mut trailers = http::HeaderMap::new();
        Poll::Ready(Some(status.add_header(&mut trailers).map(|()| Frame::trailers(trailers))))
    }

    fn is_end_stream(&self) -> bool {
        self.is_ended
    }
}

/// Answers with a stream of pieces, which make up whole messages; it ends well, or with a failure.
fn streamed(pieces: impl Stream<Item = Result<Bytes, Failure>> + Send + 'static) -> http::Response<Body> {
    let mut response = http::Response::new(Body::new(Reply { pieces: Box::pin(pieces), is_ended: false }));
    let content_type = http::HeaderValue::from_static("application/grpc");
    response.headers_mut().insert(http::header::CONTENT_TYPE, content_type);
    response
}

/// The way of a stream's answers to its client.
#[derive(Debug)]
pub(crate) struct Answers(mpsc::Sender<Vec<Bytes>>);

/// Room for one answer.
#[derive(Debug)]
pub(crate) struct Turn<'a>(mpsc::Permit<'a, Vec<Bytes>>);

impl Turn<'_> {
    /// Hands on the pieces of an answer.
    pub(crate) fn send(self, pieces: Vec<Bytes>) {
        self.0.send(pieces);
    }
}

/// The client is gone; nobody waits for answers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Gone;

impl Answers {
    /// Hands on the pieces of an answer; waits while the client does not read.
    pub(crate) async fn send(&self, pieces: Vec<Bytes>) -> Result<(), Gone> {
        self.0.send(pieces).await.map_err(|_| Gone)
    }

    /// Waits until an answer would be taken at once.
    pub(crate) async fn ready(&self) -> Result<Turn<'_>, Gone> {
        self.0.reserve().await.map(Turn).map_err(|_| Gone)
    }

    /// Resolves when the client is gone.
    pub(crate) async fn gone(&self) {
        self.0.closed().await;
    }
}

/// Answers with what a session sends; its end is the end of the call.
///
/// The session is a task of its own, because the connection polls an answer only while the client takes it: a session
/// that was polled by it could not give up on a client that does not, and would keep what it holds for ever.
pub(crate) fn answered_by<F>(tasks: &Shutdown, session: impl FnOnce(Answers) -> F) -> http::Response<Body>
where
    F: Future<Output = Result<(), Failure>> + Send + 'static,
{
    let (sender, pieces) = mpsc::channel(ANSWERS_WAITING_MAX);
    let (ends, end) = oneshot::channel();
    let session = session(Answers(sender));
    tasks.spawn(async move {
        // When the client is gone nobody wants to know how it ended.
        let _gone = ends.send(session.await);
    });
    let answers = ReceiverStream::new(pieces).flat_map(|pieces| stream::iter(pieces.into_iter().map(Ok)));
    let end = stream::once(end).filter_map(async |ended| match ended {
        Ok(result) => result.err().map(Err),
        Err(_) => Some(Err(Failure::new(ErrorCode::Internal, "the stream was broken off by a bug of the server"))),
    });
    streamed(answers.chain(end))
}

/// Answers with one message, in pieces, or a failure.
pub(crate) fn single(result: Result<Vec<Bytes>, Failure>) -> http::Response<Body> {
    match result {
        Ok(pieces) => streamed(stream::iter(pieces.into_iter().map(Ok))),
        Err(failure) => failed(failure),
    }
}

/// Answers with a failure and nothing else.
fn failed(failure: Failure) -> http::Response<Body> {
    status_of(failure).into_http()
}

/// The answer to what is no gRPC call with messages of protobuf; nothing when it is one.
pub(crate) fn not_a_call<B>(request: &http::Request<B>) -> Option<http::Response<Body>> {
    let content_type = request.headers().get(http::header::CONTENT_TYPE).map_or(&[][..], http::HeaderValue::as_bytes);
    let parameters = content_type.iter().position(|byte| *byte == b';').unwrap_or(content_type.len());
    let (content_type, _parameters) = content_type.split_at(parameters);
    let status = match content_type.trim_ascii_end() {
        b"application/grpc" | b"application/grpc+proto" if request.method() == http::Method::POST => return None,
        b"application/grpc" | b"application/grpc+proto" => http::StatusCode::METHOD_NOT_ALLOWED,
        _ => http::StatusCode::UNSUPPORTED_MEDIA_TYPE,
    };
    let mut response = http::Response::new(Body::empty());
    *response.status_mut() = status;
    Some(response)
}

/// Answers a call of something that this service does not have.
pub(crate) fn unknown_method(path: &str) -> http::Response<Body> {
    Status::unimplemented(format!("no method {path}")).into_http()
}
