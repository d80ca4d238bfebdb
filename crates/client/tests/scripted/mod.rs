//! A gRPC server for the tests of the client: it keeps the rules of the API over an in-memory log, except where a test
//! tells it to fail.

#![allow(dead_code, clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]
#![allow(missing_docs, unreachable_pub, clippy::missing_panics_doc)]

pub mod group;
mod log;
mod produce;
pub mod queue;
mod read;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use highwater_client::{Client, ClientBuilder, ErrorCode};
use highwater_proto::v1;
use highwater_proto::v1::admin_service_server::{AdminService, AdminServiceServer};
use highwater_proto::v1::group_service_server::GroupServiceServer;
use highwater_proto::v1::produce_service_server::ProduceServiceServer;
use highwater_proto::v1::queue_service_server::QueueServiceServer;
use highwater_proto::v1::read_service_server::ReadServiceServer;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status};

pub use group::Session;
pub use log::Log;
pub use queue::Work;

/// What is to go wrong with one produce request.
#[derive(Clone, Debug)]
pub enum ProduceFault {
    /// Refuse it, without a look.
    Refuse(ErrorCode),
    /// End the stream before it is stored.
    CutBefore,
    /// Store it, and end the stream before it is answered.
    CutAfter,
    /// Store it and never answer, nor take anything more from this stream.
    Stall,
    /// Answer late.
    Delay(Duration),
    /// Answer another request than this one.
    WrongCorrelation,
    /// Nothing.
    None,
}

/// What is to go wrong with one response of a read stream.
#[derive(Clone, Debug)]
pub enum ReadFault {
    /// End the stream instead.
    Cut,
    /// Flip a bit in it.
    Damage,
    /// Refuse to go on.
    Refuse(ErrorCode),
}

/// What tests look at and tell.
#[derive(Default)]
pub struct State {
    pub logs: Vec<Log>,
    pub produce_faults: VecDeque<ProduceFault>,
    pub read_faults: VecDeque<ReadFault>,
    /// While set, produce requests are not answered.
    pub is_held: bool,
    pub streams_opened: usize,
    pub producers: i64,
    /// Requests taken and not answered, at most, on one stream.
    pub in_flight_max: usize,
    /// Bytes of batches sent on read streams.
    pub read_bytes_sent: usize,
    pub acks_seen: Vec<v1::Acks>,
    pub offsets_asked: Vec<i64>,
    /// The servers of the cluster by number, and which of them leads.
    pub servers: Vec<SocketAddr>,
    pub leader: usize,
    /// How often the nodes of the cluster were asked for.
    pub cluster_described: usize,
    /// Read streams that were opened at a server that does not lead.
    pub followed_reads: usize,
    /// Streams of members of groups go here.
    pub sessions: Option<mpsc::Sender<Session>>,
    /// Streams of workers go here.
    pub works: Option<mpsc::Sender<Work>>,
    /// What a queue group has left; without it there is no such group.
    pub queue_left: Option<v1::QueuePartition>,
    /// How often that was asked for.
    pub queue_described: usize,
    /// Whether the list of topics has `t`.
    pub is_listed: bool,
}

impl State {
    /// Why a server that does not lead refuses, as the API says it.
    pub fn not_leader(&self, number: usize) -> Option<v1::Error> {
        let leader_address = Some(self.servers[self.leader].to_string());
        let refusal = v1::Error { leader_address, ..error(ErrorCode::NotLeader, "another server leads") };
        (self.leader != number).then_some(refusal)
    }
}

pub type Shared = Arc<Mutex<State>>;

/// The server. It stops when it is dropped; its logs stay.
pub struct Server {
    pub state: Shared,
    pub address: SocketAddr,
    number: usize,
    sessions: mpsc::Receiver<Session>,
    works: mpsc::Receiver<Work>,
    runtime: Option<tokio::runtime::Runtime>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

#[derive(Clone)]
struct Service {
    state: Shared,
    number: usize,
}

impl Server {
    /// Starts with one topic, `t`, of so many partitions.
    pub async fn start(partitions: usize) -> Self {
        let (sessions, receiver) = mpsc::channel(16);
        let (works, work_receiver) = mpsc::channel(16);
        let logs = (0..partitions).map(|_| Log::default()).collect();
        let state = State { logs, sessions: Some(sessions), works: Some(works), ..State::default() };
        Self::of(Arc::new(Mutex::new(state)), 0, receiver, work_receiver).await
    }

