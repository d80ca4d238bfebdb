//! The task of a consumer: its stream to the group's coordinator, its reconnects, its clock, and the listener.
//!
//! What to send, and what a message means, is the [`State`]'s to say; this file only does it. The task runs on while the
//! program is busy with a record, so heartbeats and commits do not wait for it.
//!
//! Invariant: it never waits for room to send without reading what comes, so it and the server cannot wait for each other.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use highwater_proto::v1;
use highwater_proto::v1::group_service_client::GroupServiceClient;
use highwater_proto::v1::session_request::Kind;
use highwater_types::{ErrorCode, limits};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use super::error::ConsumeError;
use super::progress::Progress;
use super::rebalance::RebalanceListener;
use super::shared::Shared;
use super::state::{Phase, State};
use crate::client;
use crate::clock::{self, Instant};
use crate::connection::StreamSlot;
use crate::error::{ConnectionError, Failure};
use crate::finder::Finder;
use crate::request::to_the_leader;

mod messages;

/// So many messages may wait for the connection.
const REQUESTS_MAX: usize = 16;

/// How long things take, or may take.
#[derive(Clone, Debug)]
pub(super) struct Timing {
    pub(super) heartbeat: Duration,
    /// `None`: the program commits.
    pub(super) commit: Option<Duration>,
    /// How long a commit may stay unanswered, a stream unopened, a farewell without an end.
    pub(super) answer: Duration,
    pub(super) join: Duration,
    pub(super) retry: Option<Duration>,
}

/// See the module's documentation.
pub(super) struct Session {
    pub(super) client: Arc<client::Shared>,
    pub(super) shared: Arc<Shared>,
    /// The first message of a stream, but for what the state adds.
    pub(super) open: v1::SessionOpen,
    pub(super) listener: Box<dyn RebalanceListener>,
    pub(super) timing: Timing,
    pub(super) verify_checksums: bool,
    pub(super) slot: StreamSlot,
    /// Where the coordinator is.
    pub(super) finder: Finder,
    pub(super) progress: Progress,
    /// Since when there is no generation to be in.
    pub(super) failing_since: Option<Instant>,
    /// Why what was done last is not committed, when the program closes the consumer.
    pub(super) not_committed: Option<ConsumeError>,
}

/// A stream that is open.
struct OpenStream {
    server: Arc<str>,
    requests: mpsc::Sender<v1::SessionRequest>,
    responses: Streaming<v1::SessionResponse>,
}

/// When something is to be done on a stream.
struct Due {
    heartbeat: Instant,
    commit: Option<Instant>,
    /// Then the member is in a generation, or the stream is given up.
    joined: Instant,
    /// Then it is over, although the server has not ended the stream.
    left: Option<Instant>,
}

impl Drop for Session {
    fn drop(&mut self) {
        // Also when the task panicked or was cancelled: nobody is to wait for it.
        self.shared.with(|state| {
            if state.phase() != Phase::Ended {
                let error = state.ended();
                state.end(Some(error));
            }
        });
    }
}

impl Session {
    /// Runs until the program closes or drops the consumer, or the group refuses it for good.
    pub(super) async fn run(mut self) -> Result<(), ConsumeError> {
        let result = self.keep_open().await;
        self.shared.with(|state| state.end(result.clone().err()));
        result
    }

    async fn keep_open(&mut self) -> Result<(), ConsumeError> {
        loop {
            let server = self.finder.server(&self.client.connections);
            let shared = Arc::clone(&self.shared);
            let failure = match unless_abandoned(&shared, self.connect(&server)).await {
                None => return Ok(()),
                Some(Err(failure)) => failure,
                Some(Ok(stream)) => match self.pump(stream).await {
                    Ok(()) => return self.left(),
                    Err(failure) => failure,
                },
            };
            if !self.recover(&server, failure).await? {
                return Ok(());
            }
        }
    }

