//! A link that another node dialed: its requests are handled, the replies go back on the urgent lane.
//!
//! No task a request: those that wait are futures of the link's own task. Each is polled once when it arrives, in the
//! order of its lane, so the requests of one group reach its replica in the order in which they were sent.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::frame::{Frame, Malformed};
use super::message::{self, Kind, Message};
use super::traffic::Counters;
use super::transport::{Link, Pipe};
use super::writer::{Timing, Writer};
use super::{PING_INTERVAL, SILENCE_MAX};
use crate::admission::{AdmissionError, ByteBudget, BytePermit};
use crate::clock::Clock;

/// Requests of one lane that are handled at a time.
const RUNNING_MAX: usize = 8 * 1024;
/// Replies that wait for the writer.
const REPLIES_MAX: usize = 1024;
/// How long a request may take. Afterwards it is answered with a failure, so that it does not hold its bytes for ever.
const REQUEST_PATIENCE: Duration = Duration::from_secs(15);

/// A request on its way to its reply or its failure.
pub(crate) type Handling = Pin<Box<dyn Future<Output = Result<Frame, String>> + Send>>;

type Running = FuturesUnordered<Pin<Box<dyn Future<Output = Message> + Send>>>;

/// What a link needs of its node.
pub(crate) trait Requests: Send + Sync + 'static {
    /// Begins to handle a request of `kind`.
    fn handle(&self, kind: Kind, body: Frame) -> Handling;
    /// Something came.
    fn heard(&self);
}

/// Serves until the link ends; resolves to why.
pub(crate) async fn serve(
    link: Link,
    requests: Arc<dyn Requests>,
    budget: ByteBudget,
    clock: Clock,
    sent: Counters,
) -> String {
    let Link { urgent: Pipe { to_peer, from_peer }, bulk, .. } = link;
    let (replies, queue) = mpsc::channel(REPLIES_MAX);
    // The bulk lane brings no replies; held so that the other side sees the end of it when this ends.
    let _to_peer = bulk.to_peer;
    tokio::select! {
        biased;
        reason = lane(from_peer, &*requests, None, Some(SILENCE_MAX), replies.clone()) => reason,
        reason = lane(bulk.from_peer, &*requests, Some(budget), None, replies) => reason,
        () = Writer::new(to_peer, Some(PING_INTERVAL), clock, sent).run(queue) => "it was closed".to_owned(),
    }
}

async fn lane(
    mut pipe: mpsc::Receiver<Result<Frame, String>>,
    requests: &dyn Requests,
    budget: Option<ByteBudget>,
    silence_max: Option<Duration>,
    replies: mpsc::Sender<(Message, Timing)>,
) -> String {
    let mut running = Running::new();
    // A frame that waits for its bytes to be admitted. Meanwhile what runs goes on: it is what gives bytes back.
    let mut waiting: Option<Frame> = None;
    loop {
        let event = tokio::select! {
            biased;
            Some(reply) = running.next(), if !running.is_empty() => Event::Done(reply),
            permit = admit(budget.as_ref(), waiting.as_ref()), if waiting.is_some() => Event::Admitted(permit),
            came = next(&mut pipe, silence_max), if waiting.is_none() && running.len() < RUNNING_MAX => {
                match came {
                    Ok(frame) => Event::Came(frame),
                    Err(reason) => return reason,
                }
            }
        };
        match event {
            Event::Done(reply) => {
                if replies.send((reply, Timing::Now)).await.is_err() {
                    return "it was closed".to_owned();
                }
            }
            Event::Came(frame) => {
                requests.heard();
                waiting = Some(frame);
            }
            Event::Admitted(Err(error)) => return error.to_string(),
            Event::Admitted(Ok(permit)) => {
                let frame = waiting.take().unwrap_or_default();
                if let Err(malformed) = begin(frame, permit, requests, &mut running) {
                    return format!("it sent a {malformed}");
                }
            }
        }
    }
}

enum Event {
    Done(Message),
    Came(Frame),
    Admitted(Result<Option<BytePermit>, AdmissionError>),
}

async fn next(
    pipe: &mut mpsc::Receiver<Result<Frame, String>>,
    silence_max: Option<Duration>,
) -> Result<Frame, String> {
    let came = match silence_max {
        None => pipe.recv().await,
        Some(patience) => match timeout(patience, pipe.recv()).await {
            Ok(came) => came,
            Err(_) => return Err(format!("nothing was heard for {} ms", patience.as_millis())),
        },
    };
    came.unwrap_or_else(|| Err("it was closed".to_owned()))
}

async fn admit(budget: Option<&ByteBudget>, frame: Option<&Frame>) -> Result<Option<BytePermit>, AdmissionError> {
    match (budget, frame) {
        (Some(budget), Some(frame)) => budget.acquire(frame.len()).await.map(Some),
        _ => Ok(None),
    }
}

/// Begins every request of a frame; together they hold its permit.
fn begin(
    frame: Frame,
    permit: Option<BytePermit>,
    requests: &dyn Requests,
    running: &mut Running,
) -> Result<(), Malformed> {
    let permit = Arc::new(permit);
    for message in message::messages(frame) {
        let Message { id, kind, body } = message?;
        match kind {
            Kind::Ping => continue,
            Kind::Raft | Kind::Control => {}
            Kind::Reply | Kind::Failure => return Err(Malformed { what: "reply where requests belong" }),
        }
        let (handling, permit) = (requests.handle(kind, body), Arc::clone(&permit));
        let mut answering = Box::pin(async move {
            let _permit = permit;
            match timeout(REQUEST_PATIENCE, handling).await {
                Ok(Ok(body)) => Message { id, kind: Kind::Reply, body },
                Ok(Err(reason)) => failure(id, reason),
                Err(_) => failure(id, format!("not done within {} s", REQUEST_PATIENCE.as_secs())),
            }
        });
        // In the order of arrival: a replica takes its requests when they are first polled.
        match (&mut answering).now_or_never() {
            Some(reply) => running.push(Box::pin(std::future::ready(reply))),
            None => running.push(answering),
        }
    }
    Ok(())
}

fn failure(id: u64, reason: String) -> Message {
    Message { id, kind: Kind::Failure, body: bytes::Bytes::from(reason).into() }
}
