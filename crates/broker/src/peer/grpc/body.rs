//! Frames as the messages of an HTTP/2 body, and back.

use std::collections::VecDeque;
use std::error::Error;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use tokio::sync::mpsc;
use tonic::Status;
use tonic::codegen::http::HeaderMap;

use super::FRAME_BYTES_MAX;
use crate::peer::frame::Frame;

/// The length of gRPC's own header of a message: a flag and a length.
const MESSAGE_HEADER_BYTES: usize = 5;
/// A first piece shorter than this is copied behind the header, which would else be a frame of HTTP/2 by itself.
const JOINED_BYTES_MAX: usize = 16 * 1024;

/// A body that is what comes out of a channel, frame by frame; it is polled only while the connection takes more.
pub(super) struct Outgoing {
    frames: mpsc::Receiver<Frame>,
    pieces: VecDeque<Bytes>,
    /// The answer to a call ends with a status, a call does not.
    has_trailers: bool,
    is_ended: bool,
}

impl Outgoing {
    pub(super) const fn new(frames: mpsc::Receiver<Frame>, has_trailers: bool) -> Self {
        Self { frames, pieces: VecDeque::new(), has_trailers, is_ended: false }
    }

    fn begin(&mut self, frame: Frame) {
        let mut header = BytesMut::with_capacity(MESSAGE_HEADER_BYTES);
        header.put_u8(0);
        // Links bound their frames far below 4 GiB.
        header.put_u32(u32::try_from(frame.len()).unwrap_or(u32::MAX));
        self.pieces.extend(frame.into_pieces());
        if self.pieces.front().is_some_and(|first| first.len() <= JOINED_BYTES_MAX)
            && let Some(first) = self.pieces.pop_front()
        {
            header.extend_from_slice(&first);
        }
        self.pieces.push_front(header.freeze());
    }
}

impl http_body::Body for Outgoing {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, Status>>> {
        if self.is_ended {
            return Poll::Ready(None);
        }
        if self.pieces.is_empty() {
            match ready!(self.frames.poll_recv(context)) {
                Some(frame) => self.begin(frame),
                None => {
                    self.is_ended = true;
                    let mut trailers = HeaderMap::new();
                    let status = Status::ok("").add_header(&mut trailers);
                    return Poll::Ready(
                        self.has_trailers.then(|| status.map(|()| http_body::Frame::trailers(trailers))),
                    );
                }
            }
        }
        Poll::Ready(self.pieces.pop_front().map(|piece| Ok(http_body::Frame::data(piece))))
    }
}

/// Reads frames from a body.
pub(super) struct Incoming<B> {
    body: B,
    came: VecDeque<Bytes>,
    bytes: usize,
}

impl<B> Incoming<B>
where
    B: http_body::Body<Data = Bytes> + Unpin,
    B::Error: Error,
{
    pub(super) const fn new(body: B) -> Self {
        Self { body, came: VecDeque::new(), bytes: 0 }
    }

    /// The next frame; none at the end. In words, what is wrong.
    pub(super) async fn next(&mut self) -> Result<Option<Frame>, String> {
        if !self.gather(MESSAGE_HEADER_BYTES).await? {
            return Ok(None);
        }
        let mut header = Bytes::from(self.take(MESSAGE_HEADER_BYTES).into_pieces().concat());
        let (flag, length) = (header.get_u8(), header.get_u32() as usize);
        if flag != 0 || length > FRAME_BYTES_MAX {
            return Err(format!("it sent a message of {length} bytes with flag {flag}, which no node does"));
        }
        if !self.gather(length).await? {
            return Err("it ended inside a message".to_owned());
        }
        Ok(Some(self.take(length)))
    }

    /// Waits until so many bytes are here; false when the body ends before.
    async fn gather(&mut self, bytes: usize) -> Result<bool, String> {
        while self.bytes < bytes {
            match poll_fn(|context| Pin::new(&mut self.body).poll_frame(context)).await {
                None => return Ok(false),
                Some(Err(error)) => return Err(words(&error)),
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        self.bytes += data.len();
                        self.came.push_back(data);
                    }
                }
            }
        }
        Ok(true)
    }

    fn take(&mut self, bytes: usize) -> Frame {
        let mut frame = Frame::default();
        while frame.len() < bytes
            && let Some(mut piece) = self.came.pop_front()
        {
            frame.push(piece.split_to(piece.len().min(bytes - frame.len())));
            if !piece.is_empty() {
                self.came.push_front(piece);
            }
        }
        self.bytes -= frame.len();
        frame
    }
}

/// Hands frames on until either side is gone; `held` is dropped then.
pub(super) async fn hand_on<B, T>(mut incoming: Incoming<B>, frames: mpsc::Sender<Result<Frame, String>>, held: T)
where
    B: http_body::Body<Data = Bytes> + Unpin,
    B::Error: Error,
{
    let _held = held;
    loop {
        let came = tokio::select! {
            biased;
            () = frames.closed() => return,
            came = incoming.next() => came,
        };
        let Some(came) = came.transpose() else { return };
        let is_over = came.is_err();
        if frames.send(came).await.is_err() || is_over {
            return;
        }
    }
}

/// An error with its causes: hyper's own words are few.
pub(super) fn words(error: &dyn Error) -> String {
    let mut words = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        words.push_str(": ");
        words.push_str(&error.to_string());
        cause = error.source();
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn frames_come_out_as_they_went_in() {
        let (sender, frames) = mpsc::channel(8);
        let sizes = [0_usize, 1, 5, 20_000, 3_000_000, 16 * 1024];
        for size in sizes {
            let mut frame = Frame::from(Bytes::from(vec![1; size / 2]));
            frame.push(Bytes::from(vec![2; size - size / 2]));
            sender.send(frame).await.unwrap();
        }
        drop(sender);
        let mut incoming = Incoming::new(Outgoing::new(frames, true));
        for size in sizes {
            let frame = incoming.next().await.unwrap().unwrap();
            assert_eq!(frame.len(), size);
            assert!(frame.into_pieces().concat().iter().skip(size / 2).all(|byte| *byte == 2));
        }
        assert_eq!(incoming.next().await, Ok(None));
    }

    #[tokio::test]
    async fn what_no_node_sends_is_refused() {
        for bytes in [&b"\x01\0\0\0\0"[..], b"\0\xff\xff\xff\xff", b"\0\0\0\0\x09short", b"GET /"] {
            let body = tonic::body::Body::new(Whole(Some(Bytes::from_static(bytes))));
            assert!(Incoming::new(body).next().await.is_err(), "{bytes:?}");
        }
    }

    struct Whole(Option<Bytes>);

    impl http_body::Body for Whole {
        type Data = Bytes;
        type Error = Status;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<http_body::Frame<Bytes>, Status>>> {
            Poll::Ready(self.0.take().map(|bytes| Ok(http_body::Frame::data(bytes))))
        }
    }
}
