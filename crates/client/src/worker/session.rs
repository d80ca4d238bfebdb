//! The life of a worker: its stream to a server, its reconnects, the tasks of its handlers, and its end.
//!
//! What to tell the server, and when, is for [`Hands`] to say; this file only does it.
//!
//! Invariant: it never waits for room to send without reading what comes, so it and the server cannot wait for each other.

mod handlers;
mod messages;

use std::sync::Arc;
use std::time::Duration;

use highwater_proto::v1;
use highwater_proto::v1::work_request::Kind;
use highwater_types::TopicName;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Streaming};

use self::handlers::Handlers;
use super::Handler;
use super::config::WorkerBuilder;
use super::emptiness::Emptiness;
use super::error::WorkError;
use super::handle::{Event, Shared, WorkerStats};
use super::hands::Hands;
use crate::client;
use crate::clock::{self, Instant};
use crate::connection::{Purpose, StreamSlot};
use crate::error::{ConnectionError, Failure};
use crate::finder::Finder;
use crate::queue::service;
use crate::request::RequestError;

/// So many messages may wait for the connection.
const REQUESTS_MAX: usize = 16;
/// How long to wait for anything where nothing is due.
const LONG: Duration = Duration::from_secs(3_600);

/// See the module's documentation.
pub(super) struct Session {
    client: Arc<client::Shared>,
    shared: Arc<Shared>,
    topic: TopicName,
    settings: WorkerBuilder,
    /// What the worker is called: the server's choice is kept over reconnects.
    name: String,
    slot: StreamSlot,
    finder: Finder,
    hands: Hands,
    handlers: Handlers,
    emptiness: Option<Emptiness>,
    /// Until when running handlers may end, once the worker is to stop.
    drain_until: Option<Instant>,
    /// Since when no stream was open.
    failing_since: Option<Instant>,
}

/// A stream that is open.
struct OpenStream {
    server: Arc<str>,
    requests: mpsc::Sender<v1::WorkRequest>,
    responses: Streaming<v1::WorkResponse>,
    /// Whether the server knows that the worker stops.
    is_drain_told: bool,
    /// Then it is over, although the server has not ended the stream.
    left_at: Option<Instant>,
}

/// Why a stream is over.
enum Over {
    /// Everything is told, and the worker is to stop.
    Done,
    Broken(Failure),
    /// There is no sense in going on.
    Fatal(Box<WorkError>),
}

impl From<Failure> for Over {
    fn from(failure: Failure) -> Self {
        Self::Broken(failure)
    }
}

impl Session {
    pub(super) fn new(settings: WorkerBuilder, shared: Arc<Shared>, handler: Handler) -> Result<Self, WorkError> {
        let invalid = |reason| WorkError::Settings { group: settings.group.clone(), reason };
        if settings.group.is_empty() {
            return Err(invalid("a group needs a name"));
        }
        if settings.concurrency == 0 {
            return Err(invalid("with a concurrency of 0 it would do nothing"));
        }
        let topic = TopicName::new(&settings.topic)
            .map_err(|reason| WorkError::InvalidTopicName { name: settings.topic.clone(), reason })?;
        let client = Arc::clone(&settings.client.shared);
        let emptiness = || Emptiness::new(settings.client.admin(), &settings.topic, &settings.group);
        Ok(Self {
            slot: client.connections.slot(Purpose::Read),
            client,
            shared,
            topic,
            name: settings.name.clone(),
            finder: Finder::default(),
            hands: Hands::new(settings.concurrency, settings.extends_leases),
            handlers: Handlers::new(handler),
            emptiness: settings.exits_when_empty.then(emptiness),
            drain_until: None,
            failing_since: None,
            settings,
        })
    }

