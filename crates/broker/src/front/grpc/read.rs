//! `highwater.v1.ReadService`: records out, now or as they come.
//!
//! Owns: the credit of a read stream. While any is left the stream sends; then it waits for more. So a reader that
//! falls behind holds up nobody and holds no memory: what it has not asked for is not read.
//!
//! Never: copies a batch. Answers are slices of the segments' maps until they reach the socket (see `wire`).

mod records;

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::stream::{Stream, StreamExt};
use highwater_proto::v1;
use highwater_proto::v1::read_stream_request::Kind;
use highwater_types::batch::BatchHeader;
use highwater_types::{Offset, OffsetRange, PartitionId, limits};
use prost::Message as _;
use tokio::time::timeout;
use tokio_util::sync::WaitForCancellationFutureOwned;
use tonic::body::Body;
use tonic::codegen::http;

use super::context::Context;
use super::convert::{bytes_of, position_of, wait_of};
use super::wire::{self, Answers, Gone, Message, MessageLimits};
use crate::front::failure::Failure;
use crate::partition::{PartitionHandle, Position, ReadFrom, ReadResult};

/// The bytes of one answer of a stream unless the reader says otherwise: large enough that what each answer costs does
/// not show, small enough that many readers can share a connection.
const STREAM_RESPONSE_BYTES: usize = 1 << 20;
/// The largest request of a read stream: to open it, or a number.
const STREAM_REQUEST_BYTES_MAX: usize = 4 * 1024;

/// The service. Clones are the same.
#[derive(Clone, Debug)]
pub(super) struct Read {
    context: Arc<Context>,
}

/// An answer in pieces, and what is counted against credit.
struct Answer {
    pieces: Vec<Bytes>,
    bytes: usize,
    next_offset: Offset,
}

impl Read {
    pub(super) fn new(context: Arc<Context>) -> Self {
        Self { context }
    }

    /// Answers one call, by the path of its method.
    pub(super) async fn call(self, request: http::Request<Body>) -> http::Response<Body> {
        let located = |failure| self.context.located(failure);
        match request.uri().path() {
            "/highwater.v1.ReadService/Read" => wire::single(self.read(request.into_body()).await.map_err(located)),
            "/highwater.v1.ReadService/ReadStream" => self.stream(request.into_body()),
            "/highwater.v1.ReadService/LookupOffsets" => {
                wire::single(self.lookup(request.into_body()).await.map_err(located))
            }
            path => wire::unknown_method(path),
        }
    }

    async fn read(&self, body: Body) -> Result<Vec<Bytes>, Failure> {
        let request: v1::ReadRequest = self.context.control_request(body).await?;
        let form = request.form();
        let handle = self.context.partition(&request.topic, PartitionId::new(request.partition))?;
        let from = resolve(&handle, request.from).await?;
        let bytes_max = bytes_of(request.bytes_max, limits::READ_BYTES_MAX, limits::READ_BYTES_MAX);
        let read = handle.read(ReadFrom {
            from,
            bytes_max,
            bytes_min: bytes_of(request.bytes_min, 1, bytes_max),
            wait: wait_of(request.wait_ms_max),
            may_follow: false,
        });
        let result = tokio::select! {
            result = read => result?,
            () = self.context.shutdown.requested() => return Err(Failure::shutting_down()),
        };
        let wanted = OffsetRange::new(from, Offset::MAX);
        Ok(self.answer(result, form, wanted, bytes_max).await?.pieces)
    }

    fn stream(self, body: Body) -> http::Response<Body> {
        let tasks = self.context.shutdown.clone();
        let limits = MessageLimits { bytes_max: STREAM_REQUEST_BYTES_MAX, ..self.context.control_messages.clone() };
        let requests = Box::pin(wire::messages(body, limits).fuse());
        let shutdown = Box::pin(tasks.requested());
        let session = Session { read: self, requests, shutdown, is_open: true, credit: 0, going: None };
        wire::answered_by(&tasks, |answers| session.run(answers))
    }

    async fn lookup(&self, body: Body) -> Result<Vec<Bytes>, Failure> {
        let request: v1::LookupOffsetsRequest = self.context.control_request(body).await?;
        if request.positions.len() > limits::TOPIC_PARTITIONS_MAX as usize {
            return Err(Failure::invalid("more positions than a topic may have partitions"));
        }
        let mut offsets = Vec::with_capacity(request.positions.len());
        for v1::PartitionPosition { partition, position } in request.positions {
            let handle = self.context.partition(&request.topic, PartitionId::new(partition))?;
            let found = handle.resolve(checked(&handle, position)?).await?;
            let marks = handle.watermarks();
            offsets.push(v1::PartitionOffset {
                partition,
                offset: found.offset.to_wire(),
                timestamp_ms: found.timestamp.map(highwater_types::Timestamp::as_ms),
                log_start: marks.log_start.to_wire(),
                high_watermark: marks.committed.to_wire(),
            });
        }
        Ok(wire::pieces_of_message(&v1::LookupOffsetsResponse { offsets }))
    }

