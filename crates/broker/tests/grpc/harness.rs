//! A server of its own for each test, and clients of it.

use std::time::Duration;

use crate::batches::batch;
use bytes::Bytes;
use highwater_broker::config::{Config, Sources};
use highwater_broker::server::Server;
use highwater_proto::v1::admin_service_client::AdminServiceClient;
use highwater_proto::v1::produce_service_client::ProduceServiceClient;
use highwater_proto::v1::read_service_client::ReadServiceClient;
use highwater_proto::v1::{self, position, produce_request};
use highwater_proto::{ERROR_METADATA_KEY, v1::ErrorCode};
use prost::Message;
use tempfile::TempDir;
use tonic::Status;
use tonic::transport::{Channel, Endpoint};

pub(crate) const TOPIC: &str = "orders";

/// A server, its data, and a connection to it. Dropping it is the end of the process, as far as a test can tell.
pub(crate) struct Fixture {
    pub(crate) server: Server,
    pub(crate) channel: Channel,
    pub(crate) data: TempDir,
}

pub(crate) fn config(data: &TempDir, settings: &[(&str, &str)]) -> Config {
    let own = [
        ("data.free_bytes_min", "16MiB"),
        ("grpc.listen", "127.0.0.1:0"),
        ("http.listen", "127.0.0.1:0"),
        ("kafka.listen", "127.0.0.1:0"),
        ("cluster.listen", "127.0.0.1:0"),
        ("node.shutdown_grace", "5s"),
    ];
    let sources = Sources::default().with_flag("test", "data.dir", data.path().to_str().unwrap());
    let sources =
        own.iter().chain(settings).fold(sources, |sources, (key, value)| sources.with_flag("test", key, *value));
    Config::load(&sources).unwrap()
}

pub(crate) fn endpoint(server: &Server) -> Endpoint {
    Endpoint::from_shared(format!("http://{}", server.address()))
        .unwrap()
        .initial_stream_window_size(16 << 20)
        .initial_connection_window_size(16 << 20)
}

impl Fixture {
    /// A server with one topic of two partitions.
    pub(crate) async fn new() -> Self {
        Self::with(&[]).await
    }

    pub(crate) async fn with(settings: &[(&str, &str)]) -> Self {
        let fixture = Self::empty(settings).await;
        fixture.create_topic(&[]).await;
        fixture
    }

    /// The same, where the topic has settings of its own.
    pub(crate) async fn with_topic(settings: &[(&str, &str)]) -> Self {
        let fixture = Self::empty(&[]).await;
        fixture.create_topic(settings).await;
        fixture
    }

    async fn create_topic(&self, settings: &[(&str, &str)]) {
        let config = settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let request = v1::CreateTopicRequest { name: TOPIC.to_owned(), partitions: 2, config, ..Default::default() };
        self.admin().create_topic(request).await.unwrap();
    }

    /// A server without topics.
    pub(crate) async fn empty(settings: &[(&str, &str)]) -> Self {
        let data = tempfile::tempdir().unwrap();
        let server = Server::start(config(&data, settings)).await.unwrap();
        let channel = endpoint(&server).connect().await.unwrap();
        Self { server, channel, data }
    }

    pub(crate) fn admin(&self) -> AdminServiceClient<Channel> {
        AdminServiceClient::new(self.channel.clone())
    }

    pub(crate) fn producer(&self) -> ProduceServiceClient<Channel> {
        ProduceServiceClient::new(self.channel.clone())
    }

    pub(crate) fn reader(&self) -> ReadServiceClient<Channel> {
        ReadServiceClient::new(self.channel.clone()).max_decoding_message_size(32 << 20)
    }

    /// Produces one batch to partition 0 and waits for its acknowledgement.
    pub(crate) async fn produce(&self, batch: Bytes) -> Result<v1::ProduceAck, Status> {
        let response = self.producer().produce(produce(1, 0, batch)).await?.into_inner();
        match response.result {
            Some(v1::produce_response::Result::Ack(ack)) => Ok(ack),
            other => panic!("a unary call that ends well has an acknowledgement, not {other:?}"),
        }
    }

    /// The offset after the last committed record of a partition.
    pub(crate) async fn end(&self, partition: u32) -> i64 {
        let position = v1::PartitionPosition { partition, position: Some(at_end()) };
        let request = v1::LookupOffsetsRequest { topic: TOPIC.to_owned(), positions: vec![position] };
        self.reader().lookup_offsets(request).await.unwrap().into_inner().offsets[0].offset
    }

    /// The offset of the first record that partition 0 still has.
    pub(crate) async fn log_start(&self) -> i64 {
        self.reader().read(read_from(at_start())).await.unwrap().into_inner().log_start
    }

    /// Waits until retention has taken the first segments of partition 0; the offset of the first record that is left.
    pub(crate) async fn until_the_log_begins_later(&self) -> i64 {
        let later = async {
            loop {
                match self.log_start().await {
                    0 => tokio::time::sleep(Duration::from_millis(50)).await,
                    start => return start,
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(60), later).await.expect("segments go")
    }

    /// Ten records a megabyte into partition 0.
    pub(crate) async fn fill(&self, megabytes: usize) {
        for _ in 0..10 * megabytes {
            self.produce(batch(&[&[7; 100_000]])).await.unwrap();
        }
    }

    /// Waits until all bytes of produce requests are free again.
    pub(crate) async fn until_nothing_is_in_flight(&self) {
        let budget = self.server.produce_budget();
        let free = async {
            while budget.available() < budget.total() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), free).await.expect("all permits come back");
    }

    /// Waits until the node has noticed that its disk is full, or is so no more.
    pub(crate) async fn until_disk_is_full(&self, is_full: bool) {
        let gate = self.server.node().router().disk_gate();
        let noticed = async {
            while gate.check().is_err() != is_full {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), noticed).await.expect("the node watches its disk");
    }
}

pub(crate) fn produce(correlation: u64, partition: u32, batch: Bytes) -> v1::ProduceRequest {
    v1::ProduceRequest {
        correlation,
        topic: TOPIC.to_owned(),
        partition: Some(partition),
        acks: v1::Acks::Quorum.into(),
        payload: Some(produce_request::Payload::Batch(batch)),
    }
}

pub(crate) fn at(offset: i64) -> v1::Position {
    v1::Position { at: Some(position::At::Offset(offset)) }
}

pub(crate) fn at_end() -> v1::Position {
    v1::Position { at: Some(position::At::End(position::End {})) }
}

pub(crate) fn at_start() -> v1::Position {
    v1::Position { at: Some(position::At::Start(position::Start {})) }
}

/// A read of partition 0 that does not wait.
pub(crate) fn read_from(position: v1::Position) -> v1::ReadRequest {
    v1::ReadRequest { topic: TOPIC.to_owned(), from: Some(position), ..Default::default() }
}

/// The details that a failed call carries.
pub(crate) fn details(status: &Status) -> v1::Error {
    let bytes = status.metadata().get_bin(ERROR_METADATA_KEY).unwrap_or_else(|| panic!("no details in {status:?}"));
    v1::Error::decode(bytes.to_bytes().unwrap()).unwrap()
}

pub(crate) fn code(status: &Status) -> ErrorCode {
    details(status).code()
}

/// The values of all records in batches.
pub(crate) fn values(batches: &[Bytes]) -> Vec<Bytes> {
    let records = |batch: &Bytes| highwater_types::batch::records(batch.clone()).unwrap();
    batches.iter().flat_map(records).map(|record| record.unwrap().value.unwrap()).collect()
}
