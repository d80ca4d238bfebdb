//! A server of its own for each test, and a client that writes bytes by hand.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use bytes::{Buf, Bytes};
use highwater_broker::config::{Config, Sources};
use highwater_broker::server::Server;
use highwater_tests::cluster::ports;
use kafka_protocol::messages::{RequestHeader, ResponseHeader};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, Request, StrBytes};
use tempfile::TempDir;

pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct Fixture {
    pub(crate) server: Server,
    pub(crate) data: TempDir,
}

impl Fixture {
    pub(crate) async fn new() -> Self {
        Self::with(&[]).await
    }

    /// One with settings of its own.
    pub(crate) async fn with(settings: &[(&'static str, &str)]) -> Self {
        Self::on(tempfile::tempdir().unwrap(), settings).await
    }

    /// Stops it, and starts it on the same data.
    pub(crate) async fn again(self) -> Self {
        self.server.shutdown().await.unwrap();
        Self::on(self.data, &[]).await
    }

    async fn on(data: TempDir, settings: &[(&'static str, &str)]) -> Self {
        let own = [
            ("data.dir", data.path().to_str().unwrap()),
            ("data.free_bytes_min", "16MiB"),
            ("grpc.listen", "127.0.0.1:0"),
            ("http.listen", ""),
            ("kafka.listen", "127.0.0.1:0"),
            ("cluster.listen", "127.0.0.1:0"),
            ("node.shutdown_grace", "5s"),
        ];
        let sources = own
            .iter()
            .chain(settings)
            .fold(Sources::default(), |sources, (key, value)| sources.with_flag("t", key, *value));
        let server = Server::start(Config::load(&sources).unwrap()).await.unwrap();
        Self { server, data }
    }

    /// Three nodes.
    pub(crate) async fn three() -> [Self; 3] {
        let free = || format!("127.0.0.1:{}", ports::free());
        let peers = [free(), free(), free()];
        let voters = peers.join(",");
        let one = async |own: &str| Self::with(&[("cluster.listen", own), ("cluster.first_voters", &voters)]).await;
        let [first, second, third] = peers.each_ref().map(String::as_str);
        let (first, second, third) = tokio::join!(one(first), one(second), one(third));
        [first, second, third]
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.server.kafka_address().unwrap()
    }

    /// Runs a client that blocks, which must not keep the server from running.
    pub(crate) async fn client<T: Send + 'static>(&self, run: impl FnOnce(Client) -> T + Send + 'static) -> T {
        let address = self.address();
        tokio::task::spawn_blocking(move || run(Client::connect(address))).await.unwrap()
    }
}

/// A connection.
pub(crate) struct Client {
    stream: TcpStream,
}

/// How a connection that the server ends is told from one that it does not.
pub(crate) type Answered = Option<Bytes>;

impl Client {
    pub(crate) fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream }
    }

    /// Bytes as they are.
    pub(crate) fn write(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    /// A request behind its length.
    pub(crate) fn frame(&mut self, bytes: &[u8]) {
        self.write(&[&i32::try_from(bytes.len()).unwrap().to_be_bytes(), bytes].concat());
    }

    /// The next answer without its length; `None` when the server has ended the connection.
    pub(crate) fn answer(&mut self) -> Answered {
        let mut length = [0; 4];
        match self.stream.read_exact(&mut length) {
            Ok(()) => {}
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => panic!("the server says nothing"),
            Err(_ended) => return None,
        }
        let mut bytes = vec![0; i32::from_be_bytes(length).try_into().unwrap()];
        self.stream.read_exact(&mut bytes).unwrap();
        Some(bytes.into())
    }

    /// Asks by hand.
    pub(crate) fn ask(&mut self, bytes: &[u8]) -> Answered {
        self.frame(bytes);
        self.answer()
    }

    pub(crate) fn send<Q: Request>(&mut self, version: i16, correlation: i32, request: &Q) {
        let head = RequestHeader::default()
            .with_request_api_key(Q::KEY)
            .with_request_api_version(version)
            .with_correlation_id(correlation)
            .with_client_id(Some(StrBytes::from_static_str("witness")));
        let mut bytes = Vec::new();
        head.encode(&mut bytes, Q::header_version(version)).unwrap();
        request.encode(&mut bytes, version).unwrap();
        self.frame(&bytes);
    }

    pub(crate) fn receive<Q: Request>(&mut self, version: i16, correlation: i32) -> Q::Response {
        let mut bytes = self.answer().unwrap_or_else(|| panic!("no answer to {} version {version}", Q::KEY));
        let head = ResponseHeader::decode(&mut bytes, Q::Response::header_version(version)).unwrap();
        assert_eq!(head.correlation_id, correlation);
        let response = Q::Response::decode(&mut bytes, version)
            .unwrap_or_else(|error| panic!("the answer of {} version {version} is not one: {error}", Q::KEY));
        assert_eq!(bytes.remaining(), 0, "the answer of {} version {version} is longer than it says", Q::KEY);
        response
    }

    pub(crate) fn call<Q: Request>(&mut self, version: i16, request: &Q) -> Q::Response {
        self.send(version, 7, request);
        self.receive::<Q>(version, 7)
    }
}

pub(crate) fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}
