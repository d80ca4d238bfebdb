//! A few nodes that reach each other over one transport or the other, and answer simple requests.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use highwater_proto::internal::v1::{
    ControlRequest, ControlResponse, NodeHeartbeat, NodeHeartbeatTaken, control_request, control_response,
};
use highwater_types::{ClusterId, NodeId, NodeUuid};
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::peer::grpc::{GrpcTransport, PeerListener, serve};
use crate::peer::{
    ControlService, Frame, Hello, Lane, MemoryNetwork, PeerError, Peers, RaftRequests, Timing, Transport,
};

pub(super) const PATIENCE: Duration = Duration::from_secs(20);

/// Which transport.
#[derive(Clone)]
pub(super) enum Net {
    Memory(MemoryNetwork),
    Grpc,
}

impl Net {
    pub(super) fn memory() -> Self {
        Self::Memory(MemoryNetwork::new(Clock::system()))
    }
}

pub(super) struct Node {
    pub(super) net: Net,
    pub(super) address: String,
    pub(super) peers: Peers,
    pub(super) echo: Arc<Echo>,
    stop: CancellationToken,
}

/// Answers with what it got; to `hang` never.
#[derive(Debug, Default)]
pub(super) struct Echo {
    pub(super) got: Mutex<Vec<Bytes>>,
}

impl RaftRequests for Echo {
    fn handle(&self, _: NodeId, body: Frame) -> Pin<Box<dyn Future<Output = Result<Frame, String>> + Send>> {
        let bytes = Bytes::from(body.into_pieces().concat());
        let is_large = bytes.len() > 1_000;
        self.got.lock().unwrap().push(if is_large { bytes.slice(..100) } else { bytes.clone() });
        Box::pin(async move {
            match &bytes[..4.min(bytes.len())] {
                b"hang" => std::future::pending().await,
                b"fail" => Err("as asked".to_owned()),
                _ if is_large => Ok(bytes.slice(..100).into()),
                _ => Ok(bytes.into()),
            }
        })
    }
}

impl ControlService for Echo {
    fn answer(
        &self,
        from: Option<NodeId>,
        request: ControlRequest,
    ) -> Pin<Box<dyn Future<Output = ControlResponse> + Send>> {
        let Some(control_request::Kind::NodeHeartbeat(heartbeat)) = request.kind else { panic!("{request:?}") };
        assert_eq!(heartbeat.node, from.map_or(0, NodeId::get));
        let kind = Some(control_response::Kind::NodeHeartbeatTaken(NodeHeartbeatTaken {}));
        Box::pin(async move { ControlResponse { kind } })
    }
}

pub(super) fn heartbeat(node: u64) -> ControlRequest {
    let heartbeat = NodeHeartbeat { node, ..NodeHeartbeat::default() };
    ControlRequest { kind: Some(control_request::Kind::NodeHeartbeat(heartbeat)) }
}

pub(super) fn hello(cluster: u8, node: u64, directory: u8) -> Hello {
    Hello {
        cluster: Some(ClusterId::from_bytes([cluster; 16])),
        node: Some(NodeId::new(node)),
        uuid: NodeUuid::from_bytes([directory; 16]),
    }
}

impl Node {
    pub(super) async fn start(net: &Net, me: Hello, place: u64) -> Self {
        let listener = match net {
            Net::Memory(_) => None,
            Net::Grpc => Some(PeerListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap()),
        };
        let address = listener.as_ref().map_or_else(|| format!("place-{place}"), |l| l.address().to_string());
        let transport: Arc<dyn Transport> = match net {
            Net::Memory(network) => Arc::new(network.transport(&address)),
            Net::Grpc => Arc::new(GrpcTransport),
        };
        let peers = Peers::new(transport, me, Clock::system());
        let echo = Arc::new(Echo::default());
        peers.on_raft(echo.clone());
        peers.on_request(echo.clone());
        let stop = CancellationToken::new();
        if let Net::Memory(network) = net {
            network.listen(&address, Arc::new(peers.clone()));
        }
        if let Some(listener) = listener {
            tokio::spawn(serve(listener, Arc::new(peers.clone()), stop.clone()));
        }
        Self { net: net.clone(), address, peers, echo, stop }
    }

    pub(super) fn id(&self) -> NodeId {
        self.peers.me().node.unwrap()
    }

    /// Breaks every connection to it and takes it off the network.
    pub(super) fn vanish(&self) {
        self.stop.cancel();
        if let Net::Memory(network) = &self.net {
            network.vanish(&self.address);
        }
    }

    /// Sends a request, and waits for its answer.
    pub(super) async fn raft(&self, to: NodeId, lane: Lane, body: impl Into<Bytes>) -> Result<Bytes, PeerError> {
        let body = Frame::from(body.into());
        let mut answer = self.peers.send_raft(to, lane, Timing::Now, body, PATIENCE).await?;
        let frame = tokio::time::timeout(PATIENCE, answer.get()).await.expect("an answer or an error in time")?;
        Ok(Bytes::from(frame.into_pieces().concat()))
    }

    /// Waits until there is a connection to `to`.
    pub(super) async fn until_connected(&self, to: NodeId) {
        let connected = async {
            while !self.peers.is_connected(to) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(PATIENCE, connected).await.expect("a connection in time");
    }

    /// Waits until a request is answered.
    pub(super) async fn until_answered(&self, to: NodeId) {
        let answered = async {
            while self.raft(to, Lane::Urgent, "?").await.is_err() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(PATIENCE, answered).await.expect("an answer in time");
    }

    pub(super) async fn shutdown(self) {
        self.vanish();
        tokio::time::timeout(PATIENCE, self.peers.shutdown()).await.expect("no task stays behind");
    }
}

/// Two nodes of one cluster that know each other.
pub(super) async fn two(net: &Net) -> (Node, Node) {
    let one = Node::start(net, hello(1, 1, 1), 1).await;
    let two = Node::start(net, hello(1, 2, 2), 2).await;
    let addresses: BTreeMap<_, _> = [(one.id(), one.address.clone()), (two.id(), two.address.clone())].into();
    one.peers.set_addresses(addresses.clone());
    two.peers.set_addresses(addresses);
    (one, two)
}
