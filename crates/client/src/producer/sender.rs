//! The task that gets the records of one partition stored: its stream, its reconnects, its clock.
//!
//! What to send, and what an answer means, is the [`Window`]'s to say; this file only does it. One task and one stream a
//! partition, so partitions never wait for each other.
//!
//! Invariant: a stream is opened before anything is sent on it, so that a server that cannot be reached leaves no doubt.

use std::sync::Arc;
use std::time::Duration;

use highwater_proto::v1;
use highwater_proto::v1::produce_response::Result as Answer;
use highwater_proto::v1::produce_service_client::ProduceServiceClient;
use highwater_types::{Offset, limits};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use super::accumulator::{Accumulator, Taken};
use super::error::ProduceError;
use super::identity::Identities;
use super::window::{Window, stalled};
use crate::client::Shared;
use crate::clock::{self, Instant};
use crate::connection::StreamSlot;
use crate::error::{ConnectionError, Failure, Outcome, ServerError};
use crate::finder::Finder;
use crate::request::{RequestError, to_the_leader};

/// The longest sleep of a sender that waits for nothing in particular.
const IDLE: Duration = Duration::from_secs(3600);

/// What all senders of one producer have in common.
#[derive(Clone, Debug)]
pub(super) struct SenderOptions {
    pub(super) acks: v1::Acks,
    pub(super) delivery_timeout: Duration,
    pub(super) answer_timeout: Duration,
}

/// How a stream ended that did not break.
enum Ended {
    /// Closed, and everything is settled.
    Finished,
    /// Something is needed before the next one: another identity, or another server.
    Again,
}

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct Sender {
    pub(super) client: Arc<Shared>,
    pub(super) accumulator: Arc<Accumulator>,
    pub(super) identities: Arc<Identities>,
    pub(super) window: Window,
    pub(super) options: SenderOptions,
    pub(super) slot: StreamSlot,
    /// Where the partition is led.
    pub(super) finder: Finder,
    /// Why there is no stream; `None` while there is one.
    pub(super) last_failure: Option<Failure>,
    /// Whether the identity that all partitions begin with was used here.
    pub(super) had_identity: bool,
}

impl Sender {
    /// Runs until the accumulator is closed and everything in it is settled.
    pub(super) async fn run(mut self) {
        loop {
            if self.window.is_empty() {
                self.accumulator.wait_for_any().await;
            }
            if self.is_finished() {
                return;
            }
            let server = self.finder.server(&self.client.connections);
            let failure = match self.session(&server).await {
                Ok(Ended::Finished) => return,
                Ok(Ended::Again) => continue,
                Err(failure) => failure,
            };
            tracing::warn!(topic = %self.accumulator.topic(), partition = %self.accumulator.partition(), %server,
                %failure, "producing was interrupted");
            let wait = self.wait_after(&server, &failure);
            self.window.on_break(&failure);
            if !failure.is_retryable() {
                self.fail_gathered(&failure);
            }
            self.settle();
            self.last_failure = Some(failure);
            self.pause(wait).await;
        }
    }

    fn is_finished(&self) -> bool {
        self.window.is_empty() && self.accumulator.is_finished()
    }

    /// Opens a stream and keeps it busy until it breaks.
    async fn session(&mut self, server: &Arc<str>) -> Result<Ended, Failure> {
        let give_up_at = self.next_deadline().unwrap_or_else(|| clock::now() + self.options.answer_timeout);
        let late = || Failure::Unsent(ConnectionError::new(server, "no stream in time"));
        if self.window.needs_identity() {
            let identity = tokio::time::timeout_at(give_up_at, self.identity()).await.map_err(|_| late())?;
            self.window.set_identity(identity?);
            self.had_identity = true;
        }
        let (requests, receiver) = mpsc::channel(limits::PRODUCER_BATCHES_IN_FLIGHT_MAX);
        let channel = self.slot.channel(server).map_err(|error| unsent(server, &error))?;
        let mut service = ProduceServiceClient::new(channel)
            .max_decoding_message_size(limits::MESSAGE_BYTES_MAX)
            .max_encoding_message_size(limits::MESSAGE_BYTES_MAX);
        let open = service.produce_stream(to_the_leader(ReceiverStream::new(receiver)));
        let opened = tokio::time::timeout_at(give_up_at, open).await.map_err(|_| late())?;
        let mut answers = opened.map_err(|status| not_opened(server, &status))?.into_inner();
        self.last_failure = None;
        self.pump(server, &requests, &mut answers).await
    }

    async fn identity(&self) -> Result<super::window::Identity, Failure> {
        let identity = if self.had_identity {
            Identities::fresh(&self.client).await
        } else {
            self.identities.first(&self.client).await
        };
        identity.map_err(|error| match error {
            RequestError::Server(error) => Failure::Server(error),
            other if other.is_retryable() => unsent(&self.client.connections.current(), &other),
            other => Failure::Rejected(ConnectionError::new(&self.client.connections.current(), &other.to_string())),
        })
    }

    async fn pump(
        &mut self,
        server: &Arc<str>,
        requests: &mpsc::Sender<v1::ProduceRequest>,
        answers: &mut Streaming<v1::ProduceResponse>,
    ) -> Result<Ended, Failure> {
        loop {
            self.settle();
            if let Some(failure) = self.window.take_trouble() {
                tracing::debug!(topic = %self.accumulator.topic(), partition = %self.accumulator.partition(), %failure,
                    "a batch was refused and is sent again");
                let wait = self.wait_after(server, &failure);
                self.pause(wait).await;
                self.settle();
                if self.finder.server(&self.client.connections) != *server {
                    return Ok(Ended::Again);
                }
                // What was given up meanwhile may have left a gap, which must be closed before anything more is sent.
                continue;
            }
            if self.window.needs_identity() {
                return Ok(Ended::Again);
            }
            let now = clock::now();
            let due = self.fill(requests, now);
            if self.is_finished() {
                return Ok(Ended::Finished);
            }
            let deadline = [due, self.window.next_deadline()].into_iter().flatten().min();
            tokio::select! {
                biased;
                answer = answers.message() => self.on_answer(server, answer)?,
                () = self.accumulator.wait() => {}
                () = tokio::time::sleep_until(deadline.unwrap_or(now + IDLE)) => {
                    let now = clock::now();
                    if self.window.is_stalled(now) {
                        return Err(stalled(server, self.options.answer_timeout));
                    }
                    self.window.expire(now);
                }
            }
        }
    }

