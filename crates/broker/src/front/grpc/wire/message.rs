//! The messages of a request body: each admitted by its length before its bytes are gathered.
//!
//! Invariants: nothing is handed out but whole messages, each with a permit for its bytes. A message whose bytes stop
//! coming is given up after a time, so that no client holds permits for ever. When the stream is dropped (the client
//! is gone), what was gathered and its permit go with it.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use futures_util::stream::{Stream, StreamExt, unfold};
use highwater_types::ErrorCode;
use http_body::Body as _;
use tokio::time::timeout;
use tonic::body::Body;

use super::FRAME_HEADER_BYTES;
use crate::admission::{ByteBudget, BytePermit};
use crate::front::failure::Failure;

/// What every message costs beside its bytes: the decoded request and its place in queues.
const MESSAGE_OVERHEAD_BYTES: usize = 1024;

/// So many bytes must come within the patience, or all that are missing.
const PROGRESS_BYTES: usize = 256 * 1024;

/// What bounds the messages of one request body.
#[derive(Clone, Debug)]
pub(crate) struct MessageLimits {
    /// Where the bytes are admitted.
    pub(crate) budget: ByteBudget,
    /// The largest message, in bytes.
    pub(crate) bytes_max: usize,
    /// How long the bytes of a message may stop coming.
    pub(crate) patience: Duration,
}

/// A whole message.
#[derive(Debug)]
pub(crate) struct Message {
    /// Its bytes, without the frame.
    pub(crate) bytes: Bytes,
    /// Stands for them in the budget.
    pub(crate) permit: BytePermit,
}

/// The messages of `body`, until it ends or fails; the failure is the last item.
pub(crate) fn messages(body: Body, limits: MessageLimits) -> impl Stream<Item = Result<Message, Failure>> + Send {
    let reader = Reader { body, limits, rest: Bytes::new() };
    unfold(Some(reader), async |state| {
        let mut reader = state?;
        match reader.next().await {
            Ok(Some(message)) => Some((Ok(message), Some(reader))),
            Ok(None) => None,
            Err(failure) => Some((Err(failure), None)),
        }
    })
}

/// The one message of a call that is no stream.
pub(crate) async fn one_message(body: Body, limits: MessageLimits) -> Result<Message, Failure> {
    match pin!(messages(body, limits)).next().await {
        Some(message) => message,
        None => Err(Failure::invalid("the call came without a request")),
    }
}

struct Reader {
    body: Body,
    limits: MessageLimits,
    /// What came and is not used yet: never more than one frame of HTTP/2.
    rest: Bytes,
}

impl Reader {
    async fn next(&mut self) -> Result<Option<Message>, Failure> {
        // Between messages a client may be silent for as long as it likes.
        if self.rest.is_empty() && !self.receive().await? {
            return Ok(None);
        }
        let mut header = self.take(FRAME_HEADER_BYTES).await?;
        let (flag, length) = (header.get_u8(), header.get_u32());
        if flag != 0 {
            let message = "compressed gRPC messages are not taken; compress the record batches instead";
            return Err(Failure::new(ErrorCode::Unsupported, message));
        }
        let bytes_max = self.limits.bytes_max;
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        if length > bytes_max {
            let message = format!("a message of {length} bytes; at most {bytes_max} are taken");
            return Err(Failure::new(ErrorCode::BatchTooLarge, message));
        }
        let permit = self.limits.budget.acquire(length + MESSAGE_OVERHEAD_BYTES).await?;
        Ok(Some(Message { bytes: self.take(length).await?, permit }))
    }

