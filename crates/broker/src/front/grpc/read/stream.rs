//! The streams of the read service.
//!
//! Owns: the credit of a read stream. While any is left the stream sends; then it waits for more. So a reader that
//! falls behind holds up nobody and holds no memory: what it has not asked for is not read.
//!
//! A stream for a client that knows nothing of leaders reads here or at the leader, whichever that is at the time, and
//! goes on at its offset when that changes.

use std::pin::Pin;
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

use super::remote::Remote;
use super::{Read, bytes_of_records, has_moved, resolve};
use crate::front::failure::Failure;
use crate::front::grpc::convert::{bytes_of, wait_of};
use crate::front::grpc::proxy::{self, Search, is_search, is_search_there};
use crate::front::grpc::wire::{self, Answers, Gone, Message, MessageLimits};
use crate::partition::{PartitionHandle, ReadFrom, ReadResult};

/// The bytes of one answer of a stream unless the reader says otherwise: large enough that what each answer costs does
/// not show, small enough that many readers can share a connection.
const STREAM_RESPONSE_BYTES: usize = 1 << 20;
/// The largest request of a read stream: to open it, or a number.
const STREAM_REQUEST_BYTES_MAX: usize = 4 * 1024;

impl Read {
    pub(super) fn stream(self, request: http::Request<Body>) -> http::Response<Body> {
        let may_pass_on = proxy::may_pass_on(request.headers());
        let tasks = self.context.shutdown.clone();
        let limits = MessageLimits { bytes_max: STREAM_REQUEST_BYTES_MAX, ..self.context.control_messages.clone() };
        let requests = Box::pin(wire::messages(request.into_body(), limits).fuse());
        let shutdown = Box::pin(tasks.requested());
        let session = Session {
            read: self,
            requests,
            shutdown,
            is_open: true,
            credit: 0,
            wish: None,
            source: Source::None,
            may_pass_on,
            search: Search::start(),
        };
        wire::answered_by(&tasks, |answers| session.run(answers))
    }

    async fn open(&self, open: &v1::ReadOpen) -> Result<Going, Failure> {
        let handle = self.context.partition(&open.topic, PartitionId::new(open.partition))?;
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
            form: open.form(),
            bytes_max,
            bytes_min: bytes_of(open.bytes_min, 1, bytes_max),
            wait: wait_of(open.wait_ms_max),
            may_follow: open.may_follow,
        })
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
    /// What the reader wants, from where it stands now; once the stream was opened.
    wish: Option<v1::ReadOpen>,
    source: Source,
    /// Whether the leader is asked, where that is not this node.
    may_pass_on: bool,
    search: Search,
}

