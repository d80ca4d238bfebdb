//! The network as a set of proxies: every connection to a node crosses one, which does with its bytes what the rules say.
//!
//! Owns: the listeners, one task a connection. Invariant: a change of the rules reaches connections that are open.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::connection_owner;
use super::rules::{Block, End, Rules};

/// Bytes that one direction of a connection takes up at a time.
const CHUNK: usize = 64 * 1024;

/// The network. Cheap to clone; ends with its last clone.
#[derive(Clone, Debug)]
pub struct Network {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    rules: watch::Sender<Rules>,
    processes: Mutex<BTreeMap<u64, u32>>,
    listeners: Mutex<JoinSet<()>>,
}

impl Default for Network {
    fn default() -> Self {
        Self::new()
    }
}

impl Network {
    /// One without proxies, where everything flows.
    #[must_use]
    pub fn new() -> Self {
        let (rules, _) = watch::channel(Rules::default());
        Self { shared: Arc::new(Shared { rules, processes: Mutex::default(), listeners: Mutex::default() }) }
    }

    /// Puts a proxy before a port of loopback that belongs to `end`; returns the proxy's address.
    ///
    /// # Panics
    /// When no port can be had.
    pub async fn add(&self, end: End, port: u16) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port of loopback");
        let address = listener.local_addr().expect("a bound socket has an address").to_string();
        let shared = Arc::downgrade(&self.shared);
        let accept = async move {
            let mut connections = JoinSet::new();
            loop {
                let Ok((stream, from)) = listener.accept().await else { continue };
                let Some(shared) = shared.upgrade() else { return };
                let processes = shared.processes.lock().unwrap_or_else(PoisonError::into_inner).clone();
                let rules = shared.rules.subscribe();
                connections.spawn(async move {
                    let owner =
                        tokio::task::spawn_blocking(move || connection_owner::of(from.port(), &processes)).await;
                    let pair = (owner.unwrap_or(End::Client), end);
                    // However it ends: both sides see a closed connection.
                    let _ = serve(stream, port, pair, rules).await;
                });
                while connections.try_join_next().is_some() {}
            }
        };
        self.shared.listeners.lock().unwrap_or_else(PoisonError::into_inner).spawn(accept);
        address
    }

    /// Tells which process a node is, so that its outgoing connections are known as its own.
    pub fn set_process(&self, node: u64, pid: Option<u32>) {
        let mut processes = self.shared.processes.lock().unwrap_or_else(PoisonError::into_inner);
        match pid {
            Some(pid) => processes.insert(node, pid),
            None => processes.remove(&node),
        };
    }

    /// Cuts the way from one end to another. The way back stays.
    pub fn cut_one_way(&self, from: End, to: End, block: Block) {
        self.shared.rules.send_modify(|rules| rules.set_block(from, to, block));
    }

    /// Cuts both ways between two ends.
    pub fn cut(&self, one: End, other: End, block: Block) {
        self.shared.rules.send_modify(|rules| {
            rules.set_block(one, other, block);
            rules.set_block(other, one, block);
        });
    }

    /// Makes bytes between two ends take so long each way.
    pub fn delay(&self, one: End, other: End, delay: Duration) {
        self.shared.rules.send_modify(|rules| {
            rules.set_delay(one, other, delay);
            rules.set_delay(other, one, delay);
        });
    }

    /// Ends all cuts and delays.
    pub fn heal(&self) {
        self.shared.rules.send_modify(Rules::clear);
    }
}

