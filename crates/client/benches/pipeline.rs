//! What the client and the transport cost by themselves: a server in the same process that acknowledges batches, and
//! sends one batch over and over, without a disk.
//!
//! `cargo bench -p highwater-client --bench pipeline -- [produce|read] [RECORDS] [RECORD_BYTES] [IN_FLIGHT] [BATCH_BYTES]`
//!
//! With `HOST:PORT` among the arguments, that server is used instead: its topic `t` is created anew and filled; `read` alone reads what is there.

#![allow(clippy::disallowed_methods, clippy::print_stdout, reason = "a benchmark measures time and tells")]

use std::collections::VecDeque;
use std::error::Error;
use std::time::Instant;

use bytes::Bytes;
use highwater_client::{Client, Compression, NewTopic, Offset, PartitionId, Record, Timestamp};
use highwater_proto::v1;
use highwater_proto::v1::admin_service_server::{AdminService, AdminServiceServer};
use highwater_proto::v1::produce_service_server::{ProduceService, ProduceServiceServer};
use highwater_proto::v1::read_service_server::{ReadService, ReadServiceServer};
use highwater_types::LeaderEpoch;
use highwater_types::batch::{BatchBuilder, BatchHeader, NO_HEADERS, stamp};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status, Streaming};

type Failure = Box<dyn Error + Send + Sync>;

#[derive(Clone, Copy)]
struct Sink;

#[tonic::async_trait]
impl ProduceService for Sink {
    type ProduceStreamStream = ReceiverStream<Result<v1::ProduceResponse, Status>>;

    async fn produce_stream(
        &self,
        request: Request<Streaming<v1::ProduceRequest>>,
    ) -> Result<Response<Self::ProduceStreamStream>, Status> {
        let (answers, receiver) = mpsc::channel(16);
        tokio::spawn(acknowledge(request.into_inner(), answers));
        Ok(Response::new(ReceiverStream::new(receiver)))
    }

    async fn produce(&self, _: Request<v1::ProduceRequest>) -> Result<Response<v1::ProduceResponse>, Status> {
        Err(Status::unimplemented("only streams"))
    }

    async fn init_producer(
        &self,
        _: Request<v1::InitProducerRequest>,
    ) -> Result<Response<v1::InitProducerResponse>, Status> {
        Ok(Response::new(v1::InitProducerResponse { producer_id: 1, producer_epoch: 0 }))
    }
}

async fn acknowledge(
    mut requests: Streaming<v1::ProduceRequest>,
    answers: mpsc::Sender<Result<v1::ProduceResponse, Status>>,
) {
    let (mut base_offset, mut batches) = (0, 0_u32);
    while let Ok(Some(request)) = requests.message().await {
        let Some(v1::produce_request::Payload::Batch(batch)) = request.payload else { return };
        let Ok(header) = BatchHeader::read(&batch) else { return };
        let ack = v1::ProduceAck { base_offset, record_count: header.record_count, ..Default::default() };
        let result = Some(v1::produce_response::Result::Ack(ack));
        if answers.send(Ok(v1::ProduceResponse { correlation: request.correlation, result })).await.is_err() {
            return;
        }
        base_offset += i64::from(header.record_count);
        batches += 1;
    }
    println!("  {batches} batches, {} records each", base_offset / i64::from(batches.max(1)));
}

#[tonic::async_trait]
impl ReadService for Sink {
    type ReadStreamStream = ReceiverStream<Result<v1::ReadResponse, Status>>;

    async fn read_stream(
        &self,
        request: Request<Streaming<v1::ReadStreamRequest>>,
    ) -> Result<Response<Self::ReadStreamStream>, Status> {
        let mut requests = request.into_inner();
        let first = requests.message().await?.and_then(|request| request.kind);
        let Some(v1::read_stream_request::Kind::Open(open)) = first else {
            return Err(Status::invalid_argument("open comes first"));
        };
        let (responses, receiver) = mpsc::channel(2);
        tokio::spawn(repeat(open, requests, responses));
        Ok(Response::new(ReceiverStream::new(receiver)))
    }

    async fn read(&self, _: Request<v1::ReadRequest>) -> Result<Response<v1::ReadResponse>, Status> {
        Err(Status::unimplemented("only streams"))
    }

    async fn lookup_offsets(
        &self,
        _: Request<v1::LookupOffsetsRequest>,
    ) -> Result<Response<v1::LookupOffsetsResponse>, Status> {
        Err(Status::unimplemented("only streams"))
    }
}

