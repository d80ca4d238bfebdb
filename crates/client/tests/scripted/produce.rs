//! The produce service: one answer a request, in order, and the faults that the test asked for.

use std::sync::Arc;
use std::time::Duration;

use highwater_client::ErrorCode;
use highwater_proto::v1;
use highwater_proto::v1::produce_response::Result as Answer;
use highwater_proto::v1::produce_service_server::ProduceService;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::{ProduceFault, Service, Shared, error};

#[tonic::async_trait]
impl ProduceService for Service {
    type ProduceStreamStream = ReceiverStream<Result<v1::ProduceResponse, Status>>;

    async fn produce_stream(
        &self,
        request: Request<Streaming<v1::ProduceRequest>>,
    ) -> Result<Response<Self::ProduceStreamStream>, Status> {
        assert!(request.metadata().contains_key("highwater-redirect"), "the client finds leaders itself");
        let (answers, receiver) = mpsc::channel(64);
        self.state.lock().unwrap().streams_opened += 1;
        tokio::spawn(run(Arc::clone(&self.state), self.number, request.into_inner(), answers));
        Ok(Response::new(ReceiverStream::new(receiver)))
    }

    async fn produce(&self, _: Request<v1::ProduceRequest>) -> Result<Response<v1::ProduceResponse>, Status> {
        Err(Status::unimplemented("not in this server"))
    }

    async fn init_producer(
        &self,
        _: Request<v1::InitProducerRequest>,
    ) -> Result<Response<v1::InitProducerResponse>, Status> {
        let mut state = self.state.lock().unwrap();
        state.producers += 1;
        Ok(Response::new(v1::InitProducerResponse { producer_id: state.producers, producer_epoch: 0 }))
    }
}

async fn run(
    state: Shared,
    number: usize,
    mut requests: Streaming<v1::ProduceRequest>,
    answers: mpsc::Sender<Result<v1::ProduceResponse, Status>>,
) {
    let mut held = Vec::new();
    loop {
        let is_held = state.lock().unwrap().is_held;
        if !is_held {
            for request in held.drain(..) {
                if !serve(&state, number, request, &answers).await {
                    return;
                }
            }
        }
        let wait = if held.is_empty() { Duration::from_secs(3600) } else { Duration::from_millis(2) };
        match tokio::time::timeout(wait, requests.message()).await {
            Err(_) => {}
            Ok(Ok(Some(request))) => {
                held.push(request);
                let mut state = state.lock().unwrap();
                state.in_flight_max = state.in_flight_max.max(held.len());
            }
            Ok(Ok(None) | Err(_)) => return,
        }
    }
}

/// Whether the stream goes on.
async fn serve(
    state: &Shared,
    number: usize,
    request: v1::ProduceRequest,
    answers: &mpsc::Sender<Result<v1::ProduceResponse, Status>>,
) -> bool {
    let refusal = state.lock().unwrap().not_leader(number);
    if let Some(refusal) = refusal {
        let response = v1::ProduceResponse { correlation: request.correlation, result: Some(Answer::Error(refusal)) };
        return answers.send(Ok(response)).await.is_ok();
    }
    let fault = state.lock().unwrap().produce_faults.pop_front().unwrap_or(ProduceFault::None);
    let cut = || Err(Status::unavailable("cut"));
    let mut correlation = request.correlation;
    match fault {
        ProduceFault::Refuse(code) => {
            let result = Some(Answer::Error(error(code, "as told")));
            return answers.send(Ok(v1::ProduceResponse { correlation, result })).await.is_ok();
        }
        ProduceFault::CutBefore => {
            let _ = answers.send(cut()).await;
            return false;
        }
        ProduceFault::CutAfter => {
            store(state, &request);
            let _ = answers.send(cut()).await;
            return false;
        }
        ProduceFault::Stall => {
            store(state, &request);
            answers.closed().await;
            return false;
        }
        ProduceFault::Delay(delay) => tokio::time::sleep(delay).await,
        ProduceFault::WrongCorrelation => correlation += 1000,
        ProduceFault::None => {}
    }
    let result = Some(store(state, &request));
    answers.send(Ok(v1::ProduceResponse { correlation, result })).await.is_ok()
}

fn store(state: &Shared, request: &v1::ProduceRequest) -> Answer {
    let mut state = state.lock().unwrap();
    state.acks_seen.push(request.acks());
    let Some(v1::produce_request::Payload::Batch(batch)) = &request.payload else { panic!("the client sends batches") };
    let partition = request.partition.unwrap();
    let Some(log) = state.logs.get_mut(partition as usize) else {
        return Answer::Error(error(ErrorCode::UnknownPartition, "no such partition"));
    };
    match log.append(batch) {
        Ok(stored) => Answer::Ack(v1::ProduceAck {
            partition,
            base_offset: if request.acks() == v1::Acks::None { -1 } else { stored.base_offset.cast_signed() },
            timestamp_ms: 1,
            record_count: stored.record_count,
            duplicate: stored.duplicate,
            durability: request.acks,
            leader_epoch: 1,
        }),
        Err((code, message)) => Answer::Error(error(code, &message)),
    }
}
