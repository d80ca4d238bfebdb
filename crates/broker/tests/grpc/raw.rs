//! A client that sends whatever bytes it is told to, as a damaged or hostile one would.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::Frame;
use tokio::sync::mpsc;
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::{Service, http};
use tonic::transport::Channel;

/// The way into a request body that is open until this is dropped.
pub(crate) type Sender = mpsc::Sender<Bytes>;

struct Channelled(mpsc::Receiver<Bytes>);

impl http_body::Body for Channelled {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        self.0.poll_recv(context).map(|bytes| bytes.map(|bytes| Ok(Frame::data(bytes))))
    }
}

/// Starts a call with a body that is written by hand; resolves when the server answers with anything.
pub(crate) fn call(
    channel: &Channel,
    path: &str,
) -> (Sender, impl Future<Output = http::Response<Body>> + Send + use<>) {
    let (sender, receiver) = mpsc::channel(4);
    let request = http::Request::post(path)
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(Body::new(Channelled(receiver)))
        .unwrap();
    let mut channel = channel.clone();
    (sender, async move {
        std::future::poll_fn(|context| channel.poll_ready(context)).await.unwrap();
        channel.call(request).await.unwrap()
    })
}

/// A message behind its frame.
pub(crate) fn framed(message: &[u8]) -> Bytes {
    let mut bytes = vec![0];
    bytes.extend_from_slice(&u32::try_from(message.len()).unwrap().to_be_bytes());
    bytes.extend_from_slice(message);
    bytes.into()
}

/// How a call ended, once its answer is read to the end.
pub(crate) async fn ended(response: http::Response<Body>) -> Status {
    if let Some(status) = Status::from_header_map(response.headers()) {
        return status;
    }
    let mut body = response.into_body();
    loop {
        let frame = std::future::poll_fn(|context| http_body::Body::poll_frame(Pin::new(&mut body), context)).await;
        match frame {
            Some(Ok(frame)) => {
                if let Ok(trailers) = frame.into_trailers() {
                    return Status::from_header_map(&trailers).expect("trailers hold the status");
                }
            }
            Some(Err(status)) => return status,
            None => return Status::unknown("the answer ended without a status"),
        }
    }
}
