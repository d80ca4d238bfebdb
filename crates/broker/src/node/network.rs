//! The way between this node and the others, as a node is started with it.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use crate::clock::Clock;
use crate::peer::grpc::{self, GrpcTransport, PeerListener};
use crate::peer::{MemoryNetwork, Peers, Transport};
use crate::shutdown::Shutdown;

/// Begins to take the links that others dial, for these peers, until the part of the node ends.
pub type Listen = dyn Fn(Peers, &Shutdown) + Send + Sync;

/// The way between nodes.
#[derive(Clone)]
pub struct NodeNetwork {
    /// To others.
    pub transport: Arc<dyn Transport>,
    /// Called once.
    pub listen: Arc<Listen>,
}

impl NodeNetwork {
    /// To nobody, from nobody: for a cluster of one.
    #[must_use]
    pub fn none() -> Self {
        Self::memory(&MemoryNetwork::new(Clock::system()), "alone")
    }

    /// Over gRPC; other nodes connect to this listener.
    #[must_use]
    pub fn grpc(listener: PeerListener) -> Self {
        let listener = Mutex::new(Some(listener));
        let listen = move |peers: Peers, part: &Shutdown| {
            // Called once; a second call finds nothing to serve.
            if let Some(listener) = listener.lock().unwrap_or_else(PoisonError::into_inner).take() {
                part.spawn(grpc::serve(listener, Arc::new(peers), part.token().clone()));
            }
        };
        Self { transport: Arc::new(GrpcTransport), listen: Arc::new(listen) }
    }

    /// In memory, under this address.
    #[must_use]
    pub fn memory(network: &MemoryNetwork, address: &str) -> Self {
        let (listener, own) = (network.clone(), address.to_owned());
        let listen = move |peers, _part: &Shutdown| listener.listen(&own, Arc::new(peers));
        Self { transport: Arc::new(network.transport(address)), listen: Arc::new(listen) }
    }
}

impl fmt::Debug for NodeNetwork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NodeNetwork").finish_non_exhaustive()
    }
}
