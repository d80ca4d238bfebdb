//! The listeners of the Kafka front: accept connections, one task each.
//!
//! Owns: the number of connections, of all listeners together. One has no name, and is always there; who comes in through
//! another is told every node's address of that one's name.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::call::Door;
use super::connection;
use super::context::Context;
use crate::config::KafkaConfig;

/// How long to leave the system alone when it has no more files or memory for a connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The address cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {key} = {address}: {source}")]
pub struct BindError {
    /// The setting.
    pub key: &'static str,
    /// The address.
    pub address: SocketAddr,
    /// What the system said.
    pub source: io::Error,
}

/// A bound address, not served yet.
#[derive(Debug)]
struct Listener {
    listener: TcpListener,
    name: Option<Arc<str>>,
    /// A permit for each connection that may still be opened, by whichever listener.
    room: Arc<Semaphore>,
}

/// All bound addresses, not served yet.
#[derive(Debug)]
pub(crate) struct Listeners {
    listeners: Vec<Listener>,
    places: Places,
}

/// Where the listeners are, with the ports that they really have.
#[derive(Clone, Debug, Default)]
pub(crate) struct Places {
    /// The one without a name; `None`: the protocol is not served.
    pub(crate) main: Option<SocketAddr>,
    /// The others by their names.
    pub(crate) named: BTreeMap<String, SocketAddr>,
}

/// The tasks that serve. Dropping them stops them, and their connections, without waiting.
#[derive(Debug, Default)]
pub(crate) struct Serving(JoinSet<()>);

impl Listeners {
    /// Takes the addresses; clients that connect now wait.
    pub(crate) async fn bind(config: &KafkaConfig, connections_max: usize) -> Result<Self, BindError> {
        let (mut listeners, mut places) = (Vec::new(), Places::default());
        let room = Arc::new(Semaphore::new(connections_max.min(Semaphore::MAX_PERMITS)));
        if let Some(address) = config.listen {
            let (listener, address) = bind("kafka.listen", address).await?;
            listeners.push(Listener { listener, name: None, room: Arc::clone(&room) });
            places.main = Some(address);
        }
        for named in &config.listeners {
            let (listener, address) = bind("kafka.listeners", named.listen).await?;
            listeners.push(Listener { listener, name: Some(named.name.as_str().into()), room: Arc::clone(&room) });
            places.named.insert(named.name.clone(), address);
        }
        Ok(Self { listeners, places })
    }

    /// Where they are.
    pub(crate) fn places(&self) -> &Places {
        &self.places
    }

    /// Serves until the context's shutdown is requested; then nothing more is accepted, and what is under way is answered.
    pub(crate) fn serve(self, context: &Arc<Context>) -> Serving {
        let mut tasks = JoinSet::new();
        for listener in self.listeners {
            tasks.spawn(listener.accept(Arc::clone(context)));
        }
        Serving(tasks)
    }
}

async fn bind(key: &'static str, address: SocketAddr) -> Result<(TcpListener, SocketAddr), BindError> {
    let failed = |source| BindError { key, address, source };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    Ok((listener, address))
}

impl Listener {
    async fn accept(self, context: Arc<Context>) {
        let mut connections = JoinSet::new();
        loop {
            let accepted = tokio::select! {
                biased;
                () = context.shutdown.requested() => break,
                Some(_ended) = connections.join_next() => continue,
                accepted = self.listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, peer)) => {
                    let Ok(permit) = Arc::clone(&self.room).try_acquire_owned() else {
                        tracing::warn!(%peer, "a Kafka connection was closed: limits.connections are open already");
                        continue;
                    };
                    if prepare(&stream, peer) {
                        let door = Door { peer, listener: self.name.clone() };
                        let served = connection::serve(stream, door, Arc::clone(&context));
                        connections.spawn(async move {
                            served.await;
                            drop(permit);
                        });
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "a Kafka connection could not be accepted");
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
        drop(self.listener);
        while connections.join_next().await.is_some() {}
    }
}

fn prepare(stream: &TcpStream, peer: SocketAddr) -> bool {
    let prepared = stream.set_nodelay(true);
    if let Err(error) = &prepared {
        tracing::debug!(%peer, %error, "a Kafka connection broke while it was accepted");
    }
    prepared.is_ok()
}

impl Serving {
    /// Waits until every connection is closed.
    pub(crate) async fn ended(&mut self) {
        while self.0.join_next().await.is_some() {}
    }
}
