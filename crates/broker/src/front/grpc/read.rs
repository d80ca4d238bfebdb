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
use highwater_types::{Offset, OffsetRange, PartitionId, TopicName, TopicPartition, limits};
use tonic::body::Body;
use tonic::codegen::http;

use super::context::Context;
use super::convert::{bytes_of, position_of, wait_of};
use super::proxy::{self, Search, is_search, is_search_there};
use super::wire;
use crate::front::failure::Failure;
use crate::partition::{PartitionHandle, Position, ReadFrom, ReadResult};

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
            "/highwater.v1.ReadService/Read" => wire::single(self.read(request).await.map_err(located)),
            "/highwater.v1.ReadService/ReadStream" => self.stream(request),
            "/highwater.v1.ReadService/LookupOffsets" => wire::single(self.lookup(request).await.map_err(located)),
            path => wire::unknown_method(path),
        }
    }

    async fn read(&self, request: http::Request<Body>) -> Result<Vec<Bytes>, Failure> {
        let may_pass_on = proxy::may_pass_on(request.headers());
        let request: v1::ReadRequest = self.context.control_request(request.into_body()).await?;
        let mut search = Search::start();
        loop {
            let failure = match self.read_here(&request).await {
                Err(failure) if may_pass_on && is_search(&failure) => failure,
                result => return result,
            };
            let failure = match self.read_there(&request, failure).await {
                Err(failure) if is_search_there(&failure) => failure,
                result => return result,
            };
            search.pause(failure).await?;
        }
    }

    async fn read_here(&self, request: &v1::ReadRequest) -> Result<Vec<Bytes>, Failure> {
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
        Ok(self.answer(result, form, wanted, bytes_max).await?.pieces)
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
