//! A link that this node dialed: requests go out on it, replies come back.
//!
//! Invariants: every request that was taken is answered once, with an error at the latest when the link ends. The bytes
//! of the bulk lane that are in flight, sent or waiting to be, never exceed its budget.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use super::error::PeerError;
use super::frame::Frame;
use super::message::{self, Kind, Message};
use super::traffic::Counters;
use super::transport::{Lane, Link, Pipe};
use super::writer::{Timing, Writer};
use super::{PING_INTERVAL, SILENCE_MAX};
use crate::admission::{ByteBudget, BytePermit};
use crate::clock::Clock;

/// Bytes of requests on the bulk lane of one link that are not answered yet.
const BULK_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Messages that wait for a lane's writer.
const QUEUE_MAX: usize = 512;

/// The sending end. Clones are the same link.
#[derive(Clone, Debug)]
pub(crate) struct LinkHandle {
    address: Arc<str>,
    urgent: mpsc::Sender<(Message, Timing)>,
    bulk: mpsc::Sender<(Message, Timing)>,
    budget: ByteBudget,
    pending: Arc<Pending>,
}

/// The answer to a request, some day.
#[derive(Debug)]
pub(crate) struct Answer {
    address: Arc<str>,
    reply: oneshot::Receiver<Result<Frame, PeerError>>,
}

impl Answer {
    pub(crate) async fn get(&mut self) -> Result<Frame, PeerError> {
        match (&mut self.reply).await {
            Ok(reply) => reply,
            Err(_) => Err(PeerError::Lost { address: self.address.to_string(), reason: "it was closed".to_owned() }),
        }
    }

    /// Where the question went.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// The answer, if it has come.
    pub(crate) fn try_get(&mut self) -> Option<Result<Frame, PeerError>> {
        self.reply.try_recv().ok()
    }
}

impl LinkHandle {
    /// Sends a request. Waits only for room; in the order of the calls of one task.
    pub(crate) async fn send(&self, lane: Lane, timing: Timing, kind: Kind, body: Frame) -> Result<Answer, PeerError> {
        let bytes = body.len() + message::HEADER_BYTES;
        let (queue, permit) = match lane {
            Lane::Urgent => (&self.urgent, None),
            Lane::Bulk if bytes > self.budget.total() => {
                return Err(PeerError::TooLarge { bytes, bytes_max: self.budget.total() });
            }
            Lane::Bulk => (&self.bulk, Some(self.budget.acquire(bytes).await.map_err(|_| self.gone())?)),
        };
        let (answered, reply) = oneshot::channel();
        let id = self.pending.add(Waiting { answered, _permit: permit }).ok_or_else(|| self.gone())?;
        if queue.send((Message { id, kind, body }, timing)).await.is_err() {
            self.pending.take(id);
            return Err(self.gone());
        }
        Ok(Answer { address: Arc::clone(&self.address), reply })
    }

    fn gone(&self) -> PeerError {
        PeerError::Unreachable { address: self.address.to_string(), reason: "the connection was just lost".to_owned() }
    }
}

#[derive(Debug)]
struct Waiting {
    answered: oneshot::Sender<Result<Frame, PeerError>>,
    _permit: Option<BytePermit>,
}

/// Requests that were not answered yet; none once the link has ended.
#[derive(Debug)]
struct Pending {
    next: AtomicU64,
    waiting: Mutex<Option<BTreeMap<u64, Waiting>>>,
}

impl Pending {
    fn new() -> Self {
        Self { next: AtomicU64::new(1), waiting: Mutex::new(Some(BTreeMap::new())) }
    }