    /// Another server of the same cluster: it shows the same logs, and does not lead. The streams of members are the first
    /// one's to play.
    pub async fn another(&self) -> Self {
        let number = self.state.lock().unwrap().servers.len();
        Self::of(Arc::clone(&self.state), number, mpsc::channel(1).1, mpsc::channel(1).1).await
    }

    async fn of(state: Shared, number: usize, sessions: mpsc::Receiver<Session>, works: mpsc::Receiver<Work>) -> Self {
        let address = "127.0.0.1:0".parse().unwrap();
        let mut server = Self { state, address, number, sessions, works, runtime: None };
        server.resume().await;
        server.state.lock().unwrap().servers.push(server.address);
        server
    }

    /// From now on this one leads.
    pub fn lead(&self) {
        self.state.lock().unwrap().leader = self.number;
    }

    /// Listens again, on the same port.
    pub async fn resume(&mut self) {
        // A runtime of its own: ending it is the one way to close every connection at once, as a crash does.
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let address = self.address;
        let listener = runtime.spawn(TcpListener::bind(address)).await.unwrap().unwrap();
        self.address = listener.local_addr().unwrap();
        let service = Service { state: Arc::clone(&self.state), number: self.number };
        runtime.spawn(
            tonic::transport::Server::builder()
                .initial_stream_window_size(1 << 24)
                .initial_connection_window_size(1 << 24)
                .add_service(ProduceServiceServer::new(service.clone()).max_decoding_message_size(1 << 24))
                .add_service(ReadServiceServer::new(service.clone()).max_encoding_message_size(1 << 24))
                .add_service(GroupServiceServer::new(service.clone()).max_encoding_message_size(1 << 24))
                .add_service(QueueServiceServer::new(service.clone()).max_encoding_message_size(1 << 24))
                .add_service(AdminServiceServer::new(service))
                .serve_with_incoming(TcpListenerStream::new(listener)),
        );
        self.runtime = Some(runtime);
    }

    /// Stops at once, as a crash does: connections break, what was not stored is not.
    pub fn stop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // Not on this thread, which belongs to another runtime; and waited for, so that the port is free.
            std::thread::spawn(move || runtime.shutdown_timeout(Duration::from_secs(5))).join().unwrap();
        }
    }

    pub fn client(&self) -> ClientBuilder {
        Client::builder().server(self.address.to_string())
    }

    pub async fn connect(&self) -> Client {
        self.client().connect().await.unwrap()
    }

    pub fn fail_next(&self, faults: impl IntoIterator<Item = ProduceFault>) {
        self.state.lock().unwrap().produce_faults.extend(faults);
    }

    pub fn fail_next_reads(&self, faults: impl IntoIterator<Item = ReadFault>) {
        self.state.lock().unwrap().read_faults.extend(faults);
    }

    pub fn hold(&self, is_held: bool) {
        self.state.lock().unwrap().is_held = is_held;
    }

    /// The values of all records of a partition.
    pub fn values(&self, partition: usize) -> Vec<String> {
        self.state.lock().unwrap().logs[partition].values()
    }

    pub fn batch_sizes(&self, partition: usize) -> Vec<u32> {
        self.state.lock().unwrap().logs[partition].batches.iter().map(|(header, _)| header.record_count).collect()
    }
}

/// Waits until something is so; panics after ten seconds.
pub async fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    for _ in 0..2_000 {
        if is_so() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("not within ten seconds: {what}");
}

pub fn error(code: ErrorCode, message: &str) -> v1::Error {
    v1::Error { code: code.number(), message: message.to_owned(), retryable: code.is_retryable(), ..Default::default() }
}

/// A failed call, as the API says it: the error, encoded, in the trailing metadata.
pub fn status(error: &v1::Error) -> Status {
    let mut status = Status::unknown(error.message.clone());
    let value = tonic::metadata::MetadataValue::from_bytes(&prost::Message::encode_to_vec(error));
    status.metadata_mut().insert_bin(highwater_proto::ERROR_METADATA_KEY, value);
    status
}

