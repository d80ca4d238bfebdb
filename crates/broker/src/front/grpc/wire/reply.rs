//! The answer to a call: pieces of encoded messages, then trailers with the status.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_util::stream::{self, Stream, StreamExt};
use http_body::Frame;
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::http;

use crate::front::failure::Failure;
use crate::front::grpc::error::status_of;

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
pub(crate) fn streamed(pieces: impl Stream<Item = Result<Bytes, Failure>> + Send + 'static) -> http::Response<Body> {
    let mut response = http::Response::new(Body::new(Reply { pieces: Box::pin(pieces), is_ended: false }));
    let content_type = http::HeaderValue::from_static("application/grpc");
    response.headers_mut().insert(http::header::CONTENT_TYPE, content_type);
    response
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

/// Answers a call of something that this service does not have.
pub(crate) fn unknown_method(path: &str) -> http::Response<Body> {
    Status::unimplemented(format!("no method {path}")).into_http()
}
