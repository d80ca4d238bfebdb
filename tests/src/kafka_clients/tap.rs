//! Listens between clients of Kafka and a node, and keeps what they say: whole frames, in the order in which they came.
//!
//! Made to write `crates/broker/tests/kafka/fixtures`: a line a frame, `CONNECTION > BYTES` from a client and
//! `CONNECTION < BYTES` from the node.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};

/// So many frames of one API in one version are kept: enough to follow a session, and little to store.
const KEPT: usize = 4;

/// A frame.
#[derive(Clone, Debug)]
struct Frame {
    connection: usize,
    is_request: bool,
    bytes: Vec<u8>,
}

/// See the module's documentation.
#[derive(Debug)]
pub struct Tap {
    listener: TcpListener,
    address: String,
    frames: Arc<Mutex<Vec<Frame>>>,
}

impl Tap {
    /// Listens on a port of loopback.
    ///
    /// # Panics
    /// When there is none.
    pub async fn listen() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port of loopback");
        let address = listener.local_addr().expect("a bound socket has an address").to_string();
        Self { listener, address, frames: Arc::default() }
    }

    /// Where it listens: what the node has to advertise.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Carries connections to the node at `onward`, for as long as it is polled.
    pub async fn serve(&self, onward: &str) {
        for connection in 0.. {
            let Ok((client, _)) = self.listener.accept().await else { continue };
            let Ok(node) = TcpStream::connect(onward).await else { continue };
            let (client_read, client_write) = client.into_split();
            let (node_read, node_write) = node.into_split();
            for (is_request, from, to) in [(true, client_read, node_write), (false, node_read, client_write)] {
                let frames = Arc::clone(&self.frames);
                tokio::spawn(async move {
                    // However it ends: the other side sees a closed connection.
                    let _ = pump(from, to, |bytes| {
                        let mut frames = frames.lock().unwrap_or_else(PoisonError::into_inner);
                        frames.push(Frame { connection, is_request, bytes });
                    })
                    .await;
                });
            }
        }
    }

    /// What was said, without what was said often.
    #[must_use]
    pub fn transcript(&self) -> String {
        let frames = self.frames.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let (mut counts, mut kept) = (BTreeMap::<Vec<u8>, usize>::new(), BTreeMap::new());
        for frame in frames.iter().filter(|frame| frame.is_request) {
            let (api, correlation) = (part(&frame.bytes, 0), part(&frame.bytes, 4));
            let count = counts.entry(api).or_default();
            *count += 1;
            kept.insert((frame.connection, correlation), *count <= KEPT);
        }
        let mut text = String::new();
        for Frame { connection, is_request, bytes } in frames {
            let correlation = part(&bytes, if is_request { 4 } else { 0 });
            if kept.get(&(connection, correlation)).is_some_and(|kept| *kept) {
                let hex = bytes.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"));
                let _ = writeln!(text, "{connection} {} {hex}", if is_request { '>' } else { '<' });
            }
        }
        text
    }
}

/// Four bytes of a frame.
fn part(bytes: &[u8], at: usize) -> Vec<u8> {
    bytes.get(at..at + 4).unwrap_or_default().to_vec()
}

/// Carries one direction, frame by frame.
async fn pump(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, keep: impl Fn(Vec<u8>)) -> io::Result<()> {
    loop {
        let length = from.read_u32().await?;
        let mut bytes = vec![0; usize::try_from(length).map_err(io::Error::other)?];
        from.read_exact(&mut bytes).await?;
        keep(bytes.clone());
        to.write_u32(length).await?;
        to.write_all(&bytes).await?;
    }
}
