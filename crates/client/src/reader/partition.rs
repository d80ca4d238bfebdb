//! Reading one partition: its stream, its credit, its reconnects.
//!
//! There is no task and no queue: what the server has sent ahead lies in the connection, bounded by the credit that was
//! given, until somebody asks for it. Asking is what gives new credit.
//!
//! Invariant: `position` is the offset after everything that was given out, so a new stream goes on exactly there.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use highwater_proto::v1;
use highwater_proto::v1::read_service_client::ReadServiceClient;
use highwater_types::{ErrorCode, Offset, PartitionId, TopicName, limits};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

use super::batch::ReadBatch;
use super::error::ReadError;
use crate::client::Shared;
use crate::clock::{self, Instant};
use crate::connection::StreamSlot;
use crate::error::{ConnectionError, Failure, ServerError};
use crate::finder::Finder;
use crate::position::Position;
use crate::request::to_the_leader;

/// What to do when the offset to read from is not there (any more).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum OutOfRange {
    /// Tell: [`ReadError::OutOfRange`] with the valid range. The default: to skip records is the reader's decision.
    #[default]
    Error,
    /// Go on at the first record that is kept.
    Earliest,
    /// Go on with what comes from now on.
    Latest,
}

/// What the partitions of one reader have in common.
#[derive(Clone, Copy, Debug)]
pub(super) struct PartitionOptions {
    pub(super) credit_bytes: u64,
    pub(super) response_bytes_max: u32,
    pub(super) bytes_min: u32,
    pub(super) wait: Duration,
    pub(super) verify_checksums: bool,
    pub(super) may_follow: bool,
    pub(super) out_of_range: OutOfRange,
    pub(super) retry_timeout: Option<Duration>,
}

/// What came from a partition.
#[derive(Debug)]
pub(super) enum Fetched {
    Batches {
        batches: Vec<ReadBatch>,
        high_watermark: Option<Offset>,
    },
    /// Everything up to the limit was given out.
    End,
}

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct PartitionReader {
    pub(super) client: Arc<Shared>,
    pub(super) topic: TopicName,
    pub(super) partition: PartitionId,
    pub(super) position: Offset,
    pub(super) until: Option<Offset>,
    pub(super) options: PartitionOptions,
    pub(super) slot: StreamSlot,
    pub(super) finder: Finder,
    pub(super) stream: Option<OpenStream>,
    /// Since when nothing works.
    pub(super) failing_since: Option<Instant>,
}

/// A stream that the server sends on while it has credit.
#[derive(Debug)]
pub(super) struct OpenStream {
    server: Arc<str>,
    responses: Streaming<v1::ReadResponse>,
    credit: mpsc::Sender<v1::ReadStreamRequest>,
    /// Taken from the stream, and not given back as credit yet.
    bytes_taken: u64,
}

impl PartitionReader {
    /// The next batches, however long they take to come.
    pub(super) async fn next(&mut self) -> Result<Fetched, ReadError> {
        while self.until.is_none_or(|until| self.position < until) {
            match self.receive().await {
                Ok(response) => {
                    self.finder.on_success();
                    self.failing_since = None;
                    let high_watermark = Offset::from_wire(response.high_watermark);
                    let batches = self.check(response)?;
                    if !batches.is_empty() {
                        return Ok(Fetched::Batches { batches, high_watermark });
                    }
                }
                Err((server, failure)) => {
                    self.recover(&server, failure).await?;
                }
            }
        }
        self.stream = None;
        Ok(Fetched::End)
    }