    async fn open(&self, open: v1::ReadOpen) -> Result<Going, Failure> {
        let handle = self.context.partition(&open.topic, PartitionId::new(open.partition))?;
        let form = open.form();
        let until = match open.until_offset.map(Offset::from_wire) {
            Some(None) => return Err(Failure::invalid("until_offset is below 0")),
            Some(until) => until,
            None => None,
        };
        let bytes_max = bytes_of(open.bytes_max, STREAM_RESPONSE_BYTES, limits::READ_BYTES_MAX);
        Ok(Going {
            next: resolve(&handle, open.from).await?,
            handle,
            until,
            form,
            bytes_max,
            bytes_min: bytes_of(open.bytes_min, 1, bytes_max),
            wait: wait_of(open.wait_ms_max),
        })
    }

    /// Encodes what was read, in the form asked for.
    async fn answer(
        &self,
        result: ReadResult,
        form: v1::Form,
        wanted: OffsetRange,
        bytes_max: usize,
    ) -> Result<Answer, Failure> {
        let mut response = v1::ReadResponse {
            batches: Vec::new(),
            records: Vec::new(),
            next_offset: result.next_offset.to_wire(),
            log_start: result.log_start.to_wire(),
            high_watermark: result.high_watermark.to_wire(),
        };
        if form != v1::Form::Records {
            response.batches = result.batches;
            let pieces = wire::pieces_of_read(&response);
            return Ok(Answer { pieces, bytes: result.bytes, next_offset: result.next_offset });
        }
        let budget = &self.context.decoded;
        let mut decoded = records::decode(budget, result.batches, wanted, result.next_offset, bytes_max).await?;
        response.records = decoded.records;
        response.next_offset = decoded.next_offset.to_wire();
        let pieces = wire::pieces_of_message(&response);
        // What the records were taken out of is let go here; the encoded bytes stay admitted until they are sent.
        drop(response);
        decoded.permit.shrink_to(pieces.iter().map(Bytes::len).sum());
        let pieces = wire::holding(pieces, decoded.permit);
        Ok(Answer { pieces, bytes: decoded.bytes, next_offset: decoded.next_offset })
    }
}

/// One read stream.
struct Session<S> {
    read: Read,
    requests: Pin<Box<S>>,
    shutdown: Pin<Box<WaitForCancellationFutureOwned>>,
    /// Whether more requests may come.
    is_open: bool,
    /// Bytes that may be sent. Below 0 by as much as the last batch ran over.
    credit: i64,
    /// Once the stream was opened.
    going: Option<Going>,
}

/// What an open stream reads, and where it stands.
#[derive(Clone)]
struct Going {
    handle: PartitionHandle,
    next: Offset,
    until: Option<Offset>,
    form: v1::Form,
    bytes_max: usize,
    bytes_min: usize,
    wait: Duration,
}