#[tonic::async_trait]
impl AdminService for Service {
    async fn describe_topic(
        &self,
        request: Request<v1::DescribeTopicRequest>,
    ) -> Result<Response<v1::DescribeTopicResponse>, Status> {
        let name = request.into_inner().name;
        if name != "t" {
            return Err(status(&error(ErrorCode::UnknownTopic, &format!("there is no topic {name}"))));
        }
        let count = u32::try_from(self.state.lock().unwrap().logs.len()).unwrap();
        let state = self.state.lock().unwrap();
        let (leader, replicas) = (state.leader as u64, (0..state.servers.len() as u64).collect::<Vec<_>>());
        let partition = |partition| v1::Partition {
            partition,
            leader: Some(leader),
            replicas: replicas.clone(),
            ..Default::default()
        };
        let partitions = (0..count).map(partition);
        let topic = v1::Topic { name, partitions: partitions.collect(), ..Default::default() };
        Ok(Response::new(v1::DescribeTopicResponse { topic: Some(topic), config: Vec::new() }))
    }

    async fn create_topic(
        &self,
        _: Request<v1::CreateTopicRequest>,
    ) -> Result<Response<v1::CreateTopicResponse>, Status> {
        Err(Status::unimplemented("not in this server"))
    }

    async fn delete_topic(
        &self,
        _: Request<v1::DeleteTopicRequest>,
    ) -> Result<Response<v1::DeleteTopicResponse>, Status> {
        // It never comes to an answer: a call that may have been done.
        Err(Status::unavailable("cut"))
    }

    async fn alter_topic(&self, _: Request<v1::AlterTopicRequest>) -> Result<Response<v1::AlterTopicResponse>, Status> {
        std::future::pending().await
    }

    async fn list_topics(&self, _: Request<v1::ListTopicsRequest>) -> Result<Response<v1::ListTopicsResponse>, Status> {
        let mut state = self.state.lock().unwrap();
        match state.produce_faults.pop_front() {
            Some(_) => Err(Status::unavailable("cut")),
            None if state.is_listed => {
                let topic = v1::Topic { name: "t".to_owned(), ..Default::default() };
                Ok(Response::new(v1::ListTopicsResponse { topics: vec![topic] }))
            }
            None => Ok(Response::new(v1::ListTopicsResponse { topics: Vec::new() })),
        }
    }

    async fn describe_cluster(
        &self,
        _: Request<v1::DescribeClusterRequest>,
    ) -> Result<Response<v1::DescribeClusterResponse>, Status> {
        let mut state = self.state.lock().unwrap();
        state.cluster_described += 1;
        let node =
            |(id, address): (u64, &SocketAddr)| v1::Node { id, address: address.to_string(), ..Default::default() };
        let nodes = (0..).zip(&state.servers).map(node).collect();
        Ok(Response::new(v1::DescribeClusterResponse { nodes, ..Default::default() }))
    }

    async fn node_usage(&self, _: Request<v1::NodeUsageRequest>) -> Result<Response<v1::NodeUsageResponse>, Status> {
        Err(Status::unimplemented("not in this server"))
    }

    async fn cluster_health(
        &self,
        _: Request<v1::ClusterHealthRequest>,
    ) -> Result<Response<v1::ClusterHealthResponse>, Status> {
        Err(Status::unimplemented("not in this server"))
    }

    async fn set_node_state(
        &self,
        _: Request<v1::SetNodeStateRequest>,
    ) -> Result<Response<v1::SetNodeStateResponse>, Status> {
        Err(Status::unimplemented("not in this server"))
    }

    async fn replace_node(
        &self,
        _: Request<v1::ReplaceNodeRequest>,
    ) -> Result<Response<v1::ReplaceNodeResponse>, Status> {
        Err(Status::unimplemented("not in this server"))
    }

    async fn remove_node(&self, _: Request<v1::RemoveNodeRequest>) -> Result<Response<v1::RemoveNodeResponse>, Status> {
        Err(Status::unimplemented("not in this server"))
    }

    async fn balance(&self, _: Request<v1::BalanceRequest>) -> Result<Response<v1::BalanceResponse>, Status> {
        Err(Status::unimplemented("not in this server"))
    }

    async fn transfer_leader(
        &self,
        _: Request<v1::TransferLeaderRequest>,
    ) -> Result<Response<v1::TransferLeaderResponse>, Status> {
        Err(Status::unimplemented("not in this server"))
    }

    async fn move_replicas(
        &self,
        _: Request<v1::MoveReplicasRequest>,
    ) -> Result<Response<v1::MoveReplicasResponse>, Status> {
        Err(Status::unimplemented("not in this server"))
    }
}