    async fn connect(&mut self, server: &Arc<str>) -> Result<OpenStream, Failure> {
        let unsent = |reason: &str| Failure::Unsent(ConnectionError::new(server, reason));
        let channel = self.slot.channel(server).map_err(|error| unsent(&error.to_string()))?;
        let (requests, receiver) = mpsc::channel(REQUESTS_MAX);
        let open = self.shared.with(|state| state.begin(self.open.clone()));
        // In the channel before the call: a server may want it before it answers.
        requests.try_send(request(Kind::Open(open))).map_err(|_| unsent("the stream closed at once"))?;
        let mut service = GroupServiceClient::new(channel)
            .max_decoding_message_size(limits::MESSAGE_BYTES_MAX)
            .max_encoding_message_size(limits::MESSAGE_BYTES_MAX);
        let call = service.session(to_the_leader(ReceiverStream::new(receiver)));
        let opened = tokio::time::timeout(self.timing.answer, call).await;
        let responses = opened
            .map_err(|_| unsent("no stream in time"))?
            .map_err(|status| Failure::from_status(server, &status))?
            .into_inner();
        Ok(OpenStream { server: Arc::clone(server), requests, responses })
    }

    /// How it was left: whether what was done last is committed.
    fn left(&mut self) -> Result<(), ConsumeError> {
        let is_settled = self.shared.with(|state| state.is_settled());
        let unknown = || ConsumeError::NotLeft { group: self.open.group.clone(), after: self.timing.answer };
        match self.not_committed.take() {
            Some(error) => Err(error),
            None if is_settled => Ok(()),
            None => Err(unknown()),
        }
    }

    /// Keeps a stream busy until the member has left, or the stream breaks.
    async fn pump(&mut self, mut stream: OpenStream) -> Result<(), Failure> {
        let now = clock::now();
        let mut due = Due {
            heartbeat: now + self.timing.heartbeat,
            commit: self.timing.commit.map(|every| now + every),
            joined: now + self.timing.join,
            left: None,
        };
        loop {
            let now = clock::now();
            self.go_on_with_revocations(now);
            self.do_what_is_due(&stream, &mut due, now)?;
            let is_full = self.send(&stream, now);
            if self.is_over(&mut due, now) {
                return Ok(());
            }
            let wake_at = self.next_deadline(&due);
            tokio::select! {
                biased;
                message = stream.responses.message() => {
                    if self.on_message(&stream.server, message)? {
                        return Ok(());
                    }
                }
                () = self.shared.task_wanted() => {}
                // A closed channel means that the stream broke: its responses say why.
                Ok(_room) = stream.requests.reserve(), if is_full => {}
                () = tokio::time::sleep_until(wake_at) => {}
            }
        }
    }

    fn go_on_with_revocations(&mut self, now: Instant) {
        while let Some(partitions) = self.shared.with(|state| state.revocation_due(now)) {
            if !partitions.is_empty() {
                self.listener.revoked(&partitions);
            }
            self.shared.with(|state| state.revocation_told(now));
        }
    }

    fn do_what_is_due(&mut self, stream: &OpenStream, due: &mut Due, now: Instant) -> Result<(), Failure> {
        let broken = |reason: &str| Err(Failure::Broken(ConnectionError::new(&stream.server, reason)));
        let (is_joined, unanswered_since) = self.shared.with(|state| (state.is_joined(), state.unanswered_since()));
        if due.left.is_some() {
            return Ok(());
        }
        if !is_joined {
            return if now >= due.joined { broken("the group did not take the member in in time") } else { Ok(()) };
        }
        if unanswered_since.is_some_and(|since| now >= since + self.timing.answer) {
            return broken("a commit was not answered in time");
        }
        if due.commit.is_some_and(|at| now >= at) {
            due.commit = self.timing.commit.map(|every| now + every);
            self.shared.with(|state| state.commit_done(|_| true));
        }
        if now >= due.heartbeat {
            due.heartbeat = now + self.timing.heartbeat;
            let (asks, is_waited_for) = self.shared.with(|state| state.progress());
            if self.progress.look(asks, is_waited_for, now) {
                tracing::warn!(group = %self.open.group, "the program let records wait for too long; heartbeats stop");
            } else {
                // Where there is no room, what waits there says as well that the member lives.
                let _ = stream.requests.try_send(request(Kind::Heartbeat(v1::SessionHeartbeat {})));
            }
        }
        Ok(())
    }