/// Where the records come from.
enum Source {
    /// Nowhere yet; or not any more, for this reason.
    None,
    Lost(Failure),
    Here(Going),
    There(Remote),
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
    may_follow: bool,
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
            let is_decoded = self.wish.as_ref().is_some_and(|wish| wish.form() == v1::Form::Records);
            let holds_memory = is_decoded || matches!(self.source, Source::There(_));
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
                self.take(message?)?;
            }
            match &mut self.source {
                Source::None if self.wish.is_none() && self.is_open => self.wait_for_request().await?,
                Source::None if self.wish.is_none() => return Ok(None),
                Source::None | Source::Lost(_) => self.attach().await?,
                Source::Here(going) if going.until.is_some_and(|until| going.next >= until) => return Ok(None),
                Source::Here(going) if self.credit > 0 => {
                    let going = going.clone();
                    match self.advance(going).await {
                        Ok(Some(answer)) => return Ok(Some(answer)),
                        Ok(None) => {}
                        // Nothing was sent yet, so it still stands where it was to begin.
                        Err(failure) if has_moved(self.wish.as_ref().and_then(|wish| wish.from.as_ref()), &failure) => {
                            self.source = Source::None;
                        }
                        Err(failure) => self.lose(failure)?,
                    }
                }
                Source::Here(_) if !self.is_open => return Ok(None),
                Source::Here(_) => self.wait_for_request().await?,
                Source::There(_) => {
                    if let Some(end) = self.relay().await? {
                        return Ok(end);
                    }
                }
            }
        }
    }

    /// Finds out where to read, from where the reader stands.
    async fn attach(&mut self) -> Result<(), Failure> {
        let Some(wish) = self.wish.clone() else { return Ok(()) };
        let lost = match std::mem::replace(&mut self.source, Source::None) {
            Source::Lost(failure) => Err(failure),
            _ => self.read.open(&wish).await,
        };
        let failure = match lost {
            Ok(going) => {
                self.source = Source::Here(going);
                return Ok(());
            }
            Err(failure) if self.may_pass_on && is_search(&failure) => failure,
            Err(failure) => return Err(failure),
        };
        let id = self.read.id(&wish.topic, wish.partition)?;
        let wish = v1::ReadOpen { credit_bytes: u64::try_from(self.credit).unwrap_or(0), ..wish };
        match Remote::open(&self.read.context, id, wish, failure).await {
            Ok(remote) => {
                self.source = Source::There(remote);
                Ok(())
            }
            Err(failure) if is_search_there(&failure) => self.search.pause(failure).await,
            Err(failure) => Err(failure),
        }
    }

    /// What was read from does not lead any more: goes on elsewhere, or tells.
    fn lose(&mut self, failure: Failure) -> Result<(), Failure> {
        if !self.may_pass_on || !is_search_there(&failure) {
            return Err(failure);
        }
        self.source = Source::Lost(failure);
        Ok(())
    }

    /// Hands on what the leader sends; `Some` with an answer, or with the end.
    async fn relay(&mut self) -> Result<Option<Option<Vec<Bytes>>>, Failure> {
        let Source::There(remote) = &mut self.source else { return Ok(None) };
        let response = tokio::select! {
            biased;
            () = &mut self.shutdown => return Err(Failure::shutting_down()),
            response = remote.next() => response,
            message = self.requests.next(), if self.is_open => {
                match message {
                    Some(message) => self.take(message?)?,
                    None => self.is_open = false,
                }
                return Ok(None);
            }
        };
        let response = match response {
            Ok(Some(response)) => response,
            Ok(None) => return Ok(Some(None)),
            Err(failure) if is_search_there(&failure) => {
                // Where it went is not known here, unless it says so; this node may lead by now.
                self.source = if failure.leader.is_some() { Source::Lost(failure.clone()) } else { Source::None };
                self.search.pause(failure).await?;
                return Ok(None);
            }
            Err(failure) => return Err(failure),
        };
        self.search = Search::start();
        self.credit = self.credit.saturating_sub_unsigned(bytes_of_records(&response) as u64);
        self.stands_at(response.next_offset);
        let fetched = self.read.admitted(response).await?;
        Ok(Some(Some(fetched.into_pieces(wire::pieces_of_read))))
    }

    /// Whoever opens the stream anew goes on there.
    fn stands_at(&mut self, offset: i64) {
        if let Some(wish) = &mut self.wish {
            wish.from = Some(v1::Position { at: Some(v1::position::At::Offset(offset)) });
        }
    }

    async fn wait_for_request(&mut self) -> Result<(), Failure> {
        tokio::select! {
            biased;
            () = &mut self.shutdown => Err(Failure::shutting_down()),
            message = self.requests.next() => match message {
                Some(message) => self.take(message?),
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
        if let Source::Here(going) = &mut self.source {
            going.next = answer.next_offset;
        }
        self.stands_at(answer.next_offset.to_wire());
        self.search = Search::start();
        Ok(Some(answer.into_pieces(wire::pieces_of_read)))
    }

    fn take(&mut self, message: Message) -> Result<(), Failure> {
        let request = v1::ReadStreamRequest::decode(message.bytes)
            .map_err(|error| Failure::invalid(format!("not a request of a read stream: {error}")))?;
        match (request.kind, &self.wish) {
            (Some(Kind::Open(open)), None) => {
                self.credit = i64::try_from(open.credit_bytes).unwrap_or(i64::MAX);
                self.wish = Some(open);
                Ok(())
            }
            (Some(Kind::Credit(credit)), Some(_)) => {
                self.credit = self.credit.saturating_add_unsigned(credit.bytes);
                match &self.source {
                    Source::There(remote) => remote.give(credit),
                    _ => Ok(()),
                }
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
    let (wait, may_follow) = (Duration::from_millis(limits::READ_WAIT_MS_MAX), going.may_follow);
    let any = ReadFrom { from: going.next, bytes_max, bytes_min: 1, wait, may_follow };
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