    fn with<T>(&self, act: impl FnOnce(&mut Option<BTreeMap<u64, Waiting>>) -> T) -> T {
        act(&mut self.waiting.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn add(&self, waiting: Waiting) -> Option<u64> {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        self.with(|all| all.as_mut().map(|all| all.insert(id, waiting)).map(|_| id))
    }

    fn take(&self, id: u64) -> Option<Waiting> {
        self.with(|all| all.as_mut().and_then(|all| all.remove(&id)))
    }

    fn end(&self, error: &PeerError) {
        for waiting in self.with(Option::take).unwrap_or_default().into_values() {
            // Who asked may have gone.
            let _ = waiting.answered.send(Err(error.clone()));
        }
    }
}

/// Splits a link that was dialed: the handle to send with, and what must run for as long as it lasts. That resolves to
/// why it ended. `on_heard` is called for every frame that comes.
pub(crate) fn start(
    link: Link,
    address: &str,
    clock: Clock,
    sent: Counters,
    on_heard: impl Fn() + Send + 'static,
) -> (LinkHandle, impl Future<Output = String> + Send + 'static) {
    let (urgent, urgent_queue) = mpsc::channel(QUEUE_MAX);
    let (bulk, bulk_queue) = mpsc::channel(QUEUE_MAX);
    let pending = Arc::new(Pending::new());
    let budget = ByteBudget::new(BULK_BYTES_MAX);
    let handle = LinkHandle { address: address.into(), urgent, bulk, budget, pending };
    let own = handle.clone();
    let run = async move {
        // What the handle's clones hold does not keep the link open: it ends here.
        let Link { urgent: Pipe { to_peer, from_peer }, bulk: bulk_pipe, .. } = link;
        let urgent_writer = Writer::new(to_peer, Some(PING_INTERVAL), clock.clone(), sent.clone());
        let bulk_writer = Writer::new(bulk_pipe.to_peer, None, clock, sent);
        let reason = tokio::select! {
            biased;
            reason = read(from_peer, &own.pending, &own.address, on_heard) => reason,
            reason = ended(bulk_pipe.from_peer) => reason,
            () = urgent_writer.run(urgent_queue) => "it was closed".to_owned(),
            () = bulk_writer.run(bulk_queue) => "it was closed".to_owned(),
        };
        own.budget.close();
        own.pending.end(&PeerError::Lost { address: own.address.to_string(), reason: reason.clone() });
        reason
    };
    (handle, run)
}

async fn read(
    mut pipe: mpsc::Receiver<Result<Frame, String>>,
    pending: &Pending,
    address: &str,
    on_heard: impl Fn(),
) -> String {
    loop {
        let frame = match timeout(SILENCE_MAX, pipe.recv()).await {
            Err(_) => return format!("nothing was heard for {} ms", SILENCE_MAX.as_millis()),
            Ok(None) => return "it was closed".to_owned(),
            Ok(Some(Err(reason))) => return reason,
            Ok(Some(Ok(frame))) => frame,
        };
        on_heard();
        for message in message::messages(frame) {
            let message = match message {
                Ok(message) => message,
                Err(malformed) => return format!("it sent a {malformed}"),
            };
            let reply = match message.kind {
                Kind::Ping => continue,
                Kind::Reply => Ok(message.body),
                Kind::Failure => Err(PeerError::Answered { address: address.to_owned(), reason: words(message.body) }),
                Kind::Raft | Kind::Control => return "it sent a request where replies belong".to_owned(),
            };
            if let Some(waiting) = pending.take(message.id) {
                // Who asked may have gone.
                let _ = waiting.answered.send(reply);
            }
        }
    }
}

/// Text from another node, cut to what belongs in a message.
fn words(body: Frame) -> String {
    let bytes = body.into_pieces().concat();
    String::from_utf8_lossy(&bytes).chars().take(1_000).collect()
}

/// Resolves when a pipe on which nothing is to come ends.
async fn ended(mut pipe: mpsc::Receiver<Result<Frame, String>>) -> String {
    match pipe.recv().await {
        None => "it was closed".to_owned(),
        Some(Err(reason)) => reason,
        Some(Ok(_)) => "it sent something on the bulk lane, where only requests go".to_owned(),
    }
}