/// Sends batches of a mebibyte in all, as long as there is credit.
async fn repeat(
    open: v1::ReadOpen,
    mut requests: Streaming<v1::ReadStreamRequest>,
    responses: mpsc::Sender<Result<v1::ReadResponse, Status>>,
) {
    let Ok(batch) = batch(256, 1024) else { return };
    let (mut next, until) = (0_u64, open.until_offset.unwrap_or(i64::MAX).cast_unsigned());
    let mut credit = open.credit_bytes.cast_signed();
    while next < until {
        while credit <= 0 {
            let Ok(Some(request)) = requests.message().await else { return };
            if let Some(v1::read_stream_request::Kind::Credit(more)) = request.kind {
                credit += more.bytes.cast_signed();
            }
        }
        let mut batches = Vec::new();
        for _ in 0..4 {
            let Some(at) = Offset::new(next) else { return };
            let Some(first16) = batch.first_chunk() else { return };
            let mut stamped = batch.to_vec();
            stamped.splice(..16, stamp(at, LeaderEpoch::new(0), *first16));
            credit -= i64::try_from(stamped.len()).unwrap_or(i64::MAX);
            batches.push(Bytes::from(stamped));
            next += 256;
        }
        let response = v1::ReadResponse { batches, next_offset: next.cast_signed(), ..Default::default() };
        if responses.send(Ok(response)).await.is_err() {
            return;
        }
    }
}

fn batch(records: usize, record_bytes: usize) -> Result<Bytes, Failure> {
    let mut builder = BatchBuilder::new(Compression::None);
    for _ in 0..records {
        builder.append(Timestamp::from_ms(1), None, Some(&vec![b'x'; record_bytes]), NO_HEADERS)?;
    }
    Ok(builder.finish()?)
}

#[tonic::async_trait]
impl AdminService for Sink {
    async fn describe_topic(
        &self,
        request: Request<v1::DescribeTopicRequest>,
    ) -> Result<Response<v1::DescribeTopicResponse>, Status> {
        let partitions = vec![v1::Partition::default()];
        let topic = v1::Topic { name: request.into_inner().name, partitions, ..Default::default() };
        Ok(Response::new(v1::DescribeTopicResponse { topic: Some(topic), config: Vec::new() }))
    }

    async fn create_topic(
        &self,
        _: Request<v1::CreateTopicRequest>,
    ) -> Result<Response<v1::CreateTopicResponse>, Status> {
        Err(Status::unimplemented("no topics"))
    }

    async fn delete_topic(
        &self,
        _: Request<v1::DeleteTopicRequest>,
    ) -> Result<Response<v1::DeleteTopicResponse>, Status> {
        Err(Status::unimplemented("no topics"))
    }

    async fn alter_topic(&self, _: Request<v1::AlterTopicRequest>) -> Result<Response<v1::AlterTopicResponse>, Status> {
        Err(Status::unimplemented("no topics"))
    }

    async fn list_topics(&self, _: Request<v1::ListTopicsRequest>) -> Result<Response<v1::ListTopicsResponse>, Status> {
        Err(Status::unimplemented("no topics"))
    }

    async fn describe_cluster(
        &self,
        _: Request<v1::DescribeClusterRequest>,
    ) -> Result<Response<v1::DescribeClusterResponse>, Status> {
        Err(Status::unimplemented("no cluster"))
    }

    async fn node_usage(&self, _: Request<v1::NodeUsageRequest>) -> Result<Response<v1::NodeUsageResponse>, Status> {
        Err(Status::unimplemented("no node"))
    }

    async fn cluster_health(
        &self,
        _: Request<v1::ClusterHealthRequest>,
    ) -> Result<Response<v1::ClusterHealthResponse>, Status> {
        Err(Status::unimplemented("no cluster"))
    }

    async fn set_node_state(
        &self,
        _: Request<v1::SetNodeStateRequest>,
    ) -> Result<Response<v1::SetNodeStateResponse>, Status> {
        Err(Status::unimplemented("no cluster"))
    }

    async fn replace_node(
        &self,
        _: Request<v1::ReplaceNodeRequest>,
    ) -> Result<Response<v1::ReplaceNodeResponse>, Status> {
        Err(Status::unimplemented("no cluster"))
    }

    async fn remove_node(&self, _: Request<v1::RemoveNodeRequest>) -> Result<Response<v1::RemoveNodeResponse>, Status> {
        Err(Status::unimplemented("no cluster"))
    }