/// Carries one connection until it ends, a cut resets it, or a cut that lost bytes of it is over.
async fn serve(
    stream: TcpStream,
    port: u16,
    (from, to): (End, End),
    mut rules: watch::Receiver<Rules>,
) -> io::Result<()> {
    let closed = |_| io::Error::from(io::ErrorKind::NotConnected);
    // No connection is made across a cut, whichever way that is: a handshake needs both.
    loop {
        let (there, back) = {
            let rules = rules.borrow_and_update();
            (rules.block(from, to), rules.block(to, from))
        };
        match (there, back) {
            (None, None) => break,
            (Some(Block::Reset), _) | (_, Some(Block::Reset)) => return reset(&stream),
            _ => rules.changed().await.map_err(closed)?,
        }
    }
    let onward = TcpStream::connect(("127.0.0.1", port)).await?;
    stream.set_nodelay(true)?;
    onward.set_nodelay(true)?;
    let (client_read, client_write) = stream.into_split();
    let (node_read, node_write) = onward.into_split();
    let there = pump(client_read, node_write, (from, to), rules.clone());
    let back = pump(node_read, client_write, (to, from), rules);
    // The end of one direction is not the end of the other; an error is.
    tokio::try_join!(there, back).map(drop)
}

/// Lets the system answer with a reset instead of an orderly end.
fn reset(stream: &TcpStream) -> io::Result<()> {
    stream.set_zero_linger()
}