    /// Waits for a response, on the stream that is open or a new one.
    ///
    /// A failure comes with the server that it is of, and leaves no stream.
    async fn receive(&mut self) -> Result<v1::ReadResponse, (Arc<str>, Failure)> {
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => {
                let server = self.finder.server(&self.client.connections);
                self.open(&server).await.map_err(|failure| (server, failure))?
            }
        };
        let failure = match stream.responses.message().await {
            Ok(Some(response)) => return Ok(self.credit(stream, response)),
            Ok(None) => Failure::Broken(ConnectionError::new(&stream.server, "the server ended the stream")),
            Err(status) => Failure::from_status(&stream.server, &status),
        };
        Err((stream.server, failure))
    }

    /// Gives credit back for a response, and keeps the stream.
    fn credit(&mut self, mut stream: OpenStream, response: v1::ReadResponse) -> v1::ReadResponse {
        stream.bytes_taken += response.batches.iter().map(|batch| batch.len() as u64).sum::<u64>();
        // Half a window at a time: often enough that the server never waits, seldom enough to cost nothing.
        if stream.bytes_taken * 2 >= self.options.credit_bytes {
            let credit = v1::Credit { bytes: stream.bytes_taken };
            let request = v1::ReadStreamRequest { kind: Some(v1::read_stream_request::Kind::Credit(credit)) };
            // A full channel means that the server has not read the last credit: this one goes with the next response.
            if stream.credit.try_send(request).is_ok() {
                stream.bytes_taken = 0;
            }
        }
        self.stream = Some(stream);
        response
    }

    async fn open(&self, server: &Arc<str>) -> Result<OpenStream, Failure> {
        let unsent = |reason: &str| Failure::Unsent(ConnectionError::new(server, reason));
        let channel = self.slot.channel(server).map_err(|error| unsent(&error.to_string()))?;
        let (credit, requests) = mpsc::channel(8);
        let open = v1::ReadOpen {
            topic: self.topic.as_str().to_owned(),
            partition: self.partition.get(),
            from: Some(Position::Offset(self.position).to_wire()),
            form: v1::Form::Batches.into(),
            credit_bytes: self.options.credit_bytes,
            bytes_max: self.options.response_bytes_max,
            bytes_min: self.options.bytes_min,
            wait_ms_max: u32::try_from(self.options.wait.as_millis()).unwrap_or(u32::MAX),
            until_offset: self.until.map(Offset::to_wire),
            may_follow: self.options.may_follow,
        };
        // In the channel before the call: a server may want it before it answers.
        let first = v1::ReadStreamRequest { kind: Some(v1::read_stream_request::Kind::Open(open)) };
        credit.try_send(first).map_err(|_| unsent("the stream closed at once"))?;
        let mut service = ReadServiceClient::new(channel).max_decoding_message_size(limits::MESSAGE_BYTES_MAX);
        let call = service.read_stream(to_the_leader(ReceiverStream::new(requests)));
        let opened = tokio::time::timeout(self.client.request_timeout, call).await;
        let responses = opened
            .map_err(|_| unsent("no stream in time"))?
            .map_err(|status| Failure::from_status(server, &status))?
            .into_inner();
        Ok(OpenStream { server: Arc::clone(server), responses, credit, bytes_taken: 0 })
    }

    /// Takes the batches of a response that are for us, and moves the position past them.
    fn check(&mut self, response: v1::ReadResponse) -> Result<Vec<ReadBatch>, ReadError> {
        let mut batches = Vec::with_capacity(response.batches.len());
        let mut position = self.position;
        for bytes in response.batches {
            match self.check_batch(bytes, position) {
                Ok(Some(batch)) => {
                    position = batch.next_offset();
                    batches.push(batch);
                }
                Ok(None) => {}
                Err(source) => {
                    // What came before it in this response comes again, should somebody go on.
                    self.stream = None;
                    let (topic, partition) = (self.topic.clone(), self.partition);
                    return Err(ReadError::Batch { topic, partition, offset: position, source });
                }
            }
        }
        // Further on than the last batch where offsets are taken by what is not for readers.
        let next = Offset::from_wire(response.next_offset).unwrap_or(position);
        self.position = position.max(self.until.map_or(next, |until| next.min(until)));
        Ok(batches)
    }

    fn check_batch(
        &self,
        bytes: Bytes,
        position: Offset,
    ) -> Result<Option<ReadBatch>, highwater_types::batch::BatchError> {
        let verify = self.options.verify_checksums;
        ReadBatch::check(&self.topic, self.partition, bytes, position, self.until, verify)
    }

    /// Waits before the next attempt, or tells why there is none.
    async fn recover(&mut self, server: &Arc<str>, failure: Failure) -> Result<(), ReadError> {
        if let Failure::Server(error) = &failure
            && error.code == ErrorCode::OffsetOutOfRange
        {
            return self.reposition(error);
        }
        if !failure.is_retryable() {
            return Err(ReadError::from_failure(&self.topic, self.partition, failure));
        }
        let now = clock::now();
        let since = *self.failing_since.get_or_insert(now);
        if let Some(after) = self.options.retry_timeout.filter(|timeout| now.duration_since(since) >= *timeout) {
            self.failing_since = None;
            let (topic, partition) = (self.topic.clone(), self.partition);
            return Err(ReadError::Unavailable { topic, partition, after, last: failure.to_string() });
        }
        tracing::warn!(topic = %self.topic, partition = %self.partition, position = %self.position, %failure,
            "reading was interrupted");
        let wait = self.finder.on_failure(&self.client.connections, server, &failure, clock::chance());
        tokio::time::sleep(wait).await;
        Ok(())
    }

    /// The position is not there: does what the reader was told to do then.
    fn reposition(&mut self, error: &ServerError) -> Result<(), ReadError> {
        let target = match (self.options.out_of_range, error.valid_range) {
            (OutOfRange::Earliest, Some(valid)) => Some(valid.start),
            (OutOfRange::Latest, Some(valid)) => Some(valid.end),
            (OutOfRange::Error, _) | (_, None) => None,
        };
        // The same place again would be refused again.
        if let Some(offset) = target.filter(|offset| *offset != self.position) {
            tracing::warn!(topic = %self.topic, partition = %self.partition, from = %self.position, to = %offset,
                "the position is out of range; records are skipped");
            self.position = offset;
            return Ok(());
        }
        Err(ReadError::OutOfRange {
            topic: self.topic.clone(),
            partition: self.partition,
            offset: self.position,
            valid: error.valid_range,
        })
    }
}
