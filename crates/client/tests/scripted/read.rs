//! The read service: a batch a response, while there is credit.

use std::sync::Arc;
use std::time::Duration;

use highwater_client::ErrorCode;
use highwater_proto::v1;
use highwater_proto::v1::position::At;
use highwater_proto::v1::read_service_server::ReadService;
use highwater_proto::v1::read_stream_request::Kind;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::{ReadFault, Service, Shared, error, status};

#[tonic::async_trait]
impl ReadService for Service {
    type ReadStreamStream = ReceiverStream<Result<v1::ReadResponse, Status>>;

    async fn read_stream(
        &self,
        request: Request<Streaming<v1::ReadStreamRequest>>,
    ) -> Result<Response<Self::ReadStreamStream>, Status> {
        let mut requests = request.into_inner();
        let Some(v1::ReadStreamRequest { kind: Some(Kind::Open(open)) }) = requests.message().await? else {
            return Err(status(&error(ErrorCode::InvalidRequest, "open comes first")));
        };
        let Some(v1::Position { at: Some(At::Offset(from)) }) = open.from else {
            panic!("the client knows its offset")
        };
        {
            let mut state = self.state.lock().unwrap();
            match state.not_leader(self.number) {
                Some(refusal) if !open.may_follow => return Err(status(&refusal)),
                Some(_) => state.followed_reads += 1,
                None => {}
            }
            state.streams_opened += 1;
            state.offsets_asked.push(from);
            let log = &state.logs[open.partition as usize];
            let (start, end) = (log.start.cast_signed(), log.end.cast_signed());
            if from < start || from > end {
                let mut error = error(ErrorCode::OffsetOutOfRange, "not kept");
                (error.valid_start, error.valid_end) = (Some(start), Some(end));
                return Err(status(&error));
            }
        }
        let (responses, receiver) = mpsc::channel(1);
        tokio::spawn(run(Arc::clone(&self.state), open, from.cast_unsigned(), requests, responses));
        Ok(Response::new(ReceiverStream::new(receiver)))
    }

    async fn read(&self, _: Request<v1::ReadRequest>) -> Result<Response<v1::ReadResponse>, Status> {
        Err(Status::unimplemented("not in this server"))
    }

    async fn lookup_offsets(
        &self,
        request: Request<v1::LookupOffsetsRequest>,
    ) -> Result<Response<v1::LookupOffsetsResponse>, Status> {
        let state = self.state.lock().unwrap();
        let offsets = request.into_inner().positions.into_iter().map(|asked| {
            let log = state.logs.get(asked.partition as usize);
            let log = log.ok_or_else(|| status(&error(ErrorCode::UnknownPartition, "no such partition")))?;
            let offset = match asked.position.and_then(|position| position.at) {
                Some(At::Start(_)) => log.start,
                Some(At::Offset(offset)) => offset.cast_unsigned(),
                Some(At::TimestampMs(at)) => log
                    .batches
                    .iter()
                    .find(|(header, _)| header.max_timestamp.as_ms() >= at)
                    .map_or(log.end, |(header, _)| header.base_offset.get()),
                Some(At::End(_)) | None => log.end,
            };
            Ok(v1::PartitionOffset {
                partition: asked.partition,
                offset: offset.cast_signed(),
                timestamp_ms: None,
                log_start: log.start.cast_signed(),
                high_watermark: log.end.cast_signed(),
            })
        });
        Ok(Response::new(v1::LookupOffsetsResponse { offsets: offsets.collect::<Result<_, Status>>()? }))
    }
}

async fn run(
    state: Shared,
    open: v1::ReadOpen,
    mut from: u64,
    mut requests: Streaming<v1::ReadStreamRequest>,
    responses: mpsc::Sender<Result<v1::ReadResponse, Status>>,
) {
    let mut credit = i64::try_from(open.credit_bytes).unwrap();
    let until = open.until_offset.map_or(u64::MAX, i64::cast_unsigned);
    while from < until {
        let next = if credit > 0 { next(&state, open.partition, &mut from) } else { None };
        match next {
            Some(Ok(response)) => {
                credit -= i64::try_from(response.batches[0].len()).unwrap();
                if responses.send(Ok(response)).await.is_err() {
                    return;
                }
            }
            Some(Err(status)) => {
                let _ = responses.send(Err(status)).await;
                return;
            }
            None => match tokio::time::timeout(Duration::from_millis(2), requests.message()).await {
                Ok(Ok(Some(v1::ReadStreamRequest { kind: Some(Kind::Credit(more)) }))) => {
                    credit += i64::try_from(more.bytes).unwrap();
                }
                Ok(_) => return,
                Err(_) => {}
            },
        }
    }
}

/// The next response; `None` when there is nothing to send.
fn next(state: &Shared, partition: u32, from: &mut u64) -> Option<Result<v1::ReadResponse, Status>> {
    let mut state = state.lock().unwrap();
    let log = &state.logs[partition as usize];
    let (log_start, high_watermark) = (log.start.cast_signed(), log.end.cast_signed());
    let (header, mut batch) = log.batch_from(*from)?;
    match state.read_faults.pop_front() {
        Some(ReadFault::Cut) => return Some(Err(Status::unavailable("cut"))),
        Some(ReadFault::Refuse(code)) => return Some(Err(status(&error(code, "as told")))),
        Some(ReadFault::Damage) => {
            let mut damaged = batch.to_vec();
            *damaged.last_mut().unwrap() ^= 1;
            batch = damaged.into();
        }
        None => {}
    }
    state.read_bytes_sent += batch.len();
    *from = header.next_offset().get();
    let next_offset = header.next_offset().to_wire();
    Some(Ok(v1::ReadResponse { batches: vec![batch], records: Vec::new(), next_offset, log_start, high_watermark }))
}