/// Carries one direction.
async fn pump(
    mut read: OwnedReadHalf,
    mut write: OwnedWriteHalf,
    (from, to): (End, End),
    mut rules: watch::Receiver<Rules>,
) -> io::Result<()> {
    let closed = |_| io::Error::from(io::ErrorKind::NotConnected);
    let broken = || Err(io::Error::from(io::ErrorKind::ConnectionReset));
    let mut buffer = vec![0; CHUNK];
    let mut has_lost = false;
    loop {
        let count = tokio::select! {
            count = read.read(&mut buffer) => count?,
            changed = rules.changed() => {
                changed.map_err(closed)?;
                match rules.borrow_and_update().block(from, to) {
                    Some(Block::Reset) => return broken(),
                    None if has_lost => return broken(),
                    _ => continue,
                }
            }
        };
        let delay = rules.borrow().delay(from, to);
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        loop {
            let block = rules.borrow_and_update().block(from, to);
            match block {
                Some(Block::Reset) => return broken(),
                Some(Block::Hold) => rules.changed().await.map_err(closed)?,
                Some(Block::Drop) => {
                    has_lost = true;
                    break;
                }
                None if has_lost => return broken(),
                None if count == 0 => {
                    write.shutdown().await?;
                    return Ok(());
                }
                None => {
                    let bytes = buffer.get(..count).unwrap_or_default();
                    write.write_all(bytes).await?;
                    break;
                }
            }
        }
        if count == 0 {
            // Its end was lost: the other side hears of it when the cut is over.
            rules.wait_for(|rules| rules.block(from, to) != Some(Block::Drop)).await.map_err(closed)?;
            return broken();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server that sends back what it gets, a proxy before it, and a connection through both.
    struct Rig {
        network: Network,
        address: String,
        _server: JoinSet<()>,
    }

    impl Rig {
        async fn new() -> Self {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let port = listener.local_addr().unwrap().port();
            let mut server = JoinSet::new();
            server.spawn(async move {
                loop {
                    let (stream, _) = listener.accept().await.unwrap();
                    tokio::spawn(async move {
                        let (mut read, mut write) = stream.into_split();
                        let _ = tokio::io::copy(&mut read, &mut write).await;
                    });
                }
            });
            let network = Network::new();
            let address = network.add(End::Node(1), port).await;
            Self { network, address, _server: server }
        }

        async fn connect(&self) -> TcpStream {
            TcpStream::connect(&self.address).await.unwrap()
        }
    }

    async fn echo(stream: &mut TcpStream, text: &str) -> io::Result<String> {
        stream.write_all(text.as_bytes()).await?;
        read(stream, text.len()).await
    }

    async fn read(stream: &mut TcpStream, count: usize) -> io::Result<String> {
        let mut back = vec![0; count];
        let patience = Duration::from_millis(300);
        tokio::time::timeout(patience, stream.read_exact(&mut back)).await??;
        Ok(String::from_utf8(back).unwrap())
    }

    const CLIENT: End = End::Client;
    const NODE: End = End::Node(1);

    #[tokio::test]
    async fn bytes_flow_both_ways_and_so_does_the_end() {
        let rig = Rig::new().await;
        let mut stream = rig.connect().await;
        assert_eq!(echo(&mut stream, "hello").await.unwrap(), "hello");
        stream.shutdown().await.unwrap();
        assert_eq!(stream.read(&mut [0]).await.unwrap(), 0);
    }

    #[tokio::test]
    async fn what_is_held_arrives_after_the_cut() {
        let rig = Rig::new().await;
        let mut stream = rig.connect().await;
        assert_eq!(echo(&mut stream, "a").await.unwrap(), "a");
        rig.network.cut(CLIENT, NODE, Block::Hold);
        assert_eq!(echo(&mut stream, "b").await.unwrap_err().kind(), io::ErrorKind::TimedOut);
        rig.network.heal();
        assert_eq!(read(&mut stream, 1).await.unwrap(), "b");
    }

    #[tokio::test]
    async fn a_cut_one_way_lets_the_other_way_through() {
        let rig = Rig::new().await;
        let mut stream = rig.connect().await;
        assert_eq!(echo(&mut stream, "a").await.unwrap(), "a");
        rig.network.cut_one_way(NODE, CLIENT, Block::Hold);
        assert_eq!(echo(&mut stream, "b").await.unwrap_err().kind(), io::ErrorKind::TimedOut);
        // It has been to the server meanwhile: only the way back was cut.
        rig.network.cut_one_way(CLIENT, NODE, Block::Hold);
        rig.network.heal();
        assert_eq!(read(&mut stream, 1).await.unwrap(), "b");
    }

    #[tokio::test]
    async fn a_connection_that_lost_bytes_is_reset_when_the_cut_is_over() {
        let rig = Rig::new().await;
        let mut stream = rig.connect().await;
        assert_eq!(echo(&mut stream, "a").await.unwrap(), "a");
        rig.network.cut_one_way(CLIENT, NODE, Block::Drop);
        assert_eq!(echo(&mut stream, "b").await.unwrap_err().kind(), io::ErrorKind::TimedOut);
        rig.network.heal();
        let ended = tokio::time::timeout(Duration::from_secs(5), stream.read(&mut [0])).await.unwrap();
        assert!(matches!(ended, Ok(0) | Err(_)), "{ended:?}");
        assert_eq!(echo(&mut rig.connect().await, "c").await.unwrap(), "c");
    }

    #[tokio::test]
    async fn no_connection_is_made_across_a_cut() {
        let rig = Rig::new().await;
        rig.network.cut_one_way(NODE, CLIENT, Block::Drop);
        let mut stream = rig.connect().await;
        assert_eq!(echo(&mut stream, "a").await.unwrap_err().kind(), io::ErrorKind::TimedOut);
        rig.network.heal();
        assert_eq!(read(&mut stream, 1).await.unwrap(), "a");
        rig.network.cut(CLIENT, NODE, Block::Reset);
        assert!(matches!(stream.read(&mut [0]).await, Ok(0) | Err(_)));
        let mut refused = rig.connect().await;
        assert!(echo(&mut refused, "b").await.is_err_and(|error| error.kind() != io::ErrorKind::TimedOut));
    }

    #[tokio::test]
    async fn a_delay_is_kept_and_other_ends_are_not_touched() {
        let rig = Rig::new().await;
        let mut stream = rig.connect().await;
        rig.network.delay(CLIENT, NODE, Duration::from_millis(60));
        rig.network.cut(End::Node(2), NODE, Block::Drop);
        let started = std::time::Instant::now();
        assert_eq!(echo(&mut stream, "a").await.unwrap(), "a");
        assert!(started.elapsed() >= Duration::from_millis(120), "{:?}", started.elapsed());
    }
}