    /// The next `length` bytes, which are admitted. Copied only when they come in several pieces; and then piece by piece,
    /// as each of many small ones would cost more to keep than its bytes.
    async fn take(&mut self, length: usize) -> Result<Bytes, Failure> {
        let mut whole = BytesMut::new();
        let mut came = self.rest.len().min(length);
        while came < length {
            let step = length.min(came + PROGRESS_BYTES);
            match timeout(self.limits.patience, self.gather(&mut whole, step, length)).await {
                Ok(gathered) => gathered?,
                Err(_) => {
                    let (came, ms) = (whole.len() + self.rest.len(), self.limits.patience.as_millis());
                    let message = format!("{came} of {length} bytes of a message came, then nothing for {ms} ms");
                    return Err(Failure::invalid(message));
                }
            }
            came = whole.len() + self.rest.len().min(length - whole.len());
        }
        if whole.is_empty() {
            return Ok(self.rest.split_to(length));
        }
        self.move_rest(&mut whole, length);
        Ok(whole.freeze())
    }

    /// Waits until `bytes` of a message of `length` are here: in `whole`, and the last of them as what is left.
    async fn gather(&mut self, whole: &mut BytesMut, bytes: usize, length: usize) -> Result<(), Failure> {
        while whole.len() + self.rest.len() < bytes {
            if !self.rest.is_empty() {
                whole.reserve(length - whole.len());
                self.move_rest(whole, length);
            }
            if !self.receive().await? {
                let came = whole.len();
                return Err(Failure::invalid(format!("the stream ended inside a message, after {came} bytes of it")));
            }
        }
        Ok(())
    }

    /// Moves what is left into a message of `length`, as far as it belongs there.
    fn move_rest(&mut self, whole: &mut BytesMut, length: usize) {
        let part = self.rest.split_to(self.rest.len().min(length - whole.len()));
        whole.extend_from_slice(&part);
    }