impl<S> Session<S>
where
    S: Stream<Item = Result<Message, Failure>>,
{
    /// Answers until the end. A reader that does not read stops this; one that gets records taken out of batches holds
    /// memory meanwhile, and is given up after a time.
    async fn run(mut self, answers: Answers) -> Result<(), Failure> {
        loop {
            let next = tokio::select! {
                next = self.next() => next,
                () = answers.gone() => return Ok(()),
            };
            let Some(pieces) = next.map_err(|failure| self.read.context.located(failure))? else { return Ok(()) };
            let holds_memory = self.going.as_ref().is_some_and(|going| going.form == v1::Form::Records);
            let patience = if holds_memory { self.read.context.data_messages.patience } else { Duration::MAX };
            match timeout(patience, answers.send(pieces)).await {
                Ok(Ok(())) => {}
                Ok(Err(Gone)) => return Ok(()),
                Err(_) => {
                    let message = format!("the client did not read its records for {} ms", patience.as_millis());
                    return Err(Failure::invalid(message));
                }
            }
        }
    }

    /// The next answer; `None` when the reader has all that it wanted.
    async fn next(&mut self) -> Result<Option<Vec<Bytes>>, Failure> {
        loop {
            while let Some(Some(message)) = self.requests.next().now_or_never() {
                self.take(message?).await?;
            }
            match self.going.clone() {
                Some(going) if going.until.is_some_and(|until| going.next >= until) => return Ok(None),
                Some(going) if self.credit > 0 => {
                    if let Some(answer) = self.advance(going).await? {
                        return Ok(Some(answer));
                    }
                }
                _ if !self.is_open => return Ok(None),
                _ => self.wait_for_request().await?,
            }
        }
    }

    async fn wait_for_request(&mut self) -> Result<(), Failure> {
        tokio::select! {
            biased;
            () = &mut self.shutdown => Err(Failure::shutting_down()),
            message = self.requests.next() => match message {
                Some(message) => self.take(message?).await,
                None => {
                    self.is_open = false;
                    Ok(())
                }
            },
        }
    }

    /// Reads on; `None` when there was nothing for a while.
    async fn advance(&mut self, going: Going) -> Result<Option<Vec<Bytes>>, Failure> {
        let credit = usize::try_from(self.credit).unwrap_or(usize::MAX);
        let bytes_max = going.bytes_max.min(credit);
        let result = tokio::select! {
            biased;
            () = &mut self.shutdown => return Err(Failure::shutting_down()),
            result = read(&going, bytes_max) => result?,
        };
        if result.batches.is_empty() && result.next_offset == going.next {
            return Ok(None);
        }
        let wanted = OffsetRange::new(going.next, going.until.unwrap_or(Offset::MAX));
        let result = cut(result, wanted.end)?;
        let answer = self.read.answer(result, going.form, wanted, bytes_max).await?;
        self.credit = self.credit.saturating_sub_unsigned(answer.bytes as u64);
        if let Some(going) = &mut self.going {
            going.next = answer.next_offset;
        }
        Ok(Some(answer.pieces))
    }

    async fn take(&mut self, message: Message) -> Result<(), Failure> {
        let request = v1::ReadStreamRequest::decode(message.bytes)
            .map_err(|error| Failure::invalid(format!("not a request of a read stream: {error}")))?;
        match (request.kind, &self.going) {
            (Some(Kind::Open(open)), None) => {
                self.credit = i64::try_from(open.credit_bytes).unwrap_or(i64::MAX);
                self.going = Some(self.read.open(open).await?);
                Ok(())
            }
            (Some(Kind::Credit(credit)), Some(_)) => {
                self.credit = self.credit.saturating_add_unsigned(credit.bytes);
                Ok(())
            }
            (Some(Kind::Credit(_)), None) => Err(Failure::invalid("the first message of a read stream is `open`")),
            (Some(Kind::Open(_)), Some(_)) => Err(Failure::invalid("the read stream is open already; start another")),
            (None, _) => Err(Failure::invalid("a request of a read stream is `open` or `credit`")),
        }
    }
}

/// Waits for the first record, however long that takes (in turns, each as long as a read may take), and from then on
/// as the reader wants it for more of them.
async fn read(going: &Going, bytes_max: usize) -> Result<ReadResult, Failure> {
    let wait = Duration::from_millis(limits::READ_WAIT_MS_MAX);
    let any = ReadFrom { from: going.next, bytes_max, bytes_min: 1, wait, may_follow: false };
    let bytes_min = going.bytes_min.min(bytes_max);
    let result = going.handle.read(any).await?;
    if result.batches.is_empty() || result.bytes >= bytes_min || going.wait.is_zero() {
        return Ok(result);
    }
    Ok(going.handle.read(ReadFrom { bytes_min, wait: going.wait, ..any }).await?)
}

/// Leaves out the batches that begin at `end` or later. One that holds `end` stays whole.
fn cut(mut result: ReadResult, end: Offset) -> Result<ReadResult, Failure> {
    while result.next_offset > end
        && let Some(last) = result.batches.last()
    {
        let header = BatchHeader::read(last)?;
        if header.base_offset < end {
            break;
        }
        result.bytes -= last.len();
        result.next_offset = header.base_offset;
        result.batches.pop();
    }
    Ok(result)
}

/// The offset that a position is now.
async fn resolve(handle: &PartitionHandle, position: Option<v1::Position>) -> Result<Offset, Failure> {
    match checked(handle, position)? {
        // Whether it is in range is told by the read itself.
        Position::Offset(offset) => Ok(offset),
        position => Ok(handle.resolve(position).await?.offset),
    }
}

/// A position; for an offset below 0 the failure says what there is.
fn checked(handle: &PartitionHandle, position: Option<v1::Position>) -> Result<Position, Failure> {
    position_of(position).map_err(|failure| {
        let marks = handle.watermarks();
        match failure.code {
            highwater_types::ErrorCode::OffsetOutOfRange => {
                failure.with_valid(OffsetRange::new(marks.log_start, marks.committed))
            }
            _ => failure,
        }
    })
}