    /// Sends what may be sent now; whether there was no room for all of it.
    fn send(&self, stream: &OpenStream, now: Instant) -> bool {
        loop {
            let room = match stream.requests.try_reserve() {
                Ok(room) => room,
                Err(error) => return matches!(error, mpsc::error::TrySendError::Full(())),
            };
            match self.shared.with(|state| state.next_request(now)) {
                Some(kind) => room.send(request(kind)),
                None => return false,
            }
        }
    }

    /// Whether the member has left, or has waited long enough for the server to say so.
    fn is_over(&mut self, due: &mut Due, now: Instant) -> bool {
        let (phase, says_farewell) = self.shared.with(|state| (state.phase(), state.says_farewell()));
        phase == Phase::Leaving && (!says_farewell || now >= *due.left.get_or_insert(now + self.timing.answer))
    }

    fn next_deadline(&self, due: &Due) -> Instant {
        let (is_joined, revocation, unanswered_since) =
            self.shared.with(|state| (state.is_joined(), state.revocation_deadline(), state.unanswered_since()));
        if !is_joined {
            return due.left.unwrap_or(due.joined);
        }
        let answer = unanswered_since.map(|since| since + self.timing.answer);
        [due.commit, due.left, revocation, answer].into_iter().flatten().fold(due.heartbeat, Instant::min)
    }

    /// Decides how to go on after a stream broke or could not be opened; whether to go on at all.
    async fn recover(&mut self, server: &Arc<str>, failure: Failure) -> Result<bool, ConsumeError> {
        self.shared.with(State::on_break);
        let code = match &failure {
            Failure::Server(error) => Some(error.code),
            _ => None,
        };
        let is_out = matches!(code, Some(ErrorCode::UnknownMember | ErrorCode::IllegalGeneration));
        if is_out || !failure.is_retryable() {
            self.lose_everything();
        }
        if is_out {
            if self.shared.with(|state| state.phase()) == Phase::Closing {
                return Err(ConsumeError::MembershipLost { group: self.open.group.clone() });
            }
            tracing::warn!(group = %self.open.group, %failure, "the member is out of its group and joins again");
            if !self.wait_for_progress().await {
                return Ok(false);
            }
        } else if !failure.is_retryable() {
            return Err(ConsumeError::from_failure(&self.open.group, failure));
        } else {
            tracing::warn!(group = %self.open.group, %server, %failure, "the session was interrupted");
        }
        let now = clock::now();
        let since = *self.failing_since.get_or_insert(now);
        if let Some(after) = self.timing.retry.filter(|timeout| now.duration_since(since) >= *timeout) {
            self.failing_since = Some(now);
            let (group, last) = (self.open.group.clone(), failure.to_string());
            self.shared.with(|state| state.on_unavailable(ConsumeError::Unavailable { group, after, last }));
        }
        let wait = self.finder.on_failure(&self.client.connections, server, &failure, clock::chance());
        let shared = Arc::clone(&self.shared);
        Ok(unless_abandoned(&shared, tokio::time::sleep(wait)).await.is_some())
    }

    fn lose_everything(&mut self) {
        let lost = self.shared.with(State::on_lost);
        if !lost.is_empty() {
            self.listener.lost(&lost);
        }
    }

    /// A program that hangs would only be thrown out again: waits until it asks for more, or is done with all.
    async fn wait_for_progress(&mut self) -> bool {
        if let Some(asks) = self.progress.stalled_at() {
            let shared = Arc::clone(&self.shared);
            let hangs = |state: &mut State| {
                state.await_ask();
                state.progress().0 == asks && state.phase() == Phase::Running
            };
            while shared.with(hangs) {
                shared.task_wanted().await;
            }
        }
        self.shared.with(|state| state.phase()) == Phase::Running
    }
}

/// Does something, unless the consumer is dropped before it is done.
async fn unless_abandoned<T>(shared: &Shared, work: impl Future<Output = T>) -> Option<T> {
    tokio::pin!(work);
    while shared.with(|state| state.phase()) != Phase::Abandoned {
        tokio::select! {
            result = &mut work => return Some(result),
            () = shared.task_wanted() => {}
        }
    }
    None
}

fn request(kind: Kind) -> v1::SessionRequest {
    v1::SessionRequest { kind: Some(kind) }
}