    /// Sends what may be sent now; tells when a batch that lingers is due.
    fn fill(&mut self, requests: &mpsc::Sender<v1::ProduceRequest>, now: Instant) -> Option<Instant> {
        let mut due = None;
        loop {
            while let Some((correlation, batch)) = self.window.next_request(now) {
                let request = v1::ProduceRequest {
                    correlation,
                    topic: self.accumulator.topic().as_str().to_owned(),
                    partition: Some(self.accumulator.partition().get()),
                    acks: self.options.acks.into(),
                    payload: Some(v1::produce_request::Payload::Batch(batch)),
                };
                // There is room for a whole window. A closed channel means that the stream broke: its answers say why.
                if requests.try_send(request).is_err() {
                    return None;
                }
            }
            if !self.window.has_room() {
                return due;
            }
            // As much as is in flight: nobody waits on an idle producer, and under load batches grow to the half of what
            // the callers keep under way, so that one half gathers while the other travels.
            match self.accumulator.take(self.window.in_flight_bytes(), now) {
                Taken::Batch(gathered) => self.window.push(gathered),
                Taken::NotBefore(instant) => {
                    due = Some(instant);
                    return due;
                }
                Taken::Nothing => return due,
            }
        }
    }

    fn on_answer(
        &mut self,
        server: &Arc<str>,
        answer: Result<Option<v1::ProduceResponse>, Status>,
    ) -> Result<(), Failure> {
        let broken = |reason: &str| Failure::Broken(ConnectionError::new(server, reason));
        let response = match answer {
            Ok(Some(response)) => response,
            Ok(None) => return Err(broken("the server ended the stream")),
            // Whatever ended the stream says nothing of the batches that were on it.
            Err(status) => {
                return Err(match Failure::from_status(server, &status) {
                    Failure::Unsent(error) | Failure::Broken(error) => Failure::Broken(error),
                    Failure::Server(error) => broken(&error.to_string()),
                    rejected @ Failure::Rejected(_) if self.window.in_flight() == 0 => rejected,
                    Failure::Rejected(error) => Failure::Broken(error),
                });
            }
        };
        let result = match response.result {
            Some(Answer::Ack(ack)) => {
                self.finder.on_success();
                Ok(Offset::from_wire(ack.base_offset))
            }
            Some(Answer::Error(error)) => Err(ServerError::from_wire(error)),
            None => return Err(broken("an answer without a result")),
        };
        self.window
            .on_answer(response.correlation, result)
            .map_err(|unexpected| broken(&format!("an answer to request {}, out of turn", unexpected.correlation)))
    }

    /// Where to go after a failure is the finder's to say; and after what time.
    fn wait_after(&mut self, server: &Arc<str>, failure: &Failure) -> Duration {
        self.finder.on_failure(&self.client.connections, server, failure, clock::chance())
    }

    fn settle(&mut self) {
        let accumulator = &self.accumulator;
        self.window.release(|error| accumulator.note_failure(error));
    }

    /// Waits before the next attempt; gives up on what gets too old meanwhile.
    async fn pause(&mut self, wait: Duration) {
        let until = clock::now() + wait;
        let deadline = self.next_deadline().map_or(until, |deadline| deadline.min(until));
        tokio::time::sleep_until(deadline).await;
        let now = clock::now();
        self.window.expire(now);
        self.settle();
        let Some(opened_before) = now.checked_sub(self.options.delivery_timeout) else { return };
        for gathered in self.accumulator.take_expired(opened_before) {
            let promise = gathered.promise;
            let error = ProduceError::TimedOut {
                topic: promise.topic().clone(),
                partition: promise.partition(),
                after: self.options.delivery_timeout,
                last: self.last_failure.as_ref().map(|failure| failure.to_string().into()),
                outcome: Outcome::NotDone,
            };
            self.accumulator.note_failure(&error);
            promise.settle(Err(error));
        }
    }

    fn next_deadline(&self) -> Option<Instant> {
        let gathered = self.accumulator.oldest().map(|opened| opened + self.options.delivery_timeout);
        [self.window.next_deadline(), gathered].into_iter().flatten().min()
    }

    /// A failure that does not pass is one for all records that wait, not only for those that were tried.
    fn fail_gathered(&self, failure: &Failure) {
        for gathered in self.accumulator.take_expired(clock::now()) {
            let promise = gathered.promise;
            let (topic, partition) = (promise.topic(), promise.partition());
            let error = ProduceError::from_failure(topic, partition, failure.clone(), Outcome::NotDone);
            self.accumulator.note_failure(&error);
            promise.settle(Err(error));
        }
    }
}

fn unsent(server: &str, error: &impl ToString) -> Failure {
    Failure::Unsent(ConnectionError::new(server, &error.to_string()))
}

/// Nothing was sent yet, whatever the transport says.
fn not_opened(server: &str, status: &Status) -> Failure {
    match Failure::from_status(server, status) {
        Failure::Broken(error) => Failure::Unsent(error),
        failure => failure,
    }
}