    /// Takes in the next piece of the body, when nothing is left of the one before; false when there is none.
    async fn receive(&mut self) -> Result<bool, Failure> {
        assert!(self.rest.is_empty(), "a piece is used up before the next is taken");
        loop {
            let frame = poll_fn(|context| Pin::new(&mut self.body).poll_frame(context)).await;
            match frame.map(|frame| frame.map(http_body::Frame::into_data)) {
                Some(Ok(Ok(data))) if data.is_empty() => {}
                Some(Ok(Ok(data))) => {
                    self.rest = data;
                    return Ok(true);
                }
                // Trailers of a request mean nothing to gRPC.
                Some(Ok(Err(_))) => {}
                Some(Err(status)) => {
                    return Err(Failure::invalid(format!("the client broke off: {}", status.message())));
                }
                None => return Ok(false),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::sync::Arc;
    use std::task::{Context, Poll};

    use futures_util::FutureExt;

    use super::*;

    /// A body of given pieces, which then ends or hangs.
    struct Pieces(VecDeque<Bytes>, bool);

    impl http_body::Body for Pieces {
        type Data = Bytes;
        type Error = tonic::Status;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<http_body::Frame<Bytes>, tonic::Status>>> {
            match self.0.pop_front() {
                Some(piece) => Poll::Ready(Some(Ok(http_body::Frame::data(piece)))),
                None if self.1 => Poll::Pending,
                None => Poll::Ready(None),
            }
        }
    }

    fn framed(messages: &[&[u8]]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for message in messages {
            bytes.push(0);
            bytes.extend_from_slice(&u32::try_from(message.len()).unwrap().to_be_bytes());
            bytes.extend_from_slice(message);
        }
        bytes
    }

    fn limits(total: usize) -> MessageLimits {
        MessageLimits { budget: ByteBudget::new(total), bytes_max: 1_000, patience: Duration::from_secs(5) }
    }

    fn body(bytes: &[u8], piece_bytes: usize, hangs: bool) -> Body {
        Body::new(Pieces(bytes.chunks(piece_bytes).map(Bytes::copy_from_slice).collect(), hangs))
    }

    #[tokio::test]
    async fn messages_are_whole_however_they_were_cut() {
        let sent: [&[u8]; 4] = [b"one", b"", b"a third, longer message", b"4"];
        let bytes = framed(&sent);
        for piece_bytes in 1..=bytes.len() {
            let limits = limits(100_000);
            let got: Vec<_> = messages(body(&bytes, piece_bytes, false), limits.clone()).collect().await;
            let got: Vec<_> = got.into_iter().map(|message| message.unwrap().bytes).collect();
            assert_eq!(got, sent, "in pieces of {piece_bytes}");
            assert_eq!(limits.budget.available(), 100_000);
        }
    }

    #[tokio::test]
    async fn a_message_in_one_piece_is_not_copied() {
        let bytes = Bytes::from(framed(&[b"first", b"second"]));
        let body = Body::new(Pieces(VecDeque::from([bytes.clone()]), false));
        let got: Vec<_> = messages(body, limits(100_000)).map(|message| message.unwrap().bytes).collect().await;
        assert!(got.iter().all(|message| bytes.as_ptr_range().contains(&message.as_ptr())));
    }

    #[tokio::test]
    async fn what_is_no_message_ends_the_stream_with_its_reason() {
        let ends = async |bytes: &[u8]| {
            let mut stream = pin!(messages(body(bytes, 7, false), limits(100_000)));
            let failure = stream.next().await.unwrap().unwrap_err();
            assert!(stream.next().await.is_none());
            failure.code
        };
        assert_eq!(ends(&[0, 0, 0, 0, 9, 1]).await, ErrorCode::InvalidRequest, "cut off");
        assert_eq!(ends(&[0, 0]).await, ErrorCode::InvalidRequest, "cut off in the frame");
        assert_eq!(ends(&[0, 0xff, 0xff, 0xff, 0xff]).await, ErrorCode::BatchTooLarge);
        assert_eq!(ends(&[1, 0, 0, 0, 0]).await, ErrorCode::Unsupported);
    }

    #[tokio::test(start_paused = true)]
    async fn a_stalled_message_is_given_up_and_frees_its_bytes() {
        let limits = limits(100_000);
        let mut stream = pin!(messages(body(&[0, 0, 0, 0, 9, 1, 2], 7, true), limits.clone()));
        assert!(stream.next().now_or_never().is_none());
        assert!(limits.budget.available() < 100_000, "admitted before it is gathered");
        let failure = stream.next().await.unwrap().unwrap_err();
        assert!(failure.message.contains("2 of 9 bytes"), "{failure}");
        assert_eq!(limits.budget.available(), 100_000);
    }

    #[tokio::test]
    async fn small_pieces_are_not_kept() {
        let kept = Arc::new([7_u8]);
        struct Piece(Arc<[u8; 1]>);
        impl AsRef<[u8]> for Piece {
            fn as_ref(&self) -> &[u8] {
                &*self.0
            }
        }
        let piece = || Bytes::from_owner(Piece(Arc::clone(&kept)));
        let header = Bytes::from_static(&[0, 0, 0, 3, 0xe8]);
        let pieces = std::iter::once(header).chain((0..900).map(|_| piece())).collect();
        let mut stream = pin!(messages(Body::new(Pieces(pieces, true)), limits(100_000)));
        assert!(stream.next().now_or_never().is_none(), "100 bytes are missing");
        assert!(Arc::strong_count(&kept) < 10, "{} pieces of one byte are kept", Arc::strong_count(&kept));
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_client_between_messages_is_left_alone() {
        let mut stream = pin!(messages(body(&framed(&[b"one"]), 9, true), limits(100_000)));
        assert!(stream.next().await.unwrap().is_ok());
        assert!(timeout(Duration::from_secs(3_600), stream.next()).await.is_err());
    }

    #[tokio::test]
    async fn without_free_bytes_nothing_is_gathered() {
        let limits = limits(2 * MESSAGE_OVERHEAD_BYTES);
        let mut stream = pin!(messages(body(&framed(&[b"one", b"two"]), 4, false), limits.clone()));
        let first = stream.next().await.unwrap().unwrap();
        let held = limits.budget.try_acquire(MESSAGE_OVERHEAD_BYTES - 100).unwrap();
        assert!(stream.next().now_or_never().is_none(), "waits for the first to be answered");
        drop((first, held));
        assert_eq!(stream.next().await.unwrap().unwrap().bytes.as_ref(), b"two");
    }
}
