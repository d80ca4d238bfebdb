//! `highwater.v1.ReadService`: records out, now or as they come.
//!
//! Owns: one answer at a time. The streams stand in `stream`, offsets in `lookup`, and what another node leads in
//! `remote`.
//!
//! Never: copies a batch. Answers are slices of the segments' maps until they reach the socket (see `wire`).

mod lookup;
mod records;
mod remote;
mod stream;

use std::sync::Arc;

use bytes::Bytes;
use highwater_proto::v1;
use highwater_types::{ErrorCode, Offset, OffsetRange, PartitionId, TopicName, TopicPartition, limits};
use tonic::body::Body;
use tonic::codegen::http;

pub(super) use records::message_of;
pub(super) use remote::bytes_of_records;

use super::context::Context;
use super::convert::{bytes_of, position_of, wait_of};
use super::proxy::{self, Search, is_search, is_search_there};
use super::wire;
use crate::admission::BytePermit;
use crate::front::failure::Failure;
use crate::partition::{PartitionHandle, Position, ReadFrom, ReadResult};

/// The service. Clones are the same.
#[derive(Clone, Debug)]
pub(super) struct Read {
    context: Arc<Context>,
}

/// What was read, as the message that says it, and what is counted against credit.
#[derive(Debug)]
pub(super) struct Fetched {
    pub(super) response: v1::ReadResponse,
    pub(super) bytes: usize,
    pub(super) next_offset: Offset,
    /// Stands for memory that the message holds on to.
    permit: Option<BytePermit>,
}

impl Fetched {
    /// The message in pieces, as `encode` makes them. They stay admitted until they are sent.
    pub(super) fn into_pieces(self, encode: impl FnOnce(&v1::ReadResponse) -> Vec<Bytes>) -> Vec<Bytes> {
        let pieces = encode(&self.response);
        let Some(mut permit) = self.permit else { return pieces };
        // What the records were taken out of is let go here.
        drop(self.response);
        permit.shrink_to(pieces.iter().map(Bytes::len).sum());
        wire::holding(pieces, permit)
    }
}

impl Read {
    pub(super) fn new(context: Arc<Context>) -> Self {
        Self { context }
    }

    /// Answers one call, by the path of its method.
    pub(super) async fn call(self, request: http::Request<Body>) -> http::Response<Body> {
        let located = |failure| self.context.located(failure);
        match request.uri().path() {
            "/highwater.v1.ReadService/Read" => wire::single(self.read(request).await.map_err(located)),
            "/highwater.v1.ReadService/ReadStream" => self.stream(request),
            "/highwater.v1.ReadService/LookupOffsets" => wire::single(self.lookup(request).await.map_err(located)),
            path => wire::unknown_method(path),
        }
    }

    async fn read(&self, request: http::Request<Body>) -> Result<Vec<Bytes>, Failure> {
        let may_pass_on = proxy::may_pass_on(request.headers());
        let request: v1::ReadRequest = self.context.control_request(request.into_body()).await?;
        let fetched = match may_pass_on {
            true => self.fetch(&request).await,
            false => self.read_here(&request).await,
        };
        Ok(fetched?.into_pieces(wire::pieces_of_read))
    }

    /// The replica of a partition on this node, if it has one.
    pub(super) fn open_partition(&self, id: TopicPartition) -> Option<PartitionHandle> {
        self.context.router.open_partition(id)
    }

    /// Reads here, or where the leader is.
    pub(super) async fn fetch(&self, request: &v1::ReadRequest) -> Result<Fetched, Failure> {
        let mut search = Search::start();
        loop {
            let failure = match self.read_here(request).await {
                Err(failure) if is_search(&failure) => failure,
                result => return result,
            };
            let failure = match self.read_there(request, failure).await {
                Err(failure) if is_search_there(&failure) => failure,
                result => return result,
            };
            search.pause(failure).await?;
        }
    }

    async fn read_here(&self, request: &v1::ReadRequest) -> Result<Fetched, Failure> {
        loop {
            match self.read_once(request).await {
                Err(failure) if has_moved(request.from.as_ref(), &failure) => {}
                result => return result,
            }
        }
    }

    async fn read_once(&self, request: &v1::ReadRequest) -> Result<Fetched, Failure> {
        let form = request.form();
        let handle = self.context.partition(&request.topic, PartitionId::new(request.partition))?;
        let from = resolve(&handle, request.from).await?;
        let bytes_max = bytes_of(request.bytes_max, limits::READ_BYTES_MAX, limits::READ_BYTES_MAX);
        let read = handle.read(ReadFrom {
            from,
            bytes_max,
            bytes_min: bytes_of(request.bytes_min, 1, bytes_max),
            wait: wait_of(request.wait_ms_max),
            may_follow: request.may_follow,
        });
        let result = tokio::select! {
            result = read => result?,
            () = self.context.shutdown.requested() => return Err(Failure::shutting_down()),
        };
        let wanted = OffsetRange::new(from, Offset::MAX);
        self.answer(result, form, wanted, bytes_max).await
    }

    /// What was read, in the form asked for.
    async fn answer(
        &self,
        result: ReadResult,
        form: v1::Form,
        wanted: OffsetRange,
        bytes_max: usize,
    ) -> Result<Fetched, Failure> {
        let mut response = v1::ReadResponse {
            batches: Vec::new(),
            records: Vec::new(),
            next_offset: result.next_offset.to_wire(),
            log_start: result.log_start.to_wire(),
            high_watermark: result.high_watermark.to_wire(),
        };
        if form != v1::Form::Records {
            response.batches = result.batches;
            return Ok(Fetched { response, bytes: result.bytes, next_offset: result.next_offset, permit: None });
        }
        let budget = &self.context.decoded;
        let decoded = records::decode(budget, result.batches, wanted, result.next_offset, bytes_max).await?;
        response.records = decoded.records;
        response.next_offset = decoded.next_offset.to_wire();
        let (bytes, next_offset) = (decoded.bytes, decoded.next_offset);
        Ok(Fetched { response, bytes, next_offset, permit: Some(decoded.permit) })
    }

    /// The partition of a request, by its id.
    fn id(&self, topic: &str, partition: u32) -> Result<TopicPartition, Failure> {
        let topic = self.context.router.topic(&TopicName::new(topic)?)?.id;
        Ok(TopicPartition { topic, partition: PartitionId::new(partition) })
    }
}

/// The offset that a position is now.
async fn resolve(handle: &PartitionHandle, position: Option<v1::Position>) -> Result<Offset, Failure> {
    match checked(handle, position)? {
        // Whether it is in range is told by the read itself.
        Position::Offset(offset) => Ok(offset),
        position => Ok(handle.resolve(position).await?.offset),
    }
}

/// Whether a read failed as what it was to begin at was trimmed away between the look and the read. Only who names an offset
/// wants to hear that.
fn has_moved(position: Option<&v1::Position>, failure: &Failure) -> bool {
    let is_offset = matches!(position, Some(v1::Position { at: Some(v1::position::At::Offset(_)) }));
    !is_offset && failure.code == ErrorCode::OffsetOutOfRange
}

/// A position; for an offset below 0 the failure says what there is.
fn checked(handle: &PartitionHandle, position: Option<v1::Position>) -> Result<Position, Failure> {
    position_of(position).map_err(|failure| {
        let marks = handle.watermarks();
        match failure.code {
            ErrorCode::OffsetOutOfRange => failure.with_valid(OffsetRange::new(marks.log_start, marks.committed)),
            _ => failure,
        }
    })
}