    /// Runs until the worker is stopped, has nothing more to do, or cannot go on.
    pub(super) async fn run(mut self) -> Result<WorkerStats, WorkError> {
        loop {
            let server = self.finder.server(&self.client.connections);
            let failure = match self.connect(&server).await {
                None => break,
                Some(Err(failure)) => failure,
                Some(Ok(stream)) => match self.pump(stream).await {
                    Over::Done => break,
                    Over::Fatal(error) => return Err(*error),
                    Over::Broken(failure) => failure,
                },
            };
            if !self.recover(&server, failure).await? {
                break;
            }
        }
        self.end_handlers().await;
        Ok(self.shared.stats())
    }

    /// Opens a stream; `None`: the worker is to stop.
    async fn connect(&mut self, server: &Arc<str>) -> Option<Result<OpenStream, Failure>> {
        let stop = self.shared.stop.clone();
        stop.run_until_cancelled(self.open(server)).await
    }

    async fn open(&mut self, server: &Arc<str>) -> Result<OpenStream, Failure> {
        let unsent = |reason: &str| Failure::Unsent(ConnectionError::new(server, reason));
        let channel = self.slot.channel(server).map_err(|error| unsent(&error.to_string()))?;
        let (requests, receiver) = mpsc::channel(REQUESTS_MAX);
        let open = v1::WorkOpen {
            topic: self.settings.topic.clone(),
            group: self.settings.group.clone(),
            worker: self.name.clone(),
            credit: self.hands.begin(clock::now()),
            ..v1::WorkOpen::default()
        };
        // In the channel before the call: a server may want it before it answers.
        requests.try_send(request(Kind::Open(open))).map_err(|_| unsent("the stream closed at once"))?;
        let mut service = service(channel);
        let call = service.work(Request::new(ReceiverStream::new(receiver)));
        let opened = tokio::time::timeout(self.client.request_timeout, call).await;
        let responses = opened
            .map_err(|_| unsent("no stream in time"))?
            .map_err(|status| Failure::from_status(server, &status))?
            .into_inner();
        Ok(OpenStream { server: Arc::clone(server), requests, responses, is_drain_told: false, left_at: None })
    }

    /// Keeps a stream busy until it breaks, or the worker has stopped.
    async fn pump(&mut self, mut stream: OpenStream) -> Over {
        let stop = self.shared.stop.clone();
        loop {
            self.take_finished();
            let now = clock::now();
            if let Err(over) = self.do_what_is_due(&mut stream, now) {
                return over;
            }
            let is_full = self.send(&mut stream, now);
            let wake_at = self.next_deadline(&stream, now);
            tokio::select! {
                biased;
                message = stream.responses.message() => {
                    if let Err(over) = self.on_message(&stream, message) {
                        return over;
                    }
                }
                () = self.handlers.finished() => {}
                () = stop.cancelled(), if self.drain_until.is_none() => self.begin_to_stop(),
                is_idle = answered(&mut self.emptiness) => {
                    if let Err(over) = self.on_emptiness(is_idle) {
                        return over;
                    }
                }
                // A closed channel means that the stream broke: its responses say why.
                Ok(_room) = stream.requests.reserve(), if is_full => {}
                () = tokio::time::sleep_until(wake_at) => {}
            }
        }
    }

    fn begin_to_stop(&mut self) {
        self.hands.stop();
        self.drain_until.get_or_insert(clock::now() + self.settings.drain_timeout);
    }

    fn do_what_is_due(&mut self, stream: &mut OpenStream, now: Instant) -> Result<(), Over> {
        let answer = self.client.request_timeout;
        if self.hands.unanswered_since().is_some_and(|since| now >= since + answer) {
            let reason = "what became of messages was not answered in time";
            return Err(Failure::Broken(ConnectionError::new(&stream.server, reason)).into());
        }
        if self.drain_until.is_some_and(|until| now >= until) && !self.handlers.are_empty() {
            tracing::warn!(group = %self.settings.group, "handlers did not end in time and are ended");
            self.handlers.end();
            self.hands.release_all();
        }
        if let Some(emptiness) = &mut self.emptiness {
            if self.hands.are_empty() && self.drain_until.is_none() {
                emptiness.quiet(now);
            } else {
                emptiness.busy();
            }
        }
        // The server ends the stream when it has heard of everything; not for ever, should it forget to.
        if stream.is_drain_told && self.hands.are_empty() && now >= *stream.left_at.get_or_insert(now + answer) {
            return Err(Over::Done);
        }
        Ok(())
    }