    async fn balance(&self, _: Request<v1::BalanceRequest>) -> Result<Response<v1::BalanceResponse>, Status> {
        Err(Status::unimplemented("no cluster"))
    }

    async fn transfer_leader(
        &self,
        _: Request<v1::TransferLeaderRequest>,
    ) -> Result<Response<v1::TransferLeaderResponse>, Status> {
        Err(Status::unimplemented("no cluster"))
    }

    async fn move_replicas(
        &self,
        _: Request<v1::MoveReplicasRequest>,
    ) -> Result<Response<v1::MoveReplicasResponse>, Status> {
        Err(Status::unimplemented("no cluster"))
    }
}

async fn produce(
    client: &Client,
    records: usize,
    value: &Bytes,
    in_flight: usize,
    batch_bytes: usize,
) -> Result<(), Failure> {
    let producer = client.producer().batch_bytes(batch_bytes).build();
    producer.send_and_wait("t", Record::new(value.clone())).await?;
    let start = Instant::now();
    let mut deliveries = VecDeque::with_capacity(in_flight);
    for _ in 0..records {
        if deliveries.len() == in_flight
            && let Some(oldest) = deliveries.pop_front()
        {
            tell(oldest).await?;
        }
        deliveries.push_back(producer.send("t", Record::new(value.clone())).await?);
    }
    for delivery in deliveries {
        tell(delivery).await?;
    }
    report("produce", records, records * value.len(), start);
    producer.close().await?;
    Ok(())
}

async fn tell(delivery: highwater_client::Delivery) -> Result<(), Failure> {
    delivery.await?;
    Ok(())
}

async fn read(client: &Client, records: usize) -> Result<(), Failure> {
    let end = Offset::new(records as u64).unwrap_or(Offset::MAX);
    let reader = || client.reader().topic("t").partitions([PartitionId::new(0)]).from(Offset::ZERO).until(end);
    for verify in [true, false] {
        let mut reader = reader().verify_checksums(verify).open().await?;
        let (start, mut bytes) = (Instant::now(), 0);
        while let Some(batch) = reader.next_batch().await {
            bytes += batch?.bytes().len();
        }
        report(if verify { "read batches" } else { "read batches, unverified" }, records, bytes, start);
    }
    let mut reader = reader().open().await?;
    let (start, mut bytes) = (Instant::now(), 0);
    while let Some(record) = reader.next_record().await {
        bytes += record?.value.map_or(0, |value| value.len());
    }
    report("read records", records, bytes, start);
    Ok(())
}

fn report(what: &str, records: usize, bytes: usize, start: Instant) {
    let seconds = start.elapsed().as_secs_f64();
    let (rate, megabytes) = (records as f64 / seconds, bytes as f64 / seconds / 1e6);
    println!("{what}: {rate:.0} records/s, {megabytes:.0} MB/s");
}

/// Starts the server that only acknowledges, and tells its address.
async fn sink() -> Result<String, Failure> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?.to_string();
    tokio::spawn(
        tonic::transport::Server::builder()
            .initial_stream_window_size(1 << 24)
            .initial_connection_window_size(1 << 24)
            .max_frame_size(1 << 20)
            .add_service(ProduceServiceServer::new(Sink).max_decoding_message_size(1 << 24))
            .add_service(ReadServiceServer::new(Sink).max_encoding_message_size(1 << 24))
            .add_service(AdminServiceServer::new(Sink))
            .serve_with_incoming(TcpIncoming::from(listener).with_nodelay(Some(true))),
    );
    Ok(address)
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let mut numbers = std::env::args().filter_map(|argument| argument.parse::<usize>().ok());
    let mut number = |default| numbers.next().unwrap_or(default);
    let (records, record_bytes, in_flight) = (number(2_000_000), number(1024), number(1000));
    let batch_bytes = number(256 * 1024);

    let wants =
        |what: &str| !std::env::args().any(|argument| argument == if what == "read" { "produce" } else { "read" });
    let client = match std::env::args().skip(1).find(|argument| argument.contains(':')) {
        Some(server) => {
            let client = Client::connect(&server).await?;
            if wants("produce") {
                // It may not be there.
                drop(client.admin().delete_topic("t").await);
                client.admin().create_topic(NewTopic::new("t").partitions(1)).await?;
            }
            client
        }
        None => Client::connect(&sink().await?).await?,
    };
    if wants("produce") {
        produce(&client, records, &Bytes::from(vec![b'x'; record_bytes]), in_flight, batch_bytes).await?;
    }
    if wants("read") {
        read(&client, records).await?;
    }
    Ok(())
}