    /// Sends what is to be sent now; whether there was no room for all of it.
    fn send(&mut self, stream: &mut OpenStream, now: Instant) -> bool {
        loop {
            let room = match stream.requests.try_reserve() {
                Ok(room) => room,
                Err(error) => return matches!(error, mpsc::error::TrySendError::Full(())),
            };
            let kind = if let Some(batch) = self.hands.next_batch(now) {
                Kind::Settle(batch)
            } else if let Some(messages) = self.hands.next_credit(now) {
                Kind::Credit(v1::MessageCredit { messages })
            } else if self.drain_until.is_some() && !stream.is_drain_told {
                stream.is_drain_told = true;
                Kind::Drain(v1::WorkDrain {})
            } else {
                return false;
            };
            room.send(request(kind));
        }
    }

    fn next_deadline(&self, stream: &OpenStream, now: Instant) -> Instant {
        let answer = self.hands.unanswered_since().map(|since| since + self.client.request_timeout);
        let drain = self.drain_until.filter(|_| !self.handlers.are_empty());
        let empty = self.emptiness.as_ref().and_then(Emptiness::next_deadline);
        let all = [self.hands.next_deadline(), answer, drain, empty, stream.left_at];
        all.into_iter().flatten().fold(now + LONG, Instant::min)
    }

    /// Decides how to go on after a stream broke or could not be opened; whether to go on at all.
    async fn recover(&mut self, server: &Arc<str>, failure: Failure) -> Result<bool, WorkError> {
        let (topic, group) = (self.settings.topic.as_str(), self.settings.group.as_str());
        if !failure.is_retryable() {
            return Err(WorkError::from_failure(topic, group, failure));
        }
        tracing::warn!(%topic, %group, %server, %failure, "the work was interrupted");
        self.shared.count(Event::Reconnected);
        self.hands.on_break();
        if let Some(emptiness) = &mut self.emptiness {
            emptiness.busy();
        }
        let now = clock::now();
        let since = *self.failing_since.get_or_insert(now);
        if let Some(after) = self.settings.retry_timeout.filter(|timeout| now.duration_since(since) >= *timeout) {
            let (topic, group, last) = (topic.to_owned(), group.to_owned(), failure.to_string());
            return Err(WorkError::Unavailable { topic, group, after, last });
        }
        let wait = self.finder.on_failure(&self.client.connections, server, &failure, clock::chance());
        Ok(self.shared.stop.run_until_cancelled(tokio::time::sleep(wait)).await.is_some())
    }

    /// Without a stream, or after one: handlers that still run may end, for as long as they may.
    async fn end_handlers(&mut self) {
        self.begin_to_stop();
        if let Some(until) = self.drain_until {
            let ended = async {
                while !self.handlers.are_empty() {
                    self.handlers.finished().await;
                    let _outcomes = self.handlers.take_finished();
                }
            };
            if tokio::time::timeout_at(until, ended).await.is_err() {
                self.handlers.end();
            }
        }
        // Nobody can be told any more: the server gave these to others when the stream ended.
        for _ in 0..self.hands.left() {
            self.shared.count(Event::Lost);
        }
    }
}

/// What the server said to whether the queue is empty; waits for ever where nothing was asked.
async fn answered(emptiness: &mut Option<Emptiness>) -> Result<bool, RequestError> {
    match emptiness {
        Some(emptiness) => emptiness.answered().await,
        None => std::future::pending().await,
    }
}

fn request(kind: Kind) -> v1::WorkRequest {
    v1::WorkRequest { kind: Some(kind) }
}
